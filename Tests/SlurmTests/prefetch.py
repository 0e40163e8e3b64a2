"""An image on every node of an allocation for one download."""

import contextlib
import json
import re

import cluster
from cluster import SiteFile, image, node, run
from harness import one_message, same, succeeds, test


def blob_requests(name, start):
    """How often each blob of a repository was sent since the access log had `start` lines."""
    lines = (cluster.LAB / "registry/access.log").read_text().splitlines()[start:]
    found = {}
    for line in lines:
        asked = re.search(rf'"GET /v2/{name}/blobs/(sha256:\w+) HTTP/1.1" 20[06]', line)
        if asked:
            found[asked[1]] = found.get(asked[1], 0) + 1
    return found


def bytes_sent(name, start):
    """What the registry says that it has sent of a repository since then, bodies alone."""
    lines = (cluster.LAB / "registry/access.log").read_text().splitlines()[start:]
    asked = (re.search(rf'"GET /v2/{name}/\S+ HTTP/1.1" 20[06] (\d+)', line) for line in lines)
    return sum(int(found[1]) for found in asked if found)


def log_length():
    return len((cluster.LAB / "registry/access.log").read_text().splitlines())


def empty_stores():
    for host in cluster.NODES:
        node(host, "rm", "-rf", cluster.STORE)


def fills_every_node_for_one_download():
    # On as many nodes as the lab has: BERTH_LAB_NODES.
    name, nodes = image("debian"), f"-N{len(cluster.NODES)}"
    empty_stores()
    start = log_length()
    ended = succeeds(run("salloc", "-Q", nodes, "berth", "prefetch", name, timeout=300))
    assert re.fullmatch(rf"{name}@sha256:\w+\n", ended.out), ended
    manifest = json.loads((cluster.TOP / "build/images/debian/index.json").read_text())["manifests"][0]["digest"]
    layout = cluster.TOP / "build/images/debian/blobs/sha256"
    layers = {layer["digest"] for layer in json.loads((layout / manifest.split(":")[1]).read_text())["layers"]}
    sent = blob_requests("debian", start)
    same({digest: sent.get(digest) for digest in layers}, {digest: 1 for digest in layers}, ended)
    # Besides the layers each node asks for the manifest and the configuration.
    once = sum((layout / digest.split(":")[1]).stat().st_size for digest in layers)
    small = bytes_sent("debian", start) - once
    assert 0 < small <= 4096 * len(cluster.NODES), (small, once, ended)
    print(f"# {len(cluster.NODES)} nodes: layers of {once} bytes, and {small} bytes besides")
    # Nothing needs to be brought any more.
    start = log_length()
    succeeds(run("srun", nodes, "berth", "run", "--pull", "never", name, "--", "true"))
    same(blob_requests("debian", start), {}, ended)
    return ended


@test
def prefetch_fills_every_node_for_one_download():
    ended = fills_every_node_for_one_download()
    assert f"distributed to {len(cluster.NODES)} nodes" in ended.err, ended
    for host in cluster.NODES:
        same(node(host, "sh", "-c", "ls -d /tmp/berth-prefetch-* 2>/dev/null"), "", ended)


@test
def prefetch_through_a_blob_cache_is_one_download_too():
    cache = "/srv/blob-cache"
    node("ctl", "mkdir", "-m", "1777", cache)
    try:
        with contextlib.ExitStack() as sites:
            for host in ("ctl", *cluster.NODES):
                sites.enter_context(SiteFile(f"blob-cache = {cache}\n", host))
            ended = fills_every_node_for_one_download()
        assert "distributed" not in ended.err, ended
    finally:
        node("ctl", "rm", "-rf", cache)


@test
def prefetch_of_what_is_not_there_leaves_nothing():
    ended = run("salloc", "-Q", "-N2", "berth", "prefetch", f"{cluster.REGISTRY}/nonesuch:1", timeout=300)
    one_message(ended, 125, "nonesuch")
    for host in [*cluster.NODES, "ctl"]:
        same(node(host, "sh", "-c", "ls -d /tmp/berth-prefetch-* 2>/dev/null"), "", ended)


@test
def prefetch_outside_an_allocation_says_what_to_do():
    one_message(run("berth", "prefetch", image("debian")), 125, "salloc")
