#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin.h"

char *mistake;
bool refused;

/* srun, salloc and sbatch exit with this where a plugin refuses; weak, as other programs load the plugin, too. */
extern int error_exit __attribute__((weak));

bool on_node(void)
{
	spank_context_t where = spank_context();

	return where != S_CTX_LOCAL && where != S_CTX_ALLOCATOR;
}

int refuse(const char *format, ...)
{
	char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	if (on_node()) {
		static char unknown[] = "the container's options cannot be read: out of memory";

		if (!mistake)
			mistake = text ? text : unknown;
		else
			free(text);
		return 0;
	}
	slurm_error("berth: %s", text ? text : "out of memory");
	free(text);
	refused = true;
	if (&error_exit)
		error_exit = BERTH_FAILED;
	return -1;
}

const char *node_name(spank_t spank)
{
	static char name[256];

	if (*name)
		return name;
	if (!spank || spank_getenv(spank, "SLURMD_NODENAME", name, sizeof name) != ESPANK_SUCCESS || !*name)
		gethostname(name, sizeof name - 1);
	return name;
}

/* In a task, whose standard error is what the user reads: slurmstepd's own log of a batch job is not. */
void say(spank_t spank, const char *format, ...)
{
	char line[4096];
	va_list arguments;
	int used = snprintf(line, sizeof line - 1, "berth: %s: ", node_name(spank));

	va_start(arguments, format);
	int more = vsnprintf(line + used, sizeof line - 1 - (size_t)used, format, arguments);
	va_end(arguments);
	size_t length = more < 0 ? (size_t)used : strlen(line);

	/* What the user wrote may come back here: it must not steer the terminal. */
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 127)
			line[i] = '?';
	line[length++] = '\n';
	(void)!write(2, line, length);
}
