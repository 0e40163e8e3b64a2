/*
 * What berth has built arrives as one packet: descriptors, and a list of NUL-terminated words that say what each of them
 * is and what else is to be done. Sources/berth/HoldCommand.swift writes it.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plugin.h"

enum { MOST_DESCRIPTORS = 16, MOST_BYTES = 1 << 20, MOST_GPUS = 1024 };

struct container {
	int descriptors[MOST_DESCRIPTORS];
	size_t count, used;
	char *words;
	size_t size;
};

int raise_hard_limits(void)
{
	struct rlimit limit;

	if (!site.raises_memlock || getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return 0;
	limit.rlim_max = site.memlock;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* 1 with a container, 0 where berth has failed, and has said why. */
static int receive(int connection, struct container *container, int flags)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * MOST_DESCRIPTORS)];
		struct cmsghdr aligned;
	} control;
	struct iovec part = {container->words, MOST_BYTES};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t size;

	do                           /* ECONNRESET is said once, before what has arrived: berth went with a report unread */
		size = recvmsg(connection, &message, MSG_CMSG_CLOEXEC | flags);
	while (size < 0 && (errno == EINTR || errno == ECONNRESET));
	if (size <= 0)
		return (int)size;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
			container->count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(container->descriptors, CMSG_DATA(header), container->count * sizeof(int));
		}
	container->size = (size_t)size;
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || container->words[size - 1] != '\0') {
		errno = EMSGSIZE;
		return -1;
	}
	return 1;
}

/* NUMBER SOFT HARD */
static int limit(const char *word)
{
	unsigned long long soft, hard;
	int number;

	if (sscanf(word, "%d %llu %llu", &number, &soft, &hard) != 3)
		return -1;
	return setrlimit((__rlimit_resource_t)number, &(struct rlimit){soft, hard});
}

/* Numbers of capabilities that root keeps; everything else goes. */
static int keep_capabilities(const char *list)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}, {0}};
	uint64_t kept = 0;

	while (*list) {
		kept |= (uint64_t)1 << (strtoul(list, (char **)&list, 10) & 63);
		list += *list == ',';
	}
	for (int number = 0; number < 64; number++)
		if (!(kept >> number & 1) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0)
			break;               /* EINVAL: the kernel knows no capability of that number, nor any above */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	for (int half = 0; half < 2; half++) {
		data[half].permitted &= (uint32_t)(kept >> (32 * half));
		data[half].effective = data[half].permitted;
		data[half].inheritable = 0;
	}
	return (int)syscall(SYS_capset, &header, data);
}

static int next(struct container *container)
{
	return container->used < container->count ? container->descriptors[container->used++] : -1;
}

/* For each position among GPUs that a list counts the place that the GPU has in the container; -1: it is not shown there. */
struct places {
	long of[MOST_GPUS];
	size_t count;
};

/* A list such as 0,2-3 in other numbers; those without a place drop out. What it leaves is what is counted behind it. False
 * for any other text, such as MIG's names. */
static bool count_anew(const char *list, const struct places *places, struct places *behind, char *new, size_t room)
{
	size_t used = 0;
	long kept = 0;

	behind->count = 0;
	for (*new = '\0'; *list; list += *list == ',') {
		char *end = NULL;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (!isdigit((unsigned char)*list))
			return false;
		if (*end == '-' && isdigit((unsigned char)end[1]))
			last = strtoul(end + 1, &end, 10);
		if ((*end && *end != ',') || last < first || last - first >= MOST_GPUS)
			return false;
		for (; first <= last && first < places->count; first++) {
			long place = places->of[first];

			if (behind->count < MOST_GPUS)
				behind->of[behind->count++] = place < 0 ? -1 : kept++;
			if (place >= 0 && used < room)
				used += (size_t)snprintf(new + used, room - used, "%s%ld", used ? "," : "", place);
		}
		list = end;
	}
	return used < room;
}

/* NODE,-NODE,...: GPUs in the order in which they are counted, with a dash in front where the container does not show them.
 * A task counts those that it may open: Slurm may have given each its own. The variables that select among GPUs by number
 * are to count those of the container. AMD's others count what its runtime's own leaves. */
static int renumber(spank_t spank, char *nodes, bool amd)
{
	static const char *const selectors[] = {
		"ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",
	};
	struct places places[3] = {{.count = 0}}, *counted = places;
	char list[4096], new[8192];
	long shown = 0;

	for (char *node = strtok(nodes, ","); node && counted->count < MOST_GPUS; node = strtok(NULL, ","))
		if (access(node + (*node == '-'), R_OK | W_OK) == 0)
			counted->of[counted->count++] = *node == '-' ? -1 : shown++;
	for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
		if (spank_getenv(spank, selectors[i], list, sizeof list) != ESPANK_SUCCESS || !*list)
			continue;
		if (count_anew(list, counted, &places[i == 0 ? 1 : 2], new, sizeof new)) {
			if (spank_setenv(spank, selectors[i], new, 1) != ESPANK_SUCCESS)
				return -1;
		} else if (amd && i == 0) {
			return 0;            /* by name: the others count what these leave, here as there */
		}
		if (amd && i == 0)
			counted = &places[1];
	}
	return 0;
}

/* NAME=VARIABLE: the value of a variable of this task's, unless there is one of that name. */
static int set_default(spank_t spank, char *name)
{
	char *variable = strchr(name, '='), value[4096];

	if (!variable)
		return -1;
	*variable++ = '\0';
	if (spank_getenv(spank, name, value, sizeof value) == ESPANK_SUCCESS
	    || spank_getenv(spank, variable, value, sizeof value) != ESPANK_SUCCESS)
		return 0;
	return spank_setenv(spank, name, value, 1) == ESPANK_SUCCESS ? 0 : -1;
}

static int carry_out(spank_t spank, struct container *container, char *word)
{
	char *value = word + 1, *equals;

	switch (word[0]) {
	case 'N':                    /* a namespace of any kind, the user namespace first: only its rights allow the others */
		return setns(next(container), 0);
	case 'D':                    /* the working directory */
		return fchdir(next(container));
	case 'K':                    /* to be kept open by the command: what it runs from is in use that long */
		return fcntl(next(container), F_SETFD, 0);
	case 'R':                    /* the root, for who saves it */
		return close(next(container));
	case '+':
		if (!(equals = strchr(value, '=')))
			return -1;
		*equals = '\0';
		return spank_setenv(spank, value, equals + 1, 1) == ESPANK_SUCCESS ? 0 : -1;
	case '-':
		spank_unsetenv(spank, value);
		return 0;
	case '=':
		return set_default(spank, value);
	case 'G':                    /* before the namespaces: of the host's nodes */
	case 'A':
		return renumber(spank, value, word[0] == 'A');
	case 'L':
		return limit(value);
	case 'C':
		return keep_capabilities(value);
	case 'P':
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	default:
		errno = EPROTO;
		return -1;
	}
}

/* What only tasks know, as NUL-terminated words. The first tells of PMIx' directory, which their environment alone names and
 * which must be mounted. Each tells which GPUs its own cgroup lets it open, if that is gathered; nothing is opened. */
void report(spank_t spank)
{
	char words[65536];
	int task = -1;

	spank_get_item(spank, S_TASK_ID, &task);
	bool pmix = task == 0 && spank_getenv(spank, "SLURM_MPI_TYPE", words, sizeof words) == ESPANK_SUCCESS
		&& !strncmp(words, "pmix", 4);
	if (!pmix && accelerators.gl_pathc == 0)
		return;
	if (!pmix || spank_getenv(spank, "PMIX_SERVER_TMPDIR", words, sizeof words) != ESPANK_SUCCESS)
		strcpy(words, "-");
	size_t used = strlen(words) + 1;
	for (char **node = accelerators.gl_pathv; node && *node; node++)
		if (access(*node, R_OK | W_OK) == 0 && used + strlen(*node) < sizeof words)
			used += strlen(strcpy(words + used, *node)) + 1;
	(void)!send(connection_to_berth, words, used, MSG_NOSIGNAL);
}

int join(spank_t spank, int connection)
{
	static const char version[] = "berth-container 3";
	struct container container = {.words = malloc(MOST_BYTES)};

	int arrived = container.words ? receive(connection, &container, 0) : -1;
	const char *failed = arrived < 0 ? "no answer from berth" : NULL;

	close(connection);
	if (arrived > 0 && strcmp(container.words, version) != 0) {
		errno = EPROTO;
		failed = "berth and its plugin are of different versions";
	}
	char *word = container.words, *end = word + (arrived > 0 ? container.size : 0);
	for (char *next = word + (arrived > 0 ? strlen(word) + 1 : 0); !failed && next < end;) {
		word = next;
		next += strlen(word) + 1;    /* before a variable is cut in two at its equals sign */
		if (carry_out(spank, &container, word) < 0)
			failed = word;
	}
	if (failed)
		slurm_error("berth: cannot join the container: %s: %m", failed);
	free(container.words);
	return arrived > 0 && !failed ? 0 : -1;
}

/* In slurmstepd, after the tasks: the packet that none of them took. Its other descriptors keep the files where they are
 * until slurmstepd ends. */
int receive_root(int connection)
{
	struct container container = {.words = malloc(MOST_BYTES)};
	int root = -1;

	if (container.words && receive(connection, &container, MSG_DONTWAIT) > 0)
		for (char *word = container.words; word < container.words + container.size; word += strlen(word) + 1)
			if (word[1] == '\0' && strchr("NDKR", word[0])) {
				int descriptor = next(&container);

				root = word[0] == 'R' ? descriptor : root;
			}
	free(container.words);
	return root;
}
