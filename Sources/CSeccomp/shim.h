#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <seccomp.h>
#include <sys/mman.h>

// Macros over macros.
static const uint32_t berth_seccomp_allow = SCMP_ACT_ALLOW;
static const uint32_t berth_seccomp_log = SCMP_ACT_LOG;
static const uint32_t berth_seccomp_trap = SCMP_ACT_TRAP;
static const uint32_t berth_seccomp_kill_thread = SCMP_ACT_KILL_THREAD;
static const uint32_t berth_seccomp_kill_process = SCMP_ACT_KILL_PROCESS;
static inline uint32_t berth_seccomp_errno(uint16_t code) { return SCMP_ACT_ERRNO(code); }
static inline uint32_t berth_seccomp_trace(uint16_t code) { return SCMP_ACT_TRACE(code); }
