"""Specification of SSL front-ends: layers, shape and fingerprint, by what a model's folder says."""

import functools

import numpy as np

from asvtk.frontends.config import SslConfig
from asvtk.frontends.spec import FrontEndSpec
from asvtk.frontends.ssl.architecture import read_architecture
from asvtk.frontends.ssl.folder import (
    base_fingerprint,
    check_preprocessor,
    find_model,
    wants_normalised_input,
)
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError

__all__ = ["SslSpec"]

#: what the features of log-mel encoders depend on beside the model
_INPUTS = {
    "whisper": "log-mel of the real length, positions cut to it",
    "wav2vec2-bert": "log-mel, each band of zero mean and unit variance",
}


class SslSpec(FrontEndSpec):
    """Specification of an SSL front-end.

    The cut lies where the ``trainable`` top blocks begin; with none, at the deepest layer.

    Raises:
        AsvtkError: the model cannot be found, is no speech model we know, or lacks a layer or block.
    """

    Config = SslConfig
    uses_gpu = True

    def __init__(self, config: SslConfig):
        super().__init__(config)
        self.batch_size, self.storage = config.batch_size, config.storage
        self._folder = find_model(config.model, config.revision)
        self.architecture = architecture = read_architecture(self._folder, config.model)
        check_preprocessor(self._folder, architecture)
        depth, full = architecture.depth, architecture.full_depth
        self.layers = tuple(range(depth + 1)) if config.layers == "all" else tuple(sorted({*config.layers}))
        for layer in self.layers:
            if not 0 <= layer <= depth:
                raise AsvtkError(
                    f"frontend.layers: layer {layer} does not exist: {config.model} has {depth} layers "
                    f"(0 = input of the transformer, 1 ... {depth})"
                    + (f", as asvtk truncate cut it after {depth} of {full} blocks" if depth < full else "")
                )
        if config.precision == "float8" and architecture.kind == "wav2vec2-bert":
            raise AsvtkError("frontend.precision: float8 is not for w2v-BERT 2.0; take bfloat16")
        if (longest := architecture.max_samples) and not config.crop.length(longest + 1) <= longest:
            raise AsvtkError(
                f"frontend.crop: {config.model} hears at most {longest} samples "
                f"({longest / SAMPLE_RATE:g} s); set crop.samples to {longest} at the most, with "
                "crop.repeat false where utterances are to keep their lengths"
            )
        if config.trainable > max(self.layers):
            raise AsvtkError(
                f"frontend.trainable: {config.trainable} blocks, but the deepest of frontend.layers is "
                f"{max(self.layers)}: no more blocks than that are run"
            )
        self.trainable, self._frozen_depth = config.trainable, max(self.layers) - config.trainable
        # Of the model itself: its folder may have any name, and another one tomorrow.
        self.label = f"{architecture.kind}-{full}x{architecture.width}"
        self.width, self.min_samples = architecture.width, architecture.min_samples
        self._normalise = config.normalise
        if self._normalise is None:
            self._normalise = wants_normalised_input(self._folder, architecture.normalised_stem)
        self.by_real_samples = self._normalise

    @property
    def cut(self) -> tuple[int, ...]:
        return (*(layer for layer in self.layers if layer < self._frozen_depth), self._frozen_depth)

    def details(self) -> dict:
        return {
            "front-end": "self-supervised model, frozen",
            **self._base,
            "zero mean, unit variance per utterance": self._normalise,
            "precision": self.config.precision,
            "stored as": self.storage,
            "implementation": 2,
            **({"input": _INPUTS[kind]} if (kind := self.architecture.kind) in _INPUTS else {}),
        }

    @functools.cached_property
    def _base(self) -> dict:
        """What the model is, by its contents."""
        return base_fingerprint(self._folder)

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        audio = self.conditioning(audio[: self.crop.samples])
        if self._normalise:  # by the statistics of what is heard, not of its repetitions
            audio = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
        return self.pad(self.crop(audio))

    def frames(self, samples):
        return self.architecture.frames(samples)
