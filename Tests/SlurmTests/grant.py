"""What a job was granted: who enforces it, and what Berth says where it is too little.

On cgroups of version 1 and, in the machine of `Scripts/vm`, of version 2.
"""

import contextlib
import functools
import json
import re
import subprocess

import cluster
from cluster import hook, image, node, run, spawn, srun, wait_until_quiet
from harness import Skipped, one_message, same, succeeds, test

# Of every node: its name, and what opening it says; the host's /dev stands at /host.
OPEN = """for f in /host/nvidia[0-7] /host/fuse /host/null; do
  echo "${f#/host/} $({ : <>$f; } 2>&1 | sed 's/.*: //')"; done"""
REFUSED, ABSENT = "Operation not permitted", "No such device or address"


def as_root(*command, timeout=120):
    """Like cluster.run, but by root, who has a store of his own, on the lab's own disk."""
    command = cluster.on(
        "ctl", "timeout", "--kill-after=10", timeout, *command, user="root", environment={"BERTH_STORE": "/var/tmp/root-store"}
    )
    done = subprocess.run(
        command, env={**cluster.os.environ, "BERTH_LAB": str(cluster.LAB)}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return cluster.Ended(command, done.returncode, done.stdout, done.stderr)


@functools.cache
def unified():
    return node("node1", "stat", "-fc", "%T", "/sys/fs/cgroup").strip() == "cgroup2fs"


def slurmd(limit):
    """A hard limit of node1's slurmd, in bytes; -1 where there is none."""
    line = node("node1", "bash", "-c", f"grep '^Max {limit}' /proc/$(pidof slurmd | tr ' ' '\\n' | head -n 1)/limits")
    hard = line.removeprefix(f"Max {limit}").split()[1]
    return -1 if hard == "unlimited" else int(hard)


def nothing_keeps_slurms_cgroups():
    """Slurm has removed the tasks' cgroups.

    In the lab its version 2 cannot: the host's root is not the machine's, and slurmstepd does not get out. Then they are
    empty, and nobody but Slurm itself is in their way.
    """
    wait_until_quiet()
    find = ("find", "/sys/fs/cgroup", "-path", "*/job_*", "-name", "task_*")
    if unified():
        node("node1", *find, "-exec", "rmdir", "{}", "+")
    cluster.wait_for(lambda: node("node1", *find) == "", what="the end of the tasks' cgroups")


@contextlib.contextmanager
def task_before_its_command(name, script, *options):
    """A task that waits, and a function that has it confined by a site's file, as a privileged hook would; the task goes
    on at the end. Yields also the place for what it printed."""
    step = spawn(
        "timeout", 120, "srun", "-J", name, "-n1", "-w", "node1", *options, "bash", "-c", "echo $$; read -r; " + script,
        stdin=subprocess.PIPE,
    )  # fmt: skip
    process = step.stdout.readline().strip()

    def confine(site, *words):
        said = hook(
            "node1", "unshare", "-m", "bash", "-c",
            f"mkdir -p /etc/berth && mount -t tmpfs t /etc/berth && printf '{site}' >/etc/berth/berth.conf && "
            f"/srv/berth/bin/berth confine {process} {' '.join(words)} 2>&1; echo $?",
        )  # fmt: skip
        same(said, "0\n")

    printed = []
    try:
        yield confine, printed
        out, err = step.communicate("\n", timeout=120)
        printed += out.splitlines()
        assert printed, err
    finally:
        step.kill()
        node("node1", "rmdir", "--ignore-fail-on-non-empty", "/etc/berth")


def opened(lines):
    return dict(line.split(" ", 1) if " " in line.strip() else (line.strip(), "") for line in lines)


@test
def as_root_slurms_cgroup_of_the_task_is_tightened_and_slurm_removes_it():
    ended = succeeds(
        as_root(
            "srun", "-n1", "-w", "node1", "--gres=gpu:1", "berth", "run", "-v", "/dev:/host", image("debian"), "--",
            "bash", "-c", OPEN + "; cat /proc/self/cgroup",
        )  # fmt: skip
    )
    found = opened(line for line in ended.lines if not re.match(r"\d+:", line))
    same(found.pop("nvidia0"), ABSENT, ended)
    same(found.pop("null"), "", ended)
    same(set(found.values()), {REFUSED}, ended)  # the seven others, as Slurm has it, and now fuse too
    places = [line for line in ended.lines if re.match(r"\d+:", line)]
    assert any(re.search(r"/job_\d+/step_0/(user/)?task_0$", place) for place in places), ended
    assert not any("/berth-" in place and "berth-lab" not in place for place in places), ended
    free = succeeds(
        as_root(
            "srun", "-n1", "-w", "node1", "berth", "run", "--enforce", "none", "-v", "/dev:/host", image("debian"), "--",
            "bash", "-c", OPEN,
        )  # fmt: skip
    )
    assert opened(free.lines)["fuse"] != REFUSED, free
    nothing_keeps_slurms_cgroups()


@test
def confine_tightens_the_task_of_an_ordinary_user():
    """As a privileged hook would call it: root, on the node, for a task that Slurm has just started."""
    script = "ulimit -Hn; " + OPEN.replace("/host", "/dev")
    with task_before_its_command("confined", script, "--gres=gpu:2") as (confine, printed):
        # Of limits, nothing is lowered.
        confine("enforce = devices\nallow-device = /dev/zero\nulimit = nofile=33:44\n")
    found = opened(printed[1:])
    same([found[f"nvidia{number}"] for number in range(3)], [ABSENT, ABSENT, REFUSED], printed)
    same((found["fuse"], found["null"]), (REFUSED, ""), printed)
    assert printed[0] == "unlimited" or int(printed[0]) > 44, printed
    nothing_keeps_slurms_cgroups()


@test
def a_node_made_anew_does_not_get_round_it():
    """By root with every capability, in the task that Berth has tightened, outside of any container."""
    script = f"""berth run {image("debian")} -- true || exit
        for node in gpu0=195:0 gpu1=195:1 fuse=10:229 zero=1:5; do
          numbers=${{node#*=}}; path=/dev/made-${{node%%=*}}
          said=$(mknod "$path" c "${{numbers%:*}}" "${{numbers#*:}}" 2>&1) && said=$({{ : <>"$path"; }} 2>&1); echo "${{node%%=*}} ${{said##*: }}"
          rm -f "$path"
        done"""
    ended = succeeds(as_root("srun", "-n1", "-w", "node1", "--gres=gpu:1", "bash", "-c", script))
    # Nobody has to make nodes: not even of what may be opened.
    same(opened(ended.lines), dict.fromkeys(("gpu0", "gpu1", "fuse", "zero"), REFUSED), ended)


@test
def confine_limits_memory_and_processes():
    script = """head -c 200M /dev/zero | tail >/dev/null; echo memory ${PIPESTATUS[1]}
        perl -e 'for (1 .. 60) { defined($child = fork) or print("processes $!\n"), last; $child or exec "sleep", 20 }'"""
    with task_before_its_command("limited", script, "--mem=500") as (confine, printed):
        confine("enforce = memory pids=40\n", f"memory={64 << 20}")
    same(printed, ["memory 137", "processes Resource temporarily unavailable"])
    nothing_keeps_slurms_cgroups()


@test
def confine_raises_memlock_above_slurmds():
    """What it takes for RDMA where slurmd's unit has no LimitMEMLOCK."""
    capabilities = int(re.search(r"CapEff:\s*(\w+)", node("node1", "cat", "/proc/self/status"))[1], 16)
    if not capabilities >> 24 & 1 or slurmd("locked memory") < 0:
        raise Skipped("needs CAP_SYS_RESOURCE and a slurmd with a limit: Scripts/test vm")
    show = f"berth run {image('debian')} -- bash -c 'ulimit -Sl; ulimit -Hl'"
    with task_before_its_command("locked", f"ulimit -Hl; {show}") as (confine, printed):
        confine("ulimit = memlock=unlimited\n")
    same(printed, ["unlimited"] * 3)


@test
def a_memlock_that_is_too_small_is_slurmds():
    if slurmd("locked memory") < 0:  # a machine on which the daemons may lock all they like
        same(srun("-n1", "berth", "run", "--require", "memlock", image("debian"), "true").status, 0)
        return
    ended = srun("-n1", "berth", "run", "-q", "--require", "memlock", image("debian"), "true")
    one_message(ended, 125, "memlock is required (--require)", "LimitMEMLOCK=infinity in slurmd's systemd unit")
    lowered = srun("-n1", "bash", "-c", f"ulimit -l 64; exec berth run -q --require memlock=1m {image('debian')} true")
    one_message(lowered, 125, "memlock is 65536 bytes", "something in the job lowered it")


@test
def a_gpu_that_was_not_granted_keeps_the_job_from_starting():
    one_message(srun("-n1", "berth", "run", "-q", "--require", "gpu", image("debian"), "true"), 125, "no GPU can be opened here")
    succeeds(srun("-n1", "--gres=gpu:2", "berth", "run", "-q", "--require", "gpu=2", image("debian"), "true"))


@test
def a_dry_run_names_slurm_as_the_one_that_enforces():
    ended = succeeds(srun("-n1", "-w", "node1", "--gres=gpu:2", "berth", "run", "--dry-run", image("debian")))
    assert "devices: Slurm's device cgroup; it refuses /dev/nvidia2, /dev/nvidia3" in ended.out, ended
    assert re.search(r"bind /dev/nvidia0 on /dev/nvidia0 +\[grant: .*; held by Slurm's device cgroup\]", ended.out), ended
    assert re.search(r"memory: \d+ bytes by the cgroup /.*job_\d+", ended.out), ended
    assert "limits: the kernel; hard limits are slurmd's" in ended.out, ended


@test
def the_doctor_knows_the_node():
    ended = srun("-n1", "-w", "node1", "--gres=gpu:2", "berth", "doctor", "--json")
    found = json.loads(ended.out)
    checks = {(check["area"], check["check"]): check for check in found["checks"]}
    same(ended.status, ["ok", "warning", "error"].index(found["status"]), ended)
    same(checks["containers", "user-namespaces"]["status"], "ok", ended)
    same(checks["containers", "overlayfs"]["status"], "ok", ended)
    assert "/dev/nvidia2" in checks["cgroups", "devices"]["what"], ended
    same(checks["cgroups", "version"]["what"] == "2", unified(), ended)
    same(checks["Slurm", "ConstrainDevices"]["status"], "ok", ended)
    same(checks["Slurm", "TaskPlugin"]["status"], "ok", ended)
    # The nodes are fakes, and the doctor sees it.
    same(checks["GPUs", "driver"]["status"], "error", ended)
