"""Every case of Pyxis' own suite about what outlives a step or is shared between steps, written anew against the plugin:
names, attaching, namespaces, squashfs files. As pyxis.py.
"""

import subprocess

import cluster
from cluster import image, node, run, srun
from harness import Skipped, at, contained, fails, forget, host_namespace, named, same, shell, succeeds, test


# ---- exec.bats: attaching -----------------------------------------------------------------------------------------------------


def while_running(first, second):
    """In one job: the step `first`, and when it says that it is ready the step `second`, whose outcome is returned."""
    script = f"""
        exec 3< <(exec srun --overlap -n1 {first})
        read -r ready <&3
        srun --overlap -n1 {second}; status=$?
        scancel --signal=KILL $SLURM_JOB_ID.0 2>/dev/null
        exit $status"""
    return run("salloc", "-Q", "-N1", "-n2", "-w", "node1", "bash", "-c", script, timeout=300)


READY = "echo ready; sleep 300"


@test
def exec_attach_to_a_running_container():
    forget("exec-test")
    succeeds(named("exec-test", f"--container-image={image('debian')}", "mkdir", "/mymnt"))
    first = f"--container-name=exec-test --container-remap-root bash -c 'mount -t tmpfs none /mymnt && {READY}'"
    succeeds(while_running(first, f"--container-name=exec-test bash -c \"{at('/mymnt')}\""))
    forget("exec-test")


@test
def exec_attach_to_a_running_unnamed_container():
    first = f"--container-image={image('debian')} bash -c 'echo x >/mark; {READY}'"
    same(succeeds(while_running(first, "--container-name=$SLURM_JOB_ID.0 cat /mark")).out, "x\n")


@test
def exec_attach_keeps_what_is_the_tasks_own_and_holds_what_it_uses():
    # The rank and the GPUs are the attached task's own; its filters are those of the container, in which uid 0 has files of
    # others. Its files stay when the first step has ended and the next launch sweeps the scratch directory.
    theirs = "RANK=7 LOCAL_RANK=7 MASTER_PORT=7 CUDA_VISIBLE_DEVICES=7 OMPI_COMM_WORLD_RANK=7 FIRST=given"
    show = "echo ${RANK-} ${LOCAL_RANK-} ${MASTER_PORT-} ${CUDA_VISIBLE_DEVICES-} ${OMPI_COMM_WORLD_RANK-} $FIRST"
    first = f"--container-image={image('debian')} --container-remap-root env {theirs} bash -c 'echo x >/mark; {READY}'"
    script = f"""
        exec 3< <(exec srun --overlap -n1 {first})
        read -r ready <&3
        exec 4< <(exec srun --overlap -n1 --container-name=$SLURM_JOB_ID.0 bash -c '{show}; chown 12:34 /mark && echo changed
            trap "cat /mark; exit" USR1; echo ready; while true; do sleep 300 & wait; done')
        read -r own <&4; read -r changed <&4; read -r ready <&4; echo "$own, $changed"
        scancel --signal=KILL $SLURM_JOB_ID.0; cat <&3 >/dev/null
        srun --overlap -n1 --container-image={image('debian')} true
        scancel --signal=USR1 $SLURM_JOB_ID.1; cat <&4"""
    with cluster.SiteFile("scratch = /srv/scratch\n"):
        node("node1", "mkdir", "-p", "-m", "1777", "/srv/scratch")
        ended = succeeds(run("salloc", "-Q", "-N1", "-n2", "-w", "node1", "bash", "-c", script, timeout=300))
    node("node1", "rm", "-rf", "/srv/scratch")
    same(ended.out, "given, changed\nx\n", ended)


@test
def exec_gives_what_attaching_gives():
    # The mark is in the container's own file system, the mount and the variable are of the first step's command line.
    show = "cat /mark; echo $FIRST $BERTH_TEST_IMAGE; test -e /mnt/mounted && pwd"
    script = f"""
        touch /srv/mounted
        exec 3< <(FIRST=given exec srun --overlap -n1 --container-image={image("debian")} --container-mounts=/srv:/mnt \
            bash -c 'echo x >/mark; {READY}')
        read -r ready <&3
        show='{show}'
        srun --overlap -n1 berth exec $SLURM_JOB_ID.0 bash -c "$show"
        srun --overlap -n1 berth exec -- bash -c "$show"
        srun --overlap -n1 --container-name=$SLURM_JOB_ID.0 bash -c "$show"
        srun --overlap -n1 berth exec $SLURM_JOB_ID bash -c 'exit 7'; echo $?
        srun --overlap -n1 berth ps --format "{{{{.Step}}}} {{{{.Tasks}}}} {{{{.User}}}}"
        berth ps --job $SLURM_JOB_ID --format "{{{{.Node}}}} {{{{.Container}}}}"
        scancel --signal=KILL $SLURM_JOB_ID.0; rm -f /srv/mounted; echo $SLURM_JOB_ID"""
    ended = succeeds(run("salloc", "-Q", "-N1", "-n2", "-w", "node1", "bash", "-c", script, timeout=300))
    job = ended.lines[-1]
    seen = ["x", "given debian", "/workspace"]
    same(ended.lines[:-1], [*seen, *seen, *seen, "7", f"{job}.0 1 alice", f"node1 {job}.0"], ended)
    assert "outside job" not in ended.err, ended


@test
def exec_takes_mount_namespaces_made_inside_for_the_containers():
    script = f"""
        exec 3< <(exec srun --overlap -n1 berth run --name nested {image("debian")} -- \\
            bash -c 'unshare -Urm sleep 60 & until pgrep -x sleep >/dev/null; do sleep .05; done; {READY}')
        read -r ready <&3
        srun --overlap -n1 berth exec nested true; echo $?
        srun --overlap -n1 berth ps --format "{{{{.Container}}}}"
        scancel --signal=KILL $SLURM_JOB_ID.0"""
    ended = succeeds(run("salloc", "-Q", "-N1", "-n2", "-w", "node1", "bash", "-c", script, timeout=300))
    same(ended.lines, ["0", "nested"], ended)


@test
def exec_attach_finds_an_image_that_was_named_by_a_relative_path():
    # The second step's working directory is another one.
    where, root = "/home/alice/attach-test.sqsh", "/home/alice/attach-root"
    small_squashfs(where)
    subprocess.run(["unsquashfs", "-q", "-n", "-d", root, where], check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["chown", "-R", cluster.USER, root], check=True)
    script = """
        srun --overlap -n1 --chdir=/home/alice --container-image=$0 /bin/probe sleep 300 &
        until squeue -h -s -j $SLURM_JOB_ID | grep -qw "$SLURM_JOB_ID.0"; do sleep .2; done
        for i in $(seq 60); do
            said=$(srun --overlap -n1 --chdir=/tmp --container-name=$SLURM_JOB_ID.0:exec /bin/probe id 2>&1)
            status=$?; [ $status != 0 ] || break
            sleep 1
        done
        echo "$said"; scancel --signal=KILL $SLURM_JOB_ID.0; wait; exit $status"""
    try:
        for chosen in "./attach-test.sqsh", "dir:attach-root":
            succeeds(run("salloc", "-Q", "-N1", "-n2", "-w", "node1", "bash", "-c", script, chosen, timeout=400))
    finally:
        node("node1", "rm", "-rf", where, root)


@test
def exec_attach_starts_in_the_images_directory():
    forget("exec-test")
    first = f"--container-image={image('debian')} --container-name=exec-test bash -c 'cd /var; {READY}'"
    same(succeeds(while_running(first, "--container-name=exec-test pwd")).out, "/workspace\n")
    forget("exec-test")


@test
def exec_attach_ignores_mounts():
    forget("exec-test")
    first = f"--container-image={image('debian')} --container-name=exec-test bash -c '{READY}'"
    second = "--container-name=exec-test --container-mounts=/tmp:/mnt/pyxis_test bash -c '[ ! -d /mnt/pyxis_test ]'"
    assert "ignoring --container-mounts" in succeeds(while_running(first, second)).err
    forget("exec-test")


@test
def exec_attach_ignores_devices():
    # A container that runs has those with which it was made.
    forget("exec-test")
    first = f"--container-image={image('debian')} --container-name=exec-test bash -c '{READY}'"
    for flag, value in (("gpus", "1"), ("gpus", "all"), ("gpus", "device=0"), ("device", "/dev/full")):
        ended = succeeds(while_running(first, f"--container-name=exec-test --container-{flag}={value} true"))
        assert f"ignoring --container-{flag}" in ended.err, ended
    forget("exec-test")


@test
def exec_flag_needs_a_running_container():
    forget("exec-test")
    succeeds(named("exec-test", f"--container-image={image('debian')}", "true"))
    fails(named("exec-test:exec", "true"), "no container named exec-test is running")
    forget("exec-test")


@test
def no_exec_flag_on_a_running_container():
    forget("exec-test")
    succeeds(named("exec-test", f"--container-image={image('debian')}", "mkdir", "/mymnt"))
    first = f"--container-name=exec-test --container-remap-root bash -c 'mount -t tmpfs none /mymnt && echo x >/seen && {READY}'"
    ended = while_running(first, f"--container-name=exec-test:no_exec bash -c \"! {at('/mymnt')} && cat /seen\"")
    same(succeeds(ended).out, "x\n")
    forget("exec-test")


# ---- name.bats, concurrency.bats ---------------------------------------------------------------------------------------------------------


@test
def name_unnamed_containers_leave_nothing():
    before = node("node1", "find", cluster.STORE, "-maxdepth", "2")
    succeeds(contained("touch", "/x"))
    same(node("node1", "find", cluster.STORE, "-maxdepth", "2"), before)


@test
def name_persists():
    forget("name-test", "name-test2")
    tool = "/usr/bin/tool"
    install = shell(f"printf '#!/bin/sh\\necho tool\\n' >{tool}; chmod 755 {tool}")
    fails(contained("tool"))
    succeeds(named("name-test", f"--container-image={image('debian')}", "--container-remap-root", *install))
    same(succeeds(named("name-test", f"--container-image={image('debian')}", "tool")).out, "tool\n")
    same(succeeds(named("name-test", "tool")).out, "tool\n")
    fails(contained("tool"))
    succeeds(named("name-test2", f"--container-image={image('debian')}", "true"))
    fails(named("name-test2", "tool"))
    forget("name-test", "name-test2")
    # Removed by hand, it is made anew.
    fails(named("name-test", "tool"), "no container named name-test")
    fails(named("name-test", f"--container-image={image('debian')}", "tool"))
    forget("name-test")


@test
def name_create_flag():
    forget("name-test")
    succeeds(named("name-test:create", f"--container-image={image('debian')}", "true"))
    fails(named("name-test:create", f"--container-image={image('debian')}", "true"), "exists already")
    forget("name-test")


@test
def concurrency_creation():
    names = [f"concurrent-test-{i}" for i in range(5)]
    forget(*names)
    steps = " ".join(f"srun --overlap -n1 --container-image={image('debian')} --container-name={name} sleep 1 & p+=($!);" for name in names)
    succeeds(run("salloc", "-Q", "-N1", "-n5", "-w", "node1", "bash", "-c", steps + 'for i in "${p[@]}"; do wait $i || exit; done'))
    forget(*names)


@test
def concurrency_reuse():
    names = [f"concurrent-test-{i}" for i in range(3)]
    forget(*names)
    for name in names:
        succeeds(named(name, f"--container-image={image('debian')}", "true"))
    steps = "".join(
        f"srun --overlap -n1 --container-name={names[i % 3]}:no_exec sleep .3 & p+=($!);" for i in range(15)
    )
    succeeds(run("salloc", "-Q", "-N1", "-n15", "-O", "-w", "node1", "bash", "-c", steps + 'for i in "${p[@]}"; do wait $i || exit; done'))
    forget(*names)


@test
def steps_that_create_the_same_name_at_once_do_not_race():
    forget("same-name")
    program = "echo made >>/made; sleep 1; readlink /proc/self/ns/mnt"
    step = f"srun --overlap -n1 --container-image={image('debian')} --container-name=same-name bash -c '{program}'"
    steps = f"for i in 1 2 3 4 5 6; do {step} & p+=($!); done; for i in ${{p[@]}}; do wait $i || exit; done"
    ended = succeeds(run("salloc", "-Q", "-N1", "-n6", "-O", "-w", "node1", "bash", "-c", steps))
    same(len(ended.lines), 6, ended)
    same(succeeds(named("same-name", "cat", "/made")).lines, ["made"] * 6, ended)
    forget("same-name")


# ---- squashfs_image.bats ---------------------------------------------------------------------------------------------------------------------


def small_squashfs(where):
    """An image of one static program, as Enroot would have made it."""
    build = f"""set -e; rm -rf {where}*; d=$(mktemp -d); cd $d; mkdir -p bin etc workspace
        cp {cluster.TOP}/build/tests/probe bin/probe; echo 'FROM_FILE=yes' >etc/environment
        printf 'mkdir -p "/workspace"\\ncd "/workspace" && unset OLDPWD || exit 1\\n' >etc/rc
        mksquashfs . {where} -all-root -noappend -quiet >/dev/null; chmod 644 {where}; chown {cluster.USER} {where}; rm -rf $d"""
    # On the machine itself: its /tmp, where the checkout may lie, is not the lab hosts'.
    subprocess.run(["bash", "-c", build], check=True, stdin=subprocess.DEVNULL)


@test
def squashfs_images():
    where = "/home/alice/pyxis-test.sqsh"
    small_squashfs(where)
    for chosen in where, "./pyxis-test.sqsh":
        ended = srun("-n1", "-w", "node1", f"--container-image={chosen}", "/bin/probe", "env")
        assert "FROM_FILE=yes" in succeeds(ended).out, ended
    words = ("-n1", "-w", "node1", f"--container-image={where}")
    assert len(succeeds(srun("-N1", "-n4", "-w", "node1", f"--container-image={where}", "/bin/probe", "id")).lines) >= 4
    succeeds(srun(*words, "--container-writable", "--container-mounts=/tmp:/mnt", "--container-workdir=/mnt", "/bin/probe", "id"))
    # Steps that want it at once, when it is not unpacked yet.
    node("node1", "rm", "-rf", f"{cluster.STORE}/squashfs")
    steps = f"for i in 1 2 3; do srun --overlap -n1 --container-image={where} /bin/probe id & p+=($!); done; for i in ${{p[@]}}; do wait $i || exit; done"
    succeeds(run("salloc", "-Q", "-N1", "-n3", "-w", "node1", "bash", "-c", steps))
    fails(srun("-n1", "--container-image=./nonexistent.sqsh", "true"), "nonexistent.sqsh")
    succeeds(srun("-n1", "-w", "node1", "--container-image=pyxis-test.sqsh", "/bin/probe", "id"))
    same(len(node("node1", "bash", "-c", f"ls {cluster.STORE}/squashfs").split()), 1)
    node("ctl", "rm", "-f", where)
    node("node1", "rm", "-rf", f"{cluster.STORE}/squashfs")


@test
def squashfs_images_need_a_program_that_is_named():
    where = "/home/alice/pyxis-test.sqsh"
    small_squashfs(where)
    node("node1", "rm", "-rf", f"{cluster.STORE}/squashfs")
    words = ("-n1", "-w", "node1", f"--container-image={where}")
    # On this one host the programs are gone, first the one.
    hide = """set -e; mkdir -p /run/hide/upper /run/hide/work; mknod /run/hide/upper/unsquashfs c 0 0
        mount -t overlay -o lowerdir=/usr/bin,upperdir=/run/hide/upper,workdir=/run/hide/work hide /usr/bin; ! test -e /usr/bin/unsquashfs; echo hidden"""
    if node("node1", "bash", "-c", hide) != "hidden\n":
        raise Skipped("nothing can be hidden from a host here")
    try:
        if node("node1", "bash", "-c", "test -e /usr/bin/squashfuse && echo there || true") == "there\n":
            assert "FROM_FILE=yes" in succeeds(srun(*words, "/bin/probe", "env")).out
            same(node("node1", "bash", "-c", "pgrep -l squashfuse; grep -c squashfuse /proc/mounts || true"), "0\n")
        node("node1", "rm", "-rf", f"{cluster.STORE}/squashfs", "/usr/bin/squashfuse")
        ended = fails(srun(*words, "true"), "has no unsquashfs, and no squashfuse", "squashfs-tools")
        same(ended.status, 125, ended)
    finally:
        node("node1", "bash", "-c", f"umount -l /usr/bin; rm -rf /run/hide {cluster.STORE}/squashfs")
        node("ctl", "rm", "-f", where)


@test
def save_as_an_image_in_a_registry_and_in_an_archive():
    saved = f"{cluster.REGISTRY}/saved:1"
    archive = "/home/alice/saved.tar"
    node("ctl", "rm", "-f", archive)
    write = shell("echo kept > /srv/kept; rm /etc/debian_version")
    ended = succeeds(contained("--container-name=saving", f"--container-save=docker://{saved}", *write))
    assert f"saved the container as {saved.rsplit(':', 1)[0]}@sha256:" in ended.err, ended
    read = shell("cat /srv/kept; test ! -e /etc/debian_version; echo $?")
    same(succeeds(srun("-N1", "-w", "node2", f"--container-image={saved}", *read)).lines, ["kept", "0"])
    forget("saving")
    # One without a name leaves nothing but what is saved.
    succeeds(contained(f"--container-save=oci-archive:{archive}", *write))
    ended = succeeds(srun("-N1", "-w", "node2", "berth", "run", "-q", f"oci-archive:{archive}", "--", *read))
    same(ended.lines, ["kept", "0"], ended)
    assert "exists" in contained(f"--container-save=oci-archive:{archive}", "true").err
    node("ctl", "rm", "-f", archive)
    layout = "/home/alice/saved-layout"
    node("ctl", "rm", "-rf", layout)
    succeeds(contained(f"--container-save=oci:{layout}", *write))
    same(succeeds(srun("-N1", "-w", "node2", f"--container-image=oci:{layout}", *read)).lines, ["kept", "0"])
    node("ctl", "rm", "-rf", layout)


@test
def save_and_run_what_was_saved():
    where = "/home/alice/saved-test"
    small_squashfs(f"{where}.sqsh")

    def probe(chosen, *words, on="node1", **keywords):
        return srun("-n1", "-w", on, f"--container-image={chosen}", *words, **keywords)

    first = ("/bin/probe", "write", "/test", "pyxis")
    succeeds(probe(f"{where}.sqsh", f"--container-save={where}.sqsh", *first))
    chosen = "./saved-test.sqsh"
    succeeds(probe(chosen, f"--container-save={chosen}", "/bin/probe", "write", "/test2", "slurm"))
    ended = probe(chosen, "/bin/probe", "cat", "/test", "--", "cat", "/test2", "--", "env", on="node2")
    for word in "pyxis", "slurm", "FROM_FILE=yes":
        assert word in succeeds(ended).out, ended
    succeeds(probe(f"{where}.sqsh", f"--container-save={where}", "/bin/probe", "write", "/test3", "x"))
    assert "pyxis" in succeeds(probe(where, "/bin/probe", "cat", "/test", "--", "cat", "/test3")).out
    # Nothing that is there is removed.
    assert "already" in probe(chosen, f"--container-save={where}", *first).err
    assert "docker-archive" in probe(chosen, "--container-save=docker-archive:/tmp/x", *first).err
    for prefix in "PYXIS", "BERTH":
        variable = {f"{prefix}_CONTAINER_SAVE": f"{where}-env.sqsh"}
        succeeds(probe(chosen, f"--container-save={where}-{prefix}.sqsh", *first, environment=variable))
        succeeds(probe(chosen, *first, environment=variable))
    listed = node("ctl", "bash", "-c", f"ls -d {where}*").split()
    same(listed, [where, f"{where}-BERTH.sqsh", f"{where}-PYXIS.sqsh", f"{where}-env.sqsh", f"{where}.sqsh"])
    node("ctl", "bash", "-c", f"chmod -R u+w {where}*; rm -rf {where}*")
    for host in cluster.NODES:
        node(host, "bash", "-c", f"chmod -R u+w {cluster.STORE}/squashfs; rm -rf {cluster.STORE}/squashfs")


# ---- unshare*.bats ---------------------------------------------------------------------------------------------------------------------------


@test
def unshare_names():
    fails(contained("--container-unshare=foo", "true"), "unknown namespace")
    fails(contained("--container-unshare=net,foo", "true"), "unknown namespace")


@test
def unshare_each():
    host = {kind: host_namespace(kind) for kind in ("net", "ipc", "uts")}
    plain = succeeds(contained(*shell("readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts"))).lines
    same(plain, [host["net"], host["ipc"], host["uts"]])
    for kind in host:
        ended = succeeds(contained("-n4", f"--container-unshare={kind}", "readlink", f"/proc/self/ns/{kind}"))
        same(len(set(ended.lines)), 1, ended)
        assert ended.lines[0] != host[kind], ended
    ended = contained("--container-unshare=net,ipc,uts", *shell("readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts"))
    for line, kind in zip(succeeds(ended).lines, host):
        assert line != host[kind], ended


@test
def unshare_net_has_a_loopback_only():
    fails(contained("--container-unshare=net", *shell("exec </dev/tcp/127.0.0.1/65535")), "Connection refused")
    fails(contained("--container-unshare=net", *shell("exec </dev/tcp/8.8.8.8/53")), "Network is unreachable")


@test
def unshare_ipc_has_its_own_shared_memory():
    program = "stat -c %d /dev/shm /dev/mqueue /dev; ls /dev/shm; echo x >/dev/shm/own"
    inside = succeeds(contained("--container-unshare=ipc", *shell(program))).lines
    outside = succeeds(srun("-n1", "-w", "node1", "bash", "-c", "stat -c %d /dev/shm /dev/mqueue /dev")).lines
    same(len(inside), 3, inside)
    assert all(one != other for one, other in zip(inside, outside)), (inside, outside)
    # System V: 1 MiB that /proc shows inside, and nobody outside, while it is there or afterwards.
    before = node("node1", "cat", "/proc/sysvipc/shm")
    first = f"--container-image={image('debian')} --container-unshare=ipc bash -c 'ipcmk -M 1M >/dev/null; {READY}'"
    ended = succeeds(while_running(first, "--container-name=$SLURM_JOB_ID.0 cat /proc/sysvipc/shm"))
    same(len(ended.lines), 2, ended)
    same(succeeds(while_running(first, "cat /proc/sysvipc/shm")).out, before)
    same(node("node1", "cat", "/proc/sysvipc/shm"), before)


@test
def unshare_uts_can_change_the_name():
    same(succeeds(contained("--container-unshare=uts", "cat", "/proc/sys/kernel/hostname")).out, "node1\n")
    rename = shell("hostname renamed && hostname")
    ended = contained("--container-unshare=uts", "--container-remap-root", *rename)
    same(ended.out, "renamed\n", ended)
    same(node("node1", "hostname"), "node1\n")


@test
def unshare_attach():
    forget("unshare-test")
    for kind, word in [("net", "network"), ("ipc", "IPC"), ("uts", "UTS")]:
        first = f"--container-image={image('debian')} --container-name=unshare-test --container-unshare={kind} bash -c '{READY}'"
        ended = succeeds(while_running(first, f"--container-name=unshare-test readlink /proc/self/ns/{kind}"))
        assert ended.out.strip() != host_namespace(kind), ended
        first = f"--container-name=unshare-test bash -c '{READY}'"
        fails(
            while_running(first, f"--container-name=unshare-test --container-unshare={kind} true"),
            f"not in a separate {word} namespace",
        )
    forget("unshare-test")


@test
def attach_to_a_program_that_rewrites_its_environment():
    # As sshd does, whose /proc/PID/environ is then of no use (ssh.bats).
    forget("sshd")
    first = f"--container-image={image('debian')} --container-name=sshd env -i /bin/bash -c '{READY}'"
    same(succeeds(while_running(first, "--container-name=sshd echo in")).out, "in\n")
    forget("sshd")
