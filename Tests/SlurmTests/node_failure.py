#!/usr/bin/env python3
"""Four nodes: training of which one node dies, which fails as Slurm says, leaves nothing on the others, and runs when it is
requeued; and an image brought to all of them.

    node_failure.py [WORD...]      only the tests whose name has one of the words

On a cluster of its own, in which a dead node is noticed soon. Needs what run.py needs.
"""

import functools
import os
import signal
import time

import cluster
import harness
from cluster import LAB, SlowLine, image, node, run, script, spawn, srun, traces, wait_for, wait_traces, wait_until_quiet
from harness import same, shell, succeeds, test

VICTIM = "node3"
SLURM = "SlurmdTimeout=20\nAuthInfo=cred_expire=10\nJobRequeue=1\n"


def training(steps):
    """srun's words; without a limit of steps the ranks go on until they are ended."""
    return ["-N4", "-n4", "--mem=1000", "--container-profile=pytorch", "--container-seccomp=default",
            f"--container-image={image('train')}", "python3", "train.py", f"--steps={steps}"]  # fmt: skip


def with_all_nodes(function):
    """A test that begins with all nodes, and leaves none dead behind it, also where it fails."""

    @functools.wraps(function)
    def mending():
        revive_victim()
        try:
            function()
        finally:
            run("scancel", "-u", cluster.USER)
            revive_victim()
            wait_until_quiet()

    return mending


def kill_victim():
    os.kill(int(script("Scripts/slurm-lab", "pid", VICTIM)), signal.SIGKILL)


def revive_victim():
    cluster.start_hosts()
    usable = lambda: run("sinfo", "-h", "-t", "idle,alloc,mixed", "-o", "%D").out.split() == ["4"]  # noqa: E731
    wait_for(usable, 120, "the return of all nodes")


@functools.cache
def all_nodes_have_it():
    done = srun(*training(60), timeout=600)
    assert done.status == 0 and "4 ranks" in done.out and "parameters equal" in done.out, done


def traces_of_the_others():
    all_nodes_have_it()
    wait_until_quiet()
    return {host: traces(host) for host in cluster.NODES if host != VICTIM}


def check_the_others(before):
    for host in before:
        wait_for(lambda: not cluster.processes(host), 120, f"the end of all processes on {host}")
        same(wait_traces(host, before[host]), before[host], f"left on {host}")


@test
@with_all_nodes
def a_dead_node_ends_the_step_and_leaves_nothing():
    before = traces_of_the_others()
    started = time.monotonic()
    step = spawn("timeout", "--kill-after=10", 600, "srun", "--kill-on-bad-exit=1", *training(1000000))
    if not any(line.startswith("step  10") for line in step.stdout):
        raise AssertionError(f"it never trained: {step.communicate()}")
    kill_victim()
    out, err = step.communicate()
    assert step.returncode not in (0, 124, 137), f"{step.returncode}: {out}{err}"
    check_the_others(before)
    print(f"# srun ended with {step.returncode}, {time.monotonic() - started:.0f} s after it began")


@test
@with_all_nodes
def a_job_whose_node_dies_is_requeued_and_trains_to_its_end():
    before = traces_of_the_others()
    # Not with --kill-on-bad-exit: the signal that it has slurmctld send to the dead node is sent again after a minute, and if
    # the node is back then it ends the step of the same number in the second run (seen with 22.05, in its Agent log).
    words = " ".join(training("$steps"))
    # The script does not end by itself the first time: what ends the job is to be the dead node.
    body = f"""#!/bin/bash
steps=1000000; [ -z "$SLURM_RESTART_COUNT" ] || steps=60
srun {words}; status=$?
echo "run ${{SLURM_RESTART_COUNT:-0}} ended with $status"
[ -n "$SLURM_RESTART_COUNT" ] || sleep 600
exit $status
"""
    log = "/srv/requeued.out"
    node("ctl", "rm", "-f", log)
    job = run("sbatch", "--parsable", "--requeue", "-N4", "--mem=1000", "--open-mode=append", "-o", log, input=body).out.strip()
    said = lambda: node("ctl", "cat", log)  # noqa: E731
    try:
        wait_for(lambda: "step  10" in said(), 300, "training")
    except AssertionError as error:
        raise AssertionError(f"{error}: {said()}\n{run('squeue', '-l').out}{run('sinfo', '-N', '-l').out}") from None
    kill_victim()
    state = lambda: run("squeue", "-h", "-j", job, "-o", "%T").out.strip()  # noqa: E731
    wait_for(lambda: state() == "PENDING", 300, "the requeueing")
    check_the_others(before)
    revive_victim()
    wait_for(lambda: not state(), 600, f"the second run: {said()}")
    assert "parameters equal" in said() and "run 1 ended with 0" in said(), said()
    wait_until_quiet()
    check_the_others(before)


@test
@with_all_nodes
def what_a_dead_node_had_in_hand_is_no_obstacle_when_it_is_back():
    where, store = ("-n1", "-w", VICTIM), cluster.STORE
    named = [*where, f"--container-image={image('debian')}", "--container-name=crashed"]
    step = spawn("timeout", 600, "srun", *named, *shell("echo kept >/kept; echo ready; sleep 300"))
    same(step.stdout.readline(), "ready\n")
    drafts = lambda: node(VICTIM, "ls", f"{store}/drafts").split()  # noqa: E731
    image("mpi")
    with SlowLine():
        slow = {"BERTH_INSECURE_REGISTRIES": SlowLine.REGISTRY}
        pull = spawn("timeout", 600, "srun", *where, f"--container-image={SlowLine.REGISTRY}/mpi", "true", environment=slow)
        wait_for(drafts, what="a draft")
        kill_victim()
        for one in step, pull:
            one.communicate()
            # Of a step all of whose nodes are gone srun may say 0; that it ends is what counts.
            assert one.returncode not in (124, 137), one.returncode
    revive_victim()
    wait_until_quiet()
    assert drafts(), "the draft is to be there still"
    same(succeeds(srun(*named, "cat", "/kept")).out, "kept\n")
    succeeds(srun(*where, f"--container-image={image('mpi')}", "true"))
    same(drafts(), [])
    node(VICTIM, "rm", "-rf", f"{store}/containers/crashed")


import prefetch  # noqa: E402, F401

if __name__ == "__main__":
    cluster.NODES[:] = ["node1", "node2", "node3", "node4"]
    extra = LAB.with_suffix(".conf")
    extra.write_text(SLURM)
    try:
        harness.main(environment={"BERTH_LAB_EXTRA": str(extra)}, nodes_fail=True)
    finally:
        extra.unlink(missing_ok=True)
