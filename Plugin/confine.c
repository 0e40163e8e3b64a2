/*
 * What the site's berth.conf enforces on tasks, by `berth confine`: docs/reference/commands/confine.md.
 *
 * That is root's work on the task's own cgroups, and where a task is still root it is not in them yet. So each task leaves a
 * process behind that is still root when the task is the user's and in its cgroups. Nothing of the user's has been touched
 * until it has done its work; and as every task has its own, slurmstepd waits for none of them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin.h"

#define SITE_FILE "/etc/berth/berth.conf"

static pid_t confining = -1;
static int signal_to_confine = -1;

/* Where berth leaves the seccomp filter that the site enforces. Only this task and root have it: until it executes the user's
 * command, no other process of the user may trace it or open its descriptors. */
static int filter_file = -1;

static bool file_confines(const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	bool found = !file && errno != ENOENT && errno != ENOTDIR;

	while (file && !found && getline(&line, &room, file) > 0) {
		const char *name = line + strspn(line, " \t");

		found = !strncmp(name, "enforce", 7) || !strncmp(name, "ulimit", 6);
	}
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* Of glob(3): an absent directory has no drop-ins, any other fault is berth's to report. */
static int is_fault(const char *path, int code)
{
	(void)path;
	return code != ENOENT && code != ENOTDIR;
}

/*
 * Whether the site's files have anything for berth to do: where they have not, no task waits. What the lines mean, berth
 * decides. A directory that cannot be read is berth's to report.
 */
bool site_confines(void)
{
	glob_t drop_ins = {0};
	int status = glob(SITE_FILE ".d/*.conf", 0, is_fault, &drop_ins);
	bool found = file_confines(SITE_FILE) || (status != 0 && status != GLOB_NOMATCH);

	for (size_t i = 0; i < drop_ins.gl_pathc && !found; i++)
		found = file_confines(drop_ins.gl_pathv[i]);
	globfree(&drop_ins);
	return found;
}

/* In each task, as root. The sizes are Slurm's own, not those of the user's variables. */
int start_confining(spank_t spank)
{
	struct argv words = {0};
	uint64_t megabytes = 0;
	uint16_t cpus = 0;
	int ends[2], signal_end, file;
	char byte;

	if (!site_confines())
		return 0;
	spank_get_item(spank, S_STEP_ALLOC_MEM, &megabytes);
	spank_get_item(spank, S_JOB_NCPUS, &cpus);
	add_argument(&words, "%s", site.berth);
	add_argument(&words, "confine");
	add_argument(&words, "parent");
	if (megabytes > 0 && megabytes < UINT64_MAX >> 20)
		add_argument(&words, "memory=%llu", (unsigned long long)megabytes << 20);
	if (cpus > 0)
		add_argument(&words, "cpus=%u", cpus);
	add_argument(&words, "filter");
	if (words.failed || (filter_file = memfd_create("berth-filter", MFD_CLOEXEC)) < 0
	    || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		goto done;
	if ((confining = fork()) == 0) {
		/* Descriptors 3 and 4 alone: a pipe that it kept open would never end for its reader. */
		if ((signal_end = fcntl(ends[1], F_DUPFD, 5)) < 0 || (file = fcntl(filter_file, F_DUPFD, 5)) < 0
		    || dup2(signal_end, 3) < 0 || dup2(file, 4) < 0)
			_exit(BERTH_FAILED);
		close_descriptors(5, ~0U, NOW);
		if (read(3, &byte, 1) != 1)
			_exit(BERTH_FAILED);     /* the task has ended before it got there */
		execute(words.list, (char *const[]){NULL}, 4);
	}
	close(ends[1]);
	signal_to_confine = ends[0];
done:
	free_argv(&words);
	return confining > 0 ? 0 : -1;
}

char *site_filter;

/* False where there is no reading it; without a filter of the site's it stays NULL. */
static bool read_site_filter(void)
{
	struct stat status;

	if (fstat(filter_file, &status) < 0)
		return false;
	if (status.st_size > 0) {
		site_filter = calloc((size_t)status.st_size + 1, 1);
		if (!site_filter || pread(filter_file, site_filter, (size_t)status.st_size, 0) != status.st_size)
			return false;
	}
	return close(filter_file) == 0;
}

/* In each task, as the user. 0 where all that the site asked for holds; otherwise berth has said why it does not. */
int wait_until_confined(void)
{
	int status = 0;

	if (confining < 0)
		return 0;
	/* As the kernel has it after the change of user, unless fs.suid_dumpable says otherwise. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)!send(signal_to_confine, "", 1, MSG_NOSIGNAL);
	close(signal_to_confine);
	while (waitpid(confining, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	confining = -1;
	return status == 0 && read_site_filter() ? 0 : -1;
}

/* In the child that is to become berth, which shows tasks its own limits: async-signal-safe calls only. */
void raise_limits_of_site(void)
{
	char *const words[] = {(char *)site.berth, "confine", "parent", "limits", NULL};
	pid_t child = fork();

	if (child == 0)
		execute(words, (char *const[]){NULL}, -1);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}
