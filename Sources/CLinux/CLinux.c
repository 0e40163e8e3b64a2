#include "CLinux.h"

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
