// The only program in the root file systems of the kernel tests: it says what it sees, a line for each thing asked.
//
//     probe COMMAND [ARGUMENT…] [-- COMMAND [ARGUMENT…]]…
//
// What fails is told on standard output by the errno's name and is no failure of the probe: the tests compare lines.
// Static, so that a root file system needs nothing else.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

// Names in hostile images hold anything; a line stays a line, and bytes that are no UTF-8 can be told apart.
static void put(const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c >= 0x7f || *c == '\\') printf("\\x%02x", *c);
        else putchar(*c);
    }
}

// "SUBJECT: ok", or the errno's name; true where it went well.
static int told(const char *subject, int went_well) {
    int code = errno;
    put(subject);
    printf(": %s\n", went_well ? "ok" : strerrorname_np(code));
    return went_well;
}

static void copy(int from) {
    char buffer[65536];
    ssize_t count;
    fflush(stdout);
    while ((count = read(from, buffer, sizeof buffer)) > 0) {
        for (ssize_t done = 0; done < count;) {
            ssize_t step = write(1, buffer + done, (size_t)(count - done));
            if (step < 0) exit(99);
            done += step;
        }
    }
}

static void cat(int n, char **a) {
    for (int i = 0; i < n; i++) {
        int file = open(a[i], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (file < 0) { told(a[i], 0); continue; }
        copy(file);
        close(file);
    }
}

static void read_input(int n, char **a) { (void)n; (void)a; copy(0); }

static const char *kind(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFCHR: return "character";
    case S_IFBLK: return "block";
    default: return "unknown";
    }
}

// "PATH: KIND MODE UID:GID [MAJOR:MINOR | -> TARGET]", never through a link.
static void stat_paths(int n, char **a) {
    for (int i = 0; i < n; i++) {
        struct stat s;
        if (lstat(a[i], &s)) { told(a[i], 0); continue; }
        put(a[i]);
        printf(": %s %04o %u:%u", kind(s.st_mode), s.st_mode & 07777, s.st_uid, s.st_gid);
        if (S_ISCHR(s.st_mode) || S_ISBLK(s.st_mode)) printf(" %u:%u", major(s.st_rdev), minor(s.st_rdev));
        if (S_ISLNK(s.st_mode)) {
            char target[4096];
            ssize_t length = readlink(a[i], target, sizeof target - 1);
            target[length < 0 ? 0 : length] = 0;
            printf(" -> ");
            put(target);
        }
        putchar('\n');
    }
}

// "PATH: DEVICE INODE", by which a test knows a file of the host again.
static void identity(int n, char **a) {
    for (int i = 0; i < n; i++) {
        struct stat s;
        if (stat(a[i], &s)) { told(a[i], 0); continue; }
        put(a[i]);
        printf(": %llu %llu\n", (unsigned long long)s.st_dev, (unsigned long long)s.st_ino);
    }
}

static int by_name(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

static void list(int n, char **a) {
    for (int i = 0; i < n; i++) {
        DIR *directory = opendir(a[i]);
        if (!directory) { told(a[i], 0); continue; }
        char *names[4096];
        size_t count = 0;
        struct dirent *entry;
        while ((entry = readdir(directory)) && count < 4096)
            if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) names[count++] = strdup(entry->d_name);
        closedir(directory);
        qsort(names, count, sizeof *names, by_name);
        put(a[i]);
        putchar(':');
        for (size_t k = 0; k < count; k++) { putchar(' '); put(names[k]); }
        putchar('\n');
    }
}

static void id(int n, char **a) {
    (void)n; (void)a;
    uid_t u[3];
    gid_t g[3], groups[256];
    getresuid(&u[0], &u[1], &u[2]);
    getresgid(&g[0], &g[1], &g[2]);
    int count = getgroups(256, groups);
    printf("uid=%u,%u,%u gid=%u,%u,%u groups=", u[0], u[1], u[2], g[0], g[1], g[2]);
    for (int i = 0; i < count; i++) printf("%s%u", i ? "," : "", groups[i]);
    putchar('\n');
}

// "POINT TYPE OPTIONS", in the kernel's order; of one mount point where one is named.
static void mounts(int n, char **a) {
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (!file) { told("/proc/self/mountinfo", 0); return; }
    char line[8192], point[4096], options[1024], type[256];
    while (fgets(line, sizeof line, file)) {
        char *dash = strstr(line, " - ");
        if (!dash || sscanf(line, "%*s %*s %*s %*s %4095s %1023s", point, options) != 2) continue;
        if (sscanf(dash + 3, "%255s", type) != 1) continue;
        if (n && strcmp(point, a[0])) continue;
        printf("%s %s %s\n", point, type, options);
    }
    fclose(file);
}

static void env(int n, char **a) {
    if (!n) for (char **e = environ; *e; e++) { put(*e); putchar('\n'); }
    for (int i = 0; i < n; i++) {
        const char *value = getenv(a[i]);
        printf("%s", a[i]);
        if (value) { putchar('='); put(value); } else printf(" unset");
        putchar('\n');
    }
}

static void arguments(int n, char **a) {
    for (int i = 0; i < n; i++) { putchar('['); put(a[i]); printf("]%s", i + 1 < n ? " " : ""); }
    putchar('\n');
}

static void try_open(int n, char **a) {
    for (int i = 0; i < n; i++) {
        int file = open(a[i], O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (file < 0 && (errno == EISDIR)) file = open(a[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        told(a[i], file >= 0);
        if (file >= 0) close(file);
    }
}

static void write_file(int n, char **a) {
    int file = open(a[0], O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0644);
    const char *text = n > 1 ? a[1] : "";
    told(a[0], file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    if (file >= 0) close(file);
}

static void make_directory(int n, char **a) { (void)n; told(a[0], !mkdir(a[0], 0755)); }
static void remove_entry(int n, char **a) { (void)n; told(a[0], !remove(a[0])); }
static void change_mode(int n, char **a) { (void)n; told(a[1], !chmod(a[1], (mode_t)strtol(a[0], NULL, 8))); }
static void change_owner(int n, char **a) {
    unsigned user = 0, group = 0;
    (void)n;
    sscanf(a[0], "%u:%u", &user, &group);
    told(a[1], !lchown(a[1], user, group));
}
static void make_node(int n, char **a) {
    (void)n;
    told(a[0], !mknod(a[0], S_IFCHR | 0666, makedev((unsigned)atoi(a[1]), (unsigned)atoi(a[2]))));
}
static void make_fifo(int n, char **a) { (void)n; told(a[0], !mkfifo(a[0], 0644)); }
// A system call by number: the arguments are numbers, and 0 where none is given.
static void call(int n, char **a) {
    long argument[6] = {0};
    for (int i = 1; i < n && i < 7; i++) argument[i - 1] = strtol(a[i], NULL, 0);
    told(a[0], syscall(atol(a[0]), argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]) >= 0);
}
static void change_directory(int n, char **a) { (void)n; if (chdir(a[0])) told(a[0], 0); }

static void working_directory(int n, char **a) {
    char path[4096];
    (void)n; (void)a;
    put(getcwd(path, sizeof path) ? path : strerrorname_np(errno));
    putchar('\n');
}

static void limits(int n, char **a) {
    static const struct { const char *name; int number; } all[] = {
        {"as", RLIMIT_AS}, {"core", RLIMIT_CORE}, {"cpu", RLIMIT_CPU}, {"data", RLIMIT_DATA},
        {"fsize", RLIMIT_FSIZE}, {"locks", RLIMIT_LOCKS}, {"memlock", RLIMIT_MEMLOCK},
        {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE}, {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC},
        {"rss", RLIMIT_RSS}, {"rtprio", RLIMIT_RTPRIO}, {"rttime", RLIMIT_RTTIME},
        {"sigpending", RLIMIT_SIGPENDING}, {"stack", RLIMIT_STACK}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (n && strcmp(a[0], all[i].name)) continue;
        struct rlimit l;
        getrlimit(all[i].number, &l);
        printf("%s", all[i].name);
        rlim_t values[2] = {l.rlim_cur, l.rlim_max};
        for (int k = 0; k < 2; k++) {
            putchar(k ? ':' : ' ');
            if (values[k] == RLIM_INFINITY) printf("unlimited"); else printf("%llu", (unsigned long long)values[k]);
        }
        putchar('\n');
    }
}

// The capability sets, no_new_privs and seccomp lines of /proc/self/status, as they stand there.
static void capabilities(int n, char **a) {
    FILE *file = fopen("/proc/self/status", "re");
    char line[1024];
    (void)n; (void)a;
    if (!file) { told("/proc/self/status", 0); return; }
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, "Cap", 3) || !strncmp(line, "NoNewPrivs", 10) || !strncmp(line, "Threads", 7)) {
            char *tab = strchr(line, '\t');
            if (tab) *tab = ' ';
            fputs(line, stdout);
        }
    fclose(file);
}

// "NUMBER TARGET FLAGS" of every descriptor this process was given, but of the three standard streams.
static void descriptors(int n, char **a) {
    (void)n; (void)a;
    for (int fd = 3; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        char path[64], target[4096];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        printf("%d ", fd);
        put(target);
        putchar('\n');
    }
}

static void namespaces(int n, char **a) {
    static const char *all[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
    (void)n; (void)a;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char path[64], target[256];
        snprintf(path, sizeof path, "/proc/self/ns/%s", all[i]);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        printf("%s\n", target);
    }
}

static void file_system(int n, char **a) {
    for (int i = 0; i < n; i++) {
        struct statfs s;
        if (statfs(a[i], &s)) { told(a[i], 0); continue; }
        put(a[i]);
        printf(": type=%lx bytes=%llu\n", (long)s.f_type, (unsigned long long)s.f_blocks * (unsigned long long)s.f_bsize);
    }
}

static void host(int n, char **a) {
    struct utsname u;
    (void)n; (void)a;
    uname(&u);
    put(u.nodename);
    putchar('\n');
}

static void process(int n, char **a) { (void)n; (void)a; printf("%d\n", getpid()); }
static void mask(int n, char **a) { (void)n; (void)a; mode_t m = umask(0); umask(m); printf("%04o\n", m); }
static void to_error(int n, char **a) { (void)n; fprintf(stderr, "%s\n", a[0]); }
static void leave(int n, char **a) { fflush(stdout); _exit(n ? atoi(a[0]) : 0); }
static void kill_self(int n, char **a) { (void)n; fflush(stdout); kill(getpid(), atoi(a[0])); pause(); }

static void sleep_for(int n, char **a) {
    double seconds = n ? atof(a[0]) : 1;
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    fflush(stdout);
    while (nanosleep(&t, &t) && errno == EINTR) {}
}

// Tells by a file that it stands, then waits until another is there: how a test holds several at one place.
static void meet(int n, char **a) {
    int file = open(a[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    (void)n;
    if (file >= 0) close(file); else told(a[0], 0);
    fflush(stdout);
    for (int i = 0; i < 6000 && access(a[1], F_OK); i++) usleep(10000);
    if (access(a[1], F_OK)) told(a[1], 0);
}

static volatile sig_atomic_t caught;
static void on_signal(int number) { caught = number; }

// "ready", then the number of the first signal that comes.
static void await_signal(int n, char **a) {
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked, before;
    sigemptyset(&blocked);
    for (int i = 0; i < n; i++) { sigaction(atoi(a[i]), &action, NULL); sigaddset(&blocked, atoi(a[i])); }
    sigprocmask(SIG_BLOCK, &blocked, &before);
    printf("ready\n");
    fflush(stdout);
    while (!caught) sigsuspend(&before);
    printf("signal %d\n", caught);
}

// "SIGNAL ignored" or "SIGNAL blocked": what execve handed on.
static void dispositions(int n, char **a) {
    sigset_t blocked;
    (void)n; (void)a;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action)) continue;
        if (action.sa_handler == SIG_IGN) printf("%d ignored\n", number);
        if (sigismember(&blocked, number) == 1) printf("%d blocked\n", number);
    }
}

static void terminal(int n, char **a) {
    (void)n; (void)a;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (!told("/dev/ptmx", master >= 0)) return;
    told("unlockpt", !unlockpt(master));
    char *name = ptsname(master);
    if (!told("ptsname", name != NULL)) return;
    int slave = open(name, O_RDWR | O_NOCTTY);
    if (!told("slave", slave >= 0)) return;
    char byte = 0;
    told("line", write(slave, "x\n", 2) == 2 && read(master, &byte, 1) == 1 && byte == 'x');
    printf("ttyname: %s\n", ttyname(slave) ? ttyname(slave) : strerrorname_np(errno));
}

static void become(int n, char **a) {
    (void)n;
    fflush(stdout);
    execv(a[0], a);
    told(a[0], 0);
}

static void seteuid_to(int n, char **a) { (void)n; told("setuid", !setuid((uid_t)atoi(a[0]))); }
static void do_mount(int n, char **a) { (void)n; told(a[1], !mount(a[0], a[1], a[0], 0, NULL)); }
static void do_unmount(int n, char **a) { (void)n; told(a[0], !umount2(a[0], MNT_DETACH)); }
static void make_writable(int n, char **a) { (void)n; told(a[0], !mount(NULL, a[0], NULL, MS_REMOUNT | MS_BIND, NULL)); }
static void do_unshare(int n, char **a) { (void)n; (void)a; told("unshare user", !unshare(CLONE_NEWUSER)); }

// Listens at abstract socket names and answers nobody: what another user could do to a step's meeting place.
static void squat(int n, char **a) {
    for (int i = 0; i < n; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(a[i]);
        int raw = socket(AF_UNIX, SOCK_SEQPACKET, 0);
        memcpy(address.sun_path + 1, a[i], length);
        told(a[i], raw >= 0 && !bind(raw, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) && !listen(raw, 64));
    }
    printf("ready\n");
    fflush(stdout);
    pause();
}

// A device program on a cgroup of version 2, as Slurm attaches its own: all but one character device, with these flags.
static void attach_program(int n, char **a) {
    (void)n;
    uint32_t major_number = (uint32_t)atoi(a[2]), minor_number = (uint32_t)atoi(a[3]);
    uint64_t code[] = {0x1461 | 4ULL << 16, 0x1561 | 8ULL << 16, 0x0455 | 3ULL << 16 | (uint64_t)major_number << 32,
        0x0555 | 2ULL << 16 | (uint64_t)minor_number << 32, 0x00b7, 0x95, 0x00b7 | 1ULL << 32, 0x95};
    struct { uint32_t type, count; uint64_t code, license; uint64_t rest[6]; } load = {15, 8, (uintptr_t)code, (uintptr_t)"", {0}};
    int program = (int)syscall(SYS_bpf, 5, &load, sizeof load), group = open(a[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct { uint32_t group, program, type, flags; } attach = {(uint32_t)group, (uint32_t)program, 6, (uint32_t)atoi(a[1])};
    told("device program", program >= 0 && group >= 0 && syscall(SYS_bpf, 8, &attach, sizeof attach) == 0);
}

static int reaches(int from, const char *path, const char *how) {
    int file = openat(from, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) return 0;
    char first[16] = {0};
    int is_it = read(file, first, 15) > 0 && !strncmp(first, "outside", 7);
    close(file);
    if (is_it) printf("escaped by %s\n", how);
    return is_it;
}

// Looks for a file of the host that begins with "outside" by every way out that a runtime has left open before.
static void escape(int n, char **a) {
    const char *marker = a[0];
    char path[8192];
    int out = 0;
    (void)n;
    out += reaches(AT_FDCWD, marker, "its own path");
    char up[4096] = "";
    for (int i = 0; i < 40; i++) strcat(up, "../");
    snprintf(path, sizeof path, "%s%s", up, marker + 1);
    out += reaches(AT_FDCWD, path, "the working directory");
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) < 0) continue;
        out += reaches(fd, path, "an inherited descriptor");
        snprintf(up, sizeof up, "/proc/self/fd/%d/", fd);
        strncat(up, path, sizeof up - strlen(up) - 1);
        out += reaches(AT_FDCWD, up, "/proc/self/fd");
    }
    int processes[] = {1, getppid()};
    for (size_t i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            char through[4200];
            snprintf(through, sizeof through, "/proc/%d/%s/%s%s", processes[i], k ? "cwd" : "root", k ? "../../../../../.." : "", marker);
            out += reaches(AT_FDCWD, through, k ? "a process's cwd" : "a process's root");
        }
    fflush(stdout);
    // chroot(2)'s old trick, in a child so that what follows still stands at the root.
    if (!fork()) {
        mkdir("/tmp/.escape", 0755);
        int root = open("/", O_RDONLY | O_DIRECTORY);
        if (!chroot("/tmp/.escape") && root >= 0 && !fchdir(root)) {
            for (int i = 0; i < 40; i++) if (chdir("..")) break;
            if (!chroot(".")) out = reaches(AT_FDCWD, marker, "chroot"); else out = 0;
        } else out = 0;
        fflush(stdout);
        _exit(out);
    }
    int status = 0;
    wait(&status);
    rmdir("/tmp/.escape");
    out += WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    if (!out) printf("no way out\n");
}

static const struct { const char *name; int least; void (*body)(int, char **); } commands[] = {
    {"error", 1, to_error}, {"args", 0, arguments}, {"caps", 0, capabilities}, {"cat", 1, cat}, {"bpf", 4, attach_program},
    {"call", 1, call}, {"mkfifo", 1, make_fifo},
    {"cd", 1, change_directory}, {"chmod", 2, change_mode}, {"chown", 2, change_owner}, {"cwd", 0, working_directory},
    {"dispositions", 0, dispositions}, {"env", 0, env}, {"escape", 1, escape}, {"exec", 1, become}, {"exit", 0, leave},
    {"fds", 0, descriptors}, {"hostname", 0, host}, {"id", 0, id}, {"identity", 1, identity}, {"input", 0, read_input},
    {"kill", 1, kill_self}, {"limits", 0, limits}, {"ls", 1, list}, {"meet", 2, meet}, {"mkdir", 1, make_directory},
    {"mknod", 3, make_node}, {"mount", 2, do_mount}, {"mounts", 0, mounts}, {"ns", 0, namespaces},
    {"open", 1, try_open}, {"pid", 0, process}, {"remount-rw", 1, make_writable}, {"rm", 1, remove_entry},
    {"setuid", 1, seteuid_to}, {"signal", 1, await_signal}, {"sleep", 0, sleep_for}, {"stat", 1, stat_paths},
    {"squat", 1, squat}, {"statfs", 1, file_system}, {"terminal", 0, terminal}, {"umask", 0, mask}, {"umount", 1, do_unmount},
    {"unshare", 0, do_unshare}, {"write", 1, write_file},
};

int main(int argc, char **argv) {
    int start = 1;
    while (start < argc) {
        int end = start;
        // `args` and `exec` take all that is left, separators included.
        int greedy = !strcmp(argv[start], "args") || !strcmp(argv[start], "exec");
        while (end < argc && (greedy || (strcmp(argv[end], "--") && strcmp(argv[end], ";")))) end++;
        size_t which = 0, count = sizeof commands / sizeof *commands;
        while (which < count && strcmp(commands[which].name, argv[start])) which++;
        if (which == count || end - start - 1 < commands[which].least) {
            fprintf(stderr, "probe: bad command %s\n", argv[start]);
            return 98;
        }
        char *kept = argv[end];
        argv[end] = NULL;
        commands[which].body(end - start - 1, argv + start + 1);
        argv[end] = kept;
        start = end + 1;
    }
    return fflush(stdout) ? 97 : 0;
}
