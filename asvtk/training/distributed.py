"""Devices, and data-parallel training in one process for each GPU, as ``torchrun`` starts them.

Every process walks through the same order of batches and computes its share of each; gradients are
summed, so that all hold the same weights. Alone, a process is rank 0 of 1, and nothing here costs
anything. Only rank 0 writes. There is no silent way from a GPU that was asked for to the CPU.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

from asvtk.io.errors import AsvtkError
from asvtk.nn.selective_scan import select_backend

__all__ = [
    "choose_device",
    "compute_deterministically",
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
    gathered = [None] * size()
    dist.all_gather_object(gathered, own)
    return gathered


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


def choose_device(ngpu: int) -> str:
    """``cpu`` for 0 GPUs, ``cuda`` for 1 or, in each of several processes of ``torchrun``, one of its own.

    Raises:
        AsvtkError: GPUs are asked for where torch does not see them, or more than there are processes.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # of torchrun, on this machine
    if ngpu == 0:
        return "cpu"
    if ngpu != processes:
        raise AsvtkError(
            f"--ngpu {ngpu}: expected 0 (CPU) or {processes}, one GPU for each process here; N GPUs take N "
            "processes: torchrun --nproc-per-node N -m asvtk train --ngpu N ..., as ./run.sh has it"
        )
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise AsvtkError(
            f"--ngpu {ngpu}: torch {torch.__version__} ({built}) sees no GPU here; give --ngpu 0 to compute "
            "on the CPU, or run where 'nvidia-smi -L' lists a GPU"
        )
    if torch.cuda.device_count() < ngpu:
        raise AsvtkError(f"--ngpu {ngpu}: torch sees {torch.cuda.device_count()} GPUs here")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    return "cuda"


def compute_deterministically() -> None:
    """From now on the same bits for the same inputs, also on a GPU; what cannot promise that fails.

    The kernel of mamba_ssm sums gradients in any order: scans go by the torch backend.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    select_backend("torch")
