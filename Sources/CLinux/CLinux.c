#include "CLinux.h"

#include <stdbool.h>

static int argument_count;
static char **arguments;

// glibc hands a constructor what main() gets.
__attribute__((constructor)) static void save_arguments(int argc, char **argv) {
    argument_count = argc;
    arguments = argv;
}

char **berth_argv(void) { return arguments; }

// In place of the Swift library's own, whose initialiser searches /proc/self/maps for the same at every start: two
// hundredths of a launch. docs/decisions/0015 says how this stays safe.
char **_swift_stdlib_getUnsafeArgvArgc(int *count) {
    *count = argument_count;
    return arguments;
}

void _swift_stdlib_overrideUnsafeArgvArgc(char **argv, int argc) {
    arguments = argv;
    argument_count = argc;
}

// Defined here, the library's own are not linked into a static executable, nor with them the crash reporter: at every
// start it would look for a program to run in ten places, and would run the one that the environment names.
#define HIDDEN __attribute__((visibility("hidden")))  // from a dynamic library, which keeps its own
HIDDEN bool _swift_backtrace_isThunkFunction(const char *name) {
    (void)name;
    return false;
}
HIDDEN const char _swift_backtraceSettings[256];  // all zero: off
