"""The AASIST weights that the authors publish, AASIST.pth and AASIST-L.pth, as a detector.

The names of their tensors are translated; nothing else is changed, and nothing may be left over.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from asvtk.io.errors import AsvtkError, listing
from asvtk.models.aasist import Aasist, AasistConfig
from asvtk.models.base import Detector
from asvtk.nn.losses import WeightedCrossEntropy, WeightedCrossEntropyConfig

__all__ = ["AASIST", "AASIST_L", "load_published"]

AASIST = AasistConfig()
AASIST_L = AasistConfig(
    channels=(32, 32, 24, 24, 24, 24), d_graph=24, spectral_ratio=0.4, temporal_ratio=0.5, stack_ratio=0.7
)

#: beginnings of their names -> ours; the rest of a name is the same
_NAMES = {
    r"encoder\.(\d+)\.0": r"encoder.\1",
    "pos_S": "spectral_position",
    "GAT_layer_S": "spectral_attention",
    "GAT_layer_T": "temporal_attention",
    "pool_S": "spectral_pool",
    "pool_T": "temporal_pool",
    "master1": "stacks.0.master",
    "master2": "stacks.1.master",
    "HtrgGAT_layer_ST11": "stacks.0.first",
    "HtrgGAT_layer_ST12": "stacks.0.second",
    "HtrgGAT_layer_ST21": "stacks.1.first",
    "HtrgGAT_layer_ST22": "stacks.1.second",
    "pool_hS1": "stacks.0.spectral_pool",
    "pool_hT1": "stacks.0.temporal_pool",
    "pool_hS2": "stacks.1.spectral_pool",
    "pool_hT2": "stacks.1.temporal_pool",
}
_EXPECTED = "expected AASIST.pth or AASIST-L.pth as the authors of AASIST publish them"


def load_published(path) -> Detector:
    """Read published weights, of AASIST or of AASIST-L: their shapes tell which.

    Returns:
        the detector; its score is the bona fide logit, as the authors' code has it.

    Raises:
        AsvtkError: the file is missing, is no file of weights, or holds the weights of something else.
    """
    tensors = {_our_name(name): tensor for name, tensor in _read(path).items()}
    faults = []
    for config in (AASIST, AASIST_L):
        model = Aasist(config)
        loss = WeightedCrossEntropy(WeightedCrossEntropyConfig(score="bonafide_logit"), model.d_embedding)
        detector = Detector(model, loss)
        if fault := _difference(detector.state_dict(), tensors):
            faults.append(fault)
            continue
        detector.load_state_dict(tensors)
        return detector
    raise AsvtkError(f"{path}: {faults[0]}; {_EXPECTED}")


def _read(path) -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise AsvtkError(f"{path}: no such file; {_EXPECTED}")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no such file makes the reader stumble in any way
        reason = str(error).strip().partition("\n")[0][:200]
        raise AsvtkError(f"{path}: cannot be read as PyTorch weights ({reason}); {_EXPECTED}") from None
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise AsvtkError(f"{path}: holds no table of named tensors; {_EXPECTED}")
    return tensors


def _our_name(name: str) -> str:
    if name.startswith("out_layer."):
        return "loss.classifier." + name.removeprefix("out_layer.")
    for theirs, ours in _NAMES.items():
        if match := re.match(rf"{theirs}(?=\.|$)", name):
            return "model." + match.expand(ours) + name[match.end() :]
    return "model." + name


def _difference(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    """What keeps ``found`` from being loaded, in words; empty when it fits."""
    if unknown := [name.removeprefix("model.") for name in found if name not in expected]:
        return f"holds tensors that AASIST does not have ({listing(unknown, 2)})"
    if missing := [name for name in expected if name not in found]:
        return f"{len(missing)} of {len(expected)} tensors are missing ({listing(missing, 2)})"
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            return f"{name} has shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
    return ""
