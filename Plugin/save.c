/*
 * --container-save=PATH. Whether it worked must show in the step's exit status, and Slurm takes that from its tasks alone. So
 * where something is to be saved each task's process stays outside: its command runs in a child, it passes signals on, and exits
 * as the command did. The last of a node saves before it exits. All this is the step's: what cancels or limits it ends this too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin.h"

/* Of all tasks on this node, and of slurmstepd. */
static struct {
	uint32_t tasks;
	_Atomic uint32_t started, ended, tried;
} *shared;

int prepare_to_save(uint32_t tasks)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		shared = NULL;
		return -1;
	}
	shared->tasks = tasks;
	return 0;
}

/* All but standard error and what the container is made of: the command's pipes must close when the command closes them. */
static void close_others(const int kept[], size_t count)
{
	unsigned first = 0;

	for (;;) {
		unsigned end = ~0U;          /* the lowest of those to keep from here on */

		for (size_t i = 0; i < count; i++)
			if (kept[i] >= 0 && (unsigned)kept[i] >= first && (unsigned)kept[i] < end)
				end = (unsigned)kept[i];
		if (first <= 2 && end > 2)
			end = 2;
		if (end > first)
			close_descriptors(first, end == ~0U ? ~0U : end - 1, NOW);
		if (end == ~0U)
			return;
		first = end + 1;
	}
}

/* The command's wait status, once it has ended. */
static int follow(pid_t command, const sigset_t *all)
{
	for (;;) {
		siginfo_t info;
		int status, number = sigwaitinfo(all, &info);

		/* Those of the terminal reach the command by themselves, and Slurm's may. */
		if (number > 0 && number != SIGCHLD && info.si_code <= 0
		    && !(broadcaster > 0 && info.si_code == SI_USER && info.si_pid == broadcaster))
			kill(command, number);
		if (waitpid(command, &status, WNOHANG) == command)
			return status;
	}
}

static bool save(spank_t spank, int root)
{
	struct argv words = {0};
	char **environment = NULL;
	int status = -1;

	add_argument(&words, "%s", site.berth);
	add_argument(&words, "slurm-save");
	add_argument(&words, "--to=%s", options.save);
	add_argument(&words, "--root=3");
	name_container(spank, &words);
	add_argument(&words, "--");
	if (options.image)
		add_argument(&words, "%s", options.image);
	pid_t child = words.failed || spank_get_item(spank, S_JOB_ENV, &environment) != ESPANK_SUCCESS ? -1 : fork();
	if (child == 0)
		execute(words.list, environment, root);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (child < 0 || !WIFEXITED(status))
		say(spank, "cannot save the container as %s: %s", options.save,
			child < 0 ? strerror(errno) : "berth was killed; the job may have run out of memory");
	return child > 0 && status == 0;
}

static _Noreturn void exit_as(int status)
{
	if (WIFSIGNALED(status)) {
		sigset_t one;

		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		signal(WTERMSIG(status), SIG_DFL);
		sigemptyset(&one);
		sigaddset(&one, WTERMSIG(status));
		kill(getpid(), WTERMSIG(status));
		sigprocmask(SIG_UNBLOCK, &one, NULL);
		_exit(128 + WTERMSIG(status));
	}
	_exit(WEXITSTATUS(status));
}

/* In each task: returns in the child that is to become the command. */
void stay_to_save(spank_t spank, int root, const int descriptors[], size_t count)
{
	sigset_t all, before;
	char number[16];

	sigfillset(&all);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &all, &before);
	pid_t command = fork();
	if (command < 0) {
		say(spank, "cannot start the task's command: fork: %s", strerror(errno));
		_exit(BERTH_FAILED);
	}
	if (command == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		snprintf(number, sizeof number, "%d", getpid());
		spank_setenv(spank, "SLURM_TASK_PID", number, 1);
		return;
	}
	atomic_fetch_add(&shared->started, 1);
	close_others(descriptors, count);
	int status = follow(command, &all);
	if (atomic_fetch_add(&shared->ended, 1) + 1 == shared->tasks) {
		atomic_store(&shared->tried, 1);
		if (!save(spank, root) && status == 0)
			_exit(BERTH_FAILED);
	}
	exit_as(status);
}

/* In slurmstepd, after the last task. Where no container was built the reason has been given. */
void say_if_unsaved(void)
{
	if (shared && shared->started > 0 && !shared->tried)
		slurm_error("berth: %s: the container was not saved as %s: %s", node_name(NULL), options.save,
			shared->started < shared->tasks ? "not all tasks started" : "a task was killed");
}
