"""SSL front-end: WavLM, wav2vec 2.0 / XLS-R or HuBERT, as transformers has them.

Layer 0 is what enters the transformer, layer n the output of its n-th block. Behind the last block of
Large models comes the final layer norm: the last layer is the ``last_hidden_state`` of transformers,
whose version 5 gives it in ``hidden_states`` without that norm, and version 4 with it. Large models,
pre-trained on normalised speech, get zero mean and unit variance per utterance; Base models,
pre-trained on raw samples, do not.

The cut lies where the ``trainable`` top blocks begin; with none, at the deepest layer.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from asvtk.frontends.base import FrontEnd, FrontEndConfig, Storage
from asvtk.frontends.ssl.blocks import BlockStack, PositionBias, TrainedBlock
from asvtk.frontends.ssl.encoder import SslEncoder
from asvtk.frontends.ssl.folder import (
    ARCHITECTURES,
    find_model,
    load_model,
    numerical_part,
    read_architecture,
    wants_normalised_input,
    weight_files,
)
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import digest, file_digest

__all__ = ["Ssl", "SslConfig"]


@dataclass(frozen=True)
class SslConfig(FrontEndConfig):
    name = "ssl"
    model: str  # a Hugging Face name such as microsoft/wavlm-large, or a local directory
    revision: str | None = None  # of a Hugging Face repository: a tag, branch or commit
    layers: Literal["all"] | tuple[int, ...] = "all"  # hidden states to use, 0 = input of the transformer
    trainable: int = 0  # blocks that training changes, counted from the deepest layer down
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of matrix products that are frozen
    storage: Storage = "FM"  # FM: float32; CM2: 16 bits a number; CM: 8 bits
    batch_size: int = 32  # utterances of 4 seconds computed at once; of longer ones fewer

    def __post_init__(self):
        super().__post_init__()
        if not self.layers:
            raise ValueError("layers must name at least one layer, or be all")
        if self.batch_size < 1:
            raise ValueError("batch_size must be positive")
        if self.trainable < 0:
            raise ValueError("trainable must not be negative")


class Ssl(FrontEnd):
    """SSL front-end: a transformers model, of which the top blocks may be trained.

    The frozen part is no part of this module's parameters, state or modes: optimisers and checkpoints see
    the blocks that are trained, and a fingerprint of the model they stand on.

    Raises:
        AsvtkError: the model cannot be found, is no speech model we know, or lacks a layer or block.
    """

    Config = SslConfig
    uses_gpu = True

    def __init__(self, config: SslConfig):
        super().__init__(config)
        self.batch_size, self.storage = config.batch_size, config.storage
        self._folder = find_model(config.model, config.revision)
        architecture = read_architecture(self._folder)
        if (kind := architecture["model_type"]) not in ARCHITECTURES:
            raise AsvtkError(
                f"{config.model}: is a {kind!r} model; expected one of {', '.join(ARCHITECTURES)}"
            )
        depth = architecture["num_hidden_layers"]
        self.layers = tuple(range(depth + 1)) if config.layers == "all" else tuple(sorted({*config.layers}))
        for layer in self.layers:
            if not 0 <= layer <= depth:
                raise AsvtkError(
                    f"frontend.layers: layer {layer} does not exist: {config.model} has {depth} layers "
                    f"(0 = input of the transformer, 1 ... {depth})"
                )
        if config.trainable > max(self.layers):
            raise AsvtkError(
                f"frontend.trainable: {config.trainable} blocks, but the deepest of frontend.layers is "
                f"{max(self.layers)}: no more blocks than that are run"
            )
        self.trainable, self._frozen_depth = config.trainable, max(self.layers) - config.trainable
        # Of the model itself: its folder may have any name, and another one tomorrow.
        self.label = f"{kind}-{depth}x{architecture['hidden_size']}"
        self.width = architecture["hidden_size"]
        self._normalise = wants_normalised_input(self._folder, architecture["feat_extract_norm"])
        self._strides = list(zip(architecture["conv_kernel"], architecture["conv_stride"], strict=True))
        self.min_samples = _receptive_field(self._strides)
        self._encoder = ()  # in a tuple, modules are not registered
        self.top = None

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
        return self.pad(self.crop(audio))

    def frames(self, samples):
        for kernel, stride in self._strides:
            samples = (samples - kernel) // stride + 1
        return samples

    def load(self, lower: bool = True) -> "Ssl":
        if not (self.trainable and self.top is None or lower and not self._encoder):
            return self
        # Random weights come before those that are read: they must not move the seed of the back-end's.
        with torch.random.fork_rng(devices=[]):
            model = load_model(self._folder)
        if self.trainable and self.top is None:
            self.top = TrainedTop(model, self._frozen_depth, max(self.layers), digest(self._base))
        if lower:
            # Shallow front-ends skip the blocks above their deepest layer.
            precision = getattr(torch, self.config.precision)
            self._encoder = (SslEncoder(model, self._frozen_depth, precision).eval(),)
        return self

    def lower(self, audio: Tensor, samples: Tensor | None) -> dict[int, Tensor]:
        (encoder,) = self._encoder
        with (
            torch.no_grad(),
            torch.autocast(audio.device.type, enabled=False),
            # On GPUs convolutions would otherwise run in TF32, which is no float32.
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            states = encoder(audio, samples)
            return {layer: states[layer].float() for layer in self.cut}

    def upper(self, layers: dict[int, Tensor], lengths: Tensor) -> dict[int, Tensor]:
        if self.top is None:
            return layers
        return layers | self.top(layers[self._frozen_depth], None if self.crop.is_fixed else lengths)

    def train_top(self, count: int) -> None:
        """Let the ``count`` top blocks take gradients, and no others."""
        if self.top is None:
            return
        for number, block in self.top.blocks.items():
            block.requires_grad_(int(number) > max(self.layers) - count)
        if self.top.outer_norm is not None:
            self.top.outer_norm.requires_grad_(count > 0)

    def _apply(self, *arguments, **options):
        for module in self._encoder:
            module._apply(*arguments, **options)
        return super()._apply(*arguments, **options)


class TrainedTop(BlockStack):
    """Trainable top blocks, behind layer ``first`` up to layer ``last``; in float32, or autocast's.

    Args:
        model: of transformers, in float32; the blocks become part of this module.
        first, last: layers.
        base: fingerprint of the model, in hexadecimal digits.
    """

    def __init__(self, model: nn.Module, first: int, last: int, base: str):
        pre_norm, blocks = model.config.do_stable_layer_norm, model.encoder.layers
        ends_model = pre_norm and last == len(blocks)
        super().__init__(
            {number: TrainedBlock(blocks[number - 1], pre_norm) for number in range(first + 1, last + 1)},
            model.encoder.layer_norm if ends_model else None,
            pre_norm,
        )
        self.first, self._base = first, base
        self.position_bias = PositionBias(model, torch.float32)

    def forward(self, x: Tensor, lengths: Tensor | None) -> dict[int, Tensor]:
        """Layer ``first`` (batch, frames, d), and real frames unless all are -> that and those above it."""
        states = super().forward(x, None, self.position_bias(x.shape[1]), lengths)
        return {number: state.float() for number, state in enumerate(states, self.first)}

    def get_extra_state(self) -> Tensor:
        """The fingerprint of the model, which checkpoints keep."""
        return torch.tensor(list(bytes.fromhex(self._base)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """
        Raises:
            RuntimeError: the fingerprint is another model's.
        """
        if not torch.equal(state.cpu(), self.get_extra_state()):
            raise RuntimeError(
                f"they stand on another base model (fingerprint {bytes(state.tolist()).hex()[:12]}) than "
                f"frontend.model is ({self._base[:12]})"
            )


def _receptive_field(strides: list[tuple[int, int]]) -> int:
    """Fewest samples that give one frame."""
    samples = 1
    for kernel, stride in reversed(strides):
        samples = (samples - 1) * stride + kernel
    return samples
