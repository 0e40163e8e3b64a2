"""The open issues of Pyxis and Enroot that the plugin, or Berth, is said to solve, by their numbers:
docs/reference/pyxis-compatibility.md. Enroot 278, tokens that expire, is in Tests/RegistryTests.
"""

import re

import cluster
from cluster import PluginOptions, image, image_for_programs_of_hosts, job_of, node, other_plugin, run, spawn, srun, wait_for, wait_until_quiet
from harness import contained, fails, forget, named, same, shell, succeeds, test
from run_words import LIST_GPUS, each_task_opens_one_gpu_of_its_own


@test
def pyxis_31_srun_from_inside_a_container():
    program = shell("cd /tmp; srun --overlap -n1 hostname; squeue -h -o %i")
    ended = run("salloc", "-Q", "-n1", "-w", "node1", "srun", f"--container-image={image_for_programs_of_hosts()}", "--container-slurm", *program)
    assert re.fullmatch(r"node1\n\d+\n", succeeds(ended).out), ended


@test
def pyxis_73_gpus_per_task_are_all_there():
    for words in ("--gpus-per-task=1",), ("--gres=gpu:2", "--gpu-bind=map_gpu:1,0"):
        ended = succeeds(contained("-n2", "-l", *words, *shell(LIST_GPUS)))
        each_task_opens_one_gpu_of_its_own(ended)


@test
def pyxis_73_gpus_per_task_are_all_there_when_the_first_task_is_late():
    # slurmstepd has moved it to a cgroup with one GPU before the container is begun.
    with other_plugin("task == 0", "usleep(500000)"):
        ended = succeeds(contained("-n2", "-l", "--gpus-per-task=1", *shell(LIST_GPUS)))
    each_task_opens_one_gpu_of_its_own(ended)


@test
def pyxis_73_a_task_that_dies_early_holds_nobody_up_for_long():
    # With cgroups of version 2 its neighbours' container waits for what it would have said.
    with other_plugin("task == 1", "_exit(3)"):
        ended = contained("-n3", "-l", "--gpus-per-task=1", *shell(LIST_GPUS), timeout=200)
    same(ended.status, 3, ended)
    same([line.split()[:2] for line in sorted(ended.lines) if line.endswith("address")], [["0:", "0"], ["2:", "2"]], ended)


@test
def pyxis_104_commands_that_the_host_lacks():
    same(succeeds(contained("/opt/program/bin/only-inside", name="entrypoint")).out, "only-inside 1.0\n")


@test
def pyxis_123_a_failing_epilog_drains_no_node():
    with PluginOptions("container_scope=job", "berth=/srv/berth/bin/moved-away"):
        fails(contained("true"), "/srv/berth/bin/moved-away")
        wait_until_quiet()
        # A node whose epilog is still to come is "completing".
        wait_for(lambda: run("sinfo", "-h", "-n", "node1", "-o", "%T").out.strip() == "idle", what="an idle node1")


@test
def pyxis_161_what_a_killed_job_left_is_no_obstacle():
    forget("requeued")
    step = spawn(
        "timeout", 600, "srun", "-J", "plugin-161", "-n1", "-w", "node1", f"--container-image={image('debian')}",
        "--container-name=requeued", *shell("echo kept >/kept; echo ready; sleep 300"),
    )  # fmt: skip
    same(step.stdout.readline(), "ready\n")
    run("scancel", "-s", "KILL", job_of("plugin-161"))
    step.communicate()
    same(succeeds(named("requeued", f"--container-image={image('debian')}", "cat", "/kept")).out, "kept\n")
    forget("requeued")


@test
def pyxis_163_task_prologs_run_outside():
    prolog = "#!/bin/bash\\necho print prolog for $SLURM_PROCID on $(hostname)\\necho export FROM_PROLOG=yes\\necho unset TO_GO\\n"
    node("ctl", "bash", "-c", f"printf '{prolog}' >/srv/prolog.sh; chmod 755 /srv/prolog.sh")
    conf = cluster.LAB / "etc/slurm.conf"
    before = conf.read_text()
    try:
        cluster.replace(conf, before + "TaskProlog=/srv/prolog.sh\n")
        cluster.restart_daemons()
        # An image without a shell, and without the script.
        ended = contained("-n2", "/hello", name="hello", environment={"TO_GO": "x"})
        assert "prolog for 0 on node1" in succeeds(ended).out and "prolog for 1" in ended.out, ended
        ended = contained(*shell("echo [$FROM_PROLOG$TO_GO]"), environment={"TO_GO": "x"})
        assert "[yes]" in succeeds(ended).out, ended
    finally:
        cluster.replace(conf, before)
        cluster.restart_daemons()
        node("ctl", "rm", "-f", "/srv/prolog.sh")


@test
def pyxis_174_a_second_job_imports_nothing():
    succeeds(contained("true"))
    before, layers = len(cluster.requests("debian")), node("node1", "find", f"{cluster.STORE}/layers", "-maxdepth", "1")
    succeeds(contained("true"))
    same(len(cluster.requests("debian")), before)
    same(node("node1", "find", f"{cluster.STORE}/layers", "-maxdepth", "1"), layers)


@test
def pyxis_181_attaching_while_the_container_ends():
    forget("race")
    succeeds(named("race", f"--container-image={image('debian')}", "true"))
    steps = "for i in $(seq 24); do srun --overlap -n1 --container-name=race sleep 0.$((i % 4)) & p+=($!); sleep 0.0$((i % 7)); done;"
    ended = run("salloc", "-Q", "-N1", "-n8", "-O", "-w", "node1", "bash", "-c", steps + 'for i in "${p[@]}"; do wait $i || exit; done')
    succeeds(ended)
    forget("race")


@test
def enroot_91_containers_share_one_tree_and_never_write_to_it():
    chmod = "find {}/layers -newer {} | head -n 3"
    node("node1", "bash", "-c", "touch /tmp/berth-before; sleep 1")
    succeeds(contained("-n4", *shell("echo x >>/etc/motd; rm -f /etc/debian_version; echo new >/etc/new")))
    same(node("node1", "bash", "-c", chmod.format(cluster.STORE, "/tmp/berth-before")), "")
    node("node1", "rm", "/tmp/berth-before")
    same(succeeds(contained(*shell("ls /etc/debian_version"))).out, "/etc/debian_version\n")


@test
def enroot_154_no_lock_is_waited_for_at_the_start():
    forget("locks")
    succeeds(named("locks", f"--container-image={image('debian')}", "true"))
    ended = named("locks", "-n64", "-O", *shell("readlink /proc/self/ns/mnt"), timeout=600)
    same((len(succeeds(ended).lines), len(set(ended.lines))), (64, 1), ended)
    forget("locks")


@test
def pyxis_151_saving_deletes_nothing():
    home = "/home/alice/pyxis-151"
    node("ctl", "bash", "-c", f"rm -rf {home}; mkdir -p {home}/dir; echo mine >{home}/file; echo mine >{home}/dir/file; chown -R alice: {home}")
    left = f"cd {home}; find . | sort; cat file dir/file"
    before = node("ctl", "bash", "-c", left)
    try:
        for value in "./", ".", home, f"{home}/", f"{home}/dir", f"{home}/dir/..", f"{home}/file", "/", "/home/alice":
            ended = contained(f"--chdir={home}", f"--container-save={value}", "true")
            said = [line for line in ended.err.splitlines() if "berth: " in line and "save" in line]
            assert ended.status != 0 or said, f"nothing is said of {value}: {ended}"
            same(node("ctl", "bash", "-c", left), before, value)
    finally:
        node("ctl", "rm", "-rf", home)


class GroupOfAlice:
    """A further group for alice on each host, seen in these alone."""

    def __enter__(self):
        for host in ("ctl", *cluster.NODES):
            node(
                host, "bash", "-c", "{ cat /etc/group; echo lab-secrets:x:4711:alice; } >/run/group && mount --bind /run/group /etc/group",
            )  # fmt: skip
        cluster.restart_daemons()

    def __exit__(self, *_):
        for host in ("ctl", *cluster.NODES):
            node(host, "umount", "/etc/group")
        cluster.restart_daemons()


@test
def pyxis_152_enroot_254_supplementary_groups_give_access():
    secret = "/srv/group-secret"
    node("ctl", "bash", "-c", f"echo secret >{secret}; chown root:4711 {secret}; chmod 640 {secret}")
    try:
        fails(contained(f"--container-mounts={secret}", "cat", secret), "Permission denied")
        with GroupOfAlice():
            same(succeeds(contained(f"--container-mounts={secret}", "cat", secret)).out, "secret\n")
            ended = srun("-n1", "-w", "node1", "berth", "run", "-v", secret, image("debian"), "--", "cat", secret)
            same(succeeds(ended).out, "secret\n")
            ended = contained("--container-remap-root", f"--container-mounts={secret}", "cat", secret)
            same(succeeds(ended).out, "secret\n")
    finally:
        node("ctl", "rm", "-f", secret)


class ShortCredentials:
    """A job that is requeued starts again when its credentials have expired: two minutes, without this."""

    conf = property(lambda self: cluster.LAB / "etc/slurm.conf")

    def __enter__(self):
        wait_until_quiet()
        self.before = self.conf.read_text()
        cluster.replace(self.conf, self.before + "AuthInfo=cred_expire=5\n")
        cluster.restart_daemons()

    def __exit__(self, *_):
        run("scancel", "-u", cluster.USER)
        wait_until_quiet()
        cluster.replace(self.conf, self.before)
        cluster.restart_daemons()


@test
def pyxis_161_a_requeued_job_runs_again():
    forget("requeue")
    where = "/srv/requeued"
    node("ctl", "bash", "-c", f"rm -rf {where}; mkdir -m 777 {where}")
    # Both kinds of container; what is killed is the script, in a container of its own, and its step in a named one.
    script = f"""#!/bin/bash
echo run $SLURM_RESTART_COUNT >>{where}/log
touch /in-root || exit 3
srun --container-image={image('debian')} --container-name=requeue --container-mounts={where} bash -c '
  echo step >>/kept; wc -l </kept >>{where}/log
  [ -n "$SLURM_RESTART_COUNT" ] || sleep 600'
"""
    chosen = (f"--container-image={image_for_programs_of_hosts()}", "--container-slurm", f"--container-mounts={where}")
    with ShortCredentials():
        job = run("sbatch", "--parsable", "--requeue", "-w", "node1", "-o", f"{where}/out", *chosen, input=script).out.strip()
        log = lambda: node("ctl", "cat", f"{where}/log").split("\n")  # noqa: E731
        wait_for(lambda: len(log()) > 2, seconds=120, what=f"the step of job {job}")
        same(run("scontrol", "requeue", job).status, 0)
        wait_for(lambda: len(log()) > 4, seconds=240, what=f"the second run of job {job}: {log()}")
        wait_until_quiet()
    same(log(), ["run", "1", "run 1", "2", ""], node("ctl", "cat", f"{where}/out"))
    node("ctl", "rm", "-rf", where)
    forget("requeue")


@test
def enroot_10_141_images_unpack_without_privilege_on_nodev():
    # A tmpfs without devices and without trusted attributes for users; the image has whiteouts and an opaque directory.
    store = "/mnt/berth-nodev"
    node("node1", "bash", "-c", f"mkdir -p {store} && mount -t tmpfs -o nodev,nosuid,mode=1777 nodev {store}")
    try:
        program = shell("ls /etc/issue.net 2>&1; ls /etc/skel; touch /etc/new && rm /etc/motd && ! test -e /etc/motd && echo writable")
        ended = succeeds(contained(*program, environment={"BERTH_STORE": f"{store}/store"}))
        for line in "README", "writable":
            assert line in ended.lines, ended
        assert "cannot access '/etc/issue.net'" in ended.out, ended
    finally:
        wait_until_quiet()
        node("node1", "bash", "-c", f"umount {store}; rmdir {store}")
