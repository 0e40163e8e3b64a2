"""Shared code of the benchmarks: an ordinary user, a directory on disk, tables, budgets."""

import datetime
import json
import mmap
import os
import pathlib
import pwd
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
PLACE = pathlib.Path(os.environ.get("BERTH_BENCH", "/var/tmp/berth-bench"))  # one file system for all contenders


def prepare():
    """Create PLACE for the measuring user, with a copy of Berth that this user can read."""
    for needed in "build/bin/berth", "build/libexec/berth/berth-image":
        if not (TOP / needed).exists():
            sys.exit(f"{needed} is missing: Scripts/build")
    clear(PLACE)
    PLACE.mkdir(parents=True)
    subprocess.run([TOP / "Scripts/install", PLACE / "berth"], check=True)
    if os.getuid() == 0:
        shutil.chown(PLACE, user().pw_name)


def user():
    """The measuring user: the caller, or alice instead of root, because rootless starts are measured."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    try:
        return pwd.getpwnam("alice")
    except KeyError:
        subprocess.run(["useradd", "-m", "-s", "/bin/bash", "alice"], check=True)
        return pwd.getpwnam("alice")


def as_user(*command, **environment):
    """The command line and environment to run COMMAND as the measuring user."""
    who = user()
    settings = {
        "HOME": who.pw_dir,
        "USER": who.pw_name,
        "PATH": f"{PLACE}/berth/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "XDG_RUNTIME_DIR": f"{PLACE}/run",
        "BERTH_STORE": f"{PLACE}/store",
        **environment,
    }
    words = [str(word) for word in command]
    if os.getuid() == 0:
        words = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--init-groups", *words]
    return words, settings


def run(*command, **environment):
    words, settings = as_user(*command, **environment)
    done = subprocess.run(words, env=settings, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def clear(path):
    """Remove also files of rootless tools with subordinate IDs or without write permission."""
    if path.exists() and os.getuid() != 0:
        subprocess.run(["podman", "unshare", "rm", "-rf", path], stderr=subprocess.DEVNULL)
        subprocess.run(["chmod", "-R", "u+rwX", path], stderr=subprocess.DEVNULL)
    subprocess.run(["rm", "-rf", path], check=True)


def warm_memory(size):
    """Free this many bytes of memory that were just in use. A virtual machine must first get other memory from its host,
    which can take longer than the measured work and would be charged to the first program. Uses huge pages, because
    contiguous memory is what the host reclaims and what file systems use for large files."""
    memory = mmap.mmap(-1, max(1, size >> 21) << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    for place in range(0, len(memory), 4096):
        memory[place] = 1
    memory.close()


def version(*command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "USER": user().pw_name})
        return (out.stdout + out.stderr).strip().splitlines()[0].replace("version ", "")
    except (OSError, IndexError):
        return "unknown"


def publish(name, title, table, notes, verdicts):
    """Print a table and store it in Benchmarks/results. Fail if a ratio exceeds its budget."""
    facts = f"{datetime.date.today()}, Linux {os.uname().release}, {os.cpu_count()} cores"
    width = [max(len(str(row[i])) for row in table) for i in range(len(table[0]))]
    rows = ["| " + " | ".join(str(cell).ljust(width[i]) for i, cell in enumerate(row)) + " |" for row in table]
    rows.insert(1, "|" + "|".join("-" * (w + 2) for w in width) + "|")
    text = "\n".join([f"# {title}", "", facts, "", *rows, "", *notes, ""])
    print(text)
    results = TOP / "Benchmarks/results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.md").write_text(text)
    budgets = json.loads((TOP / "Benchmarks/budgets.json").read_text())
    over = False
    for budget, ratio in verdicts.items():
        limit = budgets[budget]
        print(f"{budget}: {ratio:.2f}, budget {limit:.2f}{'' if ratio <= limit else '  OVER'}")
        over = over or ratio > limit
    sys.exit(1 if over else 0)
