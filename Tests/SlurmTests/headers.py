"""The plugin compiles against the releases of Slurm that Debian has: its suites' libslurm-dev, kept in build/slurm-headers."""

import pathlib
import re
import subprocess
import tempfile

import cluster
from harness import Skipped, same, test

KEPT = cluster.TOP / "build/slurm-headers"
MIRROR = "http://deb.debian.org/debian"
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Older than what the plugin is written for, the machine's own, and newer ones up to the current.
SUITES = ("bullseye", "bookworm", "trixie", "sid")


def headers(suite):
    """The directory of a suite's Slurm headers; from the mirror the first time, by an apt that knows nothing of this machine's."""
    found = KEPT / suite
    if not found.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as directory:
            work = pathlib.Path(directory)
            for part in "lists/partial", "cache/archives/partial", "root":
                (work / part).mkdir(parents=True)
            (work / "status").touch()
            (work / "sources.list").write_text(f"deb [signed-by={KEY}] {MIRROR} {suite} main\n")
            options = [
                "Dir::State::Lists=lists", "Dir::State::status=status", "Dir::Cache=cache", "Dir::Etc::SourceList=sources.list",
                "Dir::Etc::SourceParts=/dev/null", "Acquire::Languages=none", "APT::Sandbox::User=root",
            ]  # fmt: skip
            absolute = [re.sub(r"=(?!/|none|root)", f"={work}/", option) for option in options]
            apt = ["apt-get", "-q", *(word for option in absolute for word in ("-o", option))]
            for verb in ["update"], ["download", "libslurm-dev"]:
                done = subprocess.run(
                    [*apt, *verb], cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
                )
                if done.returncode != 0:
                    raise Skipped(f"no libslurm-dev of {suite} can be had: {done.stderr.strip().splitlines()[-1:]}")
            subprocess.run(["dpkg-deb", "-x", str(next(work.glob("*.deb"))), str(work / "root")], check=True)
            (work / "root/usr/include").rename(found)
    return found


def release(directory):
    """22.5.8, say, from the number that Slurm compares when it loads a plugin."""
    for name in "slurm_version.h", "slurm.h":
        number = re.search(r"^#define SLURM_VERSION_NUMBER 0x(\w\w)(\w\w)(\w\w)", (directory / "slurm" / name).read_text(), re.M) \
            if (directory / "slurm" / name).exists() else None  # fmt: skip
        if number:
            return ".".join(str(int(part, 16)) for part in number.groups())
    raise AssertionError(f"no release in {directory}")


@test
def plugin_compiles_for_releases_of_slurm_from_20_11_to_the_current():
    sources = [*sorted(map(str, (cluster.TOP / "Plugin").glob("*.c"))), str(cluster.TOP / "Sources/CLinux/Init.c")]
    own = f"-I{cluster.TOP}/Sources/CLinux/include"
    releases = []
    for suite in SUITES:
        directory = headers(suite)
        for source in sources:
            done = subprocess.run(
                ["cc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", own, "-isystem", str(directory), source], capture_output=True, text=True
            )
            same(done.returncode, 0, f"{suite}: {done.stderr}")
        releases.append(release(directory))
    print(f"# compiled with Slurm {', '.join(releases)}")
    # A compiler that found the machine's own headers each time would have compiled one release four times.
    same(len(set(releases)), len(SUITES), releases)
    assert any(int(each.split(".")[0]) >= 24 for each in releases), releases
