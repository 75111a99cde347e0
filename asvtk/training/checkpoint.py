"""Checkpoints: one safetensors file each, written whole or not at all.

``last`` (with ``previous``, the one before it) holds all that training changes, and in its header the
progress of the run; ``best`` and ``epoch_NNN`` hold a detector alone. Progress and weights in one
file cannot disagree after a kill.
"""

import json
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from asvtk.inference.weights import PREFIX, prefixed, put_detector
from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError
from asvtk.io.text import parse_json
from asvtk.nn.weights import read_safetensors, require_finite

__all__ = [
    "copies",
    "detector_tensors",
    "load_detector",
    "read_tensors",
    "read_training",
    "save_detector",
    "write_tensors",
]


def save_detector(path, detector: nn.Module, progress: dict) -> None:
    """Write the detector's weights and, in the header, ``progress``."""
    write_tensors(path, detector_tensors(detector), progress)


def load_detector(path, detector: nn.Module) -> dict:
    """Load weights to score with into ``detector``, and return the progress they were saved with.

    Raises:
        AsvtkError: the file is missing or damaged, of another detector, or has weights that are not finite.
    """
    tensors, progress = read_tensors(path)
    require_finite(path, tensors)
    put_detector(path, detector, tensors)
    return progress


def read_training(folder) -> tuple[Path, dict[str, Tensor], dict] | None:
    """The last checkpoint that is sound.

    Returns:
        Where it is, its tensors and its progress; None where training has to begin.

    Raises:
        AsvtkError: there are checkpoints, but none of them can be read.
    """
    faults = []
    for name in ("last", "previous"):
        path = Path(folder) / f"{name}.safetensors"
        if not path.exists():
            continue
        try:
            found = read_tensors(path)
        except AsvtkError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            print(f"warning: {fault}; going on from {path}")
        return path, *found
    if faults:
        raise AsvtkError("; ".join(faults) + "; give --force to train anew")
    return None


def write_tensors(path, tensors: dict[str, Tensor], progress: dict, replaced=None) -> None:
    """Write a checkpoint.

    Args:
        path: its final name.
        tensors: any that are not shared with each other.
        progress: anything JSON can hold.
        replaced: what an older file of that name becomes; None: it is gone.

    Raises:
        AsvtkError: it cannot be written; an older file is untouched.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(on_cpu, temporary, metadata={"progress": json.dumps(progress)})
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(str(error)) from error
        if replaced is not None and path.exists():
            os.replace(path, replaced)


def read_tensors(path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and progress of a checkpoint.

    Raises:
        AsvtkError: the file is missing or damaged.
    """
    _require_checkpoint(path)
    tensors, metadata = read_safetensors(path)
    if "progress" not in metadata:
        raise AsvtkError(f"{path}: is no checkpoint of asvtk: its header holds no progress")
    return tensors, parse_json(metadata["progress"], f"{path}, progress", finite=False)


def detector_tensors(detector: nn.Module) -> dict[str, Tensor]:
    """A detector as checkpoints hold it."""
    return prefixed(PREFIX, detector.state_dict())


def _require_checkpoint(path) -> None:
    if not Path(path).exists():
        raise AsvtkError(f"{path}: no such checkpoint; run stage 3 first: ./run.sh --stage 3 --stop-stage 3")


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, and of their own: what is trained meanwhile does not change them."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
