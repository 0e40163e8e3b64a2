"""A Slurm cluster and a registry for the tests: Scripts/slurm-lab and Scripts/registry, in a directory of their own."""

import contextlib
import functools
import os
import pathlib
import pwd
import re
import shlex
import shutil
import subprocess
import termios
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
LAB = pathlib.Path(os.environ.get("BERTH_LAB", "/tmp/berth-slurm-tests"))
REGISTRY = "10.77.0.254:5000"
NODES = [f"node{number + 1}" for number in range(int(os.environ.get("BERTH_LAB_NODES", 2)))]
STORE = "/var/tmp/berth-store"  # on each node's own disk
USER = "alice"
ROOT = os.environ.get("BERTH_LAB_ROOT")  # of the hosts, with its own Slurm: Scripts/slurm-lab
HEADERS = pathlib.Path(ROOT or "/", "usr/include")
PLUGIN = "/srv/berth/lib/slurm/spank_berth.so"


def script(name, *arguments, environment=None):
    """Runs one of Scripts/ or Images/ and returns what it printed; its failure is ours."""
    done = subprocess.run(
        [TOP / name, *map(str, arguments)], env={**os.environ, "BERTH_LAB": str(LAB), **(environment or {})},
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{name} {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


settings = {}  # of the lab, which reads them at each start


def start_hosts():
    """Those that do not run."""
    script("Scripts/slurm-lab", "start", len(NODES), environment=settings)


def start(*options, environment=None):
    """A cluster with the plugin, which gets these options in plugstack.conf."""
    stop()
    # First, as slurmd loads the plugin when it starts.
    script("Scripts/install", LAB / "shared/berth")
    if ROOT:
        script("Scripts/build", "--plugin", HEADERS, LAB / "shared/berth/lib/slurm/spank_berth.so")
    # On a busy machine the first pull may take a minute: what hangs is ended by the tests' own time-outs.
    plugin = " ".join((PLUGIN, "start_timeout=600", *options))
    settings.clear()
    settings.update({"BERTH_LAB_PLUGIN": plugin, **(environment or {})})
    start_hosts()
    script("Scripts/registry", "start", "--host", "ctl", LAB / "registry")


def replace(path, text):
    """Writes a file of configuration so that no daemon can read half of it."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)


class PluginOptions:
    """Further options of the plugin in plugstack.conf, for as long as it is entered."""

    def __init__(self, *options):
        self.path, self.options = LAB / "etc/plugstack.conf.d/berth.conf", options

    def __enter__(self):
        self.before = self.path.read_text()
        replace(self.path, " ".join((self.before.strip(), *self.options)) + "\n")

    def __exit__(self, *_):
        replace(self.path, self.before)


OTHER = """
#include <unistd.h>
#include <slurm/spank.h>
SPANK_PLUGIN(other, 1)
int slurm_spank_task_init_privileged(spank_t spank, int count, char **words)
{
	int task = -1;
	spank_get_item(spank, S_TASK_ID, &task);
	if (%s) {
		%s;
	}
	return 0;
}
"""


@contextlib.contextmanager
def other_plugin(when, does):
    """Another plugin in front of ours, which does this to the tasks of which that is true."""
    etc, plugin = LAB / "etc/plugstack.conf.d", LAB / "shared/other.so"
    compile = ("cc", "-shared", "-fPIC", "-isystem", str(HEADERS), "-x", "c", "-", "-o", str(plugin))
    subprocess.run(compile, input=OTHER % (when, does), text=True, check=True)
    (etc / "a-other.conf").write_text("required /srv/other.so\n")
    try:
        yield
    finally:
        (etc / "a-other.conf").unlink()
        plugin.unlink()


class SiteFile:
    """A berth.conf on one node, for as long as it is entered; of the machine's own nothing is seen meanwhile."""

    def __init__(self, text, host="node1"):
        self.text, self.host = text, host

    def __enter__(self):
        node(
            self.host, "bash", "-c", "mkdir -p /etc/berth && mount -t tmpfs -o mode=755 berth-site /etc/berth && "
            'printf %s "$1" >/etc/berth/berth.conf', "-", self.text
        )  # fmt: skip

    def __exit__(self, *_):
        node(self.host, "bash", "-c", "umount /etc/berth; rmdir --ignore-fail-on-non-empty /etc/berth")


def patient_nodes():
    """The first task of a step waits for its neighbours however late this machine lets them start."""
    stack = contextlib.ExitStack()
    for host in NODES:
        stack.enter_context(SiteFile("join-wait = 300000\n", host))
    return stack


def restart_daemons():
    script("Scripts/slurm-lab", "restart-daemons")
    ready = lambda: run("sinfo", "-h", "-t", "idle", "-o", "%D").out.strip() == str(len(NODES))  # noqa: E731
    wait_for(ready, what="the nodes")


def unfit_nodes():
    """The nodes that Slurm gives no job, each with its state, the reason and the end of slurmd's log; empty is good."""
    found = ""
    for line in run("sinfo", "-h", "-N", "-o", "%N %T %E").lines:
        if re.search(r"^\S+ (down|drain|fail|inval|unk)|^\S+ \S+\*", line):
            found += f"{line}\n{node(line.split()[0], 'tail', '-n', '20', '/var/log/slurm/slurmd.log')}"
    return found


def mend_nodes():
    """Makes the cluster fit for the next test."""
    if unfit_nodes():
        node("ctl", "scontrol", "update", f"nodename={','.join(NODES)}", "state=resume")
        restart_daemons()


def stop():
    script("Scripts/registry", "stop", LAB / "registry")
    script("Scripts/slurm-lab", "stop")
    shutil.rmtree(LAB, ignore_errors=True)


@functools.cache
def image(name):
    """The reference of one of Images/, built and pushed when a test first asks for it."""
    script("Images/build", name)
    script("Scripts/registry", "push", TOP / "build/images" / name, name, LAB / "registry")
    return f"{REGISTRY}/{name}"


@functools.cache
def image_for_programs_of_hosts():
    """`debian`, with a C library in which the hosts' programs run: where their root is not the machine's, that one's own.

    Of it without Slurm, which is what --slurm has to bring.
    """
    if not ROOT:
        return image("debian")
    name, tree = "of-hosts", LAB / "of-hosts"
    layer, layout = f"{tree}.tar", f"{tree}.layout"
    # The tree alone: the lab's mounts are in other namespaces, and /dev is of no use in an image.
    subprocess.run(["cp", "-a", ROOT, tree], check=True)
    for package in "slurm-client", "slurm-wlm-basic-plugins", "libmunge2":
        for listed in (tree / "var/lib/dpkg/info").glob(f"{package}*.list"):
            for place in listed.read_text().splitlines():
                file = tree / place.removeprefix("/")
                if file.is_symlink() or file.is_file():
                    file.unlink()
    subprocess.run(["ldconfig", "-r", tree], check=True)
    assert not (tree / "usr/bin/srun").exists()
    shutil.rmtree(tree / "dev")
    (tree / "workspace").mkdir(mode=0o777)
    script("Images/oci-layout.py", "layer", tree, layer)
    script("Images/oci-layout.py", "assemble", layout, layer, "--config", TOP / "Images/debian/config.json", "--compression", "none")
    script("Scripts/registry", "push", layout, name, LAB / "registry")
    shutil.rmtree(tree)
    return f"{REGISTRY}/{name}"


def user_id():
    """The lab makes the user where the machine has none of that name."""
    return str(pwd.getpwnam(USER).pw_uid)


def on(host, *command, user=USER, environment=None):
    """The command line that runs COMMAND in USER's login on a host."""
    settings = {
        "BERTH_STORE": STORE,
        "BERTH_INSECURE_REGISTRIES": REGISTRY,
        "PATH": "/srv/berth/bin:/usr/local/bin:/usr/bin:/bin",
        **(environment or {}),
    }
    options = [word for key, value in settings.items() for word in ("--env", f"{key}={value}")]
    return [str(TOP / "Scripts/slurm-lab"), "exec", "-u", user, "-n", host, *options, "--", *map(str, command)]


def spawn(*command, **keywords):
    environment = keywords.pop("environment", None)
    return subprocess.Popen(
        on("ctl", *command, environment=environment), env={**os.environ, "BERTH_LAB": str(LAB)},
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **keywords},
    )  # fmt: skip


class SlowLine:
    """The registry at another port, by way of a line of 2.5 MB a second for each connection, for as long as it is entered."""

    REGISTRY = "10.77.0.254:5001"
    PROGRAM = """
import socket, threading, time
def copy(source, to, rate):
    try:
        while data := source.recv(65536):
            to.sendall(data)
            time.sleep(len(data) / rate)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        pass
server = socket.create_server(("10.77.0.254", 5001))
print("ready", flush=True)
while True:
    client, registry = server.accept()[0], socket.create_connection(("10.77.0.254", 5000))
    for ends in (client, registry, 1e9), (registry, client, 2.5e6):
        threading.Thread(target=copy, args=ends, daemon=True).start()
"""

    def __enter__(self):
        self.line = spawn("python3", "-c", self.PROGRAM)
        if self.line.stdout.readline() != "ready\n":
            raise RuntimeError(f"no slow line: {self.line.communicate()}")

    def __exit__(self, *_):
        self.line.terminate()
        self.line.communicate()


class Ended:
    def __init__(self, command, status, out, err):
        self.command, self.status, self.out, self.err = command, status, out, err

    @property
    def lines(self):
        return self.out.splitlines()

    def __str__(self):
        return f"{self.command}\nended with {self.status}\n{self.out}{self.err}"


def run(*command, input=None, timeout=300, environment=None):
    """Runs COMMAND as alice on ctl to its end.  `timeout` ends srun too, and with it the job."""
    command = ("timeout", "--kill-after=10", timeout, *command)
    process = spawn(*command, environment=environment, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL)
    out, err = process.communicate(input)
    return Ended(shlex.join(map(str, command)), process.returncode, out, err)


def in_terminal(*command, rows=24, columns=80, timeout=300, environment=None):
    """Runs COMMAND as alice on ctl on a terminal of that size; `out` is everything that the terminal was sent."""
    command = ("timeout", "--foreground", "--kill-after=10", timeout, *command)
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (rows, columns))
    with open(ours, "rb", buffering=0) as screen:
        process = spawn(*command, environment=environment, stdin=its, stdout=its, stderr=its)
        os.close(its)
        out = bytearray()
        with contextlib.suppress(OSError):  # EIO: nobody has the other side open any more
            while part := screen.read(65536):
                out += part
        process.wait()
    return Ended(shlex.join(map(str, command)), process.returncode, out.decode(errors="replace"), "")


def srun(*words, **keywords):
    return run("srun", *words, **keywords)


def in_shell(text):
    """A command for a container with a shell in it."""
    return ("--", "bash", "-c", text)


def node(host, *command):
    """What COMMAND prints as root on a host."""
    return output_of(on(host, *command, user="root"))


def hook(host, *command):
    """The same, in the host's cgroup: as slurmstepd would run it."""
    program, verb, *rest = on(host, *command, user="root")
    return output_of([program, verb, "-c", *rest])


def output_of(command):
    done = subprocess.run(
        command, env={**os.environ, "BERTH_LAB": str(LAB)}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.stdout


def wait_for(condition, seconds=120, what="it"):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen in {seconds} s")


def job_of(name):
    """The id of alice's running job with that name."""
    return wait_for(lambda: run("squeue", "-h", "-t", "R", "-n", name, "-o", "%i").out.strip(), what=f"job {name}")


def processes(host):
    return [line for line in node(host, "ps", "-u", USER, "-o", "args=").splitlines() if line.strip()]


def wait_until_quiet():
    wait_for(lambda: not run("squeue", "-h").out.strip(), what="the end of all jobs")
    for host in NODES:
        wait_for(lambda: not processes(host), what=f"the end of {USER}'s processes on {host}: {processes(host)}")


def traces(host):
    """What a step could leave on a node, apart from its store: files, mounts, sockets, processes, semaphores."""
    find = node(host, "find", "/dev/shm", "/tmp", "/run", "-xdev", "-printf", "%p\n")
    slurms_own = re.compile(r"^/run/(munge|slurm|sackd)|^/tmp/spmix_appdir")
    return {
        "files": sorted(line for line in find.splitlines() if not slurms_own.match(line)),
        "mounts": sorted(line.split()[4] for line in node(host, "cat", "/proc/self/mountinfo").splitlines()),
        "sockets": sorted(line.split()[-1] for line in node(host, "cat", "/proc/net/unix").splitlines() if "@" in line),
        "processes": processes(host),
        "cgroups": sorted(line for line in node(host, "find", "/sys/fs/cgroup", "-path", "*/job_*").splitlines()),
        "ipc": node(host, "ipcs", "-m", "-q", "-s"),
    }


def wait_traces(host, expected):
    """Slurm tidies its cgroups a moment after the job is gone."""
    for _ in range(600):
        now = traces(host)
        if now == expected:
            break
        time.sleep(0.1)
    return now


def requests(repository, method="GET"):
    """What the registry was asked for of a repository so far, by path."""
    log = (LAB / "registry/access.log").read_text()
    return re.findall(rf'"{method} (/v2/{re.escape(repository)}/\S+) HTTP/1.1" 200', log)
