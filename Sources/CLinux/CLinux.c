#include "CLinux.h"

#include <stdbool.h>
#include <sys/random.h>

// The minimum for Swift's runtime. With less, it dies of SIGSEGV or SIGILL before it can print a message.
#define LEAST_STACK ((rlim_t)1 << 20)
#define LEAST_MEMORY ((rlim_t)24 << 20)
#define LEAST_DATA ((rlim_t)8 << 20)

static struct rlimit caller_limits[RLIM_NLIMITS];
static bool is_raised[RLIM_NLIMITS];

// A system call without the C library, which is not initialized when the stack limit is checked. Returns 0 or less on
// failure.
static inline long call(long number, long a, long b, long c, long d) {
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
                  x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#else
#error "a system call of this architecture"
#endif
}

__attribute__((no_stack_protector)) static void require(
    int resource, rlim_t least, const char *message, size_t length) {
    struct rlimit limit, raised;

    if (call(SYS_prlimit64, 0, resource, 0, (long)&limit) != 0 || limit.rlim_cur >= least) return;
    raised.rlim_cur = least;
    raised.rlim_max = limit.rlim_max < least ? least : limit.rlim_max;  // root may raise the hard limit
    if (call(SYS_prlimit64, 0, resource, (long)&raised, 0) == 0) {
        caller_limits[resource] = limit;
        is_raised[resource] = true;
        return;
    }
    call(SYS_write, 2, (long)message, (long)length, 0);
    call(SYS_exit_group, 125, 0, 0, 0);
}

#define REQUIRE(resource, least, message) require(resource, least, message, sizeof message - 1)

// The stack grows at run time up to the current limit.
__attribute__((constructor(101), no_stack_protector)) void berth_require_stack(void) {
    REQUIRE(RLIMIT_STACK, LEAST_STACK,
            "berth: the limit on the stack is too small to start with\n"
            "  hint: raise it to 1 MB at least: ulimit -s 8192\n");
}

// Runs before the other constructors.
__attribute__((constructor(102))) static void require_memory(void) {
    REQUIRE(RLIMIT_AS, LEAST_MEMORY,
            "berth: the limit on virtual memory is too small to start with\n  hint: raise it: ulimit -v unlimited\n");
    REQUIRE(RLIMIT_DATA, LEAST_DATA,
            "berth: the limit on data is too small to start with\n  hint: raise it: ulimit -d unlimited\n");
}

// The launcher's entry point (Scripts/build). A stack of 8 kB is too small even for the C library's own start.
__attribute__((naked, used)) void berth_start(void) {
#if defined(__x86_64__)
    __asm__("push %rdx\n sub $8, %rsp\n call berth_require_stack\n add $8, %rsp\n pop %rdx\n jmp _start");
#elif defined(__aarch64__)
    __asm__("stp x0, x30, [sp, #-16]!\n bl berth_require_stack\n ldp x0, x30, [sp], #16\n b _start");
#endif
}

int berth_caller_limit(int resource, uint64_t *soft, uint64_t *hard) {
    *soft = caller_limits[resource].rlim_cur;
    *hard = caller_limits[resource].rlim_max;
    return is_raised[resource];
}

static char **arguments;

// glibc passes the arguments of main() to constructors.
__attribute__((constructor)) static void save_arguments(int argc, char **argv) {
    (void)argc;
    arguments = argv;
}

char **berth_argv(void) { return arguments; }

// Scripts/build writes the commit into this section of the finished program, so that a new commit needs no compilation.
__attribute__((section(".berth_commit"))) const char berth_commit_text[64] = "";

const char *berth_commit(void) { return berth_commit_text; }

// Three glibc functions that berth-image needs are newer than version 2.34 of Rocky 9: swift-numerics and libstdc++ use
// them. The launcher is static.
#if defined(BERTH_OLD_GLIBC) && (defined(__x86_64__) || defined(__aarch64__))
#ifdef __x86_64__
#define FIRST_GLIBC "GLIBC_2.2.5"
#else
#define FIRST_GLIBC "GLIBC_2.17"
#endif
double berth_hypot(double x, double y);
float berth_hypotf(float x, float y);
__asm__(".symver berth_hypot, hypot@" FIRST_GLIBC);
__asm__(".symver berth_hypotf, hypotf@" FIRST_GLIBC);

double hypot(double x, double y) { return berth_hypot(x, y); }
float hypotf(float x, float y) { return berth_hypotf(x, y); }

uint32_t arc4random(void) {
    uint32_t value;
    while (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value)
        if (errno != EINTR) abort();
    return value;
}
#endif
