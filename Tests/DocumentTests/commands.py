#!/usr/bin/env python3
"""Runs the command blocks of README.md and docs/ that are marked with <!-- run -->.

    commands.py [PAGE...]      only the pages whose path has one of the words

A block of shell commands is a fence ```sh. The line before it says how it is tested:

    <!-- run -->              executed here, as an ordinary user, in the order of the page and in one directory per page
    <!-- run: fails -->       the same; the last command must fail
    <!-- run: slurm -->       executed by Tests/SlurmTests/documents.py on a cluster
    <!-- not run: REASON -->  why it cannot be executed here, and which other test covers it

Tests/StructureTests checks that each block has such a line. The images that the pages name come from a registry on
loopback, which berth.conf names as a mirror; all of them are Images/debian. Prints TAP. Needs root to build that image,
the packages of `Scripts/setup run`, and what `Scripts/build` makes.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
LISTEN = "127.0.0.1:5987"
USER = 61234
IMAGES = ["library/debian:12", "team/train:7"]
REGISTRIES = ["docker.io", "registry.example.com"]


def blocks(page, markers=("run", "run: fails")):
    """The blocks of a page with one of these markers: (line number, marker, commands)."""
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines):
        marker = re.fullmatch(r"<!-- (.*) -->", line.strip())
        if not marker or marker.group(1) not in markers:
            continue
        start = next(i for i in range(number + 1, len(lines)) if lines[i].strip())
        assert lines[start].strip() == "```sh", f"{page}:{start + 1}: a marker without a block"
        indent = len(lines[start]) - len(lines[start].lstrip())
        end = next(i for i in range(start + 1, len(lines)) if lines[i].strip() == "```")
        yield start + 1, marker.group(1), "\n".join(each[indent:] for each in lines[start + 1 : end])


def execute(commands, home, work, configuration):
    environment = {
        "PATH": f"{TOP}/build/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "BERTH_CONFIG": str(configuration),
        "LANG": "C.UTF-8",
        "USER": "reader",
    }
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*as_user, "bash", "-euo", "pipefail", "-c", commands],
        cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=300,
    )  # fmt: skip


def own(path):
    path.mkdir()
    if os.geteuid() == 0:
        os.chown(path, USER, USER)
    return path


def main(words):
    pages = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
    chosen = [(page, list(blocks(page))) for page in pages]
    chosen = [(page, found) for page, found in chosen if found and (not words or any(w in str(page) for w in words))]
    subprocess.run([TOP / "Images/build", "debian"], check=True, stdout=subprocess.DEVNULL)
    place = pathlib.Path(tempfile.mkdtemp(prefix="berth-documents-", dir="/var/tmp"))
    place.chmod(0o755)
    registry = place / "registry"
    failed = number = 0
    try:
        subprocess.run([TOP / "Scripts/registry", "start", "--listen", LISTEN, registry], check=True, stdout=subprocess.DEVNULL)
        for name in IMAGES:
            subprocess.run(
                [TOP / "Scripts/registry", "push", TOP / "build/images/debian", name, registry],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        configuration = place / "berth.conf"
        configuration.write_text("".join(f"mirror = {name} {LISTEN}\n" for name in REGISTRIES))
        for page, found in chosen:
            home, work = own(place / f"home{number}"), own(place / f"work{number}")
            for line, marker, commands in found:
                number += 1
                name = f"{page.relative_to(TOP)}:{line}"
                ended = execute(commands, home, work, configuration)
                if (ended.returncode != 0) == (marker == "run: fails"):
                    print(f"ok {number} - {name}", flush=True)
                else:
                    failed += 1
                    print(f"not ok {number} - {name}: status {ended.returncode}")
                    print("\n".join("# " + each for each in (commands + "\n" + ended.stdout).splitlines()), flush=True)
    finally:
        subprocess.run([TOP / "Scripts/registry", "stop", registry], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(place, ignore_errors=True)
    print(f"1..{number}")
    return 1 if failed or not number else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
