// `berth report-environment DESCRIPTOR`: the command in front of which the Slurm plugin runs an image's entrypoint.  It writes
// its working directory, as `=cwd=PATH`, and its environment to the descriptor, each entry with its NUL.
//
// It is written in C and runs before everything else, because Swift's runtime does not start in a container that covers
// /proc.
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_all(int descriptor, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t count = write(descriptor, bytes, size);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return -1;
        bytes += count;
        size -= (size_t)count;
    }
    return 0;
}

// The first priority available to programs.
__attribute__((constructor(101))) static void report_environment(int argc, char **argv, char **environment) {
    char *end = NULL;
    long descriptor;
    int failed;

    if (argc < 3 || strcmp(argv[1], "report-environment") != 0) return;
    descriptor = strtol(argv[argc - 1], &end, 10);
    failed = *end != '\0' || end == argv[argc - 1] || descriptor < 0 || descriptor > 1 << 20;
    if (failed) errno = EBADF;
    char directory[PATH_MAX + 5] = "=cwd=";
    if (!failed && getcwd(directory + 5, PATH_MAX)) failed = write_all((int)descriptor, directory, strlen(directory) + 1) < 0;
    for (; !failed && *environment; environment++)
        failed = write_all((int)descriptor, *environment, strlen(*environment) + 1) < 0;
    if (!failed) _exit(0);

    static const char what[] = "berth: cannot report the entrypoint's environment: ";
    static const char hint[] =
        "\n  hint: the entrypoint must run its arguments with the descriptors that it was given\n";
    const char *why = strerror(errno);
    write_all(2, what, sizeof what - 1);
    write_all(2, why, strlen(why));
    write_all(2, hint, sizeof hint - 1);
    _exit(125);
}
