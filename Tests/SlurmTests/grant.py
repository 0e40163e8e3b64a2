"""What a job was granted: who enforces it, and what Berth says where it is too little.

On cgroups of version 1 and, in the machine of `Scripts/vm`, of version 2.
"""

import contextlib
import functools
import json
import re
import subprocess

import cluster
from cluster import SiteFile, hook, image, node, run, spawn, srun, wait_until_quiet
from harness import Skipped, contained, fails, one_message, same, shell, succeeds, test

# Of every node: its name, and what opening it says; the host's /dev stands at /host.
OPEN = """for f in /host/nvidia[0-7] /host/fuse /host/null; do
  echo "${f#/host/} $({ : <>$f; } 2>&1 | sed 's/.*: //')"; done"""
REFUSED, ABSENT = "Operation not permitted", "No such device or address"


def as_root(*command, timeout=300):
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
        "timeout", 600, "srun", "-J", name, "-n1", "-w", "node1", *options, "bash", "-c", "echo $$; read -r; " + script,
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
        out, err = step.communicate("\n", timeout=300)
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
def the_plugin_holds_tasks_to_what_the_site_enforces():
    ask = ("--container-mounts=/dev:/host", *shell(OPEN))
    # A limit of processes beside it where that needs no setting of Slurm's: with cgroup v2 it does (EnableControllers).
    words = "devices,pids=200" if node("node1", "ls", "-d", "/sys/fs/cgroup/pids").strip() else "devices"
    with SiteFile(f"enforce = {words}\nallow-device = /dev/zero\n"):
        # What the user says of configuration has no say.
        ended = contained("-n1", "--gres=gpu:2", *ask, environment={"BERTH_CONFIG": "/dev/null"})
        found = opened(succeeds(ended).lines)
        same([found[f"nvidia{number}"] for number in range(3)], [ABSENT, ABSENT, REFUSED], ended)
        same((found["fuse"], found["null"]), (REFUSED, ""), ended)
        ended = contained("-n2", "-l", "--gpus-per-task=1", *ask)
        for task in "0", "1":
            found = opened(line[3:] for line in succeeds(ended).lines if line.startswith(task + ": "))
            same((list(found.values()).count(ABSENT), found["fuse"], found["null"]), (1, REFUSED, ""), ended)
        # Many at once, each with a cgroup of its own.
        program = "{ : <>/host/fuse; } 2>&1 | sed 's/.*: //'"
        ended = contained("-n16", "-O", "--container-mounts=/dev:/host", *shell(program), timeout=600)
        same(succeeds(ended).lines, [REFUSED] * 16, ended)
        script = f"#!/bin/bash\n{OPEN}\n"
        chosen = (f"--container-image={image('debian')}", "--container-mounts=/dev:/host")
        succeeds(run("sbatch", "--wait", "-w", "node1", "-o", "/srv/enforced.out", *chosen, input=script))
        found = opened(node("ctl", "bash", "-c", "cat /srv/enforced.out; rm /srv/enforced.out").splitlines())
        same((found["nvidia0"], found["fuse"], found["null"]), (REFUSED, REFUSED, ""), found)
        # Steps without a container are Slurm's alone.
        ended = srun("-n1", "-w", "node1", *shell(OPEN.replace("/host", "/dev")))
        assert opened(succeeds(ended).lines)["fuse"] != REFUSED, ended
    ended = contained("-n1", *ask)
    assert opened(succeeds(ended).lines)["fuse"] != REFUSED, ended
    nothing_keeps_slurms_cgroups()


@test
def the_plugin_runs_nothing_where_the_site_can_not_be_obeyed():
    with SiteFile("enforce = nonsense\n"):
        ended = fails(contained("-n2", *shell("echo it ran")), "/etc/berth/berth.conf", "nonsense")
        same((ended.status, ended.out), (125, ""), ended)
        same(succeeds(srun("-n1", "-w", "node1", *shell("echo it ran"))).out, "it ran\n")
    nothing_keeps_slurms_cgroups()


# keyctl(2), by a call that needs nothing: KEYCTL_GET_KEYRING_ID of the session's.
KEYRING = """perl -e '$! = 0; print syscall($ARGV[0], 0, -3, 0) < 0 ? "$!\\n" : "open\\n"' $(uname -m | sed 's/x86_64/250/; s/aarch64/219/')"""


@test
def the_sites_seccomp_profile_holds_whatever_users_ask():
    mine = "/home/alice/says-done.json"
    # That further filters are loaded this one pretends.
    pretends = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["seccomp","mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":0}]}'
    with SiteFile("seccomp = default\nenforce = seccomp\n"):
        node("node1", "bash", "-c", f"echo '{pretends}' >{mine}; chown alice {mine}")
        for flags in (), ("--container-seccomp=none",), ("--container-seccomp=none", "--container-remap-root"), (f"--container-seccomp={mine}",), \
                ("--container-unshare=pid",), ("--container-init", "--container-save=/home/alice/filtered"):  # fmt: skip
            ended = contained("-n2", *flags, *shell(KEYRING), environment={"BERTH_CONFIG": "/dev/null"})
            same(succeeds(ended).lines, [REFUSED] * 2, ended)
            same(ended.err.count("the seccomp profile default of the site holds as well"), int("seccomp" in str(flags)), ended)
        node("node1", "rm", "-rf", mine, "/home/alice/filtered")
        # Where the site's file is, root's own containers are held to it; a user's own are the user's.
        for options in "--seccomp none", "--privileged", "--security-opt seccomp=unconfined", "--enforce none --seccomp none":
            ended = as_root("srun", "-n1", "-w", "node1", "berth", "run", *options.split(), image("debian"), "--", *shell(KEYRING))
            same(succeeds(ended).lines, [REFUSED], ended)
            same(ended.err.count("the seccomp profile default of the site holds as well"), 1, ended)
        plan = succeeds(as_root("srun", "-n1", "-w", "node1", "berth", "run", "--seccomp", "none", "--dry-run", image("debian"), "--", "true"))
        assert "     seccomp default  [berth.conf: /etc/berth/berth.conf:1]" in plan.lines, plan
    same(succeeds(contained("--container-seccomp=none", *shell(KEYRING))).lines, ["open"])


@test
def the_sites_seccomp_profile_may_be_a_file_of_roots():
    path = "/etc/berth/profile.json"
    profile = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}'
    ask = ("--container-seccomp=none", *shell("mkdir /tried || exit 4"))
    # `berth confine` reports it, and what prepares the container as well: there the profile is the default.
    with SiteFile(f"seccomp = {path}\nenforce = seccomp\n"):
        fails(contained("-n1", "true"), path, "No such file", "/etc/berth/berth.conf:1")
        node("node1", "bash", "-c", f"echo '{profile}' >{path}; chown alice {path}")
        fails(contained("-n1", "true"), path, "owned by uid")
        node("node1", "chown", "root", path)
        for _ in range(2):                          # the second time from the record, where there is a place for it
            ended = contained("-n2", *ask)
            same(ended.status, 4, ended)
            same(ended.err.count("No space left on device"), 2, ended)
        node("node1", "bash", "-c", f"echo '{{' >{path}")
        fails(contained("-n1", "true"), path)
    with SiteFile("enforce = seccomp\n"):
        fails(contained("-n1", "true"), "/etc/berth/berth.conf, line 1: enforce", "seccomp = default")


@test
def the_plugin_sets_limits_as_the_site_says_as_far_as_it_can():
    ask = shell("echo $(ulimit -Sn) $(ulimit -Hn); echo $(ulimit -Sc) $(ulimit -Hc)")
    with SiteFile("ulimit = nofile=33:44\nulimit = core=0\n"):
        # The one who starts is asked to have less, and may have.
        same(succeeds(contained("-n2", *ask)).out.split("\n").count("33 44"), 2)
        same(succeeds(contained("-n1", *ask)).lines, ["33 44", "0 0"])


@test
def the_plugin_raises_hard_limits_above_slurmds():
    hard = node("node1", "bash", "-c", "ulimit -Hl").strip()
    if node("node1", "bash", "-c", "grep -c '^CapBnd:.*[13579bdf]......$' /proc/self/status").strip() == "0":
        raise Skipped("root has no CAP_SYS_RESOURCE here and can not raise a hard limit: try it on a real machine, or in a VM")
    slurmd = node("node1", "pidof", "-s", "slurmd").strip()
    node("node1", "prlimit", f"--pid={slurmd}", "--memlock=65536:65536")
    try:
        ask = shell("echo $(ulimit -Sl) $(ulimit -Hl)")
        same(succeeds(contained("-n1", *ask)).out, "64 64\n")
        with SiteFile("ulimit = memlock=unlimited\n"):
            same(succeeds(contained("-n2", *ask)).lines, ["unlimited unlimited"] * 2)
            same(succeeds(contained("-n1", "--container-require=memlock", "true")).status, 0)
        with cluster.PluginOptions("memlock=unlimited"):
            same(succeeds(contained("-n2", *ask)).lines, ["unlimited unlimited"] * 2)
        with cluster.PluginOptions("memlock=1048576"):
            same(succeeds(contained("-n1", *ask)).out, "1024 1024\n")
    finally:
        limit = hard if hard == "unlimited" else str(int(hard) * 1024)
        node("node1", "prlimit", f"--pid={slurmd}", f"--memlock={limit}:{limit}")


# What a task sees of the GPUs: the nodes, and how the variables count them.
GPUS = shell('echo "$SLURM_PROCID: $CUDA_VISIBLE_DEVICES | $(cd /dev; echo nvidia[0-9])"')


@test
def the_plugin_counts_gpus_as_the_container_shows_them():
    same(succeeds(contained("-n1", "--gres=gpu:4", *GPUS)).out, "0: 0,1,2,3 | nvidia0 nvidia1 nvidia2 nvidia3\n")
    ended = contained("-n2", "--gres=gpu:4", "--container-gpus=1,3", *GPUS)
    same(sorted(succeeds(ended).lines), [f"{task}: 0,1 | nvidia1 nvidia3" for task in (0, 1)], ended)
    same(succeeds(contained("-n1", "--gres=gpu:2", "--container-gpus=none", *GPUS)).out, "0:  | nvidia[0-9]\n")


@test
def tasks_with_gpus_of_their_own_count_those():
    # Of node1's 0 to 3 each task has two, and calls them 0 and 1. All that is chosen is shown to both.
    words = ("-N1", "-n2", "-w", "node1", "--gpus-per-task=2")
    with cluster.patient_nodes():
        for chosen, lists in ("2,3", ("", "0,1")), ("0,3", ("0", "0")), ("device=1", ("0", "")):
            shown = " ".join(f"nvidia{number}" for number in chosen.removeprefix("device=").split(","))
            expected = [f"{task}: {lists[task]} | {shown}" for task in (0, 1)]
            ended = succeeds(srun(*words, f"--container-image={image('debian')}", f"--container-gpus={chosen}", *GPUS))
            same(sorted(ended.lines), expected, ended)
            ended = succeeds(srun(*words, "berth", "run", "--gpus", chosen, image("debian"), "--", *GPUS))
            same(sorted(ended.lines), expected, ended)


@test
def a_step_with_fewer_gpus_than_its_job_shows_its_own():
    # With cgroups of version 2 what prepares the container may stand where the job's devices open.
    ended = succeeds(run("salloc", "-Q", "-N1", "-n1", "-w", "node1", "--gres=gpu:4", "srun", "-n1", "--gres=gpu:1",
        f"--container-image={image('debian')}", *GPUS))  # fmt: skip
    same(ended.out, "0: 0 | nvidia0\n", ended)


@contextlib.contextmanager
def four_of_amds():
    """On node1, in place of NVIDIA's."""
    wait_until_quiet()
    node(
        "node1", "bash", "-c", "mkdir /dev/away /dev/dri && mv /dev/nvidia* /dev/away; mknod -m 666 /dev/kfd c 511 8; "
        "for i in 128 129 130 131; do mknod -m 666 /dev/dri/renderD$i c 226 $i; done"
    )  # fmt: skip
    try:
        yield
    finally:
        wait_until_quiet()
        node("node1", "bash", "-c", "rm -r /dev/kfd /dev/dri; mv /dev/away/* /dev; rmdir /dev/away")


@test
def amds_lists_count_what_its_runtime_leaves():
    ask = shell('echo "$ROCR_VISIBLE_DEVICES|$HIP_VISIBLE_DEVICES|$GPU_DEVICE_ORDINAL|$(cd /dev/dri; echo *)"')
    names, uuid = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"), "GPU-0123456789abcdef"
    with four_of_amds():
        for lists, counted in (
            (("3,1,0", "0,2", "1"), ("1,0", "0", "1")),
            (("", "3,0", "2-3"), ("", "1", "1")),
            ((uuid, "0,2", "1"), (uuid, "0,2", "1")),
        ):
            own = {name: value for name, value in zip(names, lists) if value}
            expected = "|".join((*counted, "renderD129 renderD131\n"))
            # Slurm takes some of them out of a job's environment.
            with cluster.other_plugin("1", " ".join(f'spank_setenv(spank, "{k}", "{v}", 1);' for k, v in own.items())):
                ended = contained("-n1", "--container-gpus=1,3", *ask)
            same(succeeds(ended).out, expected, ended)
            set_lists = ("env", *(f"{name}={value}" for name, value in own.items()))
            ended = srun("-n1", "-w", "node1", *set_lists, "berth", "run", "--gpus", "1,3", image("debian"), "--", *ask)
            same(succeeds(ended).out, expected, ended)


class UnconstrainedGPUs:
    """ConstrainDevices=no, and a driver that says where node1's GPUs are: minors against the order of PCI addresses."""

    conf = property(lambda self: cluster.LAB / "etc/cgroup.conf")

    def __enter__(self):
        wait_until_quiet()
        self.before = self.conf.read_text()
        cluster.replace(self.conf, self.before.replace("ConstrainDevices=yes", "ConstrainDevices=no"))
        cluster.restart_daemons()
        node(
            "node1", "bash", "-c", "mount -t tmpfs driver /proc/driver; for i in 0 1 2 3 4 5 6 7; do "
            "d=/proc/driver/nvidia/gpus/0000:0$i:00.0; mkdir -p $d; "
            r"printf 'Model: Fake\nBus Location: 0000:0%d:00.0\nDevice Minor: %d\n' $i $((7 - i)) >$d/information; done",
        )  # fmt: skip

    def __exit__(self, *_):
        wait_until_quiet()
        node("node1", "umount", "/proc/driver")
        cluster.replace(self.conf, self.before)
        cluster.restart_daemons()


@test
def where_slurm_constrains_nothing_the_plugin_shows_what_slurm_names():
    with UnconstrainedGPUs():
        # Slurm counts by PCI address, as CUDA does: its 0 and 1 are the last two nodes here.
        same(succeeds(contained("-n1", "--gres=gpu:2", *GPUS)).out, "0: 0,1 | nvidia6 nvidia7\n")
        words = ("-J", "holder", "-n1", "-w", "node1", "--gres=gpu:2", "--mem=100", *shell("echo ready; read -r end"))
        holder = spawn("timeout", 600, "srun", *words, stdin=subprocess.PIPE)
        try:
            same(holder.stdout.readline(), "ready\n")
            same(succeeds(contained("-n1", "--gres=gpu:2", "--mem=100", *GPUS)).out, "0: 0,1 | nvidia4 nvidia5\n")
            ended = succeeds(contained("-n2", "--gpus-per-task=1", "--mem=100", *GPUS))
            same(sorted(ended.lines), ["0: 0 | nvidia4 nvidia5", "1: 1 | nvidia4 nvidia5"], ended)
            ended = succeeds(contained("-n1", "--gres=gpu:3", "--mem=100", "--container-gpus=0,2", *GPUS))
            same(ended.out, "0: 0,1 | nvidia3 nvidia5\n", ended)
            # Slurm sets AMD's lists too, behind which NVIDIA's does not count.
            ended = succeeds(srun("-n1", "-w", "node1", "--gres=gpu:2", "--mem=100", "berth", "run", image("debian"), "--", *GPUS))
            same(ended.out, "0: 0,1 | nvidia4 nvidia5\n", ended)
        finally:
            holder.communicate("\n")


@test
def the_plugin_sets_what_pytorch_reads():
    names = "MASTER_ADDR MASTER_PORT WORLD_SIZE RANK LOCAL_RANK LOCAL_WORLD_SIZE NODE_RANK"
    ask = shell(f"for n in {names}; do printf '%s ' ${{!n:-}}; done; echo")
    nodes = min(2, len(cluster.NODES))  # the machine of Scripts/vm has one
    wide = (f"-N{nodes}", "--ntasks-per-node=2")
    chosen = (f"--container-image={image('debian')}", *wide)
    ended = succeeds(srun(*chosen, "--container-profile=pytorch", *ask))
    ports = {line.split()[1] for line in ended.lines}
    same(len(ports), 1, ended)
    port = ports.pop()
    expected = [f"node1 {port} {2 * nodes} {rank} {rank % 2} 2 {rank // 2} " for rank in range(2 * nodes)]
    same(sorted(ended.lines), expected, ended)
    # As berth run has it, and as the variable says. The place to meet is the job's to choose; a rank that it brings is of
    # another step.
    plain = succeeds(srun(*wide, "berth", "run", "--profile", "pytorch", image("debian"), "--", *ask))
    same([line.split()[2:] for line in sorted(plain.lines)], [line.split()[2:] for line in expected], plain)
    ended = srun("-n1", chosen[0], *ask, environment={"BERTH_CONTAINER_PROFILE": "pytorch", "MASTER_PORT": "77", "RANK": "9"})
    same(succeeds(ended).out.split()[1:4], ["77", "1", "0"], ended)
    same(succeeds(srun("-n1", chosen[0], *ask)).out.split(), [])
    fails(srun("-n1", chosen[0], "--container-profile=nonsense", "true"), "pytorch or none")
    # The script of a batch job is no rank, and hands none on. With cgroups of version 2 Slurm 22.05 complains in its errors.
    script = f"#!/bin/bash\necho [${{RANK:-}}]\n"
    succeeds(run("sbatch", "--wait", "-o", "/srv/profile.out", "-e", "/dev/null", chosen[0], "--container-profile=pytorch", input=script))
    same(node("ctl", "bash", "-c", "cat /srv/profile.out; rm /srv/profile.out"), "[]\n")


@test
def the_plugin_requires_what_it_is_told_to():
    fails(contained("-n1", "--container-require=gpu", "true"), "no GPU can be opened here")
    fails(contained("-n1", "true", environment={"BERTH_CONTAINER_REQUIRE": "gpu"}), "no GPU can be opened here")
    succeeds(contained("-n1", "--gres=gpu:2", "--container-require=gpu=2,shm=1m", "true"))
    fails(contained("-n1", "--container-fabric=efa", "true"), "efa")
    same(succeeds(contained("-n1", "--container-device=/dev/fuse,/dev/zero", "ls", "/dev/fuse")).out, "/dev/fuse\n")


@test
def a_memlock_that_is_too_small_is_slurmds():
    if slurmd("locked memory") < 0:  # a machine on which the daemons may lock all they like
        same(srun("-n1", "berth", "run", "--require", "memlock", image("debian"), "true").status, 0)
        return
    ended = srun("-n1", "berth", "run", "-q", "--require", "memlock", image("debian"), "true")
    one_message(ended, 125, "memlock is required (--require)", "LimitMEMLOCK=infinity in slurmd's systemd unit")
    lowered = srun("-n1", "bash", "-c", f"ulimit -l 64; exec berth run -q --require memlock=1m {image('debian')} true")
    one_message(lowered, 125, "memlock is 64 KiB", "something in the job lowered it")


@test
def a_gpu_that_was_not_granted_keeps_the_job_from_starting():
    one_message(srun("-n1", "berth", "run", "-q", "--require", "gpu", image("debian"), "true"), 125, "no GPU can be opened here")
    succeeds(srun("-n1", "--gres=gpu:2", "berth", "run", "-q", "--require", "gpu=2", image("debian"), "true"))


@test
def a_dry_run_names_slurm_as_the_one_that_enforces():
    ended = succeeds(srun("-n1", "-w", "node1", "--gres=gpu:2", "berth", "run", "--dry-run", image("debian")))
    assert "devices: Slurm's device cgroup; it refuses /dev/nvidia2, /dev/nvidia3" in ended.out, ended
    assert re.search(r"bind /dev/nvidia0 on /dev/nvidia0 +\[grant: .*; held by Slurm's device cgroup\]", ended.out), ended
    # Which is open to all.
    assert re.search(r"bind /dev/nvidiactl on .* +\[grant: GPU control; held by the node's mode and owner\]", ended.out), ended
    assert re.search(r"memory: \d+ bytes by the cgroup /.*job_\d+", ended.out), ended
    assert "limits: the kernel; hard limits are slurmd's" in ended.out, ended
    ended = succeeds(srun("-n1", "-w", "node1", "--gres=gpu:2", "berth", "run", "--dry-run", "--gpus", "device=1", image("debian")))
    assert "env CUDA_VISIBLE_DEVICES=0  [host, renumbered]" in ended.out, ended
    assert "env CUDA_DEVICE_ORDER=PCI_BUS_ID  [grant: GPUs renumbered]" in ended.out, ended
    assert "env SLURM_STEP_GPUS=0,1  [host]" in ended.out, ended


@test
def the_doctor_knows_the_node():
    ended = srun("-n1", "-w", "node1", "--gres=gpu:2", "berth", "doctor", "--json")
    found = json.loads(ended.out)
    checks = {(check["area"], check["check"]): check for check in found["checks"]}
    same(ended.status, ["ok", "warning", "error"].index(found["status"]), ended)
    same(checks["containers", "user-namespaces"]["status"], "ok", ended)
    same(checks["containers", "overlayfs"]["status"], "ok", ended)
    assert "/dev/nvidia2" in checks["cgroups", "devices"]["what"], ended
    assert cluster.PLUGIN in checks["Slurm", "plugin"]["what"], ended
    same(checks["cgroups", "version"]["what"] == "2", unified(), ended)
    same(checks["Slurm", "ConstrainDevices"]["status"], "ok", ended)
    same(checks["Slurm", "TaskPlugin"]["status"], "ok", ended)
    # The nodes are fakes, and the doctor sees it.
    same(checks["GPUs", "driver"]["status"], "error", ended)
