#ifndef CTOMLPLUSPLUS_H
#define CTOMLPLUSPLUS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A TOML document as JSON, by toml++. Dates and times become strings.
///
/// `line` is 0 and the result JSON, or `line` is the line of the first fault, from 1, and the result the reason. Free it with
/// free(3). NULL: out of memory.
char *berth_toml_as_json(const char *text, size_t size, unsigned *line);

#ifdef __cplusplus
}
#endif

#endif
