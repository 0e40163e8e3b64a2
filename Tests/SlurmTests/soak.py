#!/usr/bin/env python3
"""Many steps of mixed kinds, several at once, some cancelled at random; then nothing may be left on any node.

    soak.py [STEPS [SEED]]       1000 steps; the seed of a run is printed, and repeats it

Needs what run.py needs. The tests run a short one.
"""

import concurrent.futures
import random
import sys
import time

import cluster
from cluster import image, node, run, spawn, srun, traces, wait_for, wait_traces, wait_until_quiet
from harness import ENTRYPOINT


AT_ONCE = 4


def shell(text):
    return ("bash", "-c", text)


def kinds(random, names):
    """Name, srun's words, and the exit statuses that are right; for some another command, and variables."""
    debian, entry = f"--container-image={image('debian')}", f"--container-image={image('entrypoint')}"
    name, saved = random.choice(names), f"/srv/soak/{random.randrange(1 << 30)}"
    hello = f"--container-image={image('hello')}"
    attached = f"""exec 3< <(exec srun --overlap {debian} bash -c 'echo ready; sleep 100'); read -r ready <&3
        srun --overlap --container-name=$SLURM_JOB_ID.0 true; status=$?
        scancel -s KILL $SLURM_JOB_ID.0; exit $status"""
    return [
        ("one", ["-n1", debian, "true"], [0]),
        ("status", ["-n1", debian, *shell("exit 7")], [7]),
        ("many", ["-N1", "-n8", "-O", debian, *shell("echo $SLURM_LOCALID >/dev/null")], [0]),
        ("nodes", ["-N2", "-n4", debian, "true"], [0]),
        ("gpus", ["-n1", "--gres=gpu:2", debian, *shell("test $(ls /dev/nvidia[0-7] | wc -l) = 2")], [0]),
        ("entrypoint", ["-n2", "--container-entrypoint", entry, *shell("test -n $SERVICE")], [0]),
        ("named", ["-n1", "-w", "node1", debian, f"--container-name={name}", *shell("echo x >>/kept")], [0]),
        ("saved in an archive", ["-n1", hello, f"--container-save=oci-archive:{saved}.tar", "/hello"], [0]),
        ("saved as a directory", ["-n1", hello, f"--container-save={saved}", "/hello"], [0]),
        ("attached", None, [0], ["salloc", "-Q", "-n1", "bash", "-c", attached]),
        ("a GPU for each", ["-N1", "-n2", "--gpus-per-task=1", debian, *shell("ls /dev/nvidia[0-7] >/dev/null")], [0]),
        ("without the plugin's flags", ["-n2", "berth", "run", image("debian"), "true"], [0]),
        ("failing entrypoint", ["-n2", *ENTRYPOINT, entry, "true"], [125], None, {"ENTRYPOINT_MODE": "fail"}),
        ("unshared", ["-n1", debian, "--container-unshare=net,ipc,uts", "true"], [0]),
        ("children", ["-n1", debian, *shell("sleep 100 & sleep 100 & exit 0")], [0]),
        ("missing image", ["-n1", f"--container-image={cluster.REGISTRY}/nonesuch", "true"], [125]),
        ("missing command", ["-n1", debian, "no-such-command"], [2]),
        ("bad mount", ["-n1", debian, "--container-mounts=/nowhere:/x", "true"], [125]),
        ("killed by itself", ["-n1", debian, *shell("ulimit -c 0; kill -KILL $$")], [137]),
    ]


def cancelled(random, number):
    """A step that is cancelled some time after it was begun, by any of the ways there are."""
    where = ["-J", f"soak{number}", "-N1", "-n2", f"--container-image={image('entrypoint')}"]
    how = random.choice([[], ["-s", "KILL"], ["-s", "INT"]])
    hangs = random.random() < 0.5
    words = [*ENTRYPOINT, "true"] if hangs else shell("trap 'exit 1' INT; sleep 100 & wait")
    step = spawn(
        "timeout", "--kill-after=5", 600, "srun", *where, *words, environment={"ENTRYPOINT_MODE": "hang"} if hangs else None
    )
    job = wait_for(lambda: run("squeue", "-h", "-n", f"soak{number}", "-o", "%i").out.strip(), what="the job")
    time.sleep(random.random())
    run("scancel", *how, job)
    if how:
        time.sleep(random.random())
        run("scancel", job)
    step.communicate()


def daemons():
    """Resident kilobytes and open descriptors of each node's slurmd."""
    result = {}
    for host in cluster.NODES:
        ask = "p=$(pidof -s slurmd); awk '/VmRSS/ {print $2}' /proc/$p/status; ls /proc/$p/fd | wc -l"
        memory, descriptors = node(host, "bash", "-c", ask).split()
        result[host] = (int(memory), int(descriptors))
    return result


def locks(host):
    """Open file description locks on files of that host's store; /proc/locks shows those of the whole machine."""
    lines = [line.split() for line in node(host, "cat", "/proc/locks").splitlines()]
    store = set(node(host, "find", cluster.STORE, "-xdev", "-printf", "%i\\n").split())
    return [line for line in lines if "OFDLCK" in line and line[5].rsplit(":", 1)[1] in store]


def lock_files(host):
    return len(node(host, "ls", f"{cluster.STORE}/locks").split())


def one(random, names, number):
    if random.random() < 0.15:
        return cancelled(random, number)
    kind, words, right, command, environment = (*random.choice(kinds(random, names)), None, None)[:5]
    ended = run(*(command or ["srun", *words]), environment=environment)
    assert ended.status in right, f"step {number}, {kind}: {ended}"


def named_containers(host):
    return set(node(host, "bash", "-c", f"cd {cluster.STORE}/containers 2>/dev/null && ls || true").split())


def soak(steps, seed, say=print):
    names = ["soak-a", "soak-b"]
    for warm, command in ("debian", "true"), ("entrypoint", "true"), ("hello", "/hello"):
        for host in cluster.NODES:
            done = srun("-n1", "-w", host, f"--container-image={image(warm)}", command)
            assert done.status == 0, done
    wait_until_quiet()
    node("ctl", "bash", "-c", "rm -rf /srv/soak; mkdir -m 1777 /srv/soak")
    before, daemons_before = {host: traces(host) for host in cluster.NODES}, daemons()
    locks_before = {host: lock_files(host) for host in cluster.NODES}
    named_before = {host: named_containers(host) for host in cluster.NODES}
    # Several at once; what each does depends on the seed alone.
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as several:
        ended = several.map(lambda number: one(random.Random(seed * 1000003 + number), names, number), range(steps))
        for number, _ in enumerate(ended, 1):
            if number % 50 == 0:
                say(f"# {number} steps, slurmd {daemons()}", flush=True)
    wait_until_quiet()
    for host in cluster.NODES:
        after = wait_traces(host, before[host])
        assert after == before[host], f"left on {host}: {[(k, set(map(str, after[k])) ^ set(map(str, before[host][k]))) for k in after if after[k] != before[host][k]]}"
        wait_for(lambda: not locks(host), what=f"the end of the locks on {host}")
        drafts = node(host, "bash", "-c", f"cd {cluster.STORE}; ls drafts; ls squashfs 2>/dev/null | grep new").split()
        # One for each name of a container or an image, and not for each step.
        assert lock_files(host) < locks_before[host] + 10, f"lock files in {host}'s store grow with the steps"
        assert not drafts, f"left in {host}'s store: {drafts}"
        kept = named_containers(host) - named_before[host]
        assert kept <= set(names), f"left in {host}'s store: {kept}"
    for name in names:
        node("node1", "rm", "-rf", f"{cluster.STORE}/containers/{name}")
    node("ctl", "rm", "-rf", "/srv/soak")
    for host, (memory, descriptors) in daemons().items():
        was = daemons_before[host]
        assert descriptors <= was[1] + 2, f"slurmd on {host} had {was[1]} descriptors and has {descriptors}"
        assert memory <= was[0] * 1.5 + 4096, f"slurmd on {host} had {was[0]} kB and has {memory}"
    return daemons_before, daemons()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    print(f"# {count} steps, seed {seed}", flush=True)
    try:
        cluster.start()
        started = time.monotonic()
        was, now = soak(count, seed)
        print(f"ok 1 - {count} steps in {time.monotonic() - started:.0f} s leave nothing; slurmd (kB, descriptors) {was} -> {now}")
        print("1..1")
    finally:
        cluster.stop()
