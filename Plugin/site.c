#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

struct site site = {.entrypoint = NO, .sbatch = true};

int parse_bool(const char *value)
{
	static const char *const words[] = {"1", "true", "yes", "y", "0", "false", "no", "n"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcmp(value, words[i]))
			return i < 4 ? YES : NO;
	return UNSET;
}

static int bad(const char *word, const char *expected)
{
	slurm_error("berth: plugstack.conf: %s: expected %s", word, expected);
	return -1;
}

static int read_word(const char *word)
{
	/* Pyxis' settings for which Berth has no use: it makes no such directory, squashes nothing and mounts no FUSE. */
	static const char *const needless[] = {"runtime_path", "use_enroot_load", "use_squashfuse"};
	size_t length = strcspn(word, "=");
	const char *value = word[length] ? word + length + 1 : "";
	char *end = NULL;
	int flag = parse_bool(value);

#define IS(name) (length == strlen(name) && !strncmp(word, name, length))
	if (IS("berth")) {
		if (*value != '/')
			return bad(word, "an absolute path");
		site.berth = value;
	} else if (IS("execute_entrypoint") || IS("sbatch_support")) {
		if (flag == UNSET)
			return bad(word, "0 or 1");
		if (*word == 'e')
			site.entrypoint = flag;
		else
			site.sbatch = flag;
	} else if (IS("container_scope")) {
		if (strcmp(value, "job") && strcmp(value, "global"))
			return bad(word, "job or global");
		site.job_scope = !strcmp(value, "job");
	} else if (IS("start_timeout")) {
		site.timeout = strtol(value, &end, 10);
		if (end == value || *end || site.timeout < 0 || site.timeout > 86400 * 7)
			return bad(word, "seconds, 0 for no limit");
	} else if (IS("memlock")) {
		site.raises_memlock = true;
		site.memlock = RLIM_INFINITY;
		if (strcmp(value, "unlimited")) {
			site.memlock = strtoull(value, &end, 10);
			if (end == value || *end)
				return bad(word, "bytes or unlimited");
		}
	} else {
		for (size_t i = 0; i < sizeof needless / sizeof *needless; i++)
			if (IS(needless[i]))
				return 0;
		if (IS("importer"))
			return bad(word, "no importer: berth pulls by itself, and each layer once (docs/reference/slurm-plugin.md)");
		return bad(word, "berth, execute_entrypoint, container_scope, sbatch_support, start_timeout or memlock");
	}
#undef IS
	return 0;
}

/* PREFIX/lib/slurm/spank_berth.so belongs to PREFIX/bin/berth. */
static char *beside_this_file(void)
{
	Dl_info info;
	char *path = NULL, *slash;

	if (!dladdr((void *)beside_this_file, &info) || !info.dli_fname)
		return NULL;
	char *own = realpath(info.dli_fname, NULL);
	for (int up = 0; own && up < 3; up++)
		if ((slash = strrchr(own, '/')))
			*slash = '\0';
	if (own && asprintf(&path, "%s/bin/berth", own) < 0)
		path = NULL;
	free(own);
	return path;
}

int read_site(int count, char **words)
{
	for (int i = 0; i < count; i++)
		if (read_word(words[i]) < 0)
			return -1;
	if (!site.berth)
		site.berth = beside_this_file();
	return site.berth ? 0 : bad("berth=", "the path of the launcher");
}
