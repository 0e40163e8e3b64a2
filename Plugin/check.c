/*
 * In srun, salloc and sbatch: what berth could not understand on the node is refused here, before there is a job. It is berth
 * that reads it, as on the node, so that there is one grammar. Where there is no berth, or it takes long, the nodes say it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin.h"

enum { TENTHS = 100 };

int check_request(void)
{
	struct argv words = {0};
	int status = 0, done = 0;

	if (!wants_container() || access(site.berth, X_OK) != 0)
		return 0;
	add_argument(&words, "%s", site.berth);
	add_argument(&words, "slurm-check");
	name_container(NULL, &words);
	if (options.save)
		add_argument(&words, "--save=%s", options.save);
	add_request(&words);
	pid_t child = words.failed ? -1 : fork();
	if (child == 0)
		execute(words.list, environ, -1);
	for (int waits = 0; child > 0 && waits < TENTHS * 50; waits++) {
		done = waitpid(child, &status, WNOHANG);
		if (done != 0 && !(done < 0 && errno == EINTR))
			break;
		usleep(2000);
	}
	free_argv(&words);
	if (child > 0 && done == 0) {
		kill(-child, SIGKILL);       /* it leads a group of its own, with what it has started */
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		return 0;
	}
	if (done != child || !WIFEXITED(status) || WEXITSTATUS(status) != BERTH_FAILED)
		return 0;
	return refuse("no job is submitted: see the error above");
}
