"""Train a small convolutional network to detect the bright corner of an image, on all ranks.

Each rank draws its own samples; DistributedDataParallel averages the gradients, so at the end every rank must hold the
same parameters.  Where it is comes from RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as torchrun sets them, or, where
those are absent, from Slurm's variables.
"""

import argparse
import fcntl
import glob
import os
import re
import socket
import struct
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

CORNERS, SIZE = 4, 16


def first_host(nodelist):
    """The first name of a Slurm host list: gpu07 for gpu[07-09,12],login1."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodelist).group()
    return re.sub(r"\[([^,\-\]]*)[^\]]*\]", r"\1", first)


def interface_towards(host):
    """The network interface to HOST. By default, gloo resolves this machine's own name instead."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        ours = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            try:
                request = fcntl.ioctl(probe, 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
            except OSError:
                continue  # an interface without an address
            if socket.inet_ntoa(request[20:24]) == ours:
                return name
    return None


def join_group():
    env = os.environ
    env.setdefault("RANK", env.get("SLURM_PROCID", "0"))
    env.setdefault("WORLD_SIZE", env.get("SLURM_NTASKS", "1"))
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST")
    env.setdefault("MASTER_ADDR", first_host(nodes) if nodes else "127.0.0.1")
    # A port that all ranks agree on and that two steps of a job do not share.
    step = int(env.get("SLURM_JOB_ID", 0)) * 7 + int(env.get("SLURM_STEP_ID", 0))
    env.setdefault("MASTER_PORT", str(20000 + step % 10000))
    if "GLOO_SOCKET_IFNAME" not in env:
        interface = interface_towards(env["MASTER_ADDR"])
        if interface:
            env["GLOO_SOCKET_IFNAME"] = interface
    dist.init_process_group("gloo")


def batch(generator, count=64):
    """Noisy images with one bright corner each, and the index of that corner."""
    labels = torch.randint(0, CORNERS, (count,), generator=generator)
    images = torch.randn(count, 1, SIZE, SIZE, generator=generator) * 0.3
    half = SIZE // 2
    for image, label in zip(images, labels.tolist()):
        row, column = divmod(label, 2)
        image[0, row * half : (row + 1) * half, column * half : (column + 1) * half] += 1 + 0.5 * label
    return images, labels


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, CORNERS),
    )  # fmt: skip


def train(rank, steps, every):
    torch.manual_seed(0)
    model = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    generator = torch.Generator().manual_seed(100 + rank)
    first = loss = None
    for step in range(steps + 1):
        images, labels = batch(generator)
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        first = loss.item() if first is None else first
        if rank == 0 and step % every == 0:
            print(f"step {step:3d}  loss {loss.item():.4f}", flush=True)
    return model, first, loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=10, help="print the loss every so many steps")
    options = parser.parse_args()

    torch.set_num_threads(1)
    started = time.monotonic()
    join_group()
    rank, world = dist.get_rank(), dist.get_world_size()
    joined = time.monotonic()
    model, first, last = train(rank, options.steps, options.every)
    trained = time.monotonic()

    mine = {
        "rank": rank,
        "host": socket.gethostname(),
        "namespace": os.readlink("/proc/self/ns/user"),
        "gpus": " ".join(sorted(os.path.basename(node) for node in glob.glob("/dev/nvidia[0-9]*"))) or "none",
        "checksum": f"{sum(p.double().abs().sum().item() for p in model.parameters()):.9f}",
        "fell": last < first / 2,
    }
    ranks = [None] * world
    dist.all_gather_object(ranks, mine)
    same = len({each["checksum"] for each in ranks}) == 1
    fell = all(each["fell"] for each in ranks)
    if rank == 0:
        for each in ranks:
            print("rank {rank} on {host}: {namespace}, GPUs {gpus}, parameters {checksum}".format(**each))
        print(
            f"{world} ranks, loss {first:.4f} -> {last:.4f}, parameters {'equal' if same else 'DIFFERENT'}, "
            f"joined in {joined - started:.2f} s, trained in {trained - joined:.2f} s",
            flush=True,
        )
    # If a rank exits while others still communicate, or the model outlives its group, gloo waits at exit.
    dist.barrier()
    del model
    dist.destroy_process_group()
    sys.exit(0 if same and fell else 1)


main()
