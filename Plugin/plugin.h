/*
 * spank_berth.so: `srun --container-image=IMAGE` and its kin, by way of `berth`.
 *
 * The plugin decides nothing that berth decides. It turns flags into arguments, has berth build the container once on
 * each node, as the user, and lets each task join what was built. plugin.c shows the order of things.
 */
#ifndef SPANK_BERTH_PLUGIN_H
#define SPANK_BERTH_PLUGIN_H

#include <glob.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <slurm/slurm.h>
#include <slurm/spank.h>

enum { UNSET = -1, NO = 0, YES = 1 };

/* What plugstack.conf says: site.c. */
struct site {
	const char *berth;       /* the launcher, an absolute path */
	int entrypoint;          /* default of --container-entrypoint */
	bool job_scope;          /* named containers end with their job */
	bool sbatch;             /* flags for sbatch and salloc, too */
	long timeout;            /* seconds until a container must stand; 0: no limit */
	bool raises_memlock;
	rlim_t memlock;          /* the hard limit of tasks in containers */
};
extern struct site site;
int read_site(int count, char **words);
int parse_bool(const char *value);    /* the words of Pyxis and Slurm for yes and no; otherwise UNSET */

/*
 * slurmd and slurmstepd take the failure of a hook for the node's and drain it, so on a node no hook fails for what a user
 * asked. The first mistake is remembered, and the tasks say it and exit: messages.c.
 */
bool on_node(void);
int refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));      /* returns what the hook returns */
extern char *mistake;            /* on a node; NULL: none so far */
extern bool refused;             /* elsewhere */
const char *node_name(spank_t spank);
void say(spank_t spank, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A NULL-terminated list of words to execute with: argv.c. */
struct argv {
	char **list;
	size_t count;
	bool failed;             /* out of memory, once: nothing may be executed with what there is */
};
void add_argument(struct argv *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
void add_each_argument(struct argv *words, const char *option, const char *list);
void free_argv(struct argv *words);

/* What the user asked for: options.c. A text is NULL where the flag was not given. */
struct options {
	char *image, *file, *edf, *mounts, *workdir, *name, *save, *env, *unshare, *gpus, *require, *pull, *ulimit, *device, *fabric, *profile, *seccomp;
	int init, home, root, entrypoint, entrypoint_log, writable, slurm, verbose;
};
extern struct options options;
extern bool flags_given;
int register_options(spank_t spank);
int read_variables(spank_t spank);
int check_request(void);
void export_mounts(void);
bool wants_container(void);
void add_options_of_flags(struct argv *words);

/* Building the container, once on a node: prepare.c. */
struct credentials {
	uid_t user;
	gid_t group;
	const gid_t *groups;
	size_t group_count;
	bool limited;                /* starts with the limits of the site's file */
};
int prepare(spank_t spank);
void start_berth(spank_t spank);
void task_was_forked(void);
void end_preparation(void);
void add_request(struct argv *words);
void drop_privileges(
	const struct credentials *credentials, char *const words[], char *const environment[], int connection)
	__attribute__((noreturn));
void execute(char *const words[], char *const environment[], int connection) __attribute__((noreturn));
void name_container(spank_t spank, struct argv *words);

/* --container-save: save.c. */
int prepare_to_save(uint32_t tasks);
void stay_to_save(spank_t spank, int root, const int descriptors[], size_t count);
void say_if_unsaved(void);

/* The epilog: sweep.c. */
void sweep_containers_of(uid_t user, uint32_t job);

/* What the site enforces on tasks: confine.c. */
bool site_confines(void);
int start_confining(spank_t spank);
int wait_until_confined(void);
extern char *site_filter;    /* a seccomp filter for each task, as join.c reads it; NULL for none */
void raise_limits_of_site(void);

/* slurm.conf's TaskProlog, outside the container: prolog.c. */
int run_task_prolog(spank_t spank);

/* Becoming a process of the container, in each task: join.c. */
int raise_hard_limits(void);
void report(spank_t spank);
int join(spank_t spank, int connection);
#define FAILURE_PACKET "berth-failed"    /* in place of a container; berth has said why */
extern int connection_to_berth;
extern pid_t broadcaster;    /* slurmstepd, where it signals every process of the step; otherwise 0 */
extern glob_t accelerators;

#define BERTH_FAILED 125

/* descriptors.c */
enum closing { NOW, ON_EXEC };
void close_descriptors(unsigned first, unsigned last, enum closing when);

#endif
