"""The AASIST weights that the authors publish, AASIST.pth and AASIST-L.pth, as a detector.

The names of their tensors are translated; nothing else is changed, and nothing may be left over.
"""

import re

from torch import Tensor

from asvtk.frontends.waveform import Waveform, WaveformConfig
from asvtk.inference.torch_detector import TorchDetector
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import file_digest
from asvtk.models.aasist import Aasist, AasistConfig
from asvtk.models.detector import Detector
from asvtk.nn.losses import WeightedCrossEntropy, WeightedCrossEntropyConfig
from asvtk.nn.weights import read_state_dict, require_finite, shape_difference, strip_prefixes

__all__ = ["AASIST", "AASIST_L", "load_published", "rename_published"]

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
#: before all names, where a trainer wrapped the model
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.")
_EXPECTED = "AASIST.pth or AASIST-L.pth as the authors of AASIST publish them"


def load_published(path) -> tuple[TorchDetector, str]:
    """Read published weights, of AASIST or of AASIST-L: their shapes tell which.

    Returns:
        the detector, whose score is the bona fide logit, as the authors' code has it; and what was taken off
        around the weights, in words, or nothing.

    Raises:
        AsvtkError: the file is missing, is no file of weights, or holds the weights of something else.
    """
    given, taken_off = read_state_dict(path, _EXPECTED, prefixes=_PREFIXES)
    tensors = {_our_name(name): tensor for name, tensor in given.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    faults = []
    for config in (AASIST, AASIST_L):
        model = Aasist(config)
        loss = WeightedCrossEntropy(WeightedCrossEntropyConfig(score="bonafide_logit"), model.d_embedding)
        detector = Detector(Waveform(WaveformConfig()), model, loss)
        expected = {name: tuple(tensor.shape) for name, tensor in detector.state_dict().items()}
        if fault := shape_difference(expected, shapes):
            faults.append(fault)
            continue
        require_finite(path, tensors)
        detector.load_state_dict(tensors)
        trained = TorchDetector.of(detector)
        trained.name = "AASIST" if config is AASIST else "AASIST-L"
        trained.sha256 = file_digest(path)
        return trained.eval(), f"{path}: the weights lie under {taken_off}, taken off" if taken_off else ""
    raise AsvtkError(f"{path}: is not AASIST: {faults[0].replace('model.', '')}; expected {_EXPECTED}")


def rename_published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the authors' AASIST under the names of ours; those of anything else as they are."""
    inner = strip_prefixes(tensors, _PREFIXES)[0]
    if not {"pos_S", "out_layer.weight"} <= inner.keys():
        return tensors
    return {_our_name(name): tensor for name, tensor in inner.items()}


def _our_name(name: str) -> str:
    if name.startswith("out_layer."):
        return "loss.classifier." + name.removeprefix("out_layer.")
    for theirs, ours in _NAMES.items():
        if match := re.match(rf"{theirs}(?=\.|$)", name):
            return "model." + match.expand(ours) + name[match.end() :]
    return "model." + name
