/*
 * The first task of the step on a node starts `berth slurm-prepare` while it is still root. slurmstepd does not wait: it goes on
 * to fork the other tasks while berth pulls and mounts, and each task waits for its container at a socket.
 *
 * Not slurmstepd in user_init: it stands outside the job's mount namespace (job_container/tmpfs) and, with cgroup v2, outside
 * the step's devices, and it has threads, which do not come along in a fork.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* The tasks' end of the socket; -1 where there is nothing to come. */
int connection_to_berth = -1;

/* The node's GPUs and MIG slices, where each task is to report which of them it can open; otherwise none. */
glob_t accelerators;

/* Berth's own end, and a pair over which slurmstepd gets to know whom to end: a pidfd, as a number may be used again. */
static int end_for_berth = -1, pidfd_channel[2] = {-1, -1};
static uint32_t tasks_to_fork;

/* The end of it that the program being started has: there the tasks are told where it cannot be. */
static int own_connection = -1;

static _Noreturn void fail_to_start(const char *program)
{
	static const char failure[] = "berth: the plugin cannot start the launcher: ";
	const char *reason = strerrordesc_np(errno);

	(void)!write(2, failure, sizeof failure - 1);
	(void)!write(2, program, strlen(program));
	(void)!write(2, ": ", 2);
	(void)!write(2, reason, strlen(reason));
	(void)!write(2, "\n", 1);
	if (own_connection >= 0)
		(void)!send(own_connection, FAILURE_PACKET, sizeof FAILURE_PACKET, MSG_NOSIGNAL | MSG_DONTWAIT);
	_exit(BERTH_FAILED);
}

/* In a forked child, of whichever user: async-signal-safe calls only. The connection becomes descriptor 3. */
void execute(char *const words[], char *const environment[], int connection)
{
	sigset_t none;
	int null;

	own_connection = connection;
	for (int number = 1; number < 32; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);               /* with what it starts, it can be ended as one */
	/* Prolog and epilog have no standard error. */
	if ((null = open("/dev/null", O_RDWR)) < 0 || dup2(null, 0) < 0
	    || (fcntl(2, F_GETFD) < 0 && dup2(null, 2) < 0) || dup2(2, 1) < 0)
		fail_to_start(words[0]);
	if (connection == 3 ? fcntl(3, F_SETFD, 0) < 0 : connection >= 0 && dup2(connection, 3) < 0)
		fail_to_start(words[0]);
	own_connection = connection >= 0 ? 3 : -1;
	close_descriptors(connection >= 0 ? 4 : 3, ~0U, NOW);
	execve(words[0], words, environment);
	fail_to_start(words[0]);
}

/* The step's name in its cgroups, "/step_0". */
static char step_name[32];

/* As slurmstepd has called it in the other hierarchies, where this is in it already: the component of a heterogeneous step,
 * "/step_0+1", is not to be had from SPANK. */
static void find_step_name(const char *lines)
{
	const char *job = strstr(lines, "/job_"), *found = job ? strstr(job, "/step_") : NULL;
	size_t length = found ? strcspn(found + 1, "/\n") + 1 : 0;

	if (length > 0 && length < sizeof step_name) {
		memcpy(step_name, found, length);
		step_name[length] = '\0';
	}
}

/* The container is for all tasks of the step, and so are what builds it and the entrypoint's children. With cgroups of version
 * 1 slurmstepd moves each task, while this runs, from the job's freezer to the step's, where what a step leaves is ended, and
 * to a cgroup of its own, which opens that one task's GPUs. A child of the task's is in the one or in the other of each: here
 * it enters the step's. With version 2 there is none to enter, as only the last in a row of cgroups may hold processes: there
 * the tasks report what they can open. */
static void enter_cgroups_of_step(void)
{
	static char lines[16384], place[sizeof lines + 64];
	int file = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	ssize_t size = file < 0 ? -1 : read(file, lines, sizeof lines - 1);

	close(file);
	find_step_name(lines);
	for (char *line = size > 0 ? lines : NULL, *end; line && (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		char *controllers = strchr(line, ':') + 1, *path = strchr(controllers, ':'), *last = strrchr(line, '/');
		const char *below = "";

		*path++ = '\0';
		if (!last)
			continue;
		if (*controllers && !strncmp(last, "/task_", 6) && last[6] >= '0' && last[6] <= '9')
			*last = '\0';
		else if (!strncmp(last, "/job_", 5) && !strcmp(controllers, "freezer"))
			below = step_name;
		else
			continue;
		strcpy(place, "/sys/fs/cgroup/");
		strcat(strcat(strcat(strcat(place, controllers), path), below), "/cgroup.procs");
		int processes = open(place, O_WRONLY | O_CLOEXEC);

		(void)!write(processes, "0", 1);
		close(processes);
	}
}

/* In the forked child: async-signal-safe calls only. */
void drop_privileges(
	const struct credentials *credentials, char *const words[], char *const environment[], int connection)
{
	int score;

	own_connection = connection;

	/* Wherever this comes from: root in every respect, to be the user for good. */
	if (syscall(SYS_setresuid, 0, 0, 0) != 0)
		fail_to_start(words[0]);
	enter_cgroups_of_step();
	if ((score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)) >= 0 && write(score, "0", 1) != 1)
		fail_to_start(words[0]);
	raise_hard_limits();
	if (credentials->limited)
		raise_limits_of_site();
	if (syscall(SYS_setgroups, credentials->group_count, credentials->groups) != 0
	    || syscall(SYS_setresgid, credentials->group, credentials->group, credentials->group) != 0
	    || syscall(SYS_setresuid, credentials->user, credentials->user, credentials->user) != 0)
		fail_to_start(words[0]);
	if (credentials->user != 0 && syscall(SYS_setuid, 0) == 0)
		fail_to_start(words[0]);
	execute(words, environment, connection);
}

static pid_t start(const struct credentials *credentials, const struct argv *words, char *const environment[], int connection)
{
	pid_t child = words->failed ? -1 : fork();

	if (child == 0)
		drop_privileges(credentials, words->list, environment, connection);
	return child;
}

/* The task's program must not find a child that it has not started: what prepares is to be nobody's child here. The process
 * between waits until the other one has been pinned. */
static pid_t start_apart(
	const struct credentials *credentials, const struct argv *words, char *const environment[], int connection, int *handle)
{
	pid_t child = -1, between;
	int ends[2];
	char byte;

	if (words->failed || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	if ((between = fork()) == 0) {
		close(ends[0]);
		child = start(credentials, words, environment, connection);
		(void)!write(ends[1], &child, sizeof child);
		(void)!read(ends[1], &byte, 1);
		_exit(0);
	}
	close(ends[1]);
	if (between > 0 && read(ends[0], &child, sizeof child) == sizeof child && child > 0)
		*handle = (int)syscall(SYS_pidfd_open, child, 0);
	close(ends[0]);
	while (between > 0 && waitpid(between, NULL, 0) < 0 && errno == EINTR)
		;
	return child;
}

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr aligned;
};

static void send_pidfd(int connection, pid_t process, int handle)
{
	union control control = {{0}};
	struct iovec part = {&process, sizeof process};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof handle);
	memcpy(CMSG_DATA(header), &handle, sizeof handle);
	if (handle >= 0)
		(void)!sendmsg(connection, &message, MSG_NOSIGNAL);
}

static int recv_pidfd(int connection, pid_t *process)
{
	union control control;
	struct iovec part = {process, sizeof *process};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	int handle = -1;

	if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != sizeof *process || !CMSG_FIRSTHDR(&message))
		return -1;
	memcpy(&handle, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof handle);
	return handle;
}

void name_container(spank_t spank, struct argv *words)
{
	uint32_t job = 0;

	if (!options.name)
		return;
	add_argument(words, "--name=%s", options.name);
	if (site.job_scope && spank && spank_get_item(spank, S_JOB_ID, &job) == ESPANK_SUCCESS)
		add_argument(words, "--scope=%u", job);
}

/* The last of the settings, then the options and the image of `berth run`. */
void add_request(struct argv *words)
{
	if (options.mounts)
		add_argument(words, "--mounts=%s", options.mounts);
	add_argument(words, "--");
	add_options_of_flags(words);
	if (options.workdir) {
		add_argument(words, "--workdir");
		add_argument(words, "%s%s", *options.workdir == '/' ? "" : "/", options.workdir);
	}
	if (options.image) {
		if (*options.image == '-')
			add_argument(words, "--");
		add_argument(words, "%s", options.image);
	}
}

static void describe(spank_t spank, struct argv *words, uint32_t tasks)
{
	uint32_t job = 0, step = 0, node = 0;
	char **command = NULL;
	int count = 0;

	spank_get_item(spank, S_JOB_ID, &job);
	spank_get_item(spank, S_JOB_STEPID, &step);
	spank_get_item(spank, S_JOB_NODEID, &node);
	add_argument(words, "%s", site.berth);
	add_argument(words, "slurm-prepare");
	add_argument(words, "--socket=3");
	add_argument(words, "--tasks=%u", tasks);
	snprintf(step_name, sizeof step_name, step == SLURM_BATCH_SCRIPT ? "/step_batch"
		: step == SLURM_INTERACTIVE_STEP ? "/step_interactive" : "/step_%u", step);
	if (step == SLURM_BATCH_SCRIPT) {
		add_argument(words, "--step=%u.batch", job);
		if (spank_get_item(spank, S_JOB_ARGV, &count, &command) == ESPANK_SUCCESS && count > 0)
			add_argument(words, "--script=%s", command[0]);
	} else {
		add_argument(words, "--step=%u.%u", job, step);
		add_argument(words, "--node=%u", node);
		/* For the record of the run, which the first node writes. */
		if (node == 0 && spank_get_item(spank, S_JOB_ARGV, &count, &command) == ESPANK_SUCCESS)
			for (int i = 0; i < count; i++)
				add_argument(words, "--command=%s", command[i]);
	}
	if (site.timeout > 0)
		add_argument(words, "--timeout=%ld", site.timeout);
	name_container(spank, words);
	if (options.save)
		add_argument(words, "--keep-root");     /* the root as well, for save.c */
	if (options.entrypoint != UNSET)
		add_argument(words, "--entrypoint=%s", options.entrypoint == YES ? "yes" : "no");
	else if (site.entrypoint == YES || options.edf)     /* EDF files have it on by default */
		add_argument(words, "--site-entrypoint");
	if (options.entrypoint_log == YES)
		add_argument(words, "--entrypoint-log");
	if (options.verbose == YES)
		add_argument(words, "--report");
	if (accelerators.gl_pathc > 0)
		add_argument(words, "--gather");
	if (node != 0)
		add_argument(words, "--quiet");    /* one node's progress says enough */
	add_request(words);
}

static bool find_credentials(spank_t spank, struct credentials *credentials, char ***environment)
{
	int groups = 0;

	if (spank_get_item(spank, S_JOB_UID, &credentials->user) != ESPANK_SUCCESS
	    || spank_get_item(spank, S_JOB_GID, &credentials->group) != ESPANK_SUCCESS
	    || spank_get_item(spank, S_JOB_SUPPLEMENTARY_GIDS, &credentials->groups, &groups) != ESPANK_SUCCESS
	    || spank_get_item(spank, S_JOB_ENV, environment) != ESPANK_SUCCESS)
		return false;
	credentials->group_count = (size_t)groups;
	return true;
}

static void shut(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

/* In slurmstepd, before it forks the tasks. */
int prepare(spank_t spank)
{
	int ends[2];

	if (spank_get_item(spank, S_JOB_LOCAL_TASK_COUNT, &tasks_to_fork) != ESPANK_SUCCESS
	    || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0
	    || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pidfd_channel) < 0)
		return -1;
	if (options.save && prepare_to_save(tasks_to_fork) < 0)
		return -1;
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0)
		glob("/dev/{nvidia[0-9]*,nvidia-caps/nvidia-cap[0-9]*,dri/renderD*}", GLOB_BRACE, NULL, &accelerators);
	connection_to_berth = ends[0];
	end_for_berth = ends[1];
	return 0;
}

/* In each task, as root; the first one's work. */
void start_berth(spank_t spank)
{
	struct credentials credentials = {0};
	struct argv words = {0};
	char **environment = NULL;
	uint32_t tasks = tasks_to_fork;
	int task = -1, handle = -1;
	pid_t berth = -1;

	if (spank_get_item(spank, S_TASK_ID, &task) == ESPANK_SUCCESS && task == 0) {
		spank_get_item(spank, S_JOB_LOCAL_TASK_COUNT, &tasks);
		describe(spank, &words, tasks);
		credentials.limited = site_confines();
		if (find_credentials(spank, &credentials, &environment))
			berth = start_apart(&credentials, &words, environment, end_for_berth, &handle);
		free_argv(&words);
		if (berth < 0) {
			slurm_error("berth: cannot start preparing the container: %m");
			(void)!send(end_for_berth, FAILURE_PACKET, sizeof FAILURE_PACKET, MSG_NOSIGNAL | MSG_DONTWAIT);
		} else
			send_pidfd(pidfd_channel[1], berth, handle);
		shut(&handle);
	}
	shut(&end_for_berth);
	shut(&pidfd_channel[0]);
	shut(&pidfd_channel[1]);
}

/* In slurmstepd. Once all tasks have their copies, ours would keep berth and tasks from seeing that the other side is gone. */
void task_was_forked(void)
{
	if (tasks_to_fork == 0 || --tasks_to_fork > 0)
		return;
	shut(&end_for_berth);
	shut(&pidfd_channel[1]);
	shut(&connection_to_berth);
}

/* In slurmstepd. Of tasks that have ended nobody waits any more for a container that is still being built. */
void end_preparation(void)
{
	struct pollfd end = {.events = POLLIN};
	pid_t berth = -1;

	end.fd = pidfd_channel[0] < 0 ? -1 : recv_pidfd(pidfd_channel[0], &berth);
	/* A tenth of a second at a time: what hangs in the kernel, on a dead file server say, is not waited for. */
	for (int tenths = 0; end.fd >= 0 && tenths < 50 && poll(&end, 1, tenths == 0 ? 0 : 100) == 0; tenths++)
		kill(-berth, SIGKILL);
	shut(&end.fd);
	shut(&pidfd_channel[0]);
}
