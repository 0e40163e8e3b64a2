"""A PID namespace for each task: `--container-unshare=pid`, `--container-init`, and `berth run --pid private` in a step."""

from cluster import image, in_terminal, node, run, traces, wait_traces, wait_until_quiet
from harness import contained, fails, one_message, same, shell, succeeds, test
from lifetimes import READY, while_running

APART = "--container-unshare=pid"

# Of every signal that arrives it says so; USR2 ends it, with the numbers of those before.
COUNTER = r"""$| = 1; my %n; for my $name ("USR1", "INT", "HUP") { $SIG{$name} = sub { $n{$name}++; print "$name $n{$name}\n" } }
$SIG{USR2} = sub { print join(" ", map { "$_ $n{$_}" } sort keys %n), "\n"; exit 0 }; print "ready\n"; sleep 60 while 1"""


@test
def each_task_is_process_one_and_sees_only_its_own():
    show = shell("echo $$ $PPID $(readlink /proc/self/ns/pid) $(readlink /proc/1/exe) $(ls -d /proc/[0-9]* | wc -l)")
    tasks = [line.split()[1:] for line in succeeds(contained("-n2", "-l", APART, *show)).lines]
    same([(task[0], task[1], task[3]) for task in tasks], [("1", "0", "/usr/bin/bash")] * 2, tasks)
    assert len({task[2] for task in tasks}) == 2 and all(int(task[4]) < 6 for task in tasks), tasks
    # With an init the command is another one.
    ended = succeeds(contained("--container-init", *shell("echo $$ $PPID $(cat /proc/1/comm)")))
    same(ended.out.split()[:2], ["2", "1"], ended)


@test
def exit_statuses_and_signals_of_commands_apart_are_the_tasks():
    same(contained(APART, *shell("exit 7")).status, 7)
    same(contained("--container-init", *shell("exit 8")).status, 8)
    same(contained(APART, "--container-remap-root", *shell("id -u; exit 9")).status, 9)
    ended = fails(contained("--container-init", *shell("kill -KILL $$")))
    same(ended.status, 137, ended)
    same(contained(APART, "/nonesuch").status, 2)  # as Slurm says it without a namespace
    wait_until_quiet()


@test
def signals_of_slurm_reach_commands_apart_once():
    forms = (
        f"--container-image={image('debian')} {APART} perl",
        f"--container-image={image('debian')} --container-init perl",
        f"--container-image={image('debian')} --container-init --container-save=/home/alice/counted perl",
        f"berth run --pid private {image('debian')} -- perl",
        f"berth run --init {image('debian')} -- perl",
    )
    send = """for name in USR1 USR1 INT USR1 HUP; do
            scancel -s $name $SLURM_JOB_ID.$step; read -r line <&3; done
        scancel -s USR2 $SLURM_JOB_ID.$step; read -r line <&3; echo "$line"; cat <&3"""
    script = "".join(
        f"\nstep={number}; exec 3< <(exec srun --overlap -n1 {form} -e '{COUNTER}'); read -r ready <&3\n{send}"
        for number, form in enumerate(forms)
    )
    ended = run("salloc", "-Q", "-N1", "-n2", "-w", "node1", "bash", "-c", script)
    same(succeeds(ended).lines, ["HUP 1 INT 1 USR1 3"] * len(forms), ended)
    node("node1", "rm", "-rf", "/home/alice/counted")
    wait_until_quiet()


@test
def steps_attach_to_a_container_apart():
    show = "readlink /proc/self/ns/pid; cat /proc/1/environ | tr '\\\\0' '\\\\n' | grep ^FIRST=; test -d /proc/\\$\\$ && cat /mark"
    script = f"""
        exec 3< <(FIRST=given exec srun --overlap -n1 --container-image={image("debian")} {APART} \
            bash -c 'echo x >/mark; readlink /proc/self/ns/pid; {READY}')
        read -r space <&3; read -r ready <&3
        show="{show}"
        for way in "--container-name=$SLURM_JOB_ID.0" "{APART} --container-name=$SLURM_JOB_ID.0" "berth exec $SLURM_JOB_ID.0"; do
          srun --overlap -n1 $way bash -c "$show" | while read -r line; do echo "${{line/"$space"/the same}}"; done; done
        srun --overlap -n1 --container-name=$SLURM_JOB_ID.0 bash -c 'exit 5'; echo $?
        srun --overlap -n1 berth ps --format "{{{{.Step}}}} {{{{.Tasks}}}}"
        scancel --signal=KILL $SLURM_JOB_ID.0; echo $SLURM_JOB_ID"""
    ended = succeeds(run("salloc", "-Q", "-N1", "-n2", "-w", "node1", "bash", "-c", script))
    same(ended.lines[:-1], ["the same", "FIRST=given", "x"] * 3 + ["5", f"{ended.lines[-1]}.0 1"], ended)
    # Of one that shares the node's there is none to enter.
    first = f"--container-image={image('debian')} bash -c '{READY}'"
    fails(while_running(first, f"{APART} --container-name=$SLURM_JOB_ID.0 true"), "is not in a separate PID namespace")


@test
def nothing_of_a_task_apart_outlives_it():
    wait_until_quiet()
    before = traces("node1")
    succeeds(contained("-n2", APART, *shell("setsid sleep 1000 & echo $!")))
    same(wait_traces("node1", before), before)
    # What Slurm kills takes the rest along.
    first = f"--container-image={image('debian')} --container-init bash -c 'setsid sleep 1000 & {READY}'"
    while_running(first, "true")
    same(wait_traces("node1", before), before)


@test
def a_container_apart_has_a_terminal_and_is_saved():
    ended = in_terminal("srun", "--pty", "-w", "node1", f"--container-image={image('debian')}", APART, *shell("tty; echo $$"))
    terminal, number = ended.out.split()[-2:]
    same((terminal.startswith("/dev/"), number), (True, "1"), ended)
    where = "/home/alice/saved-apart"
    node("node1", "rm", "-rf", where)
    ended = contained(APART, f"--container-save={where}", *shell("echo $$ >/mark; exit 3"))
    same(ended.status, 3, ended)
    same(node("node1", "cat", f"{where}/mark"), "1\n", ended)
    node("node1", "rm", "-rf", where)


@test
def a_proc_that_a_user_cannot_mount_is_one_message():
    node("node1", "mount", "-t", "tmpfs", "hidden", "/proc/irq")
    try:
        one_message(contained("-n2", APART, *shell("echo it ran")), 125, "PID namespace", "/proc", "--container-unshare=pid")
    finally:
        node("node1", "umount", "/proc/irq")
    ended = contained(APART, "--container-mounts=/srv:/proc/fs", *shell("echo it ran"))
    one_message(ended, 125, "PID namespace", "/proc/fs", "--container-unshare=pid")
