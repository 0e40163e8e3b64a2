// Process 1 of a PID namespace, and the process outside that represents it. This code runs after a fork, so it
// allocates no memory and uses only system calls. The Slurm plugin is compiled with this file, too.
#define _GNU_SOURCE
#include "Init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

// A message from process 1 to the process outside: the command has stopped, or the signal that killed it.
struct message {
    char kind;
    unsigned char number;
};
static int messages = -1;

// The process that signals every process of the container itself, so that its signals are not passed on; 0 for none.
static pid_t broadcaster;

static void end_like(int signal) {
    sigset_t one;
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);  // the command has dumped its own core
    sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigemptyset(&one);
    sigaddset(&one, signal);
    kill(getpid(), signal);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    _exit(128 + signal);
}

// Closes all descriptors but one, which becomes 3, so that a reader of a pipe only waits for the command.
static void keep_only(int fd) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int stream = 0; stream < 3 && null >= 0; stream++) dup2(null, stream);
    dup2(fd, 3);
    syscall(SYS_close_range, 4U, ~0U, 0);
}

// Forwards signals, stops when the command stops, and exits with its status.
__attribute__((noreturn)) static void stand_for(pid_t child, int incoming) {
    sigset_t all;
    struct message message;
    int ended = 0;

    keep_only(incoming);
    // RunningContainer.swift skips processes with this name when it looks for the container's own.
    prctl(PR_SET_NAME, "berth", 0, 0, 0);
    sigfillset(&all);
    int signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    struct pollfd waits[] = {{.fd = signals, .events = POLLIN}, {.fd = 3, .events = POLLIN}};

    for (;;) {
        struct signalfd_siginfo info;
        int status;

        poll(waits, 2, -1);
        if (waits[1].revents & POLLIN && read(3, &message, sizeof message) == sizeof message) {
            if (message.kind == 's') kill(getpid(), SIGSTOP);
            else ended = message.number;
        } else if (waits[1].revents & POLLHUP) {
            waits[1].fd = -1;
        }
        while (read(signals, &info, sizeof info) == sizeof info) {
            // Signals from the terminal reach the command directly, because it is in the same process group.
            if (info.ssi_signo == SIGCHLD || info.ssi_code == SI_KERNEL) continue;
            if (broadcaster > 0 && info.ssi_code == SI_USER && (pid_t)info.ssi_pid == broadcaster) continue;
            // Not kill(2): an init recognizes forwarded signals by their code.
            sigqueue(child, (int)info.ssi_signo, (union sigval){0});
        }
        if (waitpid(child, &status, WNOHANG | WUNTRACED) != child) continue;
        if (WIFSTOPPED(status)) {  // a command that entered the namespace; an init reports its own
            kill(getpid(), SIGSTOP);
            continue;
        }
        while (ended == 0 && waits[1].fd >= 0 && read(3, &message, sizeof message) == sizeof message)
            if (message.kind == 'k') ended = message.number;
        if (ended != 0) end_like(ended);
        if (WIFSIGNALED(status)) end_like(WTERMSIG(status));
        _exit(WEXITSTATUS(status));
    }
}

int berth_become_first_process(pid_t sender) {
    int ends[2];
    sigset_t all, before;

    broadcaster = sender;
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    if (child > 0) {
        close(ends[1]);
        stand_for(child, ends[0]);
    }
    int code = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(ends[0]);
    messages = ends[1];
    errno = code;
    return child;
}

int berth_end_with_parent(void) {
    struct pollfd parent = {.fd = messages};

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return -1;
    // The parent may have exited before the call; the pipe then has no reader.
    if (poll(&parent, 1, 0) == 1 && parent.revents & POLLERR) _exit(125);
    return 0;
}

// Stays as process 1: reaps orphans, forwards signals, and exits with the command.
__attribute__((noreturn)) static void serve(pid_t command, const sigset_t *all) {
    keep_only(messages);
    messages = 3;
    for (;;) {
        siginfo_t info;
        int status;
        pid_t one;

        if (sigwaitinfo(all, &info) < 0) continue;
        if (info.si_signo != SIGCHLD) {
            // The command has those already that come from outside and not from the process that stands for it there.
            int has = broadcaster > 0 && info.si_code == SI_USER && info.si_pid == 0;

            if (info.si_code != SI_KERNEL && !has) kill(command, info.si_signo);
            continue;
        }
        while ((one = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
            struct message message = {'k', 0};

            if (one != command) continue;
            if (WIFSTOPPED(status)) {
                message.kind = 's';
                (void)!write(messages, &message, sizeof message);
                continue;
            }
            if (!WIFSIGNALED(status)) _exit(WEXITSTATUS(status));
            message.number = (unsigned char)WTERMSIG(status);
            (void)!write(messages, &message, sizeof message);
            _exit(128 + WTERMSIG(status));
        }
    }
}

int berth_leave_init_behind(void) {
    sigset_t all, before;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t command = fork();
    if (command > 0) serve(command, &all);
    int code = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return command;
}
