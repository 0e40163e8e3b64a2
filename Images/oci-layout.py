#!/usr/bin/env python3
"""Makes OCI image layouts out of directories, with nothing but the standard library.

    oci-layout.py layer DIRECTORY OUTPUT.tar [--overlay] [--owner UID:GID]
        a deterministic layer: sorted names, no times later than SOURCE_DATE_EPOCH, hard links kept.
        --overlay reads DIRECTORY as the upper directory of an overlay mount and turns what the kernel
        notes there (0:0 character devices, the opaque attribute) into the whiteouts of the image-spec.
        --owner says who owns everything; without it the files' own owners do.

    oci-layout.py assemble LAYOUT --config CONFIG.json [--tag TAG] [--compression gzip|zstd|none] LAYER.tar...
        an image layout (https://github.com/opencontainers/image-spec/blob/main/image-layout.md) that
        replaces what is at LAYOUT.  CONFIG.json is the "config" object of the image configuration.
        Prints the digest of the manifest.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import zlib

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "1767225600"))  # 2026-01-01
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CHUNK = 1 << 20


# ---- layer -----------------------------------------------------------------------------------------------------------


def write_layer(directory, output, overlay, owner):
    with tarfile.open(output, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        for path, name in walk(directory):
            status = os.lstat(path)
            if overlay and is_whiteout(status):
                parent, _, base = name.rpartition("/")
                add_empty(tar, f"{parent}/.wh.{base}" if parent else f".wh.{base}")
                continue
            if stat.S_ISSOCK(status.st_mode):
                continue
            entry = tar.gettarinfo(path, name)
            entry.uname = entry.gname = ""
            entry.mtime = min(int(status.st_mtime), EPOCH)
            if owner:
                entry.uid, entry.gid = owner
            if entry.isreg() or entry.isdir():
                entry.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in attributes(path)}
            if entry.isreg():
                with open(path, "rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)
            if overlay and entry.isdir() and is_opaque(path):
                add_empty(tar, f"{name}/.wh..wh..opq")


def walk(directory, prefix=""):
    """All paths below DIRECTORY with their names in the layer: parents first, siblings sorted by bytes."""
    for entry in sorted(os.scandir(directory), key=lambda entry: os.fsencode(entry.name)):
        yield entry.path, prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path, f"{prefix}{entry.name}/")


def add_empty(tar, name):
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = 0o644, EPOCH
    tar.addfile(entry)


def is_whiteout(status):
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(path):
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def attributes(path):
    """File capabilities and user attributes, without those of overlayfs."""
    for key in sorted(os.listxattr(path, follow_symlinks=False)):
        if key == "security.capability" or key.startswith("user."):
            yield key, os.getxattr(path, key).decode("utf-8", "surrogateescape")


# ---- assemble --------------------------------------------------------------------------------------------------------


def assemble(layout, layers, config, tag, compression):
    layout = pathlib.Path(layout)
    staging = layout.with_name(layout.name + ".new")
    shutil.rmtree(staging, ignore_errors=True)
    blobs = staging / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # zlib and hashlib let go of the interpreter lock
        stored = list(pool.map(lambda numbered: store_layer(blobs, *numbered, compression), enumerate(layers)))
    configuration = {
        "architecture": ARCHITECTURES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in stored]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": store_json(blobs, configuration, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor for descriptor, _ in stored],
    }
    descriptor = store_json(blobs, manifest, manifest["mediaType"])
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (staging / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [descriptor]}
    (staging / "index.json").write_text(json.dumps(index, indent=2) + "\n")
    shutil.rmtree(layout, ignore_errors=True)
    staging.rename(layout)
    return descriptor["digest"]


def store_layer(blobs, number, path, compression):
    """Write the blob of one layer. Return its descriptor and the digest of the uncompressed tar."""
    temporary = blobs / f"layer{number}"
    plain = hashlib.sha256()
    with open(path, "rb") as source, open(temporary, "wb") as blob:
        compress, finish = compressor(compression, blob)
        while chunk := source.read(CHUNK):
            plain.update(chunk)
            compress(chunk)
        finish()
    suffix = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}[compression]
    return store_file(blobs, temporary, LAYER_TYPE + suffix), f"sha256:{plain.hexdigest()}"


def compressor(compression, blob):
    if compression == "none":
        return blob.write, lambda: None
    if compression == "gzip":
        deflate = zlib.compressobj(6, zlib.DEFLATED, 31)  # a gzip header without name and time
        return lambda data: blob.write(deflate.compress(data)), lambda: blob.write(deflate.flush())
    command = subprocess.Popen(["zstd", "-q", "-3", "-c"], stdin=subprocess.PIPE, stdout=blob)

    def finish():
        command.stdin.close()
        if command.wait() != 0:
            sys.exit("oci-layout.py: zstd failed")

    return command.stdin.write, finish


def store_json(blobs, value, media_type):
    temporary = blobs / "json"
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    return store_file(blobs, temporary, media_type)


def store_file(blobs, path, media_type):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    size = path.stat().st_size
    path.rename(blobs / digest.hexdigest())
    return {"mediaType": media_type, "digest": f"sha256:{digest.hexdigest()}", "size": size}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    layer = verbs.add_parser("layer")
    layer.add_argument("directory")
    layer.add_argument("output")
    layer.add_argument("--overlay", action="store_true")
    layer.add_argument("--owner", type=lambda text: tuple(int(part) for part in text.split(":")))
    image = verbs.add_parser("assemble")
    image.add_argument("layout")
    image.add_argument("layers", nargs="+")
    image.add_argument("--config", required=True)
    image.add_argument("--tag", default="latest")
    image.add_argument("--compression", choices=["gzip", "zstd", "none"], default="gzip")
    options = parser.parse_args()
    if options.verb == "layer":
        write_layer(options.directory, options.output, options.overlay, options.owner)
    else:
        config = json.loads(pathlib.Path(options.config).read_text())
        print(assemble(options.layout, options.layers, config, options.tag, options.compression))


main()
