#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

void add_argument(struct argv *words, const char *format, ...)
{
	char *word = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&word, format, arguments) < 0)
		word = NULL;
	va_end(arguments);
	char **list = word ? realloc(words->list, (words->count + 2) * sizeof *list) : NULL;
	if (!list) {
		free(word);
		words->failed = true;
		return;
	}
	words->list = list;
	list[words->count++] = word;
	list[words->count] = NULL;
}

/* OPTION VALUE for each value of a list with commas. */
void add_each_argument(struct argv *words, const char *option, const char *list)
{
	while (list && *list) {
		size_t length = strcspn(list, ",");

		if (length > 0) {
			add_argument(words, "%s", option);
			add_argument(words, "%.*s", (int)length, list);
		}
		list += length + (list[length] == ',');
	}
}

void free_argv(struct argv *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->list[i]);
	free(words->list);
	*words = (struct argv){0};
}
