// Makes system calls or attempts to escape, each in its own process. Prints "NAME: RESULT" for each: "ok", the name of an
// errno, or "pretended" for success without an effect. The tests compare this with calls.tsv and escapes.tsv.
//
//     attempts calls
//     attempts escapes MARKER HANDLE PROCESS USER
//     attempts host MARKER     print "HANDLE PROCESS" and wait: the host process to attack
//
// All attempts are harmless even if they succeed, also for the host's root. Linked statically, like the probe.
#define _GNU_SOURCE
#include "attempts.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

char place[] = "/tmp/berth-attempts.XXXXXX", file[sizeof place + 2];
struct target target;

const char *in_place(const char *name) {
    static char path[64];
    snprintf(path, sizeof path, "%s/%s", place, name);
    return path;
}

static void attempt(const char *name, int number, long (*list)(int, int, const char **)) {
    int results[2];
    long result[2] = {-1, ENODATA};
    if (pipe(results)) exit(99);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        alarm(20);
        result[0] = list(number, 1, &name);
        result[1] = errno;
        _exit(write(results[1], result, sizeof result) != sizeof result);
    }
    close(results[1]);
    // A child killed by a signal has written nothing: ENODATA.
    if (read(results[0], result, sizeof result) < 0) result[1] = errno;
    close(results[0]);
    waitpid(child, NULL, 0);
    const char *answer = strerrorname_np((int)result[1]);
    printf("%s: %s\n", name, result[0] >= 0 ? "ok" : result[0] == pretended ? "pretended" : answer);
}

static int host(const char *marker) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "berth-attempts.%d", getpid());
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    if (bind(listening, (struct sockaddr *)&address, size) || listen(listening, 64) || describe_handle(marker)) return 99;
    printf(" %d\n", getpid());
    fflush(stdout);
    pause();
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "host")) return host(argv[2]);
    int escapes = argc == 6 && !strcmp(argv[1], "escapes");
    if (!escapes && (argc != 2 || strcmp(argv[1], "calls"))) return fprintf(stderr, "attempts: bad arguments\n"), 98;
    if (escapes) target = (struct target){argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), getppid()};
    if (!mkdtemp(place)) return perror(place), 99;
    chmod(place, 0777);
    snprintf(file, sizeof file, "%s/f", place);
    close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
    for (int number = 0;; number++) {
        const char *name = NULL;
        long (*list)(int, int, const char **) = escapes ? escape_number : call_number;
        list(number, 0, &name);
        if (!name) break;
        attempt(name, number, list);
    }
    static const char *made[] = {"f", "character", "block", "fifo", "disk", "root"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) remove(in_place(made[i]));
    rmdir(place);
    return fflush(stdout) ? 97 : 0;
}
