"""Chains of waveform augmentations.

    chain = Chain.build([{"name": "rawboost"}, {"name": "codec", "probability": 0.5}], "conf.yaml: augment")
    augmented = chain(samples, utterance_generator(seed, "LA_T_1000137", copy=1))

Frozen features that are computed once know nothing of an augmentation that is drawn anew each epoch:
cache augmented copies of the training set, each with a number of its own, or run the front-end in training.
"""

from dataclasses import dataclass

import numpy as np

from asvtk.augment import distortions, rawboost
from asvtk.augment.levels import below_full_scale
from asvtk.io.config import build, build_named, to_mapping
from asvtk.io.errors import AsvtkError

__all__ = ["AUGMENTATIONS", "AUGMENTATION_CONFIGS", "Chain", "Step", "augment"]

#: class of the configuration -> function (config, samples, rng) -> samples
AUGMENTATIONS = {
    rawboost.RawBoostConfig: rawboost.rawboost,
    distortions.ColouredNoiseConfig: distortions.coloured_noise,
    distortions.ReverberationConfig: distortions.reverberation,
    distortions.CodecConfig: distortions.codec,
    distortions.GainConfig: distortions.gain,
}
#: name in a configuration file -> class of the configuration
AUGMENTATION_CONFIGS = {config.name: config for config in AUGMENTATIONS}


def augment(config, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Run the augmentation that ``config``, of a class in :data:`AUGMENTATIONS`, stands for.

    Args:
        samples: 16 kHz, full scale at 1, shape (samples,), of any length; left as it is.
        rng: all that is random comes from it.

    Returns:
        float32, a new array of the same shape, in time with the input, with a peak of at most 1.
        Silence stays silence.
    """
    samples = np.array(samples, dtype=np.float32)
    if not samples.any():
        return samples
    made = below_full_scale(AUGMENTATIONS[type(config)](config, samples, rng))
    return made.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Step:
    config: object  # of a class in AUGMENTATIONS
    probability: float = 1.0  # that an utterance gets it

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must lie in 0 to 1")


@dataclass(frozen=True)
class Chain:
    """Augmentations in a row, each with its own probability and drawn independently of the others."""

    steps: tuple[Step, ...]

    @classmethod
    def build(cls, content, where: str) -> "Chain":
        """Make a chain from a list of mappings, as YAML gives it.

        Args:
            content: for each step its ``name``, its keys, and its ``probability`` (default 1).
            where: file and section, for messages.

        Raises:
            AsvtkError: not such a list, or a name, key or value is wrong.
        """
        if not isinstance(content, list) or not all(isinstance(section, dict) for section in content):
            raise AsvtkError(f"{where}: expected a list of augmentations, such as [{{name: rawboost}}]")
        steps = []
        for i, section in enumerate(content):
            keys, at = dict(section), f"{where}[{i}]"
            step = {key: keys.pop(key) for key in ["probability"] if key in keys}
            steps.append(build(Step, {**step, "config": build_named(AUGMENTATION_CONFIGS, keys, at)}, at))
        return cls(tuple(steps))

    def describe(self) -> list[dict]:
        """What ``build`` makes this chain from, every default written out."""
        return [{**to_mapping(step.config), "probability": step.probability} for step in self.steps]

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Arguments and result as of :func:`augment`."""
        samples = np.array(samples, dtype=np.float32)
        for step in self.steps:
            if rng.random() < step.probability:
                samples = augment(step.config, samples, rng)
        return samples
