"""What a test is here, and how they are run: TAP on standard output."""

import inspect
import os
import pathlib
import sys
import time
import traceback

import cluster
from cluster import image, node, run, srun

tests = []


class Skipped(Exception):
    """The machine lacks something that the test needs."""


def test(function):
    tests.append(function)
    return function


def same(actual, expected, about=""):
    assert actual == expected, f"got {actual!r}, expected {expected!r}\n{about}"


def succeeds(ended):
    same(ended.status, 0, ended)
    return ended


def one_message(ended, status, *words):
    same(ended.status, status, ended)
    said = [line for line in ended.err.splitlines() if line.startswith("berth: ")]
    same(len(said), 1, ended)
    for word in words:
        assert word in ended.err, f"no {word!r} in\n{ended}"


def fails(ended, *words):
    assert ended.status != 0, ended
    for word in words:
        assert word in ended.err + ended.out, f"no {word!r} in\n{ended}"
    return ended


def contained(*words, name="debian", **keywords):
    """srun on one node, with a container."""
    return srun("-N1", "-w", "node1", f"--container-image={image(name)}", *words, **keywords)


# The image's entrypoint, which does what the variable says: entrypoints see none of the job's but those that are named.
ENTRYPOINT = ("--container-entrypoint", "--container-env=ENTRYPOINT_MODE")


def shell(text):
    return ("bash", "-c", text)


def at(place):
    """A shell's question whether something is mounted there."""
    return f"grep -q ' {place} ' /proc/self/mounts"


def named(name, *words, **keywords):
    return srun("-N1", "-w", "node1", f"--container-name={name}", *words, **keywords)


def forget(*names):
    for name in names:
        node("node1", "rm", "-rf", f"{cluster.STORE}/containers/{name}")


def needs_mpi(flavour):
    """Debian's Slurm 26.05 is built without PMIx."""
    listed = srun("--mpi=list")
    if flavour not in listed.out + listed.err:
        raise Skipped(f"this Slurm has no --mpi={flavour}")


def host_namespace(kind):
    return succeeds(srun("-n1", "-w", "node1", "readlink", f"/proc/self/ns/{kind}")).out.strip()


def main(*options, environment=None, nodes_fail=False):
    """The tests, or those that the command line names, on a cluster of their own with these options of the plugin.

    `nodes_fail`: a test may leave a node that takes no jobs; the next one brings it back.
    """
    words = sys.argv[1:]
    if os.getuid() != 0:
        print("1..0 # SKIP the Slurm tests need root")
        return
    if not os.access(cluster.TOP / "build/bin/berth", os.X_OK):
        print("Bail out! nothing is built: Scripts/build")
        sys.exit(1)
    chosen = [one for one in tests if not words or any(word in full_name(one) for word in words)]
    failed = 0
    try:
        cluster.start(*options, environment=environment)
        for number, one in enumerate(chosen, 1):
            failed += not passes(number, one, nodes_fail)
        print(f"1..{len(chosen)}")
    finally:
        cluster.stop()
    sys.exit(1 if failed else 0)


def full_name(one):
    # Not its module's, which is __main__ in the file that was started.
    return f"{pathlib.Path(inspect.unwrap(one).__code__.co_filename).stem}.{one.__name__}"


def passes(number, one, nodes_fail):
    """Runs one test and prints how it ended."""
    started = time.monotonic()
    name = one.__name__.replace("_", " ")
    try:
        one()
        unfit = not nodes_fail and cluster.unfit_nodes()
        assert not unfit, f"nodes that take no jobs any more:\n{unfit}"
    except Skipped as reason:
        print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        return True
    except Exception as error:  # whatever a test throws is its failure, and the next one runs
        text = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
        print(f"not ok {number} - {name}")
        print("".join(f"# {line}\n" for line in (text or traceback.format_exc()).splitlines()), end="", flush=True)
        # What a failed test left running must not fail the next, and neither may a node that it drained.
        run("scancel", "-u", cluster.USER)
        if not nodes_fail:
            cluster.mend_nodes()
        return False
    print(f"ok {number} - {name} ({time.monotonic() - started:.1f} s)", flush=True)
    return True
