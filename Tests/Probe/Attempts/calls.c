// The system calls in docs/reference/system-calls.md.
#define _GNU_SOURCE
#include "attempts.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>
#include <grp.h>

static long owned(long result) {
    struct stat s;
    return result ? result : !stat(file, &s) && s.st_uid == 5 ? 0 : pretended;
}
static long became(long result, int is_group) {
    return result ? result : (is_group ? getegid() : geteuid()) == 5 ? 0 : pretended;
}
static long made(long result, const char *name) {
    struct stat s;
    return result ? result : lstat(in_place(name), &s) ? pretended : 0;
}
static long groups(void) {
    gid_t wanted = 5, found[64];
    long result = syscall(SYS_setgroups, 1, &wanted);
    return result ? result : getgroups(64, found) == 1 && found[0] == 5 ? 0 : pretended;
}
static int open_file(void) { return open(file, O_RDWR | O_CLOEXEC); }

static long set_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return syscall(SYS_clock_settime, CLOCK_REALTIME, &now);
}
static long by_handle(void) {
    struct { unsigned bytes; int type; unsigned char handle[8]; } none = {8, 1, {0}};
    return syscall(SYS_open_by_handle_at, AT_FDCWD, &none, O_RDONLY);
}
static long map(void) {
    struct { uint32_t type, key, value, entries; uint64_t rest[12]; } array = {2, 4, 4, 1, {0}};
    return syscall(SYS_bpf, 0, &array, sizeof array);
}
static long perf(void) {
    struct perf_event_attr clock = {.type = PERF_TYPE_SOFTWARE, .size = sizeof clock,
        .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1, .exclude_hv = 1};
    return syscall(SYS_perf_event_open, &clock, 0, -1, -1, 0);
}
static long ring(void) {
    char parameters[256] = {0};
    return syscall(SYS_io_uring_setup, 1, parameters);
}
static long memory(int number) {
    char from[] = "abcd", to[5] = "";
    struct iovec local = {to, 4}, remote = {from, 4};
    return syscall(number, getpid(), &local, 1, &remote, 1, 0);
}
static long descriptor(void) {
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    return self < 0 ? -1 : syscall(SYS_pidfd_getfd, self, 0, 0);
}
static long clone_user(void) {
    struct clone_args arguments = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (!child) _exit(0);
    if (child > 0) waitpid((pid_t)child, NULL, 0);
    return child;
}
static long own_namespace(void) {
    int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    return own < 0 ? -1 : setns(own, CLONE_NEWNS);
}
static long raise_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_max = RLIM_INFINITY;
    return setrlimit(RLIMIT_NOFILE, &limit);
}
static long real_time(void) {
    struct sched_param most = {99};
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_RTPRIO, &none);
    return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &most);
}
static long priority(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_NICE, &none);
    return syscall(SYS_setpriority, PRIO_PROCESS, 0, -1);
}
static long name_host(int number) {
    struct utsname now;
    uname(&now);
    const char *same = number == SYS_sethostname ? now.nodename : now.domainname;
    return syscall(number, same, strlen(same));
}
static long same_capabilities(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    return syscall(SYS_capget, &header, sets) ? -1 : syscall(SYS_capset, &header, sets);
}
static long pages(int number) {
    unsigned long node = 1;
    if (number == SYS_migrate_pages) return syscall(number, 0, 8, &node, &node);
    return syscall(number, 0, 0, NULL, NULL, NULL, 0);
}

long call_number(int number, int run, const char **name) {
    int at = 0;
    const mode_t character = S_IFCHR | 0600, block = S_IFBLK | 0600;
    const dev_t null = makedev(1, 3);
    char attributes[32] = {0};
    // Refused by `default`.
    ATTEMPT("init_module", syscall(SYS_init_module, NULL, 0, ""))
    ATTEMPT("finit_module", syscall(SYS_finit_module, -1, "", 0))
    ATTEMPT("delete_module", syscall(SYS_delete_module, "berth-none", O_NONBLOCK))
    ATTEMPT("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0xffff))
#ifdef SYS_kexec_file_load
    ATTEMPT("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0xffff))
#endif
    ATTEMPT("reboot", syscall(SYS_reboot, 0, 0, 0, NULL))
    ATTEMPT("add_key", syscall(SYS_add_key, "user", "berth-none", "x", 1, -2))
    ATTEMPT("request_key", syscall(SYS_request_key, "user", "berth-none", NULL, 0))
    ATTEMPT("keyctl", syscall(SYS_keyctl, 0, -2, 1))
    ATTEMPT("open_by_handle_at", by_handle())
    ATTEMPT("clock_settime", set_clock())
    ATTEMPT("settimeofday", syscall(SYS_settimeofday, NULL, NULL))
    ATTEMPT("swapon", syscall(SYS_swapon, "/berth-none", 0))
    ATTEMPT("swapoff", syscall(SYS_swapoff, "/berth-none"))
    ATTEMPT("acct", syscall(SYS_acct, "/berth-none"))
    ATTEMPT("quotactl", syscall(SYS_quotactl, 0x80000100U, NULL, 0, NULL))
    ATTEMPT("quotactl_fd", syscall(443, -1, 0x80000100U, 0, NULL))
    ATTEMPT("bpf", map())
    ATTEMPT("userfaultfd", syscall(SYS_userfaultfd, 1))
#ifdef SYS_iopl
    ATTEMPT("ioperm", syscall(SYS_ioperm, 0x80, 1, 1))
    ATTEMPT("iopl", syscall(SYS_iopl, 3))
#endif
    ATTEMPT("vhangup", syscall(SYS_vhangup))
    ATTEMPT("ioctl TIOCSTI", syscall(SYS_ioctl, -1, 0x5412, ""))
    ATTEMPT("ioctl TIOCLINUX", syscall(SYS_ioctl, -1, 0x541c, ""))
    ATTEMPT("ioctl TIOCGWINSZ", syscall(SYS_ioctl, -1, 0x5413, NULL))
#ifdef SYS_uselib
    ATTEMPT("_sysctl", syscall(SYS__sysctl, NULL))
    ATTEMPT("lookup_dcookie", syscall(SYS_lookup_dcookie, 0, NULL, 0))
    ATTEMPT("sysfs", syscall(SYS_sysfs, 3))
    ATTEMPT("uselib", syscall(SYS_uselib, NULL))
    ATTEMPT("ustat", syscall(SYS_ustat, 0, attributes))
#endif
    // Used by HPC tools and libraries.
    ATTEMPT("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL))
    ATTEMPT("process_vm_readv", memory(SYS_process_vm_readv))
    ATTEMPT("process_vm_writev", memory(SYS_process_vm_writev))
    ATTEMPT("kcmp", syscall(SYS_kcmp, getpid(), getpid(), 1, 0, 0))
    ATTEMPT("pidfd_open", syscall(SYS_pidfd_open, getpid(), 0))
    ATTEMPT("pidfd_getfd", descriptor())
    ATTEMPT("perf_event_open", perf())
    ATTEMPT("io_uring_setup", ring())
    ATTEMPT("memfd_create", syscall(SYS_memfd_create, "x", 0))
    ATTEMPT("seccomp", syscall(SYS_seccomp, 2, 0, &(uint32_t){0x7fff0000}))
    ATTEMPT("mbind", syscall(SYS_mbind, NULL, 0, 0, NULL, 0, 0))
    ATTEMPT("set_mempolicy", syscall(SYS_set_mempolicy, 0, NULL, 0))
    ATTEMPT("move_pages", pages(SYS_move_pages))
    ATTEMPT("migrate_pages", pages(SYS_migrate_pages))
    ATTEMPT("personality", personality(ADDR_NO_RANDOMIZE))
    // Namespaces and mounts.
    ATTEMPT("unshare user", unshare(CLONE_NEWUSER))
    ATTEMPT("clone3 user", clone_user())
    ATTEMPT("unshare mount", unshare(CLONE_NEWNS))
    ATTEMPT("setns", own_namespace())
    ATTEMPT("mount", mount(NULL, "/", NULL, MS_PRIVATE, NULL))
    ATTEMPT("umount2", umount2("/bin", 0))
    ATTEMPT("pivot_root", syscall(SYS_pivot_root, "/bin", "/bin"))
    ATTEMPT("chroot", chroot("/"))
    ATTEMPT("fsopen", syscall(SYS_fsopen, "tmpfs", 0))
    ATTEMPT("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1))
    ATTEMPT("move_mount", syscall(SYS_move_mount, -1, "", -1, "", 4))
    ATTEMPT("mount_setattr", syscall(442, -1, "", 0x1000, attributes, sizeof attributes))
    // Settings of the host.
    ATTEMPT("sethostname", name_host(SYS_sethostname))
    ATTEMPT("setdomainname", name_host(SYS_setdomainname))
    ATTEMPT("socket AF_PACKET", socket(AF_PACKET, SOCK_RAW, 0))
    ATTEMPT("socket SOCK_RAW", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
    ATTEMPT("fanotify_init", syscall(SYS_fanotify_init, 0, 0))
    ATTEMPT("setrlimit", raise_limit())
    ATTEMPT("setpriority", priority())
    ATTEMPT("sched_setscheduler", real_time())
    // Owners, users and devices.
#ifdef SYS_chown
    ATTEMPT("chown", owned(syscall(SYS_chown, file, 5, 6)))
    ATTEMPT("lchown", owned(syscall(SYS_lchown, file, 5, 6)))
    ATTEMPT("mknod", made(syscall(SYS_mknod, in_place("character"), character, null), "character"))
#endif
    ATTEMPT("fchownat", owned(syscall(SYS_fchownat, AT_FDCWD, file, 5, 6, 0)))
    ATTEMPT("fchown", owned(syscall(SYS_fchown, open_file(), 5, 6)))
    ATTEMPT("setuid", became(syscall(SYS_setuid, 5), 0))
    ATTEMPT("setgid", became(syscall(SYS_setgid, 5), 1))
    ATTEMPT("setreuid", became(syscall(SYS_setreuid, 5, 5), 0))
    ATTEMPT("setregid", became(syscall(SYS_setregid, 5, 5), 1))
    ATTEMPT("setresuid", became(syscall(SYS_setresuid, 5, 5, 5), 0))
    ATTEMPT("setresgid", became(syscall(SYS_setresgid, 5, 5, 5), 1))
    ATTEMPT("setgroups", groups())
    ATTEMPT("mknodat character",
        made(syscall(SYS_mknodat, AT_FDCWD, in_place("character"), character, null), "character"))
    ATTEMPT("mknodat block", made(syscall(SYS_mknodat, AT_FDCWD, in_place("block"), block, null), "block"))
    ATTEMPT("mknodat FIFO", made(syscall(SYS_mknodat, AT_FDCWD, in_place("fifo"), S_IFIFO | 0600, 0), "fifo"))
    ATTEMPT("capset", same_capabilities())
    return 0;
}
