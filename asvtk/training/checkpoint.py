"""Checkpoints: one safetensors file each, written whole or not at all.

``last`` (with ``previous``, the one before it) holds the detector and the optimiser, and in its
header the progress of the run; ``best`` holds the detector alone. Progress and weights in one file
cannot disagree after a kill.
"""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError

__all__ = ["load_detector", "load_training", "save_detector", "save_training"]

_DETECTOR, _OPTIMISER = "detector.", "optimiser."


def save_detector(path, detector: nn.Module, progress: dict) -> None:
    """Write the detector's weights and, in the header, ``progress``."""
    _save(path, _prefixed(_DETECTOR, detector.state_dict()), progress)


def load_detector(path, detector: nn.Module) -> dict:
    """Load weights into ``detector`` and return the progress they were saved with.

    Raises:
        AsvtkError: the file is missing or damaged, or of another detector.
    """
    tensors, progress = _load(path)
    _put_weights(path, detector, tensors)
    return progress


def save_training(folder, detector: nn.Module, optimiser: torch.optim.Optimizer, progress: dict) -> None:
    """Write ``folder/last.safetensors``; what it was before becomes ``previous``."""
    tensors = _prefixed(_DETECTOR, detector.state_dict())
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"{_OPTIMISER}{index}.{name}"] = value
    last = Path(folder) / "last.safetensors"
    with atomic_path(last) as temporary:
        _write(temporary, tensors, progress)
        if last.exists():
            os.replace(last, last.with_name("previous.safetensors"))


def load_training(folder, detector: nn.Module, optimiser: torch.optim.Optimizer) -> dict | None:
    """Go back to the last checkpoint that is sound.

    Returns:
        Its progress; None where training has to begin.

    Raises:
        AsvtkError: there are checkpoints, but none of them can be read.
    """
    faults = []
    for name in ("last", "previous"):
        path = Path(folder) / f"{name}.safetensors"
        if not path.exists():
            continue
        try:
            tensors, progress = _load(path)
        except AsvtkError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            print(f"warning: {fault}; going on from {path}")
        _put_weights(path, detector, tensors)
        _put_optimiser(optimiser, tensors)
        return progress
    if faults:
        raise AsvtkError("; ".join(faults) + "; give --force to train anew")
    return None


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _part(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _save(path, tensors: dict[str, Tensor], progress: dict) -> None:
    with atomic_path(path) as temporary:
        _write(temporary, tensors, progress)


def _write(path: Path, tensors: dict[str, Tensor], progress: dict) -> None:
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(on_cpu, path, metadata={"progress": json.dumps(progress)})
    except SafetensorError as error:  # how the library reports a full disk
        raise OSError(str(error)) from error


def _load(path) -> tuple[dict[str, Tensor], dict]:
    if not Path(path).exists():
        raise AsvtkError(f"{path}: no such checkpoint; run stage 3 first: ./run.sh --stage 3 --stop-stage 3")
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            return tensors, json.loads(stream.metadata()["progress"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise AsvtkError(f"{path}: is damaged ({error})") from error


def _put_weights(path, detector: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        detector.load_state_dict(_part(_DETECTOR, tensors))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise AsvtkError(f"{path}: holds the weights of another system: {reason}") from None


def _put_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state = {}
    for name, value in _part(_OPTIMISER, tensors).items():
        index, _, slot = name.partition(".")
        state.setdefault(int(index), {})[slot] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
