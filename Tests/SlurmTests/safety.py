"""No input of a user drains a node, reaches into another user's step, or ends in a wrong exit status."""

import os
import re
import shutil
import subprocess

import cluster
from cluster import PluginOptions, SiteFile, image, job_of, node, run, script, spawn, srun, wait_for, wait_until_quiet
from harness import ENTRYPOINT, contained, fails, forget, same, shell, succeeds, test

LONG = "x" * 70000
# What sbatch cannot see, as it is set for the job alone: variable, value, a word of the reason.
MISTAKES = [
    ("PYXIS_CONTAINER_IMAGE", LONG, "longer than"),
    ("PYXIS_CONTAINER_NAME", "a/b", "slash"),
    ("BERTH_CONTAINER_NAME", ".hidden", "name"),
    ("BERTH_CONTAINER_NAME", "a:sometimes", "no_exec"),
    ("PYXIS_CONTAINER_ENV", "A=B", "names of variables"),
    ("PYXIS_CONTAINER_SAVE", "/tmp/", "directory"),
    ("PYXIS_CONTAINER_MOUNTS", "nowhere", None),
    ("BERTH_CONTAINER_UNSHARE", "moon", "moon"),
    ("BERTH_CONTAINER_ULIMIT", "nofile=many", "many"),
    ("_SLURM_SPANK_OPTION_berth_container_name", "a/b", "slash"),
]


def all_nodes_are_up():
    wait_until_quiet()
    states = lambda: set(run("sinfo", "-h", "-N", "-o", "%T").out.split())  # noqa: E731
    wait_for(lambda: states() == {"idle"} or "drain" in str(states()), what=f"idle nodes: {states()}")
    same(states(), {"idle"}, run("sinfo", "-R").out)


def export(**variables):
    return "--export=" + ",".join(["ALL", *(f"{name}={value}" for name, value in variables.items())])


@test
def safety_empty_variables_count_as_unset():
    names = ["IMAGE", "MOUNTS", "WORKDIR", "NAME", "SAVE", "ENV", "UNSHARE", "GPUS", "REQUIRE", "PULL", "ULIMIT", "DEVICE", "FABRIC", "PROFILE",
             "MOUNT_HOME", "REMAP_ROOT", "ENTRYPOINT", "WRITABLE", "READONLY"]  # fmt: skip
    empty = {f"{prefix}_CONTAINER_{name}": "" for prefix in ("PYXIS", "BERTH") for name in names}
    succeeds(srun("-N2", "-n2", "true", environment=empty))
    succeeds(run("sbatch", "--wait", "-o", "/dev/null", "--wrap", "true", environment=empty))
    succeeds(run("sbatch", "--wait", "-o", "/dev/null", "--array=0-3", "--wrap", "srun true", environment=empty))
    # Beside an image they change nothing, and an empty one of Berth's does not hide one of Pyxis'.
    empty = {name: value for name, value in empty.items() if name != "PYXIS_CONTAINER_IMAGE"}
    ended = srun("-n1", *shell("echo $BERTH_TEST_IMAGE"), environment={**empty, "PYXIS_CONTAINER_IMAGE": image("debian")})
    same(succeeds(ended).out, "debian\n")
    all_nodes_are_up()


@test
def safety_mistakes_in_a_jobs_variables_fail_its_tasks_alone():
    for name, value, word in MISTAKES:
        variables = {name: value}
        if "IMAGE" not in name:
            variables["PYXIS_CONTAINER_IMAGE"] = image("debian")
        if len(value) > 1000:
            # Longer than a command line may be: set in the job's script for its step.
            program = f"export {name}=$(printf %70000s | tr ' ' x); exec srun -n1 true"
            ended = fails(run("salloc", "-Q", "-n1", "bash", "-c", program))
            assert word in ended.err, ended
            continue
        ended = srun("-N1", "-n2", export(**variables), "true")
        same(ended.status, 125, (name, value, ended))
        assert word is None or word in ended.err, (name, value, ended)
        same(ended.err.count("berth: node"), 1, (name, value, ended))
        out = f"/srv/mistake-{os.getpid()}.out"
        ended = run("sbatch", "--wait", "-o", out, "--array=0-1", export(**variables), "--wrap", "true")
        same(ended.status, 125, (name, value, ended, node("ctl", "cat", out)))
        said = node("ctl", "cat", out)
        assert word is None or word in said, (name, value, said)
    all_nodes_are_up()


@test
def safety_sbatch_and_srun_refuse_what_is_wrong_before_there_is_a_job():
    last = run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "true").out.strip()
    for name, value, word in MISTAKES:
        if name.startswith("_") or len(value) > 1000:
            continue
        environment = {name: value}
        if "IMAGE" not in name:
            environment["PYXIS_CONTAINER_IMAGE"] = image("debian")
        ended = run("sbatch", "--wrap", "true", environment=environment)
        same(ended.status, 125, (name, value, ended))
        assert word is None or word in ended.err, (name, value, ended)
        same(srun("-n1", "true", environment=environment).status, 125, (name, value))
        flag = "--" + name.split("_", 1)[1].lower().replace("_", "-") + "=" + value
        same(run("sbatch", f"--container-image={image('debian')}", flag, "--wrap", "true").status, 125, flag)
    fails(run("sbatch", "--container-image=debian:" + "t" * 200, "--wrap", "true"), "debian:ttt")
    fails(run("sbatch", "--container-image=", "--wrap", "true"), "argument")
    following = run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "true").out.strip()
    same(int(following), int(last) + 1, "a job was submitted in between")
    all_nodes_are_up()


@test
def safety_options_in_plugstack_conf_that_are_wrong_drain_no_node():
    # Of one node alone: srun and sbatch read another file.
    with PluginOptions():
        wrong = f"{(cluster.LAB / 'etc/plugstack.conf.d/berth.conf').read_text().strip()} nonsense=1"
        node("node1", "bash", "-c", f"echo '{wrong}' >/run/berth.conf; mount --bind /run/berth.conf /etc/slurm/plugstack.conf.d/berth.conf")
        try:
            succeeds(srun("-n1", "-w", "node1", "true"))
            ended = fails(contained("true"), "plugstack.conf", "node1")
            same(ended.status, 125, ended)
        finally:
            node("node1", "umount", "/etc/slurm/plugstack.conf.d/berth.conf")
    all_nodes_are_up()


# ---- other users ------------------------------------------------------------------------------------------------------------


@test
def safety_tasks_meet_where_no_other_user_can_be():
    image("debian")
    # Every name of the old kind, and the directories: what another user can compute before the step starts.
    script_text = """
import os, socket, sys, time
held = []
for job in range(1, 400):
    for attempt in range(17):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            s.bind(f"\\0berth/2001/{job}.0.0/0" + (f"~{attempt}" if attempt else ""))
            s.listen(0)
        except OSError:
            pass
        held.append(s)
        if len(held) > 900: break
print("ready", flush=True)
time.sleep(120)
"""
    other = subprocess.Popen(
        cluster.on("node1", "python3", "-c", script_text, user="nobody"), stdout=subprocess.PIPE, text=True,
        env={**os.environ, "BERTH_LAB": str(cluster.LAB)},
    )  # fmt: skip
    try:
        same(other.stdout.readline(), "ready\n")
        ended = srun("-N1", "-n4", "-w", "node1", "berth", "run", image("debian"), "readlink", "/proc/self/ns/mnt", timeout=60)
        same((len(succeeds(ended).lines), len(set(ended.lines))), (4, 1), ended)
    finally:
        other.terminate()
        other.wait()
    listening = node("node1", "cat", "/proc/net/unix")
    assert "@berth" not in listening, listening


@test
def safety_tasks_meet_elsewhere_where_a_directory_is_taken():
    image("debian")
    # What another user can compute, while it is being used: taken in front of it, as soon as it is gone.
    before = node("node1", "ls", "/dev/shm")
    step = shell(f"sleep 0.$((SLURM_LOCALID * 3)); exec berth run {image('debian')} -- readlink /proc/self/ns/mnt")
    watch = """
import os, time
print("ready", flush=True)
end = time.monotonic() + 100
while time.monotonic() < end:
    for name in os.listdir("/dev/shm"):
        if name.startswith("berth-"):
            for place in "/tmp", "/var/tmp":
                try: os.mkdir(f"{place}/{name}", 0o777)
                except OSError: pass
            try:
                print(oct(os.stat(f"/dev/shm/{name}").st_mode & 0o777), flush=True)
                os.listdir(f"/dev/shm/{name}")
            except PermissionError:
                print("closed", flush=True)
                raise SystemExit
            except OSError:
                pass
"""
    spying = subprocess.Popen(
        cluster.on("node1", "python3", "-c", watch, user="nobody"), stdout=subprocess.PIPE, text=True,
        env={**os.environ, "BERTH_LAB": str(cluster.LAB)},
    )  # fmt: skip
    same(spying.stdout.readline(), "ready\n")
    ended = srun("-N1", "-n3", "-w", "node1", *step)
    same(len(set(succeeds(ended).lines)), 1, ended)
    same(spying.communicate(timeout=120)[0].split()[-2:], ["0o700", "closed"])
    same(node("node1", "ls", "/dev/shm"), before)
    node("node1", "bash", "-c", "rm -rf /tmp/berth-[0-9]* /var/tmp/berth-[0-9]*")


# ---- many layers in a shared store ----------------------------------------------------------------------------------------


def image_of_layers(name, count, note):
    """The debian image with COUNT further layers; NOTE only makes its configuration another one."""
    work = cluster.LAB / f"layers-{name}"
    shutil.rmtree(work, ignore_errors=True)  # a first attempt's
    work.mkdir()
    image("debian")
    layers = sorted((cluster.TOP / "build/images/.base").glob("base-*.tar"))[:1]
    assert layers, "Images/build keeps the base of its images"
    for number in range(count):
        tree = work / str(number)
        tree.mkdir()
        (tree / f"layer-{number}").write_text(f"{number}\n")
        script("Images/oci-layout.py", "layer", tree, work / f"{number}.tar")
        layers.append(work / f"{number}.tar")
    configuration = work / "config.json"
    configuration.write_text('{"Cmd": ["/bin/sh"], "Env": ["NOTE=%s"]}' % note)
    script("Images/oci-layout.py", "assemble", work / "layout", "--config", configuration, *layers)
    script("Scripts/registry", "push", work / "layout", name, cluster.LAB / "registry")
    return f"{cluster.REGISTRY}/{name}"


@test
def safety_an_image_whose_layers_all_lie_in_a_shared_store_runs():
    count = 30
    theirs, ours = image_of_layers("manyshared", count, "theirs"), image_of_layers("manyown", count, "ours")
    shared = "/var/tmp/berth-shared-store"
    own = {"BERTH_STORE": "/var/tmp/berth-own-store"}
    site = {"BERTH_INSECURE_REGISTRIES": cluster.REGISTRY}
    command = cluster.on("node1", "berth", "pull", "-q", "--store", shared, theirs, user="root", environment=site)
    subprocess.run(command, check=True, env={**os.environ, "BERTH_LAB": str(cluster.LAB)}, stdin=subprocess.DEVNULL)
    listing = shell("ls / | grep -c layer-; echo $NOTE; sleep 0.3; ls /proc/self/fd | wc -l")
    try:
        with SiteFile(f"shared-store = {shared}\n"):
            for words in ((f"--container-image={ours}",), ()):
                run_it = () if words else ("berth", "run", ours, "--")
                ended = succeeds(srun("-N1", "-n2", "-w", "node1", *words, *run_it, *listing, environment=own))
                same((ended.lines.count(str(count)), ended.lines.count("ours")), (2, 2), ended)
                # 0, 1, 2, the directory's own, and one for all leases; `berth run` keeps up to 64 of them itself, because a bundle
                # counts as descriptors in flight as long as the command runs.
                if words:
                    same(ended.lines[-1], "5", ended)
            kept = node("node1", "bash", "-c", f"ls {own['BERTH_STORE']}/layers | wc -l").strip()
            same(kept, "0", "the layers are the shared store's")
            # While a step runs in it nothing of it is collected.
            step = spawn("srun", "-N1", "-n1", "-w", "node1", f"--container-image={ours}", *shell("echo ready; sleep 5; ls / | grep -c layer-"), environment=own)
            same(step.stdout.readline(), "ready\n")
            node("node1", "bash", "-c", f"/srv/berth/bin/berth rmi --store {shared} {theirs}; /srv/berth/bin/berth prune --all --store {shared}")
            same(step.communicate()[0], f"{count}\n")
    finally:
        wait_until_quiet()
        node("node1", "bash", "-c", f"chmod -R u+w {shared} {own['BERTH_STORE']}; rm -rf {shared} {own['BERTH_STORE']}")


@test
def safety_an_environment_larger_than_a_packet_arrives():
    big = {f"BIG_{number}": "y" * 100000 for number in range(12)}
    with open(cluster.LAB / "shared/big-image.env", "w"):
        pass
    ended = contained("-n2", *shell("echo ${#BIG_0} ${#BIG_11}"), environment={name: value for name, value in list(big.items())[:12]})
    same(succeeds(ended).lines, ["100000 100000"] * 2, ended.err[-500:])


# ---- names ------------------------------------------------------------------------------------------------------------------


@test
def safety_a_named_container_made_anew_is_not_the_removed_one():
    forget("anew")
    chosen = f"--container-image={image('debian')}"
    program = f"""
        srun --overlap -n1 {chosen} --container-name=anew bash -c 'echo old >/kept; touch /srv/anew-old; sleep 300' &
        while ! test -e /srv/anew-old; do sleep .1; done
        rm -rf {cluster.STORE}/containers/anew 2>/dev/null; chmod -R u+rwX {cluster.STORE}/containers/anew; rm -rf {cluster.STORE}/containers/anew
        srun --overlap -n1 {chosen} --container-name=anew bash -c 'echo new >/kept; touch /srv/anew-new; sleep 300' &
        while ! test -e /srv/anew-new; do sleep .1; done
        srun --overlap -n1 --container-name=anew cat /kept
        srun --overlap -n1 --container-name=anew:no_exec cat /kept
        scancel --signal=KILL $SLURM_JOB_ID"""
    try:
        mounts = f"--container-mounts=/srv"
        ended = run("salloc", "-Q", "-N1", "-n4", "-O", "-w", "node1", "bash", "-c", program.replace(chosen, f"{chosen} {mounts}"), timeout=120)
        same([line for line in ended.lines if line in ("old", "new")], ["new", "new"], ended)
    finally:
        node("ctl", "rm", "-f", "/srv/anew-old", "/srv/anew-new")
        wait_until_quiet()
        forget("anew")


# ---- saving -----------------------------------------------------------------------------------------------------------------


@test
def safety_a_container_that_cannot_be_saved_fails_the_step():
    full = "/var/tmp/full"
    node("node1", "bash", "-c", f"mkdir -p {full}; mount -t tmpfs -o size=1m,mode=1777 full {full}")
    try:
        for place in "/nonexistent/x.sqsh", "/root/x.sqsh", "/nonexistent/directory", "oci-archive:/nonexistent/x.tar", f"{full}/x.sqsh", f"{full}/x":
            for tasks in 1, 3:
                ended = contained(f"-n{tasks}", f"--container-save={place}", "true")
                same(ended.status, 125, ended)
                assert "berth: " in ended.err, ended
        same(node("node1", "ls", full), "", "half a container was left")
        # The command's own status comes first, and a batch job's is that of its script.
        same(contained("--container-save=/nonexistent/x.sqsh", *shell("exit 3")).status, 3)
        out = "/srv/unsaved.out"
        ended = run("sbatch", "--wait", "-w", "node1", "-o", out, f"--container-image={image('debian')}", "--container-save=/nonexistent/x", "--wrap", "true")
        same(ended.status, 125, node("ctl", "cat", out))
        assert "/nonexistent" in node("ctl", "cat", out)
    finally:
        node("node1", "bash", "-c", f"umount {full}; rmdir {full}")
        node("ctl", "rm", "-f", "/srv/unsaved.out")
    all_nodes_are_up()


@test
def safety_commands_that_are_saved_see_signals_streams_and_terminals():
    place = "/home/alice/saved-signals"
    node("ctl", "bash", "-c", f"chmod -R u+w {place}*; rm -rf {place}*")
    save = f"--container-save={place}"
    try:
        program = 'trap "echo caught; exit 6" USR1; echo ready; while :; do sleep .1; done'
        step = spawn("timeout", 600, "srun", "-J", "saved-usr1", "-n1", f"--container-image={image('debian')}", save, *shell(program))
        same(step.stdout.readline(), "ready\n")
        run("scancel", "-s", "USR1", job_of("saved-usr1"))
        same((step.communicate()[0], step.returncode), ("caught\n", 6))
        node("ctl", "bash", "-c", f"test -e {place}/etc/debian_version && chmod -R u+w {place} && rm -rf {place}")
        bare = srun("-n1", *shell("ulimit -c 0; kill -SEGV $$"))
        same(inside_saved(f"{place}-segv", *shell("ulimit -c 0; kill -SEGV $$")).status, bare.status)
        text = "".join(f"line {i}\n" for i in range(20000))
        same(succeeds(inside_saved(f"{place}-cat", "cat", input=text)).out, text)
        chosen = f"srun --pty --container-image={image('debian')} --container-save={place}-pty bash -c 'test -t 0 && test -t 1 && tty && stty size'"
        ended = succeeds(run("script", "-qec", f"stty rows 33 cols 99; {chosen}", "/dev/null"))
        assert "33 99" in ended.out, ended
        # All tasks' files are in what is saved, and it is the last of them that saves.
        ended = succeeds(inside_saved(f"{place}-all", *shell("sleep 0.$SLURM_PROCID; echo x >/task-$SLURM_PROCID"), tasks=4))
        same(ended.err.count("saved the container"), 1, ended)
        same(node("ctl", "bash", "-c", f"ls -d {place}-all/task-* | wc -l"), "4\n")
        # Of a step that is cancelled nothing is saved, and its end waits for nothing.
        step = spawn("timeout", 600, "srun", "-J", "saved-killed", "-n1", f"--container-image={image('debian')}", f"--container-save={place}-killed", *shell("echo ready; sleep 600"))
        same(step.stdout.readline(), "ready\n")
        run("scancel", "-s", "KILL", job_of("saved-killed"))
        step.communicate(timeout=60)
    finally:
        wait_until_quiet()
        node("ctl", "bash", "-c", f"chmod -R u+w {place}*; rm -rf {place}*")
    all_nodes_are_up()


def inside_saved(place, *words, tasks=1, **keywords):
    return srun("-N1", f"-n{tasks}", "-O", f"--container-image={image('debian')}", f"--container-save={place}", *words, **keywords)


# ---- what hangs ---------------------------------------------------------------------------------------------------------------

# A file system whose server answers the first question and no other: who asks it waits in the kernel, and cannot be killed.
DEAD_SERVER = r"""
import ctypes, os, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
place = sys.argv[1]
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
if libc.mount(b"dead", place.encode(), b"fuse.dead", 0, options.encode()) != 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
while True:
    request = os.read(device, 1 << 20)
    length, opcode, unique = struct.unpack_from("IIQ", request)
    if opcode == 26:  # FUSE_INIT
        answer = struct.pack("IIIIHHIIHHI7I", 7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1, 0, 0, 0, *[0] * 7)
        os.write(device, struct.pack("IiQ", 16 + len(answer), 0, unique) + answer)
        print("ready", flush=True)
"""


@test
def safety_roots_entrypoint_is_limited_and_cannot_change_the_launcher():
    words = ("srun", "-n1", "-w", "node1", f"--container-image={image('entrypoint')}", *ENTRYPOINT, "--container-entrypoint-log", *shell("sleep 4; cat /attack.log"))
    environment = {"BERTH_STORE": "/var/tmp/roots-store", "ENTRYPOINT_MODE": "attack"}
    done = subprocess.run(
        cluster.on("ctl", *words, user="root", environment=environment), env={**os.environ, "BERTH_LAB": str(cluster.LAB)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    said = done.stdout + done.stderr
    same(done.returncode, 0, said)
    assert re.search("^NoNewPrivs:\\s+1$", said, re.M), said
    for held in re.findall("^Cap(?:Eff|Bnd):\\s+([0-9a-f]+)$", said, re.M):
        same(int(held, 16) & ~0xA00445FB, 0, said)  # docs/reference/capabilities.md
    assert "wrote to" not in said and "busy" not in said, said
    assert "Read-only file system" in said or "Operation not permitted" in said, said
    node("node1", "rm", "-rf", "/var/tmp/roots-store")


@test
def safety_an_epilog_gives_up_what_hangs():
    place = "/var/tmp/dead-server"
    node("node1", "mkdir", "-p", place)
    server = subprocess.Popen(
        cluster.on("node1", "python3", "-c", DEAD_SERVER, place, user="root"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "BERTH_LAB": str(cluster.LAB)},
    )  # fmt: skip
    try:
        same(server.stdout.readline(), "ready\n", "the dead server")
        with PluginOptions("container_scope=job"):
            succeeds(srun("-n1", "-w", "node1", "true", environment={"BERTH_STORE": f"{place}/store"}))
            wait_for(lambda: run("sinfo", "-h", "-n", "node1", "-o", "%T").out.strip() in ("idle", "drained"), 90, "the end of the epilog")
        log = node("node1", "cat", "/var/log/slurm/slurmd.log")
        assert "took longer than 30 s" in log, log[-3000:]
    finally:
        server.kill()
        server.communicate()
        node("node1", "bash", "-c", f"umount -l {place}; rmdir {place}")
    all_nodes_are_up()


# ---- the container's /proc ------------------------------------------------------------------------------------------------------


@test
def safety_tasks_join_a_container_with_another_proc():
    mine = "/var/tmp/not-proc"
    node("node1", "bash", "-c", f"mkdir -p {mine}/self/ns; touch {mine}/self/ns/mnt {mine}/self/ns/user; chmod -R 777 {mine}")
    try:
        for words in (("-n2", f"--container-mounts={mine}:/proc"), ("-n1", f"--container-mounts={mine}:/proc")):
            succeeds(contained(*words, *shell("test -e /proc/self/ns/mnt && ! test -e /proc/1")))
        ended = srun("-N1", "-n2", "-w", "node1", "berth", "run", "-v", f"{mine}:/proc", image("debian"), *shell("echo $(stat -c %d:%i /tmp/.)"))
        same(len(succeeds(ended).lines), 2, ended)
    finally:
        node("node1", "rm", "-rf", mine)


@test
def safety_tasks_that_choose_other_gpus_by_a_variable_have_containers_of_their_own():
    image("debian")
    choose = "berth run -e NVIDIA_VISIBLE_DEVICES=$SLURM_PROCID {} ls /dev".format(image("debian"))
    ended = succeeds(srun("-N1", "-n2", "-l", "-w", "node1", "--gres=gpu:2", *shell(choose)))
    shown = sorted(line for line in ended.lines if line.split()[-1] in ("nvidia0", "nvidia1"))
    same(shown, ["0: nvidia0", "1: nvidia1"], ended)


@test
def safety_messages_name_the_node():
    ended = fails(srun("-N2", "-n2", "--container-image=/srv/absent", "true"))
    for host in cluster.NODES:
        assert f"berth: {host}: " in ended.err, ended


@test
def safety_system_calls_answer_as_their_page_says():
    """docs/reference/system-calls.md, in tasks of a step."""
    source, program = cluster.TOP / "Tests/Probe/Attempts", cluster.LAB / "shared/attempts"
    subprocess.run(["cc", "-static", "-O1", "-o", program, *(source / name for name in ("main.c", "calls.c", "escapes.c"))], check=True)
    rows = [line.split("\t") for line in (source / "calls.tsv").read_text().splitlines()[1:]]
    answers = lambda ended: dict(line.rsplit(": ", 1) for line in succeeds(ended).lines)  # noqa: E731
    outside = answers(srun("-n1", "-w", "node1", "/srv/attempts", "calls"))
    for flags, mode, filters in (((), 3, ()), (("--container-seccomp=default",), 3, (1,)),
                                 (("--container-remap-root", "--container-seccomp=default"), 4, (1, 2))):  # fmt: skip
        found = answers(contained(*flags, "--container-mounts=/srv/attempts:/attempts", "/attempts", "calls"))
        for row in rows:
            decided = [row[column] for column in filters if row[column] != "-"]
            lacking = found[row[0]] == outside[row[0]] == "ENOSYS" and not decided
            assert lacking or found[row[0]] in (decided or row[mode].split(" ")), f"{flags}: {row[0]}: {found[row[0]]}"
