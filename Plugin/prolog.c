/*
 * slurm.conf's TaskProlog. Slurm runs it between task_init and the task's execve(2), so inside the container, where the
 * script need not exist, nor a shell, nor (from Slurm 24.11 on) slurmstepd's own libraries. It is a program of the host's:
 * here it runs before the task joins, by the rules of slurm.conf(5), and Slurm's own run of it is called off.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin.h"

/* Of slurmstepd itself; weak, so that the plugin loads into a Slurm that should one day hide it. */
extern slurm_conf_t slurm_conf __attribute__((weak));

static void apply_prolog_line(spank_t spank, char *line)
{
	char *name = line + strcspn(line, " \t"), *value;

	if (*name)
		*name++ = '\0';
	name += strspn(name, " \t");
	if (!strcmp(line, "print")) {
		(void)!write(1, name, strlen(name));
		(void)!write(1, "\n", 1);
	} else if (!strcmp(line, "export") && (value = strchr(name, '=')) && value > name) {
		*value = '\0';
		spank_setenv(spank, name, value + 1, 1);
	} else if (!strcmp(line, "unset") && *name) {
		spank_unsetenv(spank, name);
	}
}

static int run(spank_t spank, const char *path)
{
	char **environment = NULL, *line = NULL;
	size_t room = 0;
	int ends[2], status;

	spank_setenv(spank, "SLURM_SCRIPT_CONTEXT", "prolog_task", 1);
	if (spank_get_item(spank, S_JOB_ENV, &environment) != ESPANK_SUCCESS || pipe(ends) < 0)
		return -1;
	pid_t child = fork();        /* of a task's process, which has one thread */
	if (child == 0) {
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		execve(path, (char *const[]){(char *)path, NULL}, environment);
		slurm_error("Could not run slurm task_prolog [%s]: %m", path);
		_exit(127);
	}
	close(ends[1]);
	FILE *said = fdopen(ends[0], "r");
	while (said && getline(&line, &room, said) > 0) {
		line[strcspn(line, "\n")] = '\0';
		apply_prolog_line(spank, line);
	}
	free(line);
	if (said)
		fclose(said);
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	if (child < 0 || status != 0)
		slurm_error("TaskProlog failed status=%d", child < 0 ? -1 : WEXITSTATUS(status));
	return child < 0 || status != 0 ? -1 : 0;
}

int run_task_prolog(spank_t spank)
{
	if (!&slurm_conf || !slurm_conf.task_prolog || !*slurm_conf.task_prolog)
		return 0;
	char *path = slurm_conf.task_prolog;
	slurm_conf.task_prolog = NULL;   /* in this process, which is the task's alone */
	return run(spank, path);
}
