"""Slurm's forwarding of X11: a window of a program in a container is on the screen from which srun was called."""

import secrets
import shutil

import cluster
from cluster import image, node, run, spawn, srun, wait_for, wait_until_quiet
from harness import Skipped, fails, same, shell, succeeds, test

SIZE = "817x433"  # of no other screen
COOKIES = "/home/alice/.Xauthority"


class Screen:
    """An X server on ctl that asks for a cookie, and Slurm with forwarding."""

    def __init__(self, *parameters):
        self.conf, self.parameters = cluster.LAB / "etc/slurm.conf", parameters

    def __enter__(self):
        wait_until_quiet()
        self.before = self.conf.read_text()
        cluster.replace(self.conf, "\n".join((self.before, "PrologFlags=X11", *self.parameters, "")))
        cluster.restart_daemons()
        node("ctl", "rm", "-f", COOKIES)
        succeeds(run("xauth", "-q", "add", "ctl/unix:7", ".", secrets.token_hex(16)))
        self.server = spawn("Xvfb", ":7", "-auth", COOKIES, "-nolisten", "tcp", "-screen", "0", f"{SIZE}x24")
        wait_for(lambda: node("ctl", "sh", "-c", "ls /tmp/.X11-unix/X7 2>&-"), what="the X server")

    def __exit__(self, *_):
        self.server.terminate()
        self.server.communicate()
        node("ctl", "sh", "-c", f"rm -f {COOKIES}")
        run("scancel", "-u", cluster.USER)
        wait_until_quiet()
        cluster.replace(self.conf, self.before)
        cluster.restart_daemons()


def shows_its_window(*words):
    # What the client asks of the screen: with the cookie, and refused without.
    size = succeeds(srun("--x11", "-n1", *words, "xdotool", "getdisplaygeometry", environment={"DISPLAY": ":7"})).out
    same(size.split(), SIZE.split("x"), words)
    blind = shell("HOME=/ XAUTHORITY=/dev/null xdotool getdisplaygeometry")
    fails(srun("--x11", "-n1", *words, *blind, environment={"DISPLAY": ":7"}), "open display")


@test
def x11_is_forwarded_into_containers():
    if not shutil.which("Xvfb") or not shutil.which("xauth"):
        raise Skipped("there is no Xvfb, or no xauth: Scripts/setup test")
    image("x11")
    for parameters in (), ("X11Parameters=home_xauthority",):
        with Screen(*parameters):
            shows_its_window(f"--container-image={image('x11')}")
            shows_its_window(f"--container-image={image('x11')}", "--container-remap-root")
            shows_its_window("berth", "run", image("x11"), "--")
