/*
 * After a job: its named containers, as its user. An epilog that fails or hangs drains the node, so this waits for nothing that
 * may hang: names are looked up in the child, and a child that does not die (its file server is gone, say) is left behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plugin.h"

enum { SECONDS_TO_WORK = 30, SECONDS_TO_DIE = 5, MOST_GROUPS = 65536 };

static _Noreturn void sweep(uid_t user, uint32_t job)
{
	struct passwd entry, *found = NULL;
	struct argv words = {0}, environment = {0};
	char *store = getenv("SPANK_BERTH_STORE"), *buffer = NULL;
	gid_t *groups = malloc(MOST_GROUPS * sizeof *groups);
	int count = MOST_GROUPS, code = ERANGE;

	for (size_t room = 16384; code == ERANGE && room <= 16 << 20; room *= 2)
		if ((buffer = realloc(buffer, room)))
			code = getpwuid_r(user, &entry, buffer, room, &found);
	if (code != 0 || !found) {
		dprintf(2, "user %u is unknown: %s\n", user, code ? strerror(code) : "no entry in passwd");
		_exit(1);
	}
	if (!groups || getgrouplist(found->pw_name, found->pw_gid, groups, &count) < 0) {
		dprintf(2, "the groups of %s cannot be listed\n", found->pw_name);
		_exit(1);
	}
	struct credentials credentials = {user, found->pw_gid, groups, (size_t)count, false};
	add_argument(&words, "%s", site.berth);
	add_argument(&words, "slurm-sweep");
	add_argument(&words, "--job=%u", job);
	add_argument(&environment, "HOME=%s", found->pw_dir);
	add_argument(&environment, "USER=%s", found->pw_name);
	if (store && *store)
		add_argument(&environment, "BERTH_STORE=%s", store);
	if (words.failed || environment.failed) {
		dprintf(2, "out of memory\n");
		_exit(1);
	}
	drop_privileges(&credentials, words.list, environment.list, -1);
}

/* The first line that it printed, for the log. */
static void read_reason(int from, char *line, size_t room)
{
	ssize_t size = read(from, line, room - 1);       /* does not block: what still runs may hold the other end */

	line[size > 0 ? size : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	for (char *byte = line; *byte; byte++)
		if ((unsigned char)*byte < ' ' || *byte == 127)
			*byte = '?';
}

/* False where it has not ended by then. */
static bool wait_for(pid_t child, int seconds, int *status)
{
	for (int waits = 0; waits < seconds * 100; waits++) {
		pid_t ended = waitpid(child, status, WNOHANG);

		if (ended == child || (ended < 0 && errno != EINTR))
			return true;
		usleep(10000);
	}
	return false;
}

void sweep_containers_of(uid_t user, uint32_t job)
{
	int ends[2], status = 0;
	char reason[1024];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		slurm_error("berth: cannot remove the named containers of job %u: pipe: %m", job);
		return;
	}
	pid_t child = fork();        /* of the epilog's process, which has one thread */
	if (child == 0) {
		setpgid(0, 0);
		dup2(ends[1], 2);
		sweep(user, job);
	}
	close(ends[1]);
	if (child < 0) {
		slurm_error("berth: cannot remove the named containers of job %u: fork: %m", job);
	} else if (wait_for(child, SECONDS_TO_WORK, &status)) {
		read_reason(ends[0], reason, sizeof reason);
		if (status != 0)
			slurm_error("berth: cannot remove the named containers of job %u of user %u: %s", job, user,
				*reason ? reason : "berth slurm-sweep was killed");
	} else {
		kill(-child, SIGKILL);
		bool died = wait_for(child, SECONDS_TO_DIE, &status);
		slurm_error("berth: removing the named containers of job %u of user %u took longer than %d s: %s", job, user,
			SECONDS_TO_WORK, died ? "killed" : "its process does not die and is left behind; is its file server there?");
	}
	close(ends[0]);
}
