/*
 * What berth has built arrives as one packet of descriptors, and a list of NUL-terminated words that say what each of them
 * is and what else is to be done. Sources/Sandbox/JoinSpec.swift writes it.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "Init.h"        /* of Sources/CLinux */
#include "plugin.h"

#define VERSION "berth-container 7"

pid_t broadcaster;

enum { MOST_DESCRIPTORS = 16, MOST_GPUS = 1024 };

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

enum arrival { ARRIVED, FAILED_WITH_A_WORD, LOST, FAILED };

/* The first descriptor is a file in memory with the words: an environment may be larger than a packet. */
static int read_words(struct container *container)
{
	struct stat status;
	int file = container->count > 0 ? container->descriptors[container->used++] : -1;

	if (fstat(file, &status) < 0)
		return -1;
	container->size = (size_t)status.st_size;
	if (!(container->words = malloc(container->size + 1)))
		return -1;
	container->words[container->size] = '\0';
	for (size_t done = 0; done < container->size;) {
		/* With an offset of its own: the file is all tasks'. */
		ssize_t size = pread(file, container->words + done, container->size - done, (off_t)done);

		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			return -1;
		done += (size_t)size;
	}
	return close(file);
}

static enum arrival receive(int connection, struct container *container)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * MOST_DESCRIPTORS)];
		struct cmsghdr aligned;
	} control;
	char first[64];
	struct iovec part = {first, sizeof first};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t size;

	do                           /* ECONNRESET is said once, before what has arrived: berth went with a report unread */
		size = recv(connection, first, sizeof first, MSG_PEEK);
	while (size < 0 && (errno == EINTR || errno == ECONNRESET));
	if (size == 0)
		return LOST;
	/* Left where it is: it is for every task. */
	if (size == sizeof FAILURE_PACKET && !memcmp(first, FAILURE_PACKET, sizeof FAILURE_PACKET))
		return FAILED_WITH_A_WORD;
	message.msg_control = control.bytes;
	message.msg_controllen = sizeof control;
	do
		size = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
	while (size < 0 && (errno == EINTR || errno == ECONNRESET));
	if (size == 0)
		return LOST;
	if (size < 0)
		return FAILED;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
			container->count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(container->descriptors, CMSG_DATA(header), container->count * sizeof(int));
		}
	if (size != sizeof VERSION || memcmp(first, VERSION, sizeof VERSION)) {
		errno = EPROTONOSUPPORT;
		return FAILED;
	}
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		errno = EMFILE;
		return FAILED;
	}
	return read_words(container) < 0 ? FAILED : ARRIVED;
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
		if (!(kept >> number & 1) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0) {
			if (errno == EINVAL)
				break;       /* the kernel knows no capability of that number, nor any above */
			return -1;
		}
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

/* FLAGS HEXADECIMAL: an array of struct sock_filter, which is loaded as it is. */
static int load_filter(const char *word)
{
	static const char digits[] = "0123456789abcdef";
	struct sock_filter instructions[BPF_MAXINSNS];
	unsigned char *bytes = (unsigned char *)instructions;
	char *next;
	unsigned flags = (unsigned)strtoul(word, &next, 10);
	size_t size = 0;

	for (next += *next == ' '; *next; next += 2) {
		const char *high = strchr(digits, next[0]), *low = next[1] ? strchr(digits, next[1]) : NULL;

		if (!high || !low || size == sizeof instructions) {
			errno = EPROTO;
			return -1;
		}
		bytes[size++] = (unsigned char)((high - digits) << 4 | (low - digits));
	}
	struct sock_fprog program = {(unsigned short)(size / sizeof *instructions), instructions};

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* The filter that the site enforces, before those of the container: one of these may keep further ones from being loaded. */
static void load_site_filter(spank_t spank)
{
	if (!site_filter)
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || load_filter(site_filter) < 0) {
		say(spank, "cannot load the seccomp filter that the site enforces: %s; `berth doctor` shows what this kernel lacks",
			strerror(errno));
		_exit(BERTH_FAILED);
	}
	free(site_filter);
	site_filter = NULL;
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
static bool renumber_gpus(const char *list, const struct places *places, struct places *behind, char *new, size_t room)
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
		if (renumber_gpus(list, counted, &places[i == 0 ? 1 : 2], new, sizeof new)) {
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

/* Whether this process is 1 of a PID namespace in which an init is to stay. */
static bool wants_init;

/* From here on in a child. The process of Slurm's stands for it outside, and returns to none of Slurm's code. */
static int continue_in_child(void)
{
	signal(SIGCHLD, SIG_DFL);
	return berth_become_first_process(broadcaster) < 0 || berth_end_with_parent() < 0 ? -1 : 0;
}

static int make_read_only(const char *path)
{
	if (mount(path, path, NULL, MS_BIND, NULL) < 0)
		return errno == ENOENT ? 0 : -1;
	return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* A PID namespace, and a /proc that shows it, which no other task sees: PATH,PATH,... in it are read-only. */
static int become_first_process(spank_t spank, char *paths)
{
	int task = -1;

	spank_get_item(spank, S_TASK_ID, &task);
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0 || continue_in_child() < 0)
		return -1;
	if (mount(NULL, "/proc", NULL, MS_PRIVATE, NULL) < 0
	    || mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
		if (errno != EPERM)
			return -1;
		if (task == 0)
			say(spank, "cannot mount a /proc for the PID namespace: a user may do this only where the whole of the node's /proc"
				" is visible; leave out --container-unshare=pid and --container-init");
		_exit(BERTH_FAILED);
	}
	for (char *path = strtok(paths, ","); path; path = strtok(NULL, ","))
		if (make_read_only(path) < 0)
			return -1;
	return 0;
}

static int apply_join_word(spank_t spank, struct container *container, char *word)
{
	char *value = word + 1, *equals;

	switch (word[0]) {
	case 'N':                    /* a namespace, the user namespace first: only its rights allow the others */
		return setns(next(container), 0);
	case 'D':                    /* the working directory */
		return fchdir(next(container));
	case 'K':                    /* to be kept open by the command: what it runs from is in use that long */
		return fcntl(next(container), F_SETFD, 0);
	case 'R':                    /* the root, for save.c, which has it by now */
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
	case 'B':                    /* Slurm signals every process by itself: read before all others */
		return 0;
	case 'E':                    /* in the PID namespace that was entered, of another step's container */
		return continue_in_child();
	case 'I':
	case 'U':
		wants_init = word[0] == 'I';
		return become_first_process(spank, value);
	case 'C':
		return keep_capabilities(value);
	case 'P':
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	case 'F':                    /* last: what it refuses is refused to this process, too */
		load_site_filter(spank);
		return load_filter(value);
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

/* Whether there is a word that is this letter alone. */
static bool has_word(const struct container *container, char letter)
{
	for (const char *word = container->words; word < container->words + container->size; word += strlen(word) + 1)
		if (word[0] == letter && word[1] == '\0')
			return true;
	return false;
}

/* The descriptor of the word R, before any is used. */
static int root_of(const struct container *container)
{
	size_t index = container->used;

	for (const char *word = container->words; word < container->words + container->size; word += strlen(word) + 1)
		if (word[0] != '\0' && strchr("NDKR", word[0])) {
			if (word[0] == 'R' && index < container->count)
				return container->descriptors[index];
			index++;
		}
	return -1;
}

static const char *reason_of(int code)
{
	if (code == EPROTONOSUPPORT)
		return "berth and its plugin are of different versions: install both from one build";
	if (code == EMFILE)
		return "too few open files are allowed: see ulimit -n";
	return strerror(code);
}

/* Only what is handed on from here reaches the command, and the connection to the process manager: a descriptor on a
 * directory of the host would be a way around the container. */
static void close_on_exec(spank_t spank)
{
	char number[32];
	struct stat status;

	close_descriptors(3, ~0U, ON_EXEC);
	if (spank_getenv(spank, "PMI_FD", number, sizeof number) != ESPANK_SUCCESS)
		return;
	int connection = atoi(number);

	if (connection > 2 && fstat(connection, &status) == 0 && (S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode)))
		fcntl(connection, F_SETFD, 0);
}

int join(spank_t spank, int connection)
{
	struct container container = {.words = NULL};
	int task = -1;
	enum arrival arrival = receive(connection, &container);

	if (arrival == FAILED)
		say(spank, "cannot join the container: %s", reason_of(errno));
	spank_get_item(spank, S_TASK_ID, &task);
	if (arrival == LOST && task == 0)
		say(spank, "no container: `berth slurm-prepare` ended without a message; it was killed, or the job is out of memory");
	close(connection);
	if (arrival == ARRIVED && has_word(&container, 'B'))
		broadcaster = getppid();
	int root = arrival == ARRIVED && options.save ? root_of(&container) : -1;
	if (root >= 0)
		stay_to_save(spank, root, container.descriptors, container.count);
	const char *failed = NULL;
	close_on_exec(spank);
	char *word = container.words, *end = word + container.size;
	for (char *next = word; arrival == ARRIVED && !failed && next < end;) {
		word = next;
		next += strlen(word) + 1;    /* before a variable is cut in two at its equals sign */
		if (apply_join_word(spank, &container, word) < 0)
			failed = word;
	}
	if (arrival == ARRIVED && !failed)
		load_site_filter(spank);
	if (arrival == ARRIVED && !failed && wants_init && berth_leave_init_behind() < 0)
		failed = "init";
	if (failed)
		say(spank, "cannot join the container: %.100s: %s", failed, strerror(errno));
	free(container.words);
	return arrival == ARRIVED && !failed ? 0 : -1;
}
