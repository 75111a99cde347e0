"""Self-supervised models of transformers: WavLM, wav2vec 2.0 / XLS-R, HuBERT.

Layer 0 is what enters the transformer, layer n the output of its n-th block. Behind the last block of
Large models comes the final layer norm: the last layer is the ``last_hidden_state`` of transformers,
whose version 5 gives it in ``hidden_states`` without that norm, and version 4 with it. Large models,
pre-trained on normalised speech, get zero mean and unit variance per utterance; Base models,
pre-trained on raw samples, do not.

Stage 2 caches what is frozen. With ``mode: live`` that is nothing, as the whole model runs with the
system; with ``mode: split`` it is the layers up to where the ``trainable`` blocks begin.

torch and transformers take seconds to import, so only the functions that need them do.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import numpy as np

from asvtk.frontends.base import Conditioning, Crop, Features, FrontEnd, Mode, Storage
from asvtk.frontends.ssl_folder import (
    ARCHITECTURES,
    find_model,
    load_model,
    numerical_part,
    read_architecture,
    wants_normalised_input,
    weight_files,
)
from asvtk.io.ark import Encoded
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import digest, file_digest

__all__ = ["Ssl", "SslConfig"]


@dataclass(frozen=True)
class SslConfig:
    name = "ssl"
    model: str  # a Hugging Face name such as microsoft/wavlm-large, or a local directory
    revision: str | None = None  # of a Hugging Face repository: a tag, branch or commit
    layers: Literal["all"] | tuple[int, ...] = "all"  # hidden states to use, 0 = input of the transformer
    mode: Mode = "cached"  # stage 2 computes all layers; none (live); or those below the trainable blocks
    trainable: int = 0  # blocks that training changes, counted from the deepest layer down; live and split
    random_crop: bool = False  # live: training draws another window of long utterances in every epoch
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of matrix products that are frozen
    storage: Storage = "FM"  # FM: float32; CM2: 16 bits a number; CM: 8 bits
    batch_size: int = 32  # utterances of 4 seconds computed at once; of longer ones fewer
    crop: Crop = field(default_factory=Crop)
    conditioning: Conditioning = field(default_factory=Conditioning)

    def __post_init__(self):
        if not self.layers:
            raise ValueError("layers must name at least one layer, or be all")
        if self.batch_size < 1:
            raise ValueError("batch_size must be positive")
        if self.trainable < 0:
            raise ValueError("trainable must not be negative")
        if self.mode == "cached" and self.trainable:
            raise ValueError(
                f"trainable {self.trainable}: cached features are frozen; set mode to live or split"
            )
        if self.mode == "split" and not self.trainable:
            raise ValueError(
                "mode split runs the trainable blocks alone, and trainable is 0; set it, or mode to cached"
            )
        if self.mode != "live" and self.random_crop:
            raise ValueError(f"random_crop: features that are cached (mode {self.mode}) are of one crop")


class Ssl(FrontEnd):
    """A transformers model.

    Raises:
        AsvtkError: the model cannot be found, is no speech model we know, or lacks a layer or block.
    """

    uses_gpu = True

    def __init__(self, config: SslConfig, device: str = "cpu"):
        self.crop, self.conditioning = config.crop, config.conditioning
        self.batch_size, self.storage = config.batch_size, config.storage
        self._precision, self._device, self.on_gpu = config.precision, device, device != "cpu"
        self._folder = find_model(config.model, config.revision)
        architecture = read_architecture(self._folder)
        if (kind := architecture["model_type"]) not in ARCHITECTURES:
            raise AsvtkError(
                f"{config.model}: is a {kind!r} model; expected one of {', '.join(ARCHITECTURES)}"
            )
        depth = architecture["num_hidden_layers"]
        heard = tuple(range(depth + 1)) if config.layers == "all" else tuple(sorted(set(config.layers)))
        for layer in heard:
            if not 0 <= layer <= depth:
                raise AsvtkError(
                    f"frontend.layers: layer {layer} does not exist: {config.model} has {depth} layers "
                    f"(0 = input of the transformer, 1 ... {depth})"
                )
        if config.trainable > max(heard):
            raise AsvtkError(
                f"frontend.trainable: {config.trainable} blocks, but the deepest of frontend.layers is "
                f"{max(heard)}: no more blocks than that are run"
            )
        self.mode, self._heard, self._trainable = config.mode, heard, config.trainable
        deepest_frozen = max(heard) - config.trainable
        self.layers = {
            "cached": heard,
            "live": (),
            "split": (*(layer for layer in heard if layer < deepest_frozen), deepest_frozen),
        }[config.mode]
        # Of the model itself: its folder may have any name, and another one tomorrow.
        self.label = f"{kind}-{depth}x{architecture['hidden_size']}"
        self._normalise = wants_normalised_input(self._folder, architecture["feat_extract_norm"])
        self._strides = list(zip(architecture["conv_kernel"], architecture["conv_stride"], strict=True))
        self._shortest = _receptive_field(self._strides)
        self._width = architecture["hidden_size"]
        self._encoder = None  # loaded at the first extraction: describing it needs only its files
        self._forward = None

    def describe(self) -> dict:
        return {
            "front-end": "self-supervised model, frozen",
            **self._base,
            "zero mean, unit variance per utterance": self._normalise,
            "crop (samples)": self.crop.samples,
            "shorter utterances are repeated": self.crop.repeat,
            **self.conditioning.describe(),
            "precision": self._precision,
            "stored as": self.storage,
            "implementation": 2,
        }

    @functools.cached_property
    def _base(self) -> dict:
        """What the model is, by its contents."""
        return {
            "architecture": digest(numerical_part(self._folder)),
            "weights": {path.name: file_digest(path) for path in weight_files(self._folder)},
        }

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        audio = self.conditioning(audio[: self.crop.samples])
        if self._normalise:  # by the statistics of what is heard, not of its repetitions
            audio = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
        audio = self.crop(audio)
        short = self._shortest - len(audio)
        return np.pad(audio, (0, short)) if short > 0 else audio

    def shape(self, samples: int) -> tuple[int, int]:
        frames = max(self.crop.length(samples), self._shortest)
        for kernel, stride in self._strides:
            frames = (frames - kernel) // stride + 1
        return frames, self._width

    def start(self, batch: list[np.ndarray], layers: tuple[int, ...]) -> Callable[[], list[Features]]:
        states, frames = self._compute(batch)
        fetch = _fetch([states[layer].float() for layer in layers])

        def wait() -> list[Features]:
            matrices = fetch()
            return [
                {layer: matrix[row, :count] for layer, matrix in zip(layers, matrices, strict=True)}
                for row, count in enumerate(frames)
            ]

        return wait

    def start_encoded(
        self, batch: list[np.ndarray], layers: tuple[int, ...]
    ) -> Callable[[], list[dict[int, Encoded]]]:
        from asvtk.io.ark.batches import as_entries, encode_batch

        states, frames = self._compute(batch)
        places = [(layer, run) for layer in layers for run in _runs(frames)]
        fetch = _fetch(
            [
                part
                for layer, run in places
                for part in encode_batch(states[layer][run, : frames[run.start]].float(), self.storage)
            ]
        )

        def wait() -> list[dict[int, Encoded]]:
            entries, fetched = [{} for _ in batch], iter(fetch())
            for layer, run in places:
                shape = frames[run.start], self._width
                stored = as_entries(self.storage, shape, scales=next(fetched), bodies=next(fetched))
                for utterance, entry in zip(entries[run], stored, strict=True):
                    utterance[layer] = entry
            return entries

        return wait

    def _compute(self, batch: list[np.ndarray]) -> tuple[list, list[int]]:
        """Hidden states, each (utterances, frames, d), and how many frames of each utterance are real."""
        import torch

        if self._encoder is None:
            self._load()
        samples = [len(audio) for audio in batch]
        ragged = len(set(samples)) > 1
        audio = torch.empty(len(batch), max(samples), pin_memory=self.on_gpu)
        # Filled by numpy: torch would share out each row's copy over its own threads, which wait for
        # each other while the readers keep all processors busy.
        for row, utterance in zip(audio.numpy(), batch, strict=True):
            row[: len(utterance)] = utterance
            row[len(utterance) :] = 0
        # On GPUs convolutions would otherwise run in TF32, which is no float32.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            audio = audio.to(self._device, non_blocking=True)
            if ragged:
                states = self._encoder(audio, torch.tensor(samples, device=self._device))
            else:
                states = self._forward(audio)
        return states, [self._encoder.stem.frames(count) for count in samples]  # of prepared audio

    def live_part(self):
        if self.mode == "cached":
            return None
        import torch

        from asvtk.frontends.ssl_live import LiveSsl

        # Random weights come before those that are read: they must not move the seed of the system's.
        with torch.random.fork_rng(devices=[]):
            model = load_model(self._folder)
        return LiveSsl(
            model,
            self._heard,
            cached=self.layers,
            trainable=self._trainable,
            dtype=getattr(torch, self._precision),
            whole=self.crop.is_fixed,
            base=digest(self._base),
        )

    def _load(self) -> None:
        import torch

        from asvtk.frontends.ssl_encoder import SslEncoder
        from asvtk.nn.replay import Replay

        # Shallow front-ends skip the blocks above their deepest layer.
        model = load_model(self._folder)
        self._encoder = SslEncoder(model, max(self.layers), getattr(torch, self._precision)).to(self._device)
        fixed = self.on_gpu and self.crop.is_fixed
        self._forward = Replay(self._encoder) if fixed else self._encoder


def _fetch(tensors: list) -> Callable[[], list[np.ndarray]]:
    """Start to copy tensors to this machine's memory; returns a function that waits for the copies."""
    if not tensors[0].is_cuda:
        return lambda: [tensor.numpy() for tensor in tensors]
    import torch

    copies = [
        torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
        for tensor in tensors
    ]
    done = torch.cuda.Event()
    done.record()

    def wait() -> list[np.ndarray]:
        done.synchronize()
        return [copy.numpy() for copy in copies]

    return wait


def _runs(numbers: list[int]) -> list[slice]:
    """Where neighbours are equal: all of a batch, or a few utterances of one of whole utterances."""
    groups = (list(places) for _, places in groupby(range(len(numbers)), numbers.__getitem__))
    return [slice(places[0], places[-1] + 1) for places in groups]


def _receptive_field(strides: list[tuple[int, int]]) -> int:
    """Fewest samples that give one frame."""
    samples = 1
    for kernel, stride in reversed(strides):
        samples = (samples - 1) * stride + kernel
    return samples
