#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "plugin.h"

SPANK_PLUGIN(berth, 1)

static bool failed;              /* in user_init, whose own failure would leave srun with the status 0 (SchedMD bug 7573) */
static uint32_t tasks_running;

static bool is_step(void)
{
	return spank_context() == S_CTX_REMOTE;
}

/* srun, salloc, sbatch, slurmd and slurmstepd: each loads the plugin. */
int slurm_spank_init(spank_t spank, int count, char **words)
{
	/* On a node the flags are registered all the same: the tasks of steps that have them must not run outside. */
	if (read_site(count, words) < 0 && refuse("plugstack.conf on this node has a wrong option: slurmd.log names it") < 0)
		return -1;
	spank_context_t where = spank_context();
	bool takes_flags = is_step() || where == S_CTX_LOCAL || (where == S_CTX_ALLOCATOR && site.sbatch);
	return takes_flags ? register_options(spank) : 0;
}

int slurm_spank_init_post_opt(spank_t spank, int count, char **words)
{
	(void)count, (void)words;
	if (is_step())
		return read_variables(spank);
	if (spank_context() == S_CTX_LOCAL || spank_context() == S_CTX_ALLOCATOR) {
		export_mounts();
		const char *store = getenv("BERTH_STORE");
		if (store)                   /* for the epilog, which sees nothing else of the job's environment */
			spank_job_control_setenv(spank, "BERTH_STORE", store, 1);
		/* The variables themselves are read on the node, where the job's may be others. */
		return read_variables(spank) < 0 || refused ? -1 : check_request();
	}
	return 0;
}

/* slurmstepd, with the user's effective id, before it forks the tasks. */
int slurm_spank_user_init(spank_t spank, int count, char **words)
{
	(void)count, (void)words;
	if (!is_step())
		return 0;
	if (!wants_container()) {
		if (flags_given)
			slurm_spank_log("berth: no --container-image, --container-name or --container-file: the other --container flags do nothing");
		return 0;
	}
	if (spank_get_item(spank, S_JOB_LOCAL_TASK_COUNT, &tasks_running) != ESPANK_SUCCESS)
		tasks_running = 0;
	if (!mistake && prepare(spank) < 0) {
		slurm_error("berth: cannot start preparing the container: %m");
		failed = true;
	}
	return 0;
}

/* The task's process, still root: nothing that a user controls has been touched yet. */
int slurm_spank_task_init_privileged(spank_t spank, int count, char **words)
{
	(void)count, (void)words;
	if (!is_step() || !wants_container() || mistake)
		return 0;
	if (raise_hard_limits() < 0)
		slurm_error("berth: memlock= of plugstack.conf cannot be set: %m");
	if (start_confining(spank) < 0) {
		slurm_error("berth: cannot start what berth.conf has enforced: %m");
		failed = true;
	}
	if (!failed)
		start_berth(spank);
	return 0;
}

/* The task's process, now the user's. Slurm looks for the command after this, so inside the container. */
int slurm_spank_task_init(spank_t spank, int count, char **words)
{
	int task = -1;

	(void)count, (void)words;
	if (!is_step() || !wants_container())
		return 0;
	/* Not a return of -1: plugstack.conf may say "optional", and the command must not run outside. */
	if (mistake) {
		if (spank_get_item(spank, S_TASK_ID, &task) != ESPANK_SUCCESS || task == 0)
			say(spank, "%s", mistake);
		_exit(BERTH_FAILED);
	}
	report(spank);               /* before all that a task may be long at: berth waits for all of them */
	if (wait_until_confined() < 0 || failed || run_task_prolog(spank) < 0 || join(spank, connection_to_berth) < 0)
		_exit(BERTH_FAILED);
	return 0;
}

int slurm_spank_task_post_fork(spank_t spank, int count, char **words)
{
	(void)spank, (void)count, (void)words;
	if (is_step())
		task_was_forked();
	return 0;
}

int slurm_spank_task_exit(spank_t spank, int count, char **words)
{
	(void)spank, (void)count, (void)words;
	if (is_step() && tasks_running > 0 && --tasks_running == 0) {
		end_preparation();
		say_if_unsaved();
	}
	return 0;
}

int slurm_spank_exit(spank_t spank, int count, char **words)
{
	(void)spank, (void)count, (void)words;
	if (is_step())
		end_preparation();
	return 0;
}

int slurm_spank_job_epilog(spank_t spank, int count, char **words)
{
	uid_t user = 0;
	uint32_t job = 0;

	/* No slurm_spank_init comes before it. */
	if (read_site(count, words) == 0 && site.job_scope && spank_get_item(spank, S_JOB_UID, &user) == ESPANK_SUCCESS
	    && spank_get_item(spank, S_JOB_ID, &job) == ESPANK_SUCCESS)
		sweep_containers_of(user, job);
	return 0;                    /* a failing epilog drains the node */
}
