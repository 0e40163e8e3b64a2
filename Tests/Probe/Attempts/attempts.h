// Shared by main.c, calls.c and escapes.c.
#pragma once

// A third result: the call reported success but changed nothing.
enum { pretended = -2 };

// Sets *NAME of attempt NUMBER, and makes it if RUN is set. *NAME stays NULL after the last attempt.
long call_number(int number, int run, const char **name);
long escape_number(int number, int run, const char **name);

// One entry of the list, inside one of these functions.
#define ATTEMPT(title, expression)                     \
    if (number == at++) {                              \
        *name = title;                                 \
        return run ? (long)(expression) : 0;           \
    }

// A temporary directory below /tmp, and a regular file in it.
extern char place[], file[];
const char *in_place(const char *name);

// The arguments of `attempts escapes`.
extern struct target {
    const char *marker;      // a file of the host that begins with "outside" and is not mounted
    const char *handle;      // its handle: TYPE:HEX
    int process, user;       // a process of the host that runs as that ordinary user
    int launcher;            // the parent process
} target;
long describe_handle(const char *path);
