/*
 * Closing a range of descriptors. close_range(2) came with Linux 5.9, its flag for close-on-exec with 5.11, and a filter on
 * system calls may refuse either.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "plugin.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* Where there is no /proc to tell; above this a node has no limit that anybody uses. */
enum { MOST_NUMBERS = 1 << 20 };

static void close_one(unsigned number, enum closing when)
{
	if (when == ON_EXEC)
		fcntl((int)number, F_SETFD, FD_CLOEXEC);
	else
		close((int)number);
}

/* Those that are open, as /proc has them. False where it does not tell. */
static bool close_listed(unsigned first, unsigned last, enum closing when)
{
	char entries[4096] __attribute__((aligned(8)));
	struct statfs system;
	long size = -1;
	int directory = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (directory < 0)
		return false;
	if (fstatfs(directory, &system) == 0 && system.f_type == PROC_SUPER_MAGIC)
		while ((size = syscall(SYS_getdents64, directory, entries, sizeof entries)) > 0)
			for (long at = 0; at < size;) {
				const struct dirent64 *entry = (const struct dirent64 *)(entries + at);
				unsigned number = 0;
				const char *digit = entry->d_name;

				at += entry->d_reclen;
				for (; *digit >= '0' && *digit <= '9'; digit++)
					number = number * 10 + (unsigned)(*digit - '0');
				if (digit > entry->d_name && number >= first && number <= last && number != (unsigned)directory)
					close_one(number, when);
			}
	close(directory);
	return size == 0;
}

/* Async-signal-safe calls only. */
void close_descriptors(unsigned first, unsigned last, enum closing when)
{
	struct rlimit limit;

	if (syscall(SYS_close_range, first, last, when == ON_EXEC ? 4 : 0 /* CLOSE_RANGE_CLOEXEC */) == 0
	    || close_listed(first, last, when))
		return;
	/* The hard limit: the soft one may have been lowered since they were opened. */
	rlim_t end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < MOST_NUMBERS ? limit.rlim_max : MOST_NUMBERS;

	for (unsigned number = first; number < end && number <= last; number++)
		close_one(number, when);
}
