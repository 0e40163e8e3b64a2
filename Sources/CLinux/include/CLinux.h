// System calls and constants that Swift's Glibc module lacks: they depend on feature macros, are variadic, or are too new.
// `static inline`, one line each, no logic.
#ifndef BERTH_CLINUX_H
#define BERTH_CLINUX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "Init.h"

// Kernel numbers that Debian 12's headers may not have.
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static inline int berth_errno(void) { return errno; }
static inline void berth_set_errno(int code) { errno = code; }
static inline int berth_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }
static inline int berth_openat(int dir, const char *path, int flags, mode_t mode) { return openat(dir, path, flags, mode); }
static inline int berth_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}
static inline int berth_unshare(int flags) { return unshare(flags); }
static inline int berth_setns(int fd, int type) { return setns(fd, type); }
static inline int berth_pivot_root(const char *new_root, const char *put_old) { return (int)syscall(SYS_pivot_root, new_root, put_old); }
static inline int berth_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data) { return mount(source, target, type, flags, data); }
static inline int berth_umount2(const char *target, int flags) { return umount2(target, flags); }
static inline int berth_mount_setattr(int dir, const char *path, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation) {
    struct { uint64_t attr_set, attr_clr, propagation, userns_fd; } attributes = {set, clear, propagation, 0};
    return (int)syscall(SYS_mount_setattr, dir, path, flags, &attributes, sizeof attributes);
}
static inline int berth_open_tree(int dir, const char *path, unsigned flags) { return (int)syscall(SYS_open_tree, dir, path, flags); }
static inline int berth_move_mount(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) { return (int)syscall(SYS_move_mount, from_dir, from, to_dir, to, flags); }
static inline int berth_close_range(unsigned first, unsigned last, unsigned flags) { return (int)syscall(SYS_close_range, first, last, flags); }
static inline int berth_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) { return prctl(option, a, b, c, d); }
/* seccomp(2), SECCOMP_SET_MODE_FILTER: instructions are an array of struct sock_filter. */
static inline int berth_load_filter(unsigned flags, const void *instructions, size_t bytes) {
    struct sock_fprog program = {(unsigned short)(bytes / sizeof(struct sock_filter)), (struct sock_filter *)(uintptr_t)instructions};
    return (int)syscall(SYS_seccomp, 1, flags, &program);
}
static inline int berth_fcntl(int fd, int command, long argument) { return fcntl(fd, command, argument); }
/* Locks the whole file for the open file description. Returns 0, or -1 with errno. */
static inline int berth_lock(int fd, int exclusive, int wait) {
    struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
}
/* Whether an exclusive lock could be acquired: 1 or 0, or -1 with errno. */
static inline int berth_is_unlocked(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return -1;
    return lock.l_type == F_UNLCK;
}
/* Sets the lowest best-effort I/O priority for this thread: ioprio_set(2). */
static inline void berth_lower_io_priority(void) { syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, (2 << 13 /* IOPRIO_CLASS_BE */) | 7); }
/* FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, whose header conflicts with <sys/mount.h>. */
static inline int berth_get_inode_flags(int fd, int *flags) { return ioctl(fd, _IOR('f', 1, long), flags); }
static inline int berth_set_inode_flags(int fd, const int *flags) { return ioctl(fd, _IOW('f', 2, long), flags); }
/* Ignores a signal or restores its default action. Returns whether it was ignored. */
static inline int berth_set_signal(int number, int ignore) {
    struct sigaction old, new = {.sa_handler = ignore ? SIG_IGN : SIG_DFL};
    return sigaction(number, &new, &old) == 0 && old.sa_handler == SIG_IGN;
}
/* The caller's limit if it was too small to start with and was raised. Returns 1 then, otherwise 0. */
int berth_caller_limit(int resource, uint64_t *soft, uint64_t *hard);
static inline int berth_ioctl(int fd, unsigned long request, void *argument) { return ioctl(fd, request, argument); }
static inline int berth_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) { return renameat2(from_dir, from, to_dir, to, flags); }
static inline int berth_mknodat(int dir, const char *path, mode_t mode, unsigned major_number, unsigned minor_number) { return mknodat(dir, path, mode, makedev(major_number, minor_number)); }
/* Whether the path is a mount point: 1 or 0, or -1 with errno; always 0 before Linux 5.8. */
static inline int berth_is_mount_root(int dir, const char *path) {
    struct statx found;
    if (statx(dir, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &found) != 0) return -1;
    return (found.stx_attributes & 0x2000 /* STATX_ATTR_MOUNT_ROOT */) != 0;
}
static inline unsigned berth_major(uint64_t device) { return gnu_dev_major(device); }
static inline unsigned berth_minor(uint64_t device) { return gnu_dev_minor(device); }
static inline int berth_loopback_up(void) {
    struct ifreq request = {.ifr_name = "lo"}; int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); if (fd < 0) return -1;
    int result = ioctl(fd, SIOCGIFFLAGS, &request); request.ifr_flags |= IFF_UP;
    if (result == 0) result = ioctl(fd, SIOCSIFFLAGS, &request); close(fd); return result;
}
static inline int berth_memfd(const char *name) { return memfd_create(name, MFD_CLOEXEC); }
static inline int berth_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
static inline int berth_pidfd_getfd(int process, int number) { return (int)syscall(SYS_pidfd_getfd, process, number, 0); }
static inline uint64_t berth_process_random(void) {
    const void *bytes = (const void *)getauxval(AT_RANDOM);
    uint64_t number = 0;
    if (bytes) memcpy(&number, bytes, sizeof number);
    return number;
}
/* Creates a file in memory that can be sealed and executed. MFD_EXEC needs Linux 6.3. */
static inline int berth_memfd_program(const char *name) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | 0x10 /* MFD_EXEC */);
    return fd >= 0 || errno != EINVAL ? fd : memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}
static inline int berth_seal(int fd) { return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL); }
static inline int berth_is_sealed(int fd) { int seals = fcntl(fd, F_GET_SEALS); return seals >= 0 && (seals & F_SEAL_WRITE) != 0; }
/* Whether a descriptor is a SOCK_SEQPACKET of unix(7) whose other end is closed. */
static inline int berth_is_bundle(int fd) {
    int type = 0, domain = 0; socklen_t size = sizeof type;
    struct pollfd end = {.fd = fd};
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0
        && type == SOCK_SEQPACKET && domain == AF_UNIX && poll(&end, 1, 0) == 1 && (end.revents & POLLHUP) != 0;
}
static inline int berth_pipe2(int *ends, int flags) { return pipe2(ends, flags); }
static inline int berth_getrlimit(int resource, uint64_t *soft, uint64_t *hard) {
    struct rlimit limit; int result = getrlimit((__rlimit_resource_t)resource, &limit);
    if (result == 0) { *soft = limit.rlim_cur; *hard = limit.rlim_max; } return result;
}
static inline int berth_setrlimit(int resource, uint64_t soft, uint64_t hard) {
    struct rlimit limit = {soft, hard}; return setrlimit((__rlimit_resource_t)resource, &limit);
}
static inline int berth_prlimit(int process, int resource, uint64_t soft, uint64_t hard) {
    struct rlimit limit = {soft, hard}; return prlimit(process, (__rlimit_resource_t)resource, &limit, NULL);
}
// bpf(2): BPF_PROG_LOAD of BPF_PROG_TYPE_CGROUP_DEVICE, and BPF_PROG_ATTACH as BPF_CGROUP_DEVICE.
static inline int berth_bpf_load_device_program(const uint64_t *instructions, uint32_t count) {
    struct { uint32_t prog_type, insn_cnt; uint64_t insns, license; uint32_t log_level, log_size; uint64_t log_buf;
        uint32_t kern_version, prog_flags; char prog_name[16]; } attributes = {15, count, (uintptr_t)instructions,
        (uintptr_t)"", 0, 0, 0, 0, 0, "berth"};
    return (int)syscall(SYS_bpf, 5, &attributes, sizeof attributes);
}
static inline int berth_bpf_attach_device_program(int cgroup, int program, uint32_t flags) {
    struct { uint32_t target_fd, attach_bpf_fd, attach_type, attach_flags; } attributes = {(uint32_t)cgroup, (uint32_t)program, 6, flags};
    return (int)syscall(SYS_bpf, 8, &attributes, sizeof attributes);
}
static inline int berth_wifexited(int status) { return WIFEXITED(status); }
static inline int berth_wexitstatus(int status) { return WEXITSTATUS(status); }
static inline int berth_wtermsig(int status) { return WTERMSIG(status); }
static inline ssize_t berth_getrandom(void *buffer, size_t size) { return syscall(SYS_getrandom, buffer, size, 0); }
static inline char **berth_environ(void) { return environ; }
char **berth_argv(void);

// unix(7) sockets, by path or as a pair. A path that does not fit into an address fails with ENAMETOOLONG.
static inline int berth_seqpacket(int waits) { return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | (waits ? 0 : SOCK_NONBLOCK), 0); }
static inline int berth_seqpacket_pair(int *ends) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends); }
static inline int berth_local_address(struct sockaddr_un *address, const char *path) {
    memset(address, 0, sizeof *address); address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) { errno = ENAMETOOLONG; return -1; }
    strcpy(address->sun_path, path); return 0;
}
static inline int berth_bind_path(int fd, const char *path) {
    struct sockaddr_un address; if (berth_local_address(&address, path) != 0) return -1;
    return bind(fd, (struct sockaddr *)&address, sizeof address);
}
static inline int berth_connect_path(int fd, const char *path) {
    struct sockaddr_un address; if (berth_local_address(&address, path) != 0) return -1;
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}
static inline int berth_accept(int fd) { return accept4(fd, NULL, NULL, SOCK_CLOEXEC); }
static inline int berth_peer(int fd, int *pid, unsigned *uid) {
    struct ucred peer; socklen_t size = sizeof peer; int result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    if (result == 0) { *pid = peer.pid; *uid = peer.uid; } return result;
}
// SCM_RIGHTS of unix(7): Swift cannot import the macros for control messages.
enum { BERTH_MAX_DESCRIPTORS = 12 };
static inline ssize_t berth_send(int fd, const void *bytes, size_t size, const int *descriptors, size_t count, int waits) {
    union { char bytes[CMSG_SPACE(sizeof(int) * BERTH_MAX_DESCRIPTORS)]; struct cmsghdr aligned; } control;
    struct iovec part = {(void *)bytes, size}; struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        memset(&control, 0, sizeof control); message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count); struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET; header->cmsg_type = SCM_RIGHTS; header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * count);
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT));
}
static inline ssize_t berth_receive(int fd, void *bytes, size_t size, int *descriptors, size_t *count) {
    union { char bytes[CMSG_SPACE(sizeof(int) * BERTH_MAX_DESCRIPTORS)]; struct cmsghdr aligned; } control;
    struct iovec part = {bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control};
    ssize_t received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC); *count = 0; if (received < 0) return received;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            *count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); memcpy(descriptors, CMSG_DATA(header), *count * sizeof(int));
        }
    return received;
}
static inline int berth_mmap_threshold(int bytes) { return mallopt(M_MMAP_THRESHOLD, bytes); }
static inline int berth_trim_threshold(int bytes) { return mallopt(M_TRIM_THRESHOLD, bytes); }
static inline int berth_processor_count(void) { cpu_set_t set; return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1; }
static inline int berth_isatty(int fd) { return isatty(fd); }

// The commit that this program was built from; empty if unknown.
const char *berth_commit(void);

// MS_* are macros of several unsigned types; these constants have one type.
static const unsigned long BERTH_MS_RDONLY = MS_RDONLY, BERTH_MS_NOSUID = MS_NOSUID, BERTH_MS_NODEV = MS_NODEV,
    BERTH_MS_NOEXEC = MS_NOEXEC, BERTH_MS_REMOUNT = MS_REMOUNT, BERTH_MS_BIND = MS_BIND, BERTH_MS_MOVE = MS_MOVE,
    BERTH_MS_REC = MS_REC, BERTH_MS_PRIVATE = MS_PRIVATE, BERTH_MS_SLAVE = MS_SLAVE, BERTH_MS_SHARED = MS_SHARED,
    BERTH_MS_UNBINDABLE = MS_UNBINDABLE, BERTH_MS_NOATIME = MS_NOATIME, BERTH_MS_NODIRATIME = MS_NODIRATIME,
    BERTH_MS_RELATIME = MS_RELATIME, BERTH_MS_STRICTATIME = MS_STRICTATIME;
static const uint64_t BERTH_RESOLVE_IN_ROOT = 0x10, BERTH_RESOLVE_BENEATH = 0x08, BERTH_RESOLVE_NO_SYMLINKS = 0x04,
    BERTH_RESOLVE_NO_MAGICLINKS = 0x02, BERTH_RESOLVE_NO_XDEV = 0x01;
static const uint64_t BERTH_MOUNT_ATTR_RDONLY = 1, BERTH_MOUNT_ATTR_NOSUID = 2, BERTH_MOUNT_ATTR_NODEV = 4, BERTH_MOUNT_ATTR_NOEXEC = 8;
static const unsigned BERTH_S_IFMT = S_IFMT, BERTH_S_IFREG = S_IFREG, BERTH_S_IFDIR = S_IFDIR, BERTH_S_IFLNK = S_IFLNK,
    BERTH_S_IFIFO = S_IFIFO, BERTH_S_IFSOCK = S_IFSOCK, BERTH_S_IFCHR = S_IFCHR, BERTH_S_IFBLK = S_IFBLK;
static const int BERTH_O_PATH = O_PATH, BERTH_O_TMPFILE = O_TMPFILE, BERTH_O_NOATIME = O_NOATIME, BERTH_AT_EMPTY_PATH = AT_EMPTY_PATH, BERTH_AT_RECURSIVE = 0x8000;
static const unsigned BERTH_RENAME_NOREPLACE = 1, BERTH_RENAME_EXCHANGE = 2;
static const int BERTH_CLONE_NEWUSER = CLONE_NEWUSER, BERTH_CLONE_NEWNS = CLONE_NEWNS, BERTH_CLONE_NEWUTS = CLONE_NEWUTS,
    BERTH_CLONE_NEWIPC = CLONE_NEWIPC, BERTH_CLONE_NEWNET = CLONE_NEWNET, BERTH_CLONE_NEWPID = CLONE_NEWPID,
    BERTH_CLONE_NEWCGROUP = CLONE_NEWCGROUP;

#endif
