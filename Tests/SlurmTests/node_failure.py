#!/usr/bin/env python3
"""Training on four nodes of which one dies: the step fails, nothing is left on the others, and what is requeued runs.

    node_failure.py

A cluster of its own, and minutes, as Slurm's time-outs are: by hand, and no part of run.py.  Needs what that needs.
"""

import os
import re
import signal
import sys
import time

import cluster
from cluster import LAB, image, node, run, script, spawn, srun, traces, wait_for, wait_traces, wait_until_quiet

VICTIM = "node3"
SLURM = "SlurmdTimeout=20\nAuthInfo=cred_expire=10\nJobRequeue=1\n"


def training(steps):
    """srun's words; without a limit of steps the ranks go on until they are ended."""
    return ["-N4", "-n4", "--mem=1000", "--container-profile=pytorch", f"--container-image={image('train')}",
            "python3", "train.py", f"--steps={steps}"]  # fmt: skip


def kill_victim():
    os.kill(int(script("Scripts/slurm-lab", "pid", VICTIM)), signal.SIGKILL)


def revive_victim():
    cluster.start_hosts()
    wait_for(lambda: run("sinfo", "-h", "-t", "idle,alloc,mixed", "-o", "%D").out.split() == ["4"], 120, "the return of all nodes")


def check_the_others(before):
    for host in before:
        wait_for(lambda: not cluster.processes(host), 120, f"the end of all processes on {host}")
        for _ in range(20):
            after = wait_traces(host, before[host])
            if after == before[host]:
                break
        assert after == before[host], f"left on {host}: {after} instead of {before[host]}"


def main():
    cluster.NODES[:] = ["node1", "node2", "node3", "node4"]
    extra = LAB.with_suffix(".conf")
    extra.write_text(SLURM)
    try:
        cluster.start(environment={"BERTH_LAB_EXTRA": str(extra)})
        done = srun(*training(60), timeout=600)
        assert done.status == 0 and len(set(re.findall(r"parameters (\S+)$", done.out, re.M)) - {"equal"}) <= 1, done
        assert "4 ranks" in done.out and "parameters equal" in done.out, done
        wait_until_quiet()
        before = {host: traces(host) for host in cluster.NODES if host != VICTIM}

        started = time.monotonic()
        step = spawn("timeout", "--kill-after=10", 600, "srun", "--kill-on-bad-exit=1", *training(1000000))
        if not any(line.startswith("step  10") for line in step.stdout):
            raise AssertionError(f"it never trained: {step.communicate()}")
        kill_victim()
        out, err = step.communicate()
        assert step.returncode not in (0, 124, 137), f"{step.returncode}: {out}{err}"
        check_the_others(before)
        print(f"ok 1 - a dead node ends the step with {step.returncode} after {time.monotonic() - started:.0f} s and leaves nothing", flush=True)
        revive_victim()
        wait_until_quiet()

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
        job = run("sbatch", "--parsable", "--requeue", "-N4", "--mem=1000", "--open-mode=append", "-o", "/srv/requeued.out", input=body).out.strip()
        said = lambda: node("ctl", "cat", "/srv/requeued.out")  # noqa: E731
        wait_for(lambda: "step  10" in said(), 300, "training")
        kill_victim()
        state = lambda: run("squeue", "-h", "-j", job, "-o", "%T").out.strip()  # noqa: E731
        wait_for(lambda: state() == "PENDING", 300, "the requeueing")
        check_the_others(before)
        revive_victim()
        wait_for(lambda: not state(), 600, f"the second run: {said()}")
        assert "parameters equal" in said() and "run 1 ended with 0" in said(), said()
        wait_until_quiet()
        check_the_others(before)
        print("ok 2 - the job is requeued, and trains to its end when the node is back", flush=True)
        print("1..2")
    finally:
        cluster.stop()
        extra.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        print("not ok -", "\n# ".join(str(error).splitlines()))
        sys.exit(1)
