#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plugin.h"

struct options options = {
	.init = UNSET, .home = UNSET, .root = UNSET, .entrypoint = UNSET, .entrypoint_log = UNSET, .writable = UNSET,
	.slurm = UNSET, .verbose = UNSET,
};

/* A flag of srun, sbatch and salloc; those of Pyxis have its names and its grammar. */
struct flag {
	const char *name, *argument, *help;
	const char *option;      /* of `berth run`; NULL if the flag has no equal among them */
	char **text;             /* takes an argument */
	bool each;               /* of which each value with a comma behind it is an option */
	int *choice, value;      /* or chooses */
};

#define TAKES(name, argument, field, option, help, each) \
	{"container-" name, argument, "[berth] " help, option, &options.field, each, NULL, 0}
#define TEXT(name, argument, field, option, help) TAKES(name, argument, field, option, help, false)
#define LIST(name, argument, field, option, help) TAKES(name, argument, field, option, help, true)
#define CHOICE(name, field, value, option, help) {name, NULL, "[berth] " help, option, NULL, false, &options.field, value}

static const struct flag flags[] = {
	TEXT("image", "IMAGE|PATH", image, NULL, "the image to run in: [USER@][REGISTRY#]NAME[:TAG], oci:, oci-archive:, "
		"docker-archive:, dir:, or a path to a squashfs file or a directory on the node"),
	TEXT("file", "NAME|PATH", file, "--file", "options and image of an experiment file"),
	{"edf", "NAME|PATH", "[berth] --container-file, for CSCS' EDF files", "--file", &options.edf, false, NULL, 0},
	{"environment", "NAME|PATH", "[berth] --edf", NULL, &options.edf, false, NULL, 0},
	TEXT("mounts", "SRC:DST[:FLAGS][,...]", mounts, NULL, "mounts inside the container; flags are joined by +"),
	TEXT("workdir", "PATH", workdir, NULL, "working directory inside the container"),
	TEXT("name", "NAME[:auto|create|exec|no_exec]", name, NULL, "keep what is written to the container on the node under "
		"this name, or use what is there; JOB.STEP attaches to a running step's"),
	TEXT("save", "PATH", save, NULL, "save the container's files after the step"),
	CHOICE("container-mount-home", home, YES, "--home", "mount the user's home directory"),
	CHOICE("no-container-mount-home", home, NO, "--no-home", "do not mount the user's home directory"),
	CHOICE("container-remap-root", root, YES, "--root", "be root inside the container, with the user's own rights outside"),
	CHOICE("no-container-remap-root", root, NO, "--no-root", "be the user inside the container"),
	CHOICE("container-entrypoint", entrypoint, YES, NULL, "run the image's entrypoint once per node, before the tasks"),
	CHOICE("no-container-entrypoint", entrypoint, NO, NULL, "do not run the image's entrypoint"),
	CHOICE("container-entrypoint-log", entrypoint_log, YES, NULL, "show what the entrypoint prints"),
	CHOICE("container-writable", writable, YES, NULL, "the container can be written to, the default"),
	CHOICE("container-readonly", writable, NO, "--read-only", "the container can not be written to"),
	LIST("env", "NAME[,NAME...]", env, "--env", "variables whose value outside wins over the image's"),
	TEXT("unshare", "NS[,NS...]", unshare, "--unshare", "new namespaces for the container: net, ipc, uts, pid"),
	CHOICE("container-init", init, YES, "--init", "a PID namespace for each task, with an init as process 1"),
	TEXT("gpus", "all|none|granted|COUNT|device=N,N", gpus, "--gpus", "which of the granted GPUs to show"),
	LIST("require", "NEED[,NEED...]", require, "--require", "what must be there, or the step fails"),
	TEXT("pull", "missing|always|newer|never", pull, "--pull", "when to ask the registry"),
	LIST("ulimit", "NAME=SOFT[:HARD][,...]", ulimit, "--ulimit", "resource limits of the tasks"),
	LIST("device", "VENDOR/CLASS=NAME|/dev/NODE[,...]", device, "--device", "devices to show, by CDI or by path"),
	TEXT("fabric", "auto|none|ib|efa", fabric, "--fabric", "the network between nodes"),
	TEXT("profile", "pytorch|none", profile, "--profile", "variables for a kind of program"),
	TEXT("seccomp", "none|default|PATH", seccomp, "--seccomp", "which filter of system calls the tasks have; none also "
		"leaves out the one of --container-remap-root"),
	CHOICE("container-slurm", slurm, YES, "--slurm", "show srun, sbatch and what they need inside"),
	CHOICE("container-verbose", verbose, YES, NULL, "one line per node: what took how long"),
};
enum { FLAGS = sizeof flags / sizeof *flags };

/* Whether the flag asks for a container by itself. */
static bool names_container(const struct flag *flag)
{
	return flag->text == &options.image || flag->text == &options.name || flag->text == &options.file
		|| flag->text == &options.edf;
}

/* Whether image or name were asked for in words that are none: the tasks must not run outside. */
static bool mistaken_container;

/* SOURCE is the flag or the variable, as the user wrote it. */
static int refuse_value(const struct flag *flag, const char *source, const char *reason)
{
	mistaken_container |= names_container(flag);
	return refuse("%s: %s", source, reason);
}

/* Mounts that are given more than once add up; a value seen before is the same flag handed on by Slurm. */
static int add_mounts(const char *value)
{
	char *joined;

	if (options.mounts && !strcmp(options.mounts, value))
		return 0;
	if (asprintf(&joined, "%s%s%s", options.mounts ? options.mounts : "", options.mounts ? "," : "", value) < 0)
		return refuse("--container-mounts: out of memory");
	free(options.mounts);
	options.mounts = joined;
	return 0;
}

#define TOO_LONG "the value is longer than 65535 bytes"

static const char *complaint(const struct flag *flag, const char *value)
{
	size_t length = strlen(value);

	if (length > 65535)
		return TOO_LONG;
	if (names_container(flag) || flag->text == &options.workdir || flag->text == &options.save)
		for (const char *byte = value; *byte; byte++)
			if ((unsigned char)*byte < ' ' || *byte == 127)
				return "the value contains a control character";
	if (flag->text == &options.env)
		return value[0] == ',' || value[length - 1] == ',' || strstr(value, ",,") || strchr(value, '=')
			? "expected names of variables with commas between them" : NULL;
	if (flag->text == &options.save)
		return value[length - 1] == '/' ? "expected the name of what to make, not of a directory to make it in" : NULL;
	if (flag->text == &options.name) {
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

/* Whether any flag was given, and not by a variable. */
bool flags_given;

static int set(const struct flag *flag, const char *source, const char *value)
{
	const char *wrong;

	if (flag->choice) {
		if (*flag->choice != UNSET && *flag->choice != flag->value)
			return refuse_value(flag, source, "contradicts another flag");
		*flag->choice = flag->value;
		return 0;
	}
	if ((wrong = complaint(flag, value)))
		return refuse_value(flag, source, wrong);
	if (flag->text == &options.mounts)
		return add_mounts(value);
	/* A flag overrides what an outer salloc or sbatch has handed on: the last one counts. */
	free(*flag->text);
	*flag->text = strdup(value);
	return *flag->text ? 0 : refuse_value(flag, source, "out of memory");
}

static void take(int index, const char *value)
{
	char source[64];

	if (index < 0 || index >= FLAGS)
		return;              /* not one of those registered: Slurm does not do that */
	const struct flag *flag = &flags[index];
	/* "(null)" is how Slurm hands on an argument that was left out. */
	bool empty = flag->text && (!value || !*value || !strcmp(value, "(null)"));

	flags_given = true;
	snprintf(source, sizeof source, "--%s", flag->name);
	if (!empty)
		set(flag, source, value);
	else if (!on_node())         /* on a node only a variable made by hand is empty, which counts as unset */
		refuse_value(flag, source, "an argument is required");
}

/* What is wrong is remembered until init_post_opt, whose failure has a better exit status than this one's. */
static int option_given(int index, const char *value, int remote)
{
	(void)remote;
	take(index, value);
	return 0;
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
			return refuse("plugstack.conf loads two plugins that register --%s", flags[i].name);
		}
	}
	return 0;
}

/* The job's variable on a node, the caller's own elsewhere. 1 where it has a value: an empty one counts as unset. */
static int get_variable(spank_t spank, const struct flag *flag, const char *name, char *value, size_t room)
{
	if (on_node()) {
		spank_err_t answer = spank_getenv(spank, name, value, (int)room);

		if (answer == ESPANK_NOSPACE)
			return refuse_value(flag, name, TOO_LONG);
		return answer == ESPANK_SUCCESS && *value;
	}
	const char *own = getenv(name);

	if (!own || !*own)
		return 0;
	if (strlen(own) >= room)
		return refuse_value(flag, name, TOO_LONG);
	strcpy(value, own);
	return 1;
}

static int read_variable(spank_t spank, const struct flag *flag, const char *prefix)
{
	static char value[65536];
	char name[64];
	int i;

	if (strncmp(flag->name, "container-", 10) || (flag->text && *flag->text))
		return 0;            /* the no- forms are their counterparts with the value 0; a flag overrides its variable */
	i = snprintf(name, sizeof name, "%s_%s", prefix, flag->name);
	for (; i >= 0; i--)
		name[i] = name[i] == '-' ? '_' : (char)toupper((unsigned char)name[i]);
	int found = get_variable(spank, flag, name, value, sizeof value);

	if (found <= 0)
		return found;
	if (flag->text)
		return set(flag, name, value);
	if (*flag->choice == UNSET && parse_bool(value) != UNSET)
		*flag->choice = parse_bool(value) == YES ? flag->value : !flag->value;
	else if (*flag->choice == UNSET && !on_node())
		slurm_spank_log("berth: %s=%s is ignored: expected 1, true, yes, y, 0, false, no or n", name, value);
	return 0;
}

/* Of one flag given several times Slurm hands on the last; the rest travels in the job's environment. */
#define ALL_MOUNTS "BERTH_SPANK_MOUNTS"

void export_mounts(void)
{
	if (options.mounts)
		setenv(ALL_MOUNTS, options.mounts, 1);
	else
		unsetenv(ALL_MOUNTS);
}

/* Flags that were not given may be in the environment: BERTH_CONTAINER_IMAGE, PYXIS_CONTAINER_IMAGE, ... */
int read_variables(spank_t spank)
{
	static char all[65536];

	spank_err_t answer = on_node() && options.mounts ? spank_getenv(spank, ALL_MOUNTS, all, sizeof all) : ESPANK_ENV_NOEXIST;

	/* On a node the mistake is remembered, and an image that a variable names is read all the same: or the task would run
	 * outside. */
	if (answer == ESPANK_NOSPACE)
		refuse("--container-mounts: all mounts together are longer than 65535 bytes");
	if (answer == ESPANK_SUCCESS && strstr(all, options.mounts)) {
		free(options.mounts);
		if (!(options.mounts = strdup(all)))
			refuse("--container-mounts: out of memory");
	}
	for (int i = 0; i < FLAGS; i++)
		if (read_variable(spank, &flags[i], "BERTH") < 0 || read_variable(spank, &flags[i], "PYXIS") < 0)
			return -1;
	return 0;
}

bool wants_container(void)
{
	return options.image || options.name || options.file || options.edf || mistaken_container;
}

void add_options_of_flags(struct argv *words)
{
	for (const struct flag *flag = flags; flag < flags + FLAGS; flag++) {
		if (!flag->option || (flag->text ? !*flag->text : *flag->choice != flag->value))
			continue;
		if (flag->each) {
			add_each_argument(words, flag->option, *flag->text);
			continue;
		}
		add_argument(words, "%s", flag->option);
		if (flag->text)
			add_argument(words, "%s", *flag->text);
	}
}
