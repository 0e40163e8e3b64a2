#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plugin.h"

struct wanted wanted = {
	.home = UNSET, .root = UNSET, .entrypoint = UNSET, .entrypoint_log = UNSET, .writable = UNSET,
	.slurm = UNSET, .verbose = UNSET,
};

/* A flag of srun, sbatch and salloc; those of Pyxis have its names and its grammar. */
struct flag {
	const char *name, *argument, *help;
	char **text;             /* takes an argument */
	int *choice, value;      /* or chooses */
};

static const struct flag flags[] = {
	{"container-image", "IMAGE|PATH", "[berth] the image to run in: [USER@][REGISTRY#]NAME[:TAG], oci:, oci-archive:, "
		"docker-archive:, dir:, or a path to a squashfs file or a directory on the node", &wanted.image, NULL, 0},
	{"container-mounts", "SRC:DST[:FLAGS][,...]", "[berth] mounts inside the container; flags are joined by +",
		&wanted.mounts, NULL, 0},
	{"container-workdir", "PATH", "[berth] working directory inside the container", &wanted.workdir, NULL, 0},
	{"container-name", "NAME[:auto|create|exec|no_exec]", "[berth] keep what is written to the container on the node "
		"under this name, or use what is there; JOB.STEP attaches to a running step's", &wanted.name, NULL, 0},
	{"container-save", "PATH", "[berth] save the container's files after the step", &wanted.save, NULL, 0},
	{"container-mount-home", NULL, "[berth] mount the user's home directory", NULL, &wanted.home, YES},
	{"no-container-mount-home", NULL, "[berth] do not mount the user's home directory", NULL, &wanted.home, NO},
	{"container-remap-root", NULL, "[berth] be root inside the container, with the user's own rights outside", NULL,
		&wanted.root, YES},
	{"no-container-remap-root", NULL, "[berth] be the user inside the container", NULL, &wanted.root, NO},
	{"container-entrypoint", NULL, "[berth] run the image's entrypoint once per node, before the tasks", NULL,
		&wanted.entrypoint, YES},
	{"no-container-entrypoint", NULL, "[berth] do not run the image's entrypoint", NULL, &wanted.entrypoint, NO},
	{"container-entrypoint-log", NULL, "[berth] show what the entrypoint prints", NULL, &wanted.entrypoint_log, YES},
	{"container-writable", NULL, "[berth] the container can be written to, the default", NULL, &wanted.writable, YES},
	{"container-readonly", NULL, "[berth] the container can not be written to", NULL, &wanted.writable, NO},
	{"container-env", "NAME[,NAME...]", "[berth] variables whose value outside wins over the image's", &wanted.env,
		NULL, 0},
	{"container-unshare", "NS[,NS...]", "[berth] new namespaces for the container: net, ipc, uts", &wanted.unshare,
		NULL, 0},
	{"container-gpus", "all|none|granted|N,N", "[berth] which of the granted GPUs to show", &wanted.gpus, NULL, 0},
	{"container-require", "NEED[,NEED...]", "[berth] what must be there, or the step fails", &wanted.require, NULL, 0},
	{"container-pull", "missing|always|never", "[berth] when to ask the registry", &wanted.pull, NULL, 0},
	{"container-ulimit", "NAME=SOFT[:HARD][,...]", "[berth] resource limits of the tasks", &wanted.ulimit, NULL, 0},
	{"container-device", "VENDOR/CLASS=NAME|/dev/NODE[,...]", "[berth] devices to show, by CDI or by path", &wanted.device,
		NULL, 0},
	{"container-fabric", "auto|none|ib|efa", "[berth] the network between nodes", &wanted.fabric, NULL, 0},
	{"container-profile", "pytorch|none", "[berth] variables for a kind of program", &wanted.profile, NULL, 0},
	{"container-slurm", NULL, "[berth] show srun, sbatch and what they need inside", NULL, &wanted.slurm, YES},
	{"container-verbose", NULL, "[berth] one line per node: what took how long", NULL, &wanted.verbose, YES},
};
enum { FLAGS = sizeof flags / sizeof *flags };

static int refuse(const struct flag *flag, const char *reason)
{
	slurm_error("berth: --%s: %s", flag->name, reason);
	return -1;
}

/* Mounts that are given more than once add up; a value seen before is the same flag handed on by Slurm. */
static int add_mounts(const char *value)
{
	char *joined = NULL;

	if (wanted.mounts && !strcmp(wanted.mounts, value))
		return 0;
	if (!wanted.mounts)
		joined = strdup(value);
	else if (asprintf(&joined, "%s,%s", wanted.mounts, value) < 0)
		joined = NULL;
	if (!joined)
		return -1;
	free(wanted.mounts);
	wanted.mounts = joined;
	return 0;
}

static const char *complaint(const struct flag *flag, const char *value)
{
	size_t length = strlen(value);

	if (length > 65536)
		return "the argument is too long";
	if (flag->text == &wanted.env)
		return value[0] == ',' || value[length - 1] == ',' || strstr(value, ",,") || strchr(value, '=')
			? "expected names of variables with commas between them" : NULL;
	if (flag->text == &wanted.save)
		return value[length - 1] == '/' ? "expected the name of what to make, not of a directory to make it in" : NULL;
	if (flag->text == &wanted.name) {
		size_t name = strcspn(value, ":");
		static const char *const when[] = {"", ":auto", ":create", ":exec", ":no_exec"};

		if (name == 0 || name > 200 || value[0] == '.' || memchr(value, '/', name))
			return "expected a name of 1 to 200 bytes without a slash that does not start with a dot";
		for (size_t i = 0; i < sizeof when / sizeof *when; i++)
			if (!strcmp(value + name, when[i]))
				return NULL;
		return "expected auto, create, exec or no_exec after the name";
	}
	return NULL;
}

static int set(const struct flag *flag, const char *value)
{
	const char *wrong;

	if (flag->choice) {
		if (*flag->choice != UNSET && *flag->choice != flag->value)
			return refuse(flag, "contradicts another flag");
		*flag->choice = flag->value;
		return 0;
	}
	/* "(null)" is how Slurm hands on an argument that was left out. */
	if (!value || !*value || !strcmp(value, "(null)"))
		return refuse(flag, "an argument is required");
	if ((wrong = complaint(flag, value)))
		return refuse(flag, wrong);
	if (flag->text == &wanted.mounts)
		return add_mounts(value);
	/* A flag overrides what an outer salloc or sbatch has handed on: the last one counts. */
	free(*flag->text);
	*flag->text = strdup(value);
	return *flag->text ? 0 : -1;
}

static int option_given(int index, const char *value, int remote)
{
	(void)remote;
	return index >= 0 && index < FLAGS ? set(&flags[index], value) : -1;
}

int register_options(spank_t spank)
{
	for (int i = 0; i < FLAGS; i++) {
		struct spank_option option = {
			.name = (char *)flags[i].name, .arginfo = (char *)flags[i].argument, .usage = (char *)flags[i].help,
			.has_arg = flags[i].text != NULL, .val = i, .cb = option_given,
		};

		if (spank_option_register(spank, &option) != ESPANK_SUCCESS) {
			slurm_error("berth: cannot register --%s: is spank_pyxis.so in plugstack.conf as well?", flags[i].name);
			return -1;
		}
	}
	return 0;
}

static int read_variable(spank_t spank, const struct flag *flag, const char *prefix)
{
	static char value[65536];
	char name[64];
	int i;

	if (strncmp(flag->name, "container-", 10))
		return 0;            /* the no- forms are their counterparts with the value 0 */
	i = snprintf(name, sizeof name, "%s_%s", prefix, flag->name);
	for (; i >= 0; i--)
		name[i] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
	if (spank_getenv(spank, name, value, sizeof value) != ESPANK_SUCCESS)
		return 0;
	if (flag->text)
		return *flag->text ? 0 : set(flag, value);
	if (*flag->choice != UNSET)
		return 0;
	for (const char *const *word = (const char *const[]){"1", "true", "yes", "y", NULL}; *word; word++)
		if (!strcmp(value, *word))
			*flag->choice = flag->value;
	for (const char *const *word = (const char *const[]){"0", "false", "no", "n", NULL}; *word; word++)
		if (!strcmp(value, *word))
			*flag->choice = !flag->value;
	return 0;
}

/* Of one flag given several times Slurm hands on the last; the rest travels in the job's environment. */
#define ALL_MOUNTS "BERTH_SPANK_MOUNTS"

void hand_on_mounts(void)
{
	if (wanted.mounts)
		setenv(ALL_MOUNTS, wanted.mounts, 1);
	else
		unsetenv(ALL_MOUNTS);
}

/* Flags that were not given may be in the environment: BERTH_CONTAINER_IMAGE, PYXIS_CONTAINER_IMAGE, ... */
int read_variables(spank_t spank)
{
	static char all[65536];

	if (wanted.mounts && spank_getenv(spank, ALL_MOUNTS, all, sizeof all) == ESPANK_SUCCESS && strstr(all, wanted.mounts)) {
		free(wanted.mounts);
		if (!(wanted.mounts = strdup(all)))
			return -1;
	}
	for (int i = 0; i < FLAGS; i++)
		if (read_variable(spank, &flags[i], "BERTH") < 0 || read_variable(spank, &flags[i], "PYXIS") < 0)
			return -1;
	return 0;
}

bool wants_container(void)
{
	return wanted.image || wanted.name;
}
