"""Training in several processes, one for each GPU, as ``torchrun`` starts them.

Every process walks through the same order of batches and computes its share of each; gradients are
summed, so that all hold the same weights. Alone, a process is rank 0 of 1, and nothing here costs
anything. Only rank 0 writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

__all__ = [
    "gather",
    "gather_objects",
    "is_writer",
    "joined",
    "rank",
    "share",
    "size",
    "sum_in_place",
    "take_from_writer",
    "wait",
]


def _active() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if _active() else 0


def size() -> int:
    return dist.get_world_size() if _active() else 1


def is_writer() -> bool:
    """Whether this process is the one that writes files."""
    return rank() == 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Be one of the processes that ``torchrun`` started, which says so by RANK, WORLD_SIZE and MASTER_ADDR
    in the environment; without them, alone.

    Args:
        device: where this process computes: NCCL joins GPUs, gloo CPUs.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        yield
        return
    dist.init_process_group("gloo" if device == "cpu" else "nccl")
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(items: list) -> list:
    """Every ``size()``-th item: the shares of all processes hold each item once."""
    return items[rank() :: size()]


def gather(shared: list, total: int) -> list:
    """What each process made of its ``share`` of ``total`` items, back in the order of the items."""
    if size() == 1:
        return shared
    shares = gather_objects(shared)
    items = [None] * total
    for number, part in enumerate(shares):
        items[number :: size()] = part
    return items


def gather_objects(own) -> list:
    """What every process gives, by rank."""
    if size() == 1:
        return [own]
    found = [None] * size()
    dist.all_gather_object(found, own)
    return found


def sum_in_place(x: Tensor) -> None:
    """Sum a tensor over all processes."""
    if size() > 1:
        dist.all_reduce(x)


def take_from_writer(tensors) -> None:
    """Overwrite tensors by those of rank 0: what each process gathered for itself, such as the
    running statistics of batch normalisation."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def wait() -> None:
    """Go on when all processes have come this far."""
    if size() > 1:
        if torch.cuda.is_available() and dist.get_backend() == "nccl":
            dist.barrier(device_ids=[torch.cuda.current_device()])
        else:
            dist.barrier()
