"""The ``augmentation`` section of a configuration."""

from dataclasses import dataclass, field

import numpy as np

from asvtk.augment.rawboost import RawBoostConfig
from asvtk.augment.waveform import Chain, Step
from asvtk.io.randomness import utterance_generator

__all__ = ["AugmentationConfig"]


@dataclass(frozen=True)
class AugmentationConfig:
    """How the training set is augmented; dev and eval never are.

    Cached front-ends get ``copies`` augmented versions beside the clean one, and every epoch draws one
    version of each utterance. Audio that training reads itself, also for a front-end without a cache, is
    augmented anew in every epoch.
    """

    chain: Chain = field(default_factory=lambda: Chain((Step(RawBoostConfig()),)))
    copies: int = 1
    seed: int = 1

    def __post_init__(self):
        if self.copies < 1:
            raise ValueError("copies must be at least 1; leave the section out for no augmentation")

    def describe(self) -> dict:
        """What one copy of an utterance depends on, besides its number."""
        return {"chain": self.chain.describe(), "seed": self.seed}

    def apply(self, copy: int, utterance: str, samples: np.ndarray) -> np.ndarray:
        """Copy number ``copy`` of an utterance: float32 (samples,) -> the same shape."""
        return self.chain(samples, utterance_generator(self.seed, utterance, copy))
