"""Which processor computes. There is no silent way from a GPU that was asked for to the CPU."""

import os

from asvtk.io.errors import AsvtkError

__all__ = ["choose_device", "compute_deterministically"]


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
    import torch  # not before: front-ends on the CPU may need no torch

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
    import torch

    from asvtk.nn.selective_scan import select_backend

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    select_backend("torch")
