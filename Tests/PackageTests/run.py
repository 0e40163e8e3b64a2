#!/usr/bin/env python3
"""Makes the packages of what Scripts/build made, checks them, and installs them in clean root file systems.

    run.py [WORD...]      only the tests whose names have one of the words

Needs root, `Scripts/setup package`, and a Debian mirror the first time: the roots are kept in build/roots. Prints TAP.
BERTH_RECORD=1 writes the list of symbols in this directory.
"""

import filecmp
import gzip
import io
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent
MIRROR = os.environ.get("BERTH_DEBIAN_MIRROR", "http://deb.debian.org/debian")
WORK = pathlib.Path(tempfile.mkdtemp(prefix="berth-packages.", dir="/var/tmp"))
PACKAGES = WORK / "packages"
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Skipped(Exception):
    pass


def run(*command, check=True, **options):
    ended = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        stdin=subprocess.DEVNULL, timeout=500, **options)  # fmt: skip
    if check and ended.returncode != 0:
        raise AssertionError(f"{shlex.join(str(word) for word in command)} ended with {ended.returncode}:\n{ended.stdout}")
    return ended.stdout if check else ended


def one(pattern):
    found = sorted(PACKAGES.glob(pattern))
    assert len(found) == 1, f"{pattern}: {found}"
    return found[0]


def files_below(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())


# ---- root file systems -----------------------------------------------------------------------------------------------


class Root:
    """A copy of a minimal Debian, entered with pivot_root(2): in a chroot the kernel permits no user namespaces."""

    def __init__(self, suite, extra=()):
        name = "-".join(["minimal", suite, *extra])
        kept = TOP / "build/roots" / name
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            draft = kept.with_name(name + ".new")
            shutil.rmtree(draft, ignore_errors=True)
            run("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--quiet",
                *(f"--include={package}" for package in extra), "--dpkgopt=force-unsafe-io",
                '--aptopt=Acquire::Languages "none"', suite, draft, MIRROR)  # fmt: skip
            draft.rename(kept)
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=name + ".", dir=WORK)) / "root"
        run("cp", "-a", "--reflink=auto", kept, self.path)
        box = self.path / "srv/box"
        box.mkdir(parents=True)
        for directory in ("proc", "sys", "dev", "tmp", "etc"):
            (box / directory).mkdir()
        shutil.copy("/bin/busybox", box / "busybox")
        shutil.copytree(TOP / "build/images/hello", self.path / "srv/hello")
        (self.path / "etc/passwd").open("a").write("ada:x:1234:1234::/home/ada:/bin/sh\n")
        (self.path / "etc/group").open("a").write("ada:x:1234:\n")
        (self.path / "home/ada").mkdir()
        os.chown(self.path / "home/ada", 1234, 1234)

    def words(self, script, user=None):
        enter = (
            'mount --rbind "$1" "$1" && cd "$1" && mount --rbind /proc proc && mount --rbind /sys sys && '
            "mount --rbind /dev dev && mkdir -p .old && pivot_root . .old && umount -l .old && rmdir .old && cd / && shift && "
            'exec "$@"')
        become = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"] if user else []
        variables = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
                     f"HOME={'/home/ada' if user else '/root'}", "DEBIAN_FRONTEND=noninteractive"]  # fmt: skip
        return ["unshare", "--mount", "sh", "-c", enter, "sh", self.path, *become, *variables, "sh", "-ec", script]

    def do(self, script, user=None, check=True):
        return run(*self.words(script, user), check=check)

    def copy(self, *files):
        for file in files:
            shutil.copy(file, self.path / "root")

    def everything(self):
        """All files but what apt, dpkg and the shell of a user keep."""
        skipped = ("proc/", "sys/", "dev/", "var/lib/dpkg/", "var/log/", "var/cache/", "root/", "home/", "tmp/", "run/", "srv/")
        return [path for path in files_below(self.path) if not path.startswith(skipped)]


FIRST = "berth run oci:/srv/hello -- one two"


def check_first_container(root):
    """An ordinary user pulls a layout into a new store and runs it, then runs a directory; the doctor reports no error."""
    output = root.do(FIRST, user="ada")
    assert "Hello from inside the container." in output and "uid 1234" in output and "arguments: /hello one two" in output, output
    assert root.do("berth run dir:/srv/box -- /busybox cat /proc/self/comm", user="ada").strip() == "busybox"
    assert root.do("berth run dir:/srv/box -- /busybox sh -c 'exit 7'", user="ada", check=False).returncode == 7


# ---- the packages ----------------------------------------------------------------------------------------------------


@test
def two_runs_make_the_same_bytes():
    # What else is in the directory stays; packages of an earlier version do not.
    again = WORK / "again"
    again.mkdir()
    (again / "notes").touch()
    (again / "berth_0.0.1_amd64.deb").touch()
    run(TOP / "Scripts/package", PACKAGES)
    run(TOP / "Scripts/package", again)
    (again / "notes").unlink()
    names = files_below(PACKAGES)
    assert names == files_below(WORK / "again") and len(names) >= 6, names
    _, different, failed = filecmp.cmpfiles(PACKAGES, WORK / "again", names, shallow=False)
    assert not different and not failed, (different, failed)


@test
def the_version_names_the_commit():
    version = run(TOP / "build/bin/berth", "--version").strip()
    match = re.fullmatch(r"berth (\d+\.\d+\.\d+) \(([0-9a-f]{12})(-dirty)?\)", version)
    assert match, version
    assert run("git", "rev-parse", "HEAD", cwd=TOP).startswith(match[2])
    field = run("dpkg-deb", "-f", one("berth_*.deb"), "Version").strip()
    assert field.startswith(match[1]) and (match[2][:7] in field or "git" not in field), field


@test
def lintian_and_rpmlint_find_nothing():
    for package in PACKAGES.glob("*.deb"):
        found = run("lintian", "--fail-on=error,warning", "--tag-display-limit=0", "--allow-root", package, check=False)
        assert found.returncode == 0, found.stdout
    rpms = sorted(PACKAGES.glob("*.rpm"))
    assert len(rpms) >= 2
    found = run("rpmlint", "--config", HERE / "rpmlint.toml", *rpms, check=False)
    assert " 0 errors, 0 warnings" in found.stdout, found.stdout


@test
def man_pages_are_clean_and_complete():
    pages = sorted((TOP / "build/share/man").rglob("*.?"))
    commands = sorted(path.stem for path in (TOP / "docs/reference/commands").glob("*.md"))
    expected = {"berth.conf.5", "spank_berth.8"} | {f"{'berth' if c == 'berth' else 'berth-' + c}.1" for c in commands}
    assert {page.name for page in pages} == expected
    for page in pages:
        assert not (found := run("mandoc", "-T", "lint", "-W", "style", page, check=False).stdout), found
    with tarfile.open(fileobj=io.BytesIO(subprocess.check_output(["dpkg-deb", "--fsys-tarfile", one("berth_*.deb")]))) as content:
        for page in pages:
            inside = content.extractfile(f"./usr/share/man/{page.parent.name}/{page.name}.gz")
            assert gzip.decompress(inside.read()) == page.read_bytes(), page


@test
def completions_work_in_their_shells():
    place = TOP / "build/share/completions"
    run("bash", "-n", place / "berth.bash")
    run("zsh", "-n", place / "berth.zsh")
    run("fish", "--no-execute", place / "berth.fish")
    environment = {"PATH": f"{TOP}/build/bin:/usr/bin:/bin", "HOME": str(WORK)}
    script = (
        f". {place}/berth.bash; COMP_WORDS=(berth ima); COMP_CWORD=1; COMP_LINE='berth ima'; COMP_POINT=9; COMP_TYPE=9; "
        '_berth berth ima berth; printf "%s\\n" "${COMPREPLY[@]}"')
    assert run("bash", "-c", script, env=environment).strip() == "images"
    offered = run("fish", "--no-config", "-c", f"source {place}/berth.fish; complete -C 'berth pr'", env=environment)
    assert {line.split("\t")[0] for line in offered.splitlines()} == {"prefetch", "prune"}, offered


@test
def the_programs_need_nothing_but_an_old_glibc():
    program, library = TOP / "build/libexec/berth/berth-image", TOP / "build/libexec/berth/libisal.so.2"
    needed = set()
    for file in (program, library):
        needed |= set(re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", file)))
    assert needed <= {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2", "libgcc_s.so.1",
                      "libisal.so.2"}, needed
    assert "interpreter" not in run("readelf", "-l", TOP / "build/bin/berth"), "the launcher is static"
    symbols = set()
    for line in run("objdump", "-T", program, library).splitlines():
        if match := re.search(r"\*UND\*.*\(?GLIBC_([\d.]+)\)?\s+(\S+)$", line):
            symbols.add((tuple(int(part) for part in match[1].split(".")), match[2]))
    newer = "".join(f"{'.'.join(map(str, version))} {name}\n" for version, name in sorted(symbols) if version > (2, 28))
    record = HERE / "glibc-symbols.txt"
    if os.environ.get("BERTH_RECORD") == "1":
        record.write_text(newer)
    assert record.read_text() == newer, f"{newer}differs from {record}: BERTH_RECORD=1 writes it, README.md states the floor"
    assert max(symbols)[0] <= (2, 34), "README.md and docs/how-to/install.md promise glibc 2.34"


@test
def every_library_has_its_license():
    text = run("zcat", *[extract(one("berth_*.deb")) / "usr/share/doc/berth/THIRD-PARTY-LICENSES.gz"])
    for name in ["Swift toolchain", "libisal-dev", "libzstd-dev", "zlib1g-dev", "libyaml-dev", "libseccomp-dev", "libcap-dev", "libc6-dev", "gcc-"]:
        assert re.search(f"==== .*{re.escape(name)}", text), name
    for checkout in (TOP / ".build/checkouts").iterdir():
        assert f"==== {checkout.name}/LICENSE.txt ====" in text, checkout.name


def extract(package):
    place = WORK / ("content-" + package.name)
    if not place.exists():
        run("dpkg-deb", "-x", package, place)
    return place


@test
def links_of_installed_documents_lead_somewhere():
    for tree in (extract(one("berth_*.deb")), WORK / "unpacked"):
        if tree.name == "unpacked":
            tree.mkdir(exist_ok=True)
            run("tar", "-C", tree, "-xzf", one("berth-*.tar.gz"))
        pages = [page for page in tree.rglob("*.md") if not page.is_symlink()]
        assert len(pages) > 40
        for page in pages:
            for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
                if "://" not in target:
                    path = page.parent / target
                    assert path.exists() or path.is_symlink(), f"{page} points to {target}"


@test
def the_apparmor_profile_is_parsed():
    root = Root("trixie", ["apparmor"])
    root.copy(one("berth_*.deb"))
    root.do("dpkg -i --force-depends /root/berth_*.deb")
    assert (root.path / "etc/apparmor.d/berth").exists()
    root.do("apparmor_parser --skip-kernel-load --skip-cache /etc/apparmor.d/berth")
    names = root.do("apparmor_parser --names /etc/apparmor.d/berth").split()[-2:]
    assert names == ["berth", "berth-image"], names
    check_first_container(root)
    root.do("dpkg --purge berth")
    assert not (root.path / "etc/apparmor.d/berth").exists()


@test
def a_clean_debian_12_installs_upgrades_and_purges():
    root = Root("bookworm")
    package = one("berth_*.deb")
    before = root.everything()
    root.copy(package)
    root.do("dpkg -i /root/berth_*.deb")
    check_first_container(root)
    assert root.do("berth run dir:/srv/box -- /busybox id -u").strip() == "0", "as root, too"
    doctor = root.do("berth doctor --json", user="ada", check=False)
    assert doctor.returncode in (0, 1) and '"configuration"' in doctor.stdout, doctor.stdout
    assert "/etc/apparmor.d/berth" not in "".join(root.everything()), "this AppArmor does not know the rule"

    # What the administrator changed stays, and a container that runs goes on.
    (root.path / "etc/berth/berth.conf").write_text("scratch-limit = 64m\n")
    running = subprocess.Popen(
        [str(word) for word in root.words("exec berth run dir:/srv/box -- /busybox sh -c 'echo up; read x; echo $x'", "ada")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert running.stdout.readline() == "up\n"
    newer = WORK / "newer"
    run("dpkg-deb", "-R", package, newer)
    control = newer / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", "Version: 99.0", control.read_text()))
    (newer / "etc/berth/berth.conf").open("a").write("# changed by the newer package\n")
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-b", newer, root.path / "root/newer.deb")
    root.do("dpkg -i --force-confold /root/newer.deb")
    assert running.poll() is None
    assert running.communicate("still here\n")[0] == "still here\n" and running.returncode == 0
    assert "64m" in root.do("berth config show scratch-limit", user="ada")
    check_first_container(root)

    root.do("dpkg -i --force-downgrade --force-confold /root/berth_*.deb")
    check_first_container(root)
    root.do("dpkg --remove berth")
    assert (root.path / "etc/berth/berth.conf").exists()
    root.do("dpkg --purge berth")
    assert root.everything() == before, set(root.everything()) ^ set(before)


@test
def an_older_glibc_is_named_by_its_loader():
    """Debian 11 has glibc 2.31: the launcher runs there, and what it cannot start says why."""
    root = Root("bullseye")
    run("tar", "-C", root.path / "opt", "-xzf", one("berth-*.tar.gz"))
    ended = root.do("/opt/berth-*/bin/berth --version", check=False)
    assert ended.returncode != 0 and "GLIBC_2.3" in ended.stdout, ended.stdout
    assert root.do("/opt/berth-*/bin/berth run dir:/srv/box -- /busybox echo hello", user="ada").strip() == "hello"


@test
def the_tarball_runs_where_it_is_unpacked():
    root = Root("bookworm")
    (root.path / "opt/a place").mkdir()
    run("tar", "-C", root.path / "opt/a place", "-xzf", one("berth-*.tar.gz"))
    root.do("ln -s '/opt/a place'/berth-*/bin/berth /usr/local/bin/berth")
    check_first_container(root)


@test
def the_rpm_has_the_same_files():
    rpms = [path for path in PACKAGES.glob("berth-*.rpm") if re.match(r"berth-\d", path.name)]
    assert len(rpms) == 1
    place = WORK / "rpm"
    place.mkdir()
    (WORK / "rpm.cpio").write_bytes(subprocess.check_output(["rpm2cpio", rpms[0]]))
    run("sh", "-c", f"cd {place} && cpio -idm --quiet <{WORK}/rpm.cpio")
    assert run(place / "usr/bin/berth", "--version") == run(TOP / "build/bin/berth", "--version")
    deb, own = set(files_below(extract(one("berth_*.deb")))), set(files_below(place))
    only_debs = {path for path in deb - own if not re.search(r"lintian|apparmor|vendor-completions|changelog.gz|copyright", path)}
    assert not only_debs and own - deb == {"usr/share/zsh/site-functions/_berth"}, (only_debs, own - deb)
    assert "libc.so.6(GLIBC_2.3" in run("rpm", "-qpR", rpms[0])
    assert "/etc/berth/berth.conf" in run("rpm", "-qpc", rpms[0])


@test
def the_plugin_is_compiled_where_it_is_installed():
    source = extract(one("berth-slurm-plugin-source_*.deb"))
    plugin = WORK / "compiled/spank_berth.so"
    plugin.parent.mkdir()
    script = (source / "usr/libexec/berth/build-slurm-plugin").read_text()
    script = script.replace("/usr/src/", f"{source}/usr/src/").replace("/usr/lib/slurm", str(plugin.parent))
    run("sh", "-c", script)
    same = extract(one("berth-slurm-plugin_*.deb")) / "usr/lib/slurm/spank_berth.so"
    symbols = [run("nm", "-D", "--defined-only", file).split()[2::3] for file in (plugin, same)]
    assert symbols[0] == symbols[1] and "plugin_name" in symbols[0], symbols
    # What cannot be compiled leaves a plugin for this Slurm, and none for another.
    broken = {**os.environ, "CFLAGS": "-Wl,--no-such-option"}
    for release, stays in [(None, True), ("(22<<16)", False)]:
        if release:
            (plugin.parent / "spank_berth.so.release").write_text(release + "\n")
        ended = run("sh", "-c", script, check=False, env=broken)
        assert ended.returncode == 1 and "warning: the plugin cannot be compiled" in ended.stdout, ended.stdout
        assert plugin.exists() == stays and not (plugin.parent / "spank_berth.so.new").exists(), ended.stdout
    ended = run("sh", "-c", script, check=False, env={**os.environ, "CFLAGS": "-nostdinc"})
    assert ended.returncode == 1 and "slurm/spank.h is missing" in ended.stdout and not plugin.exists(), ended.stdout
    scripts = run("rpm", "-qp", "--scripts", "--triggers", one("berth-slurm-plugin-source-*.rpm"))
    assert scripts.count("build-slurm-plugin") == 2 and "rm -f /usr/lib/slurm/spank_berth.so" in scripts, scripts


@test
def the_build_tree_installs_and_uninstalls():
    place = WORK / "installed"
    environment = {**os.environ, "DESTDIR": str(place)}
    run(TOP / "Scripts/install", "/usr/local", env=environment)
    assert (place / "etc/berth/berth.conf").exists() and (place / "usr/local/share/man/man1/berth-run.1").exists()
    (place / "etc/berth/berth.conf").write_text("home = yes\n")
    run(TOP / "Scripts/install", "/usr/local", env=environment)
    assert (place / "etc/berth/berth.conf").read_text() == "home = yes\n"
    # An install without a file that every launch needs must fail.
    part = TOP / "build/libexec/berth/seccomp/default"
    aside = part.with_suffix(".aside")
    part.rename(aside)
    try:
        ended = run(TOP / "Scripts/install", "/usr/local", check=False, env=environment)
    finally:
        aside.rename(part)
    assert ended.returncode != 0 and "seccomp/default is missing" in ended.stdout, ended.stdout
    run(TOP / "Scripts/install", "uninstall", "/usr/local", env=environment)
    assert files_below(place) == ["etc/berth/berth.conf"], files_below(place)


def main(words):
    chosen = [each for each in TESTS if not words or any(word in each.__name__ for word in words)]
    if two_runs_make_the_same_bytes not in chosen:
        run(TOP / "Scripts/package", PACKAGES)
    run(TOP / "Images/build", "hello")
    failed = 0
    for number, each in enumerate(chosen, 1):
        name = each.__name__.replace("_", " ")
        try:
            each()
            print(f"ok {number} - {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"not ok {number} - {name}")
            print("\n".join("# " + line for line in f"{type(error).__name__}: {error}".splitlines()), flush=True)
    print(f"1..{len(chosen)}")
    return 1 if failed else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root: it makes root file systems")
        sys.exit(0)
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
