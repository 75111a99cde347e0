"""The ``loss`` section of a configuration, and choices among parts that back-ends share.

They stand apart from the modules, as a configuration is read and checked without torch.
"""

from dataclasses import dataclass
from typing import Literal

from asvtk.io.registry import Registry

__all__ = ["LOSSES", "LogitConfig", "MixerName", "OcSoftmaxConfig", "WeightedCrossEntropyConfig"]

#: what mixes the frames of a sequence: see ``asvtk.nn.mixers``
MixerName = Literal["mamba", "bilstm", "transformer"]


@dataclass(frozen=True)
class OcSoftmaxConfig:
    name = "oc_softmax"
    r_real: float = 0.9  # bona fide embeddings are pushed above this cosine
    r_fake: float = 0.5  # spoofed ones below this
    alpha: float = 20.0  # sharpness

    def __post_init__(self):
        if not -1 <= self.r_fake < self.r_real <= 1:
            raise ValueError("expected -1 <= r_fake < r_real <= 1")
        if not self.alpha > 0:
            raise ValueError("alpha must be positive")


@dataclass(frozen=True)
class WeightedCrossEntropyConfig:
    name = "wce"
    bonafide_weight: float = 0.9  # of a bona fide trial in the loss: in the database it is 1 of 10
    spoof_weight: float = 0.1
    score: Literal["difference", "bonafide_logit"] = "difference"  # of the two logits, or AASIST's habit

    def __post_init__(self):
        if min(self.bonafide_weight, self.spoof_weight) <= 0:
            raise ValueError("bonafide_weight and spoof_weight must be positive")


@dataclass(frozen=True)
class LogitConfig:
    name = "logit"


LOSSES = Registry(
    "loss",
    "asvtk.nn.config",
    {
        "oc_softmax": "asvtk.nn.losses:OcSoftmax",
        "wce": "asvtk.nn.losses:WeightedCrossEntropy",
        "logit": "asvtk.nn.losses:Logit",
    },
)
