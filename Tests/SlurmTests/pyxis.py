"""Every case of Pyxis' own suite that can be run without the internet, written anew against the plugin: images, variables,
mounts, MPI, sbatch. What outlives a step is in lifetimes.py.

docs/reference/pyxis-compatibility.md is the table: a test here is named after the case there.
"""

import os

import cluster
from cluster import image, node, run, srun
from harness import Skipped, at, contained, fails, forget, host_namespace, named, needs_mpi, same, shell, succeeds, test


# ---- docker_image.bats, path.bats --------------------------------------------------------------------------------------


@test
def docker_image_runs():
    assert "bookworm" in succeeds(contained("cat", "/etc/os-release")).out
    spelled = image("debian").replace("/", "#", 1)
    succeeds(srun("-n1", f"--container-image={spelled}", "true"))
    succeeds(srun("-n1", "--container-image", f"docker://{image('debian')}", "true"))


@test
def docker_image_download_is_attempted_once():
    ended = fails(srun("-N1", "-n2", f"--container-image={cluster.REGISTRY}/thisimagedoesntexist", "true"))
    same(ended.err.count("failed to import docker image"), 1, ended)
    assert "thisimagedoesntexist" in ended.err, ended
    same(ended.status, 125, ended)


@test
def docker_image_of_a_daemon_is_refused_with_a_way_out():
    fails(srun("-n1", "--container-image=dockerd://debian", "true"), "docker-archive")


@test
def path_finds_programs_of_the_container_alone():
    same(succeeds(contained("only-inside", name="entrypoint")).out, "only-inside 1.0\n")


# ---- entrypoint.bats -----------------------------------------------------------------------------------------------------


@test
def entrypoint_runs_when_asked_for():
    say = shell("echo $SERVICE; cat /entrypoint.log 2>&1")
    same(succeeds(contained("--container-entrypoint", *say, name="entrypoint")).lines, ["tcp://service:2375", f"run by {cluster.user_id()}"])
    # Without /proc, too.
    hidden = "--container-mounts=/tmp:/proc"
    same(succeeds(contained("--container-entrypoint", hidden, *shell("echo $SERVICE"), name="entrypoint")).out, "tcp://service:2375\n")
    assert "SERVICE" not in succeeds(contained("--no-container-entrypoint", "env", name="entrypoint")).out
    assert "SERVICE" not in succeeds(contained("env", name="entrypoint")).out


@test
def entrypoint_by_hand():
    forget("byhand")
    succeeds(named("byhand", f"--container-image={image('entrypoint')}", *shell("! test -e /entrypoint.log")))
    succeeds(named("byhand", "/usr/local/bin/entrypoint.sh", "true"))
    same(succeeds(named("byhand", "cat", "/entrypoint.log")).out, f"run by {cluster.user_id()}\n")
    forget("byhand")


@test
def entrypoint_sees_the_variables_that_are_named_and_not_the_jobs():
    def port(*words):
        ended = contained("--container-entrypoint", *words, *shell("echo $SERVICE $TLS"), name="entrypoint", environment={"TLS": "1"})
        return succeeds(ended).out.strip()

    same(port(), "tcp://service:2375 1")
    same(port("--container-env=TLS"), "tcp://service:2376 1")


@test
def entrypoint_log_shows_what_it_prints():
    assert "== ENTRYPOINT ==" not in str(succeeds(contained("--container-entrypoint", "true", name="entrypoint")))
    assert "== ENTRYPOINT ==" in str(
        succeeds(contained("--container-entrypoint", "--container-entrypoint-log", "true", name="entrypoint"))
    )


# ---- env.bats ------------------------------------------------------------------------------------------------------------


@test
def env_of_the_host_passes():
    same(succeeds(contained(*shell("echo $FOO"), environment={"FOO": "bar"})).out, "bar\n")
    same(succeeds(contained(*shell("echo $TERM"), environment={"TERM": "dumb"})).out, "dumb\n")


@test
def env_home_mounted_is_root_s_when_remapped():
    succeeds(contained("--container-mount-home", "--container-remap-root", *shell(at("/root"))))


@test
def env_locale_does_not_pass():
    same(succeeds(contained(*shell("echo $LANG"), environment={"LANG": "en_US.UTF-8"})).out, "C.UTF-8\n")
    ended = contained("--container-env=LANG", *shell("echo $LANG"), environment={"LANG": "en_US.UTF-8"})
    same(succeeds(ended).lines, ["en_US.UTF-8"], ended)


@test
def env_override_of_the_images_values():
    say = shell("echo $TOOL_VERSION $LD_LIBRARY_PATH")
    host = {"TOOL_VERSION": "12.0.0", "LD_LIBRARY_PATH": "/host/lib"}

    def said(*words, environment):
        return succeeds(contained(*words, *say, name="entrypoint", environment=environment)).out.strip()

    same(said("--container-env=TOOL_VERSION", environment={}), "11.8.0 /opt/program/lib")
    same(said(environment=host), "11.8.0 /opt/program/lib")
    same(said("--container-env=TOOL_VERSION", environment=host), "12.0.0 /opt/program/lib")
    same(said("--container-env=TOOL_VERSION,LD_LIBRARY_PATH", environment=host), "12.0.0 /host/lib")
    same(said("--container-env", "LD_LIBRARY_PATH,TOOL_VERSION", environment=host), "12.0.0 /host/lib")


@test
def env_variables_pass_where_their_paths_exist_inside():
    node("node1", "bash", "-c", "mkdir -p /srv/elsewhere/lib")
    host = {"PYTHONPATH": "/data/lib", "LD_LIBRARY_PATH": "/opt/none", "SSL_CERT_FILE": "/opt/none.pem", "CUDA_HOME": "/usr",
            "NODE_OPTIONS": "--require /opt/none.js", "VIRTUAL_ENV": "/data/lib"}  # fmt: skip
    say = shell("echo $PYTHONPATH $LD_LIBRARY_PATH $SSL_CERT_FILE $CUDA_HOME $NODE_OPTIONS $VIRTUAL_ENV")
    same(succeeds(contained(*say, environment=host)).out, "/usr\n")
    mounted = succeeds(contained("--container-mounts=/srv/elsewhere:/data", "--container-verbose", *say, environment=host))
    same(mounted.out, "/data/lib /usr /data/lib\n", mounted)
    said = [line for line in mounted.err.splitlines() if "not passed" in line]
    assert len(said) == 1 and all(name in said[0] for name in ("node1", "SSL_CERT_FILE", "LD_LIBRARY_PATH", "NODE_OPTIONS")), mounted
    same(succeeds(contained("--export=ALL,PYTHONPATH=/data/lib", "--container-mounts=/srv/elsewhere:/data", *say)).out, "/data/lib\n")
    same(succeeds(contained("--container-env=LD_LIBRARY_PATH", *say, environment=host)).out, "/opt/none /usr\n")


@test
def env_home_is_what_is_mounted_and_not_where_the_store_is():
    moved = {"HOME": "/tmp", "BERTH_STORE": ""}
    at_home = shell(f"echo $HOME; {at('/tmp')}")
    same(succeeds(contained("--container-mount-home", *at_home, environment=moved)).out, "/tmp\n")
    same(node("node1", "bash", "-c", "ls -d /tmp/.local /home/alice/.local/share/berth/images 2>/dev/null"), "/home/alice/.local/share/berth/images\n")
    succeeds(contained("--container-mount-home", "--container-remap-root", *shell(at("/root")), environment=moved))
    node("node1", "bash", "-c", "chmod -R u+w /home/alice/.local/share/berth; rm -rf /home/alice/.local/share/berth")


@test
def env_of_nvidia_selects_within_the_grant():
    def shown(*words, **environment):
        ended = contained("--gres=gpu:2", *words, *shell("ls /dev | grep -c '^nvidia[0-9]'"), environment=environment)
        return ended.out.strip()

    same(shown(), "2")
    same(shown(NVIDIA_VISIBLE_DEVICES="1"), "1")
    same(shown("--container-env=NVIDIA_VISIBLE_DEVICES", NVIDIA_VISIBLE_DEVICES="0"), "1")
    same(shown(NVIDIA_VISIBLE_DEVICES="all"), "2")
    same(shown(NVIDIA_VISIBLE_DEVICES="void"), "0")


# ---- env_vars.bats: each PYXIS_CONTAINER_ variable, and that the command line wins --------------------------------------------


def with_variable(name, value, *words, **keywords):
    for prefix in "PYXIS", "BERTH":
        ended = srun(
            "-N1", "-w", "node1", *words, environment={f"{prefix}_CONTAINER_{name}": value, **keywords.get("environment", {})}
        )
        yield ended


@test
def env_vars_image():
    for ended in with_variable("IMAGE", image("debian"), *shell("echo $BERTH_TEST_IMAGE")):
        same(succeeds(ended).out, "debian\n")
    for ended in with_variable("IMAGE", "nonesuch/at-all", f"--container-image={image('debian')}", "true"):
        succeeds(ended)


@test
def env_vars_mounts():
    words = (f"--container-image={image('debian')}",)
    for ended in with_variable("MOUNTS", "/home:/test-mnt", *words, *shell(at("/test-mnt"))):
        succeeds(ended)
    inside = shell(f"{at('/mnt-cli')} && ! {at('/mnt-env')}")
    for ended in with_variable("MOUNTS", "/home:/mnt-env", *words, "--container-mounts=/tmp:/mnt-cli", *inside):
        succeeds(ended)


@test
def env_vars_workdir():
    for ended in with_variable("WORKDIR", "/usr/local/bin", f"--container-image={image('debian')}", "pwd"):
        same(succeeds(ended).out, "/usr/local/bin\n")
    for ended in with_variable("WORKDIR", "/usr/local/bin", f"--container-image={image('debian')}", "--container-workdir=/tmp", "pwd"):
        same(succeeds(ended).out, "/tmp\n")


@test
def env_vars_name():
    forget("env-test", "env-test2")
    for number, ended in enumerate(with_variable("NAME", "env-test", f"--container-image={image('debian')}", *shell("echo x >>/kept"))):
        succeeds(ended)
    same(succeeds(named("env-test", "cat", "/kept")).lines, ["x", "x"])
    for ended in with_variable("NAME", "env-test", f"--container-image={image('debian')}", "--container-name=env-test2", "touch", "/two"):
        succeeds(ended)
    succeeds(named("env-test2", "test", "-e", "/two"))
    fails(named("env-test", "test", "-e", "/two"))
    forget("env-test", "env-test2")


@test
def env_vars_of_flags_without_argument():
    chosen = f"--container-image={image('debian')}"
    uid_map = shell("cat /proc/self/uid_map")
    for name, value, words, question, expected in [
        ("MOUNT_HOME", "1", ["--container-remap-root"], shell(at("/root")), True),
        ("MOUNT_HOME", "0", ["--container-remap-root"], shell(at("/root")), False),
        ("MOUNT_HOME", "1", ["--no-container-mount-home", "--container-remap-root"], shell(at("/root")), False),
        ("WRITABLE", "1", [], ["touch", "/newfile"], True),
        ("WRITABLE", "0", [], ["touch", "/newfile"], False),
        ("WRITABLE", "0", ["--container-writable"], ["touch", "/newfile"], True),
        ("READONLY", "1", [], ["touch", "/newfile"], False),
        ("READONLY", "0", [], ["touch", "/newfile"], True),
        ("READONLY", "0", ["--container-readonly"], ["touch", "/newfile"], False),
    ]:
        for ended in with_variable(name, value, chosen, *words, *question):
            same(ended.status == 0, expected, ended)
    for value, words, expected in [("1", [], "0"), ("0", [], cluster.user_id()), ("yes", ["--no-container-remap-root"], cluster.user_id())]:
        for ended in with_variable("REMAP_ROOT", value, chosen, *words, *uid_map):
            same(succeeds(ended).out.split(), [expected, cluster.user_id(), "1"], ended)


@test
def env_vars_entrypoint():
    chosen = f"--container-image={image('entrypoint')}"
    for value, words, expected in [("1", [], True), ("0", [], False), ("0", ["--container-entrypoint"], True)]:
        for ended in with_variable("ENTRYPOINT", value, chosen, *words, "env"):
            same("SERVICE=" in succeeds(ended).out, expected, ended)
    for value, expected in [("1", True), ("0", False)]:
        for ended in with_variable("ENTRYPOINT_LOG", value, chosen, "--container-entrypoint", "true"):
            same("== ENTRYPOINT ==" in str(succeeds(ended)), expected, ended)


@test
def env_vars_env_and_unshare():
    chosen, host = f"--container-image={image('entrypoint')}", {"TOOL_VERSION": "12.0.0", "LD_LIBRARY_PATH": "/host/lib"}
    for ended in with_variable("ENV", "TOOL_VERSION", chosen, *shell("echo $TOOL_VERSION"), environment=host):
        same(succeeds(ended).out, "12.0.0\n")
    say = shell("echo $TOOL_VERSION $LD_LIBRARY_PATH")
    for ended in with_variable("ENV", "TOOL_VERSION", chosen, "--container-env=LD_LIBRARY_PATH", *say, environment=host):
        same(succeeds(ended).out, "11.8.0 /host/lib\n")
    for ended in with_variable("UNSHARE", "net", chosen, "readlink", "/proc/self/ns/net"):
        assert succeeds(ended).out.strip() != host_namespace("net"), ended


# ---- invalid_args.bats ----------------------------------------------------------------------------------------------------------


@test
def invalid_arguments_are_refused():
    good = f"--container-image={image('debian')}"
    for words in [
        ["--container-image="],
        ["--container-image=" + "aB3/" * 700],
        ["--container-image=./"],
        ["--container-image=/dev/urandom"],
        ["--container-name=args-test"],
        [good, "--container-name=/tmp/foo"],
        [good, "--container-name=:exec"],
        [good, "--container-name=x:attach"],
        [good, "--container-name=" + "a" * 300],
        [good, "--container-mounts="],
        [good, "--container-mounts=:"],
        [good, "--container-mounts=/tmp:"],
        [good, "--container-workdir="],
        [good, "--container-readonly", "--container-writable"],
        [good, "--container-env="],
        [good, "--container-env", "FOO,"],
        [good, "--container-save=/tmp/"],
        [good, "--container-save=/"],
        [good, "--container-save=./"],
    ]:
        fails(srun("-N1", "-n1", *words, "true"))


# ---- mount_home.bats, remap_root.bats, workdir.bats, writable.bats -----------------------------------------------------------------


@test
def mount_home_and_remap_root():
    home = "/home/alice"
    succeeds(contained("--container-mount-home", "--container-remap-root", *shell(at("/root"))))
    succeeds(contained("--container-mount-home", "--no-container-remap-root", *shell(at(home))))
    succeeds(contained("--no-container-mount-home", "--container-remap-root", *shell("! " + at("/root"))))
    succeeds(contained("--no-container-mount-home", "--no-container-remap-root", *shell("! " + at(home))))


@test
def remap_root_maps_the_user():
    say = shell("id -u; cat /proc/self/uid_map")
    same(succeeds(contained("--container-remap-root", *say)).out.split(), ["0", "0", cluster.user_id(), "1"])
    same(succeeds(contained("--no-container-remap-root", *say)).out.split(), [cluster.user_id(), cluster.user_id(), cluster.user_id(), "1"])


@test
def remap_root_is_the_sites_default_where_it_says_so():
    with cluster.SiteFile("root = yes\n"):
        same(succeeds(contained("id", "-u")).out, "0\n")
        same(succeeds(contained("--no-container-remap-root", "id", "-u")).out.strip(), cluster.user_id())
        same(succeeds(contained("id", "-u", environment={"PYXIS_CONTAINER_REMAP_ROOT": "0"})).out.strip(), cluster.user_id())
    same(succeeds(contained("id", "-u")).out.strip(), cluster.user_id())


@test
def remap_root_pretends_owners_and_users():
    filters = int(succeeds(srun("-n1", "-w", "node1", *shell("grep -s Seccomp_filters /proc/self/status"))).out.split()[-1])
    look = "touch /f && chown 7:8 /f && stat -c %u:%g /f; mknod /n c 1 3; grep Seccomp_filters /proc/self/status"
    for tasks in ("-n1", "-n2"):
        ended = succeeds(contained(tasks, "--container-remap-root", *shell(look)))
        same(sorted(set(ended.lines)), sorted(["0:0", f"Seccomp_filters:\t{filters + 1}"]), ended)
    fails(contained("--container-remap-root", "--container-seccomp=none", *shell("touch /f && chown 7:8 /f")), "Invalid argument")
    same(succeeds(contained("grep", "Seccomp_filters", "/proc/self/status")).lines, [f"Seccomp_filters:\t{filters}"])


@test
def seccomp_refuses_what_the_profile_says():
    look = shell("grep Seccomp_filters /proc/self/status; chroot / true 2>&1")
    ended = contained("--container-remap-root", "--container-seccomp=default", *look)
    same(len(succeeds(ended).lines), 1, ended)
    forbids = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chroot"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}'
    node("node1", "sh", "-c", f"echo '{forbids}' >/srv/profile.json")
    fails(contained("--container-remap-root", "--container-seccomp=/srv/profile.json", *look), "not supported")
    with cluster.SiteFile("seccomp = /srv/profile.json\n"):
        fails(contained("--container-remap-root", *look), "not supported")
    fails(contained("--container-seccomp=/srv/nothing.json", "true"), "cannot read the seccomp profile /srv/nothing.json")


@test
def an_image_without_entrypoint_and_command_runs_in_all_forms():
    forget("bare-test")
    for words in ((), ("--container-name=bare-test",), ("--container-name=bare-test",), ("--container-entrypoint",)):
        same(succeeds(contained(*words, "echo", "hi", name="bare")).out, "hi\n")
    forget("bare-test")
    ended = run("sbatch", "--wait", "-o", "/srv/bare.out", f"--container-image={image('bare')}", input="#!/bin/bash\necho hi\n")
    same((ended.status, node("ctl", "bash", "-c", "cat /srv/bare.out; rm /srv/bare.out")), (0, "hi\n"), ended)


@test
def messages_name_the_node_and_the_plugins_flags():
    fails(contained("--container-workdir=/etc/passwd", "true"), "berth: node1: ", "/etc/passwd")
    ended = fails(contained("--container-gpus=7", "true"), "berth: node1: ", "--container-gpus")
    assert " --gpus" not in ended.err, ended
    fails(srun("-N1", "-w", "node1", "--container-image=absent.sqsh", "true"), "node1: there is no file /home/alice/absent.sqsh", "./absent.sqsh")


@test
def workdir_cases():
    same(succeeds(contained("--container-workdir=/usr/local/bin", "pwd")).out, "/usr/local/bin\n")
    same(succeeds(contained("--container-workdir=../", "pwd")).out, "/\n")
    fails(contained("--container-workdir=/pyxis", "true"), "/pyxis", "No such file or directory")
    same(succeeds(contained("pwd")).out, "/workspace\n")


@test
def writable_and_readonly():
    fails(contained("--container-readonly", "touch", "/newfile"), "Read-only file system")
    succeeds(contained("--container-writable", "touch", "/newfile"))


# ---- mounts.bats ---------------------------------------------------------------------------------------------------------------------


@test
def mounts_that_work():
    node("node1", "bash", "-c", "mkdir -p '/tmp/pyxis test dir' && echo hello >'/tmp/pyxis test dir/file.txt'")
    node("ctl", "bash", "-c", "echo content >/home/alice/here.txt")
    for value, program in [
        ("/home:/test-mnt", at("/test-mnt")),
        ("./here.txt:/script", "grep -q content /script"),
        ("/dev/null:/null", "[ -c /null ]"),
        ("./:/test-mnt", at("/test-mnt")),
        ("./:/test-mnt,/dev/null:/null,/home:/host/home", f"{at('/test-mnt')} && {at('/null')} && {at('/host/home')}"),
        ("/etc/shadow:/shadow", at("/shadow")),
        ("/tmp:/mnt:unbindable+ro", "! touch /mnt/foo 2>/dev/null && grep ' /mnt ' /proc/self/mountinfo | grep -q unbindable"),
        ("/var/lib", at("/var/lib")),
        ("tmpfs:/mytmpfs", "grep ' /mytmpfs ' /proc/self/mounts | grep -q '^tmpfs '"),
        ("/tmp/pyxis test dir:/mnt/test", "grep -q hello /mnt/test/file.txt"),
        ("/tmp:/mnt/my mount", "grep -q '/mnt/my.040mount ' /proc/self/mounts"),
        ("/tmp/pyxis test dir:/mnt/my mount", "grep -q hello '/mnt/my mount/file.txt'"),
        ("./here.txt:./relative", "grep -q content /relative"),
    ]:
        succeeds(contained(f"--container-mounts={value}", *shell(program)))
    node("node1", "rm", "-rf", "/tmp/pyxis test dir")
    node("ctl", "rm", "/home/alice/here.txt")
    succeeds(contained(*shell("! " + at("/var/lib"))))


@test
def mounts_tmpfs_huge_pages():
    if b"huge" not in open("/proc/filesystems", "rb").read() and not os.path.exists("/sys/kernel/mm/transparent_hugepage/shmem_enabled"):
        raise Skipped("this kernel has no huge pages for tmpfs")
    ended = contained("--container-mounts=tmpfs:/mytmpfs:huge=within_size+size=8m", "grep", "/mytmpfs", "/proc/self/mounts")
    assert "huge=within_size" in succeeds(ended).out and "size=8192k" in ended.out, ended


@test
def mounts_given_twice_add_up():
    ended = contained("--container-mounts=/tmp:/one", "--container-mounts=/home:/two", *shell(f"{at('/one')} && {at('/two')}"))
    succeeds(ended)


@test
def mounts_that_are_refused():
    for value, *words in [
        ("/etc/shadow:/shadow", "Permission denied"),
        ("/tmp:/mnt:ro", "Read-only file system"),
        ("/tmp:/mnt:unbindable+ro", "Read-only file system"),
    ]:
        program = "cat /shadow" if "shadow" in value else "touch /mnt/foo"
        fails(contained(f"--container-mounts={value}", *shell(program)), *words)
    for value, *words in [
        ("/home:../home", "cross-device link"),
        ("devpts:/mydevpts:ro", "devpts"),
        ("/tmp:mnt:ro", "/tmp:mnt:ro"),
        ("/nonexistent/path/foo:/mnt", "source path does not exist", "node1", "/nonexistent/path/foo"),
        ("/tmp:/mnt,/nonexistent/path:/mnt2", "does not exist", "/nonexistent/path"),
        ("/tmp:/mnt:nonsense", "nonsense"),
    ]:
        fails(contained(f"--container-mounts={value}", "true"), *words)


@test
def mounts_umount():
    words = ("--container-mount-home", "--container-remap-root")
    succeeds(contained(*words, "--container-mounts=umount:/root", *shell("! " + at("/root"))))


# ---- mpi.bats --------------------------------------------------------------------------------------------------------------------------


@test
def mpi_pmix_directory_is_mounted():
    needs_mpi("pmix")
    program = 'test -n "$PMIX_SERVER_TMPDIR" && ls "$PMIX_SERVER_TMPDIR" >/dev/null && echo $PMIX_RANK'
    same(sorted(succeeds(contained("--mpi=pmix", "-n4", *shell(program))).lines), ["0", "1", "2", "3"])


@test
def mpi_ranks_find_each_other_whatever_the_host_says_of_its_own():
    # What a module of the host's Open MPI sets, which is not in the container, and what people tune PMIx with.
    host = {"OPAL_PREFIX": "/opt/hpcx/ompi", "OMPI_MCA_mca_base_component_path": "/opt/hpcx/ompi/lib/openmpi",
            "PMIX_INSTALL_PREFIX": "/opt/hpcx/pmix", "PMIX_MCA_mca_base_component_path": "/opt/hpcx/pmix/lib"}  # fmt: skip
    tuned = {"PMIX_MCA_gds": "hash", "PMIX_MCA_psec": "native", "OMPI_MCA_mpi_yield_when_idle": "1"}
    # Shared memory, sockets and process_vm_readv are what the filter must let pass.
    words = ("--mpi=pmix", "-N2", "--ntasks-per-node=1", "--mem=1000", "--container-seccomp=default",
             f"--container-image={image('mpi-openmpi')}", "./hello")  # fmt: skip
    ended = succeeds(srun(*words, environment={**host, **tuned}, timeout=100))
    same(sorted(ended.lines), ["rank 0 of 2 on node1, sum of ranks 1", "rank 1 of 2 on node2, sum of ranks 1"], ended)
    same(ended.err.count("/opt/hpcx"), 0, ended)
    say = shell("env | grep -E '^PMIX_MCA_|^PMIX_(RANK|NAMESPACE|SERVER_URI41|SECURITY_MODE|GDS_MODULE)=' | cut -d= -f1 | sort")
    expected = "PMIX_GDS_MODULE PMIX_MCA_gds PMIX_MCA_psec PMIX_NAMESPACE PMIX_RANK PMIX_SECURITY_MODE PMIX_SERVER_URI41"
    ended = succeeds(contained("--mpi=pmix", "-n1", *say, environment={**host, **tuned}))
    same(ended.lines, sorted(expected.split()), ended)


@test
def mpi_pmix_modules_are_those_of_slurms_server():
    needs_mpi("pmix")
    say = shell('echo "${PMIX_MCA_psec:-none}=$PMIX_SECURITY_MODE ${PMIX_MCA_gds:-none}=$PMIX_GDS_MODULE"')
    for words in (contained("--mpi=pmix", "-n2", *say), srun("-N1", "-n2", "--mpi=pmix", "berth", "run", image("debian"), "--", *say)):
        for line in succeeds(words).lines:
            assert all(one == other for one, other in (pair.split("=") for pair in line.split())), line


@test
def pytorch_variables_are_set_for_images_of_pytorch():
    say = shell('echo "$MASTER_ADDR $RANK $LOCAL_RANK"')
    torch = {"PYTORCH_VERSION": "2.9.0"}
    same(sorted(succeeds(contained("-n2", "--container-env=PYTORCH_VERSION", *say, environment=torch)).lines), ["node1 0 0", "node1 1 1"])
    same(set(succeeds(contained("-n2", *say)).lines), {"  "})
    same(set(succeeds(contained("-n2", "--container-env=PYTORCH_VERSION", "--container-profile=none", *say, environment=torch)).lines), {"  "})


@test
def mpi_pmi2_descriptor_and_variables():
    program = "readlink /proc/self/fd/$PMI_FD | grep -q socket && echo $PMI_RANK $PMI_SIZE"
    same(sorted(succeeds(contained("--mpi=pmi2", "-n4", *shell(program))).lines), ["0 4", "1 4", "2 4", "3 4"])


# ---- sbatch.bats ---------------------------------------------------------------------------------------------------------------------------


@test
def sbatch_scripts_run_inside():
    out = "/srv/pyxis-batch.out"
    for words, directive in [((f"--container-image={image('debian')}",), ""), ((), f"#SBATCH --container-image={image('debian')}")]:
        script = f"#!/bin/bash\n{directive}\necho $BERTH_TEST_IMAGE; pwd; exit 5\n"
        ended = run("sbatch", "--wait", "-o", out, *words, input=script)
        same(ended.status, 5, ended)
        same(node("ctl", "cat", out), "debian\n/workspace\n", ended)
    node("ctl", "rm", "-f", out)
