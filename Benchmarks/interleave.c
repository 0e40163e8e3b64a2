// interleave ROUNDS COMMAND... ::: COMMAND... ::: ...
//
// Runs the commands in turn, ROUNDS times, and prints the command's number and its duration in nanoseconds, from vfork
// to exit, for each run. A shell would cost more than the measured time. Each round starts with another command, so
// that none always follows the same one.
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    enum { most = 16 };
    char **commands[most];
    int count = 0;
    if (argc < 3) return fprintf(stderr, "usage: interleave ROUNDS COMMAND... ::: COMMAND...\n"), 2;
    int rounds = atoi(argv[1]);
    commands[count++] = argv + 2;
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], ":::") == 0 && count < most) {
            argv[i] = NULL;
            commands[count++] = argv + i + 1;
        }
    posix_spawn_file_actions_t quiet;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    for (int round = 0; round < rounds; round++)
        for (int turn = 0; turn < count; turn++) {
            int which = (round + turn) % count, status;
            pid_t child;
            long long start = now();
            if (posix_spawnp(&child, commands[which][0], &quiet, NULL, commands[which], environ) != 0)
                return fprintf(stderr, "cannot start %s\n", commands[which][0]), 1;
            waitpid(child, &status, 0);
            long long end = now();
            if (status != 0) return fprintf(stderr, "%s ended with %#x\n", commands[which][0], status), 1;
            printf("%d %lld\n", which, end - start);
        }
    return 0;
}
