// The attempts in docs/explanation/security.md. "ok" means that the container does not stop it.
#define _GNU_SOURCE
#include "attempts.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { most = 64 };
struct handle { unsigned bytes; int type; unsigned char data[128]; };

long describe_handle(const char *path) {
    struct handle own = {.bytes = 128};
    int mount;
    if (syscall(SYS_name_to_handle_at, AT_FDCWD, path, &own, &mount, 0)) return -1;
    printf("%d:", own.type);
    for (unsigned i = 0; i < own.bytes; i++) printf("%02x", own.data[i]);
    return 0;
}

// Succeeds if the descriptor is the host's marker file.
static long is_marker(int found) {
    char first[8] = "";
    if (found < 0) return -1;
    if (read(found, first, 7) == 7 && !strcmp(first, "outside")) return 0;
    errno = ENOMSG;
    return -1;
}
static long reads_marker(int from, const char *path) {
    return is_marker(openat(from, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

static const char *of(int process, const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "/proc/%d/%s", process, name);
    return path;
}
static long opens(const char *path, int flags) { return open(path, flags | O_NONBLOCK | O_CLOEXEC); }

// Opens the first writable match of the pattern.
static long opens_any(const char *pattern) {
    glob_t found;
    long result = -1;
    if (glob(pattern, 0, NULL, &found)) { errno = ENOENT; return -1; }
    for (size_t i = 0; i < found.gl_pathc && result < 0; i++) result = opens(found.gl_pathv[i], O_WRONLY);
    return result;
}

// Finds a block device of the host in /proc/partitions.
static int disk(char name[most], unsigned *numbers) {
    char line[256];
    FILE *list = fopen("/proc/partitions", "re");
    while (list && fgets(line, sizeof line, list))
        if (sscanf(line, " %u %u %*u %60s", numbers, numbers + 1, name) == 3) return 1;
    errno = ENODEV;
    return 0;
}
static long makes_disk(void) {
    char name[most];
    unsigned numbers[2];
    if (!disk(name, numbers) || mknod(in_place("disk"), S_IFBLK | 0600, makedev(numbers[0], numbers[1]))) return -1;
    return opens(in_place("disk"), O_RDONLY);
}
static long opens_disk(void) {
    char name[most], path[most + 8];
    unsigned numbers[2];
    if (!disk(name, numbers)) return -1;
    snprintf(path, sizeof path, "/dev/%s", name);
    return opens(path, O_RDONLY);
}

static long leaves_root(void) {
    char up[256] = "";
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mkdir(in_place("root"), 0755);
    if (chroot(in_place("root")) || fchdir(root)) return -1;
    for (int i = 0; i < 40; i++) strcat(up, "../");
    if (chdir(up) || chroot(".")) return -1;
    return reads_marker(AT_FDCWD, target.marker);
}
static long joins(const char *space) {
    int other = open(space, O_RDONLY | O_CLOEXEC);
    return other < 0 || setns(other, 0) ? -1 : reads_marker(AT_FDCWD, target.marker);
}
static long through(int process) {
    char path[4200];
    snprintf(path, sizeof path, "/proc/%d/root%s", process, target.marker);
    return reads_marker(AT_FDCWD, path);
}
static long reads_memory(int process) {
    // Nothing is mapped at address 0: EFAULT means that reading is permitted.
    char to[4];
    struct iovec local = {to, 4}, remote = {NULL, 4};
    long result = process_vm_readv(process, &local, 1, &remote, 1, 0);
    return result < 0 && errno == EFAULT ? 0 : result;
}
static long traces(int process) { return ptrace(PTRACE_SEIZE, process, NULL, NULL); }
static long takes_descriptor(int process) {
    int other = (int)syscall(SYS_pidfd_open, process, 0);
    return other < 0 ? -1 : syscall(SYS_pidfd_getfd, other, 1, 0);
}
static int becomes_user(void) {
    return !setresgid((gid_t)target.user, (gid_t)target.user, (gid_t)target.user)
        && !setresuid((uid_t)target.user, (uid_t)target.user, (uid_t)target.user);
}

static long by_handle(const char *within) {
    struct handle wanted = {0};
    const char *hex = strchr(target.handle, ':');
    int mount = open(within, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mount < 0 || !hex) return -1;
    wanted.type = atoi(target.handle);
    for (hex++; hex[0] && hex[1]; hex += 2) sscanf(hex, "%2hhx", &wanted.data[wanted.bytes++]);
    return is_marker((int)syscall(SYS_open_by_handle_at, mount, &wanted, O_RDONLY));
}

static long maps_others(void) {
    if (unshare(CLONE_NEWUSER)) return -1;
    int map = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    return map < 0 || write(map, "0 1 1", 5) != 5 ? -1 : 0;
}
// Becomes root in new user, mount and cgroup namespaces.
static int nests(void) {
    char line[32];
    int length = snprintf(line, sizeof line, "0 %d 1", geteuid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP)) return 0;
    int map = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    return map >= 0 && write(map, line, (size_t)length) == length;
}

static long program(void) {
    struct { uint32_t code, zero; } code[] = {{0xb7, 0}, {0x95, 0}};
    struct { uint32_t type, count; uint64_t code, license; uint64_t rest[12]; } load =
        {1, 2, (uintptr_t)code, (uintptr_t)"GPL", {0}};
    return syscall(SYS_bpf, 5, &load, sizeof load);
}
static long session(void) {
    long ring = syscall(SYS_keyctl, 0, -3, 0);  // KEYCTL_GET_KEYRING_ID of the session
    return ring < 0 ? -1 : syscall(SYS_keyctl, 6, ring, NULL, 0);
}
static long types(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) || unlockpt(master)) return -1;
    setsid();
    int terminal = open(ptsname(master), O_RDWR | O_CLOEXEC);
    return terminal < 0 || ioctl(terminal, TIOCSCTTY, 0) ? -1 : ioctl(terminal, TIOCSTI, "x");
}
static long connects(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "berth-attempts.%d", target.process);
    return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address,
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length));
}
static long leaves_setuid(void) {
    struct stat s;
    int program = open("/vol/setuid", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    if (program < 0 || fchmod(program, 04755) || fstat(program, &s)) return -1;
    errno = ENOMSG;
    return s.st_mode & S_ISUID ? 0 : -1;
}

long escape_number(int number, int run, const char **name) {
    int at = 0;
    // Devices and mounts
    ATTEMPT("make a node of the disk and open it", makes_disk())
    ATTEMPT("open the disk in /dev", opens_disk())
    ATTEMPT("open /dev/mem", opens("/dev/mem", O_RDONLY))
    ATTEMPT("open /dev/kmsg", opens("/dev/kmsg", O_RDONLY))
    ATTEMPT("mount devtmpfs", mount("devtmpfs", "/tmp", "devtmpfs", 0, NULL))
    ATTEMPT("mount the host's proc", mount("proc", "/tmp", "proc", 0, NULL))
    ATTEMPT("mount sysfs", mount("sysfs", "/tmp", "sysfs", 0, NULL))
    ATTEMPT("mount a cgroup hierarchy", mount("cgroup", "/tmp", "cgroup", 0, "none,name=berth-attempts"))
    ATTEMPT("make a read-only volume writable", mount(NULL, "/ro", NULL, MS_REMOUNT | MS_BIND, NULL))
    ATTEMPT("write to another user's file in a volume", opens("/vol/private", O_WRONLY))
    ATTEMPT("leave a setuid program in a volume", leaves_setuid())
    ATTEMPT("pivot_root back", syscall(SYS_pivot_root, ".", "."))
    ATTEMPT("chroot, and climb out of it", leaves_root())
    ATTEMPT("open a file of the host by handle", by_handle("/vol"))
    ATTEMPT("open an inherited descriptor of the host", reads_marker(9, "marker"))
    // Processes
    ATTEMPT("setns to process 1's mount namespace", joins("/proc/1/ns/mnt"))
    ATTEMPT("setns to process 1's user namespace", joins("/proc/1/ns/user"))
    ATTEMPT("open /proc/1/root", through(1))
    ATTEMPT("open /proc/1/mem", opens(of(1, "mem"), O_RDWR))
    ATTEMPT("setns to a process of the user", joins(of(target.process, "ns/mnt")))
    ATTEMPT("open /proc/PID/root of the user's process", through(target.process))
    ATTEMPT("open /proc/PID/mem of the user's process", opens(of(target.process, "mem"), O_RDWR))
    ATTEMPT("read /proc/PID/environ of the user's process", opens(of(target.process, "environ"), O_RDONLY))
    ATTEMPT("ptrace the user's process", traces(target.process))
    ATTEMPT("ptrace the process that started the container", traces(target.launcher))
    ATTEMPT("process_vm_readv of the user's process", reads_memory(target.process))
    ATTEMPT("pidfd_getfd of the user's process", takes_descriptor(target.process))
    ATTEMPT("become the user, and ptrace", becomes_user() ? traces(target.process) : -1)
    ATTEMPT("become the user, and open /proc/PID/root", becomes_user() ? through(target.process) : -1)
    ATTEMPT("signal the user's process", kill(target.process, 0))
    ATTEMPT("signal process 1", kill(1, 0))
    ATTEMPT("connect to an abstract socket of the host", connects())
    // Namespaces of its own
    ATTEMPT("map another user in a new user namespace", maps_others())
    ATTEMPT("in new namespaces: make a node of the disk", nests() ? makes_disk() : -1)
    ATTEMPT("in new namespaces: mount devtmpfs", nests() ? mount("devtmpfs", "/tmp", "devtmpfs", 0, NULL) : -1)
    ATTEMPT("in new namespaces: mount a cgroup hierarchy",
        nests() ? mount("cgroup", "/tmp", "cgroup", 0, "none,name=berth-attempts") : -1)
    ATTEMPT("in new namespaces: chroot, and climb out of it", nests() ? leaves_root() : -1)
    ATTEMPT("in new namespaces: open /proc/1/root", nests() ? through(1) : -1)
    ATTEMPT("in new namespaces: ptrace the user's process", nests() ? traces(target.process) : -1)
    // Settings of the node
    ATTEMPT("write /proc/sys/kernel/core_pattern", opens("/proc/sys/kernel/core_pattern", O_WRONLY))
    ATTEMPT("write /proc/sys/kernel/modprobe", opens("/proc/sys/kernel/modprobe", O_WRONLY))
    ATTEMPT("write /proc/sys/vm/drop_caches", opens("/proc/sys/vm/drop_caches", O_WRONLY))
    ATTEMPT("write /proc/sysrq-trigger", opens("/proc/sysrq-trigger", O_WRONLY))
    ATTEMPT("write /proc/scsi/scsi", opens("/proc/scsi/scsi", O_WRONLY))
    ATTEMPT("read /proc/kcore", opens("/proc/kcore", O_RDONLY))
    ATTEMPT("write /sys/kernel/uevent_helper", opens("/sys/kernel/uevent_helper", O_WRONLY))
    ATTEMPT("write a cgroup's release_agent", opens_any("/sys/fs/cgroup/*/release_agent"))
    ATTEMPT("leave the cgroup", opens_any("/sys/fs/cgroup/*/cgroup.procs"))
    ATTEMPT("load a module", syscall(SYS_init_module, NULL, 0, ""))
    ATTEMPT("reboot", reboot(0))
    ATTEMPT("swapon", swapon("/berth-none", 0))
    // Interfaces of the kernel
    ATTEMPT("read the session's keyring", session())
    ATTEMPT("load a BPF program", program())
    ATTEMPT("userfaultfd for faults of the kernel", syscall(SYS_userfaultfd, 0))
    ATTEMPT("io_uring", syscall(SYS_io_uring_setup, 1, (char[256]){0}))
    ATTEMPT("type into the terminal (TIOCSTI)", types())
    ATTEMPT("open a packet socket", socket(AF_PACKET, SOCK_RAW, 0))
    ATTEMPT("open a raw socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
    return 0;
}
