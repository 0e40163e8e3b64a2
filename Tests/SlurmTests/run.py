#!/usr/bin/env python3
"""Real jobs on a real Slurm: two nodes with eight fake GPUs each, a registry, an ordinary user.

    run.py [WORD...]      only the tests whose name has one of the words; "grant." are all of grant.py

Prints TAP.  Needs root, the packages of `Scripts/setup run test`, and what `Scripts/build` makes.
"""

import collections
import os
import re

import cluster
import harness
from cluster import image, in_shell, in_terminal, job_of, node, run, spawn, srun, traces, wait_traces, wait_until_quiet
from harness import needs_mpi, one_message, same, succeeds, test
from run_words import LIST_GPUS, each_task_opens_one_gpu_of_its_own

# ---- the main job ----------------------------------------------------------------------------------------------------


@test
def ddp_trains_on_two_nodes_with_two_tasks_each():
    image("train")
    with cluster.patient_nodes():
        ended = succeeds(
            srun("-N2", "-n4", "--ntasks-per-node=2", "--gres=gpu:2", "berth", "run", image("train"), timeout=600)
        )
    losses = [float(loss) for loss in re.findall(r"^step +\d+ +loss ([0-9.]+)$", ended.out, re.M)]
    assert len(losses) > 3 and losses[-1] < losses[0] / 10, ended
    ranks = re.findall(r"^rank (\d) on (\w+): (user:\S+), GPUs (.*), parameters (\S+)$", ended.out, re.M)
    same([(rank, host) for rank, host, *_ in ranks], [("0", "node1"), ("1", "node1"), ("2", "node2"), ("3", "node2")], ended)
    same({gpus for *_, gpus, _ in ranks}, {"nvidia0 nvidia1"}, ended)
    same(len({checksum for *_, checksum in ranks}), 1, ended)
    same(len({(host, namespace) for _, host, namespace, *_ in ranks}), 2, ended)


@test
def a_batch_job_with_steps_runs_and_reports():
    script = f"""#!/bin/bash
#SBATCH -N2 --ntasks-per-node=1 -o /srv/batch.out
srun berth run {image("debian")} -- bash -c 'echo step $SLURM_STEP_ID on $(hostname)'
berth run {image("debian")} -- bash -c 'echo batch on $(hostname)'
srun -N1 -n1 berth run {image("debian")} -- bash -c 'exit 9'
"""
    ended = run("sbatch", "--wait", input=script)
    same(ended.status, 9, ended)
    out = node("ctl", "cat", "/srv/batch.out").splitlines()
    for line in "step 0 on node1", "step 0 on node2", "batch on node1":
        assert line in out, (line, out)


# ---- status, signals, standard streams ---------------------------------------------------------------------------------


@test
def the_exit_status_of_a_task_is_sruns():
    ended = srun("-N2", "-n2", "berth", "run", image("debian"), *in_shell("exit $((SLURM_PROCID * 3))"))
    same(ended.status, 3, ended)


@test
def a_task_that_dies_of_a_signal_is_reported_as_such():
    bare = srun("-n1", "bash", "-c", "ulimit -c 0; kill -SEGV $$")
    inside = srun("-n1", "berth", "run", image("debian"), *in_shell("ulimit -c 0; kill -SEGV $$"))
    same(inside.status, bare.status, f"{inside}\n{bare}")
    assert "Segmentation fault" in inside.err, inside


@test
def scancel_with_a_signal_reaches_the_command():
    program = 'trap "echo caught by $SLURM_PROCID; exit 0" USR1; echo ready; while :; do sleep .1; done'
    step = spawn("timeout", 600, "srun", "-J", "usr1", "-N2", "-n2", "berth", "run", image("debian"), *in_shell(program))
    for _ in range(2):
        same(step.stdout.readline(), "ready\n")
    run("scancel", "-s", "USR1", job_of("usr1"))
    out, err = step.communicate()
    same(step.returncode, 0, err)
    same(sorted(out.splitlines()), ["caught by 0", "caught by 1"], err)


@test
def scancel_ends_all_and_leaves_nothing():
    succeeds(srun("-N2", "-n2", "berth", "run", image("debian"), "true"))
    wait_until_quiet()
    before = {host: traces(host) for host in cluster.NODES}
    step = spawn(
        "timeout", 600, "srun", "-J", "cancelled", "-N2", "--ntasks-per-node=4", "--gres=gpu:2", "berth", "run", image("debian"),
        *in_shell("touch /root-of-container 2>/dev/null; sleep 300 & echo ready; wait"),
    )  # fmt: skip
    for _ in range(8):
        same(step.stdout.readline(), "ready\n")
    run("scancel", job_of("cancelled"))
    step.communicate()
    assert step.returncode != 0
    wait_until_quiet()
    for host in cluster.NODES:
        same(wait_traces(host, before[host]), before[host], host)


@test
def nothing_is_left_after_a_step():
    succeeds(srun("-N2", "-n2", "berth", "run", image("debian"), "true"))
    wait_until_quiet()
    before = {host: traces(host) for host in cluster.NODES}
    succeeds(srun("-N2", "--ntasks-per-node=4", "berth", "run", image("debian"), *in_shell("echo x >/etc/written; cat /etc/written")))
    wait_until_quiet()
    for host in cluster.NODES:
        same(wait_traces(host, before[host]), before[host], host)


@test
def standard_input_and_output_are_the_tasks_own():
    text = "".join(f"line {i}\n" for i in range(20000))
    ended = succeeds(srun("-n1", "berth", "run", image("debian"), "--", "cat", input=text))
    same(ended.out, text)
    ended = succeeds(srun("-n1", "berth", "run", image("debian"), *in_shell("echo out; echo err >&2")))
    same((ended.out, ended.err), ("out\n", "err\n"))


@test
def a_pseudo_terminal_works():
    program = "test -t 0 && test -t 1 && tty && stty size"
    ended = succeeds(in_terminal("srun", "--pty", "berth", "run", image("debian"), *in_shell(program), rows=33, columns=99))
    assert re.search(r"/dev/(pts/\d+|console)\s+33 99", ended.out), ended


# ---- one container for the tasks of a step on a node -----------------------------------------------------------------------


@test
def tasks_on_a_node_share_their_namespaces_and_nodes_do_not():
    show = "echo $(hostname) $(readlink /proc/self/ns/user /proc/self/ns/mnt)"
    with cluster.patient_nodes():
        ended = succeeds(srun("-N2", "--ntasks-per-node=4", "berth", "run", image("debian"), *in_shell(show)))
    spaces = collections.defaultdict(set)
    for line in ended.lines:
        host, user, mount = line.split()
        spaces[host].add((user, mount))
    same({host: len(seen) for host, seen in spaces.items()}, {"node1": 1, "node2": 1}, ended)
    assert spaces["node1"] != spaces["node2"], ended


@test
def network_ipc_pids_and_shared_memory_are_the_nodes():
    show = "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/pid; stat -c %d /dev/shm; hostname"
    bare = succeeds(srun("-n1", "-w", "node1", "bash", "-c", show))
    inside = succeeds(srun("-n1", "-w", "node1", "berth", "run", image("debian"), *in_shell(show)))
    same(inside.out, bare.out)


@test
def two_steps_at_once_on_a_node_have_a_container_each():
    # A namespace's number is used again when it is gone: all four are there at once.
    show = "readlink /proc/self/ns/mnt; touch /tmp/two-$SLURM_STEP_ID-$SLURM_LOCALID; until [ $(ls /tmp/two-* | wc -l) = 4 ]; do sleep .1; done; sleep 1"
    script = f"""
        srun --overlap -n2 berth run {image("debian")} -- bash -c '{show}' & first=$!
        srun --overlap -n2 berth run {image("debian")} -- bash -c '{show}' & wait $first && wait $!"""
    ended = succeeds(run("salloc", "-Q", "-N1", "-n2", "bash", "-c", script))
    counts = collections.Counter(ended.lines)
    same(sorted(counts.values()), [2, 2], ended)
    for host in cluster.NODES:
        node(host, "bash", "-c", "rm -f /tmp/two-*")


@test
def sixty_four_tasks_need_one_pull_and_one_setup():
    reference, store = image("debian"), f"/var/tmp/store-{os.getpid()}"
    succeeds(srun("-N1", "-n1", "-w", "node1", "rm", "-rf", store))
    before = cluster.requests("debian")
    with cluster.patient_nodes():
        ended = succeeds(
            srun(
                "-N1", "-n64", "-O", "-w", "node1", "berth", "run", reference, *in_shell("readlink /proc/self/ns/mnt"),
                environment={"BERTH_STORE": store}, timeout=600,
            )  # fmt: skip
        )
    same(len(ended.lines), 64, ended)
    same(len(set(ended.lines)), 1, ended)
    asked = cluster.requests("debian")[len(before) :]
    blobs = [path for path in asked if "/blobs/" in path]
    same(len(blobs), 3, asked)  # two layers and the configuration
    same(len(set(blobs)), 3, asked)
    manifests = [path for path in asked if "/manifests/" in path]
    assert 1 <= len(manifests) <= 2, asked  # the tag, and perhaps its digest
    succeeds(srun("-N1", "-n1", "-w", "node1", "bash", "-c", f"chmod -R u+w {store}; rm -rf {store}"))


@test
def any_task_may_end_first():
    for first in range(4):
        program = f"[ $SLURM_LOCALID = {first} ] || sleep .7; cat /etc/debian_version"
        ended = succeeds(srun("-N1", "-n4", "berth", "run", image("debian"), *in_shell(program)))
        same(len(ended.lines), 4, ended)


@test
def tasks_that_start_late_run_too():
    program = f"sleep $SLURM_LOCALID; exec berth run {image('debian')} -- bash -c 'echo $SLURM_LOCALID'"
    ended = succeeds(srun("-N1", "-n4", "bash", "-c", program))
    same(sorted(ended.lines), ["0", "1", "2", "3"], ended)


@test
def a_hundred_steps_in_a_row_succeed():
    script = f"for i in $(seq 100); do srun -n4 berth run {image('debian')} -- true || exit; done; echo all"
    ended = succeeds(run("salloc", "-Q", "-N1", "-n4", "bash", "-c", script, timeout=600))
    same(ended.out, "all\n", ended)


# ---- what the allocation grants --------------------------------------------------------------------------------------------


@test
def two_of_eight_gpus_exist_inside_and_open():
    ended = succeeds(srun("-n1", "-w", "node1", "--gres=gpu:2", "berth", "run", image("debian"), *in_shell(LIST_GPUS)))
    same(ended.lines, [f"{i} No such device or address" for i in (0, 1)], ended)


@test
def gpus_in_use_by_another_job_do_not_exist_inside():
    other = spawn("timeout", 600, "srun", "-J", "holder", "-n1", "-w", "node1", "--gres=gpu:2", "--mem=100", "bash", "-c", "echo ready; sleep 500")
    same(other.stdout.readline(), "ready\n")
    try:
        ended = succeeds(
            srun("-n1", "-w", "node1", "--gres=gpu:3", "--mem=100", "berth", "run", image("debian"), *in_shell(LIST_GPUS))
        )
        same([line.split()[0] for line in ended.lines], ["2", "3", "4"], ended)
    finally:
        run("scancel", job_of("holder"))
        other.communicate()


@test
def a_job_without_gpus_has_none():
    ended = succeeds(srun("-n1", "berth", "run", image("debian"), *in_shell("ls /dev | grep -c nvidia || true")))
    same(ended.out, "0\n", ended)


@test
def a_gpu_for_each_task_makes_the_union_visible():
    program = LIST_GPUS + "; echo"
    with cluster.patient_nodes():
        ended = succeeds(srun("-N1", "-n2", "-l", "--gpus-per-task=1", "berth", "run", image("debian"), *in_shell(program)))
    each_task_opens_one_gpu_of_its_own(ended)


@test
def limits_are_raised_as_far_as_they_may():
    program = "for which in l n s; do echo $(ulimit -S$which) $(ulimit -H$which); done"
    ended = succeeds(run("bash", "-c", f"ulimit -Sl 64; ulimit -Sn 512; srun -n1 berth run {image('debian')} -- bash -c '{program}'"))
    for line in ended.lines:
        soft, hard = line.split()
        same(soft, hard, ended)


@test
def the_user_is_the_same_inside_and_has_a_name():
    ended = succeeds(srun("-n1", "berth", "run", image("debian"), *in_shell("id -u; id -un; id -gn; touch /srv/x 2>/dev/null; pwd")))
    same(ended.lines, [cluster.user_id(), "alice", "alice", "/workspace"], ended)


# ---- MPI -------------------------------------------------------------------------------------------------------------------


def four_ranks(flavour, name):
    needs_mpi(flavour)
    # MPI ranks spin while they wait, and on two cores four of them can starve each other: a run in time is what counts.
    for attempt in range(3):
        ended = srun(f"--mpi={flavour}", "-N2", "--ntasks-per-node=2", "--mem=1000", "berth", "run", image(name), timeout=100)
        if ended.status not in (124, 137):
            break
        print(f"# attempt {attempt + 1} starved")
    succeeds(ended)
    found = sorted(re.findall(r"rank (\d) of 4 on (\w+), sum of ranks 6", ended.out))
    same(found, [("0", "node1"), ("1", "node1"), ("2", "node2"), ("3", "node2")], ended)


@test
def mpich_finds_four_ranks_under_pmi2():
    four_ranks("pmi2", "mpi")


@test
def open_mpi_finds_four_ranks_under_pmix():
    four_ranks("pmix", "mpi-openmpi")


# ---- what goes wrong -------------------------------------------------------------------------------------------------------


@test
def an_unknown_image_is_one_message_and_125():
    one_message(srun("-n1", "berth", "run", "-q", f"{cluster.REGISTRY}/nonesuch:1", "true"), 125, "nonesuch")


@test
def an_unreachable_registry_is_one_message_and_125():
    one_message(srun("-n1", "berth", "run", "-q", "10.77.0.254:5999/debian", "true"), 125, "10.77.0.254:5999", "refused")


@test
def an_unknown_command_is_127():
    one_message(srun("-n1", "berth", "run", "-q", image("debian"), "no-such-command"), 127, "no-such-command")


@test
def a_file_that_is_no_program_is_126():
    one_message(srun("-n1", "berth", "run", "-q", image("debian"), "/etc/passwd"), 126, "/etc/passwd")


@test
def a_bad_image_for_many_tasks_is_still_125():
    ended = srun("-N2", "--ntasks-per-node=4", "berth", "run", f"{cluster.REGISTRY}/nonesuch:1", "true")
    same(ended.status, 125, ended)
    wait_until_quiet()


import documents  # noqa: E402, F401
import grant  # noqa: E402, F401
import headers  # noqa: E402, F401
import issues  # noqa: E402, F401
import lifetimes  # noqa: E402, F401
import own_processes  # noqa: E402, F401
import plugin  # noqa: E402, F401
import prefetch  # noqa: E402, F401
import pyxis  # noqa: E402, F401
import records  # noqa: E402, F401
import safety  # noqa: E402, F401
import x11  # noqa: E402, F401

harness.main()
