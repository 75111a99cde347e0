"""SSL front-end: a pre-trained speech encoder as transformers has it, from WavLM to Whisper.

Layer 0 is what enters the transformer, layer n the output of its n-th block. Behind the last block of
Large models and of Whisper comes the final layer norm: the last layer is the ``last_hidden_state`` of
transformers, whose version 5 gives it in ``hidden_states`` without that norm, and version 4 with it. A
model that ``asvtk truncate`` cut has the layers of the whole one, so that none of them is behind that norm.

Models that hear the waveform get zero mean and unit variance per utterance where their folder says so, as
Large models do: they were pre-trained on such speech.
"""

import torch
from torch import Tensor, nn

from asvtk.frontends.base import FrontEnd
from asvtk.frontends.config import SslConfig
from asvtk.frontends.ssl.blocks import (
    BlockStack,
    PositionBias,
    TrainedBlock,
    blocks_of,
    final_norm_of,
    is_pre_norm,
)
from asvtk.frontends.ssl.encoder import SslEncoder
from asvtk.frontends.ssl.spec import SslSpec
from asvtk.frontends.ssl.w2v_bert import ConformerBlock, ConformerStack, W2vBertEncoder
from asvtk.frontends.ssl.whisper import WhisperEncoder
from asvtk.io.stamps import digest
from asvtk.nn.float8 import dtype_of
from asvtk.nn.frames import frame_mask

__all__ = ["Ssl", "SslConfig", "encoder_class"]

_ENCODERS = {"whisper": WhisperEncoder, "wav2vec2-bert": W2vBertEncoder}


def encoder_class(kind: str) -> type[nn.Module]:
    """The forward pass of models with this ``model_type``."""
    return _ENCODERS.get(kind, SslEncoder)


class Ssl(SslSpec, FrontEnd):
    """SSL front-end: a transformers model, of which the top blocks may be trained.

    The frozen part is no part of this module's parameters, state or modes: optimisers and checkpoints see
    the blocks that are trained, and a fingerprint of the model they stand on.

    Raises:
        AsvtkError: the model cannot be found, is no speech model we know, or lacks a layer or block.
    """

    def __init__(self, config: SslConfig):
        super().__init__(config)
        self._encoder = ()  # in a tuple, modules are not registered
        self.top = None

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        return self._encoder

    def prepare_heard(self, audio: Tensor, samples: Tensor | None) -> Tensor:
        if not self._normalise:
            return audio
        real, count = frame_mask(samples, audio.shape[1]), samples.unsqueeze(1)
        mean = (audio * real).sum(1, keepdim=True) / count
        variance = ((audio - mean) * real).square().sum(1, keepdim=True) / count
        return (audio - mean) * (variance + 1e-7).rsqrt()

    def load(self, lower: bool = True) -> "Ssl":
        if not (self.trainable and self.top is None or lower and not self._encoder):
            return self
        from asvtk.frontends.ssl.weights import load_model

        # transformers draws random weights first: they must not move the seed of the back-end's.
        with torch.random.fork_rng(devices=[]):
            model = load_model(self._folder, self.architecture, max(self.layers))
        if self.trainable and self.top is None:
            kind = TrainedConformers if self.architecture.kind == "wav2vec2-bert" else TrainedTop
            self.top = kind(model, self._frozen_depth, max(self.layers), digest(self._base))
        if lower:
            precision = dtype_of(self.config.precision)
            build = encoder_class(self.architecture.kind)
            self._encoder = (build(model, self._frozen_depth, precision).eval(),)
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


class _Top:
    """What trainable top blocks have in common: layers from ``first`` on, and the model they stand on.

    Args:
        first: layer that enters them.
        base: fingerprint of the model, in hexadecimal digits.
    """

    first: int
    base: str

    def get_extra_state(self) -> Tensor:
        """The fingerprint of the model, which checkpoints keep."""
        return torch.tensor(list(bytes.fromhex(self.base)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """
        Raises:
            RuntimeError: the fingerprint is another model's.
        """
        if not torch.equal(state.cpu(), self.get_extra_state()):
            raise RuntimeError(
                f"they stand on another base model (fingerprint {bytes(state.tolist()).hex()[:12]}) than "
                f"frontend.model is ({self.base[:12]})"
            )


class TrainedTop(_Top, BlockStack):
    """Trainable top blocks, behind layer ``first`` up to layer ``last``; in float32, or autocast's.

    Args:
        model: of transformers, in float32; the blocks become part of this module.
        first, last: layers.
        base: fingerprint of the model, in hexadecimal digits.
    """

    def __init__(self, model: nn.Module, first: int, last: int, base: str):
        pre_norm, blocks = is_pre_norm(model), blocks_of(model)
        super().__init__(
            {number: TrainedBlock(blocks[number - 1], pre_norm) for number in range(first + 1, last + 1)},
            final_norm_of(model) if last == len(blocks) else None,
            pre_norm,
        )
        self.first, self.base = first, base
        self.position_bias = PositionBias(model, torch.float32)

    def forward(self, x: Tensor, lengths: Tensor | None) -> dict[int, Tensor]:
        """Layer ``first`` (batch, frames, d), and real frames unless all are -> that and those above it."""
        states = super().forward(x, None, self.position_bias(x.shape[1]), lengths)
        return {number: state.float() for number, state in enumerate(states, self.first)}


class TrainedConformers(_Top, ConformerStack):
    """The same of w2v-BERT 2.0."""

    def __init__(self, model: nn.Module, first: int, last: int, base: str):
        blocks = model.encoder.layers
        super().__init__(
            {number: ConformerBlock(blocks[number - 1]) for number in range(first + 1, last + 1)}
        )
        self.first, self.base = first, base

    def forward(self, x: Tensor, lengths: Tensor | None) -> dict[int, Tensor]:
        """As ``TrainedTop``."""
        return dict(enumerate(super().forward(x, None, None, lengths), self.first))
