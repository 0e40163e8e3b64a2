"""What the documents say of the tests here is true."""

import contextlib
import importlib.util
import re

import cluster
import harness
from cluster import image, node, run
from harness import same, test

CLAIMED = {"pyxis": (73, 163, 181, 174, 161, 151, 152, 104, 31, 123), "enroot": (154, 254, 278, 91, 141, 10)}


@test
def documents_name_tests_that_exist():
    names = [one.__name__ for one in harness.tests]
    text = (cluster.TOP / "docs/reference/pyxis-compatibility.md").read_text()
    wanted = re.findall(r"`([a-z][a-z0-9_]*)(_…)?`", "\n".join(line.split("|")[-2] for line in text.splitlines() if line.startswith("|")))
    assert len(wanted) > 40, wanted
    missing = [name for name, more in wanted if not any(one.startswith(name) if more else one == name for one in names)]
    same(missing, [])


@test
def documents_have_a_test_for_each_issue_that_is_claimed():
    names = [one.__name__ for one in harness.tests]
    swift = "".join(path.read_text() for path in (cluster.TOP / "Tests/RegistryTests").rglob("*.swift"))
    for project, numbers in CLAIMED.items():
        for number in numbers:
            found = [name for name in names if re.search(rf"{project}(_\d+)*_{number}_", name)]
            assert found or f"_{project}{number}(" in swift, f"no test of {project} {number}"


def batch(template, chosen, *options, replacing=()):
    """What a template of Scripts/sbatch writes, run without the plugin's flags in a directory that all nodes see."""
    where = "/srv/templates"
    node("ctl", "bash", "-c", f"rm -rf {where}; mkdir -m 777 {where}")
    text = (cluster.TOP / "Scripts/sbatch" / template).read_text()
    for pattern, value in [(r"^IMAGE=.*$", f"IMAGE={image(chosen)}"), *replacing]:
        text, count = re.subn(pattern, value, text, flags=re.M)
        assert count == 1, f"{pattern} in {template}"
    programs = {"work": "echo work $1 in $BERTH_TEST_IMAGE", "program": "exec /workspace/hello"}
    for name, program in programs.items():
        (cluster.LAB / "shared/templates" / name).write_text(f"#!/bin/bash\n{program}\n")
        (cluster.LAB / "shared/templates" / name).chmod(0o755)
    (cluster.LAB / "shared/templates/train.py").write_text((cluster.TOP / "Images/train/train.py").read_text())
    ended = run("sbatch", "--wait", f"--chdir={where}", *options, input=text, timeout=600)
    said = node("ctl", "bash", "-c", f"cat {where}/*.out; rm -rf {where}")
    same(ended.status, 0, f"{ended}{said}")
    return said


@test
def documents_templates_for_sbatch_work():
    said = batch("array.sbatch", "debian", "--array=0-1")
    same(re.findall("^work .*", said, re.M), ["work 0 in debian", "work 1 in debian"], said)
    said = batch("mpi.sbatch", "mpi-openmpi", "--ntasks-per-node=1", "--mem=1000")
    assert "rank 0 of 2" in said and "rank 1 of 2" in said, said
    said = batch(
        "train.sbatch", "train", "--ntasks-per-node=1", "--mem=1000", "--gres=gpu:1",
        replacing=[(r"-- python train.py$", "-- python3 train.py --steps=60"), (r"^DATA=.*$", "DATA=/srv")],
    )  # fmt: skip
    assert "2 ranks" in said and "parameters equal" in said, said


@test
def documents_blocks_run_on_the_cluster():
    """Those that are marked <!-- run: slurm -->. A mirror has the image that they name."""
    image("debian")
    cluster.script("Scripts/registry", "push", cluster.TOP / "build/images/debian", "library/debian:12", cluster.LAB / "registry")
    source = importlib.util.spec_from_file_location("commands", cluster.TOP / "Tests/DocumentTests/commands.py")
    commands = importlib.util.module_from_spec(source)
    source.loader.exec_module(commands)
    where = "/srv/documents"
    count = 0
    with contextlib.ExitStack() as stack:
        for host in ("ctl", *cluster.NODES):
            stack.enter_context(cluster.SiteFile(f"mirror = docker.io {cluster.REGISTRY}\njoin-wait = 60000\n", host))
        for page in sorted((cluster.TOP / "docs").rglob("*.md")):
            for line, _, block in commands.blocks(page, ("run: slurm",)):
                node("ctl", "bash", "-c", f"rm -rf {where}; mkdir -m 777 {where}")
                ended = run("bash", "-euo", "pipefail", "-c", f"cd {where}\n{block}", timeout=600)
                same(ended.status, 0, f"{page.name}:{line}\n{ended}")
                count += 1
    node("ctl", "rm", "-rf", where)
    assert count > 3, count
