"""Which processor computes. There is no silent way from a GPU that was asked for to the CPU."""

from asvtk.io.errors import AsvtkError

__all__ = ["choose_device"]


def choose_device(ngpu: int) -> str:
    """``cpu`` for 0 GPUs, ``cuda`` for 1.

    Raises:
        AsvtkError: a GPU is asked for where torch sees none, or more than one.
    """
    if ngpu == 0:
        return "cpu"
    if ngpu != 1:
        raise AsvtkError(f"--ngpu {ngpu}: expected 0 (CPU) or 1 (one GPU)")
    import torch  # not before: front-ends on the CPU may need no torch

    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise AsvtkError(
            f"--ngpu 1: torch {torch.__version__} ({built}) sees no GPU here; give --ngpu 0 to compute on "
            "the CPU, or run where 'nvidia-smi -L' lists a GPU"
        )
    return "cuda"
