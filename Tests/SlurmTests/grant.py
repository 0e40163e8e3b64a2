"""What a job was granted: who enforces it, and what Berth says where it is too little."""

import json
import re
import subprocess

import cluster
from cluster import image, job_of, node, run, spawn, srun, wait_until_quiet
from harness import one_message, same, succeeds, test

# Of every node: its name, and what opening it says; the host's /dev stands at /host.
OPEN = """for f in /host/nvidia[0-7] /host/fuse /host/null; do
  echo "${f#/host/} $({ : <>$f; } 2>&1 | sed 's/.*: //')"; done"""
REFUSED, ABSENT = "Operation not permitted", "No such device or address"


def as_root(*command, timeout=120):
    """Like cluster.run, but by root, who has a store of his own."""
    command = cluster.on(
        "ctl", "timeout", "--kill-after=10", timeout, *command, user="root", environment={"BERTH_STORE": "/var/tmp/root-store"}
    )
    done = subprocess.run(
        command, env={**cluster.os.environ, "BERTH_LAB": str(cluster.LAB)}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return cluster.Ended(command, done.returncode, done.stdout, done.stderr)


def opened(lines):
    return dict(line.split(" ", 1) if " " in line.strip() else (line.strip(), "") for line in lines)


@test
def as_root_slurms_cgroup_of_the_task_is_tightened_and_slurm_removes_it():
    try:
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
        wait_until_quiet()
        left = node("node1", "find", "/sys/fs/cgroup", "-path", "*/job_*", "-name", "task_*")
        same(left, "")
    finally:
        as_root("srun", "-n1", "-w", "node1", "bash", "-c", "chmod -R u+w /var/tmp/root-store; rm -rf /var/tmp/root-store")


@test
def confine_tightens_the_task_of_an_ordinary_user():
    """As a privileged hook would call it: root, on the node, for a task that Slurm has just started."""
    step = spawn(
        "timeout", 60, "srun", "-J", "confined", "-n1", "-w", "node1", "--gres=gpu:2", "bash", "-c",
        "echo $$; read -r; ulimit -Hn; " + OPEN.replace("/host", "/dev"), stdin=subprocess.PIPE,
    )  # fmt: skip
    try:
        process = step.stdout.readline().strip()
        site = "enforce = devices\nallow-device = /dev/zero\nulimit = nofile=33:44\n"  # nothing is lowered
        said = node(
            "node1", "unshare", "-m", "bash", "-c",
            f"mkdir -p /etc/berth && mount -t tmpfs t /etc/berth && printf '{site}' >/etc/berth/berth.conf && "
            f"/srv/berth/bin/berth confine {process} 2>&1; echo $?",
        )  # fmt: skip
        out, err = step.communicate("\n", timeout=60)
    finally:
        step.kill()
        node("node1", "rmdir", "--ignore-fail-on-non-empty", "/etc/berth")
    same(said, "0\n", err)
    lines = out.splitlines()
    found = opened(lines[1:])
    same([found[f"nvidia{number}"] for number in range(3)], [ABSENT, ABSENT, REFUSED], out)
    same((found["fuse"], found["null"]), (REFUSED, ""), out)
    assert lines[0] == "unlimited" or int(lines[0]) > 44, out
    wait_until_quiet()
    same(node("node1", "find", "/sys/fs/cgroup", "-path", "*/job_*", "-name", "task_*"), "")


@test
def a_memlock_that_is_too_small_is_slurmds():
    limit = int(node("node1", "bash", "-c", "ulimit -Hl").replace("unlimited", "-1"))
    if limit < 0:  # a machine on which the daemons may lock all they like
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
    same(checks["Slurm", "ConstrainDevices"]["status"], "ok", ended)
    same(checks["Slurm", "TaskPlugin"]["status"], "ok", ended)
    # The nodes are fakes, and the doctor sees it.
    same(checks["GPUs", "driver"]["status"], "error", ended)
