"""A self-supervised model inside the system: it runs in training and scoring, and its top may be trained."""

import torch
from torch import Tensor, nn

from asvtk.frontends.ssl_blocks import BlockStack, PositionBias, TrainedBlock
from asvtk.frontends.ssl_encoder import SslEncoder

__all__ = ["LiveSsl"]


class LiveSsl(nn.Module):
    """What data sets give of an utterance -> the layers that the system hears.

    The frozen part computes what stage 2 would cache, by the same means: without gradients, in its own
    precision, whatever autocast says. It is no part of this module's parameters, state or modes: optimisers
    and checkpoints see the blocks that are trained, and a fingerprint of the model they stand on.

    Args:
        model: of transformers, in float32; its top blocks become part of this module.
        layers: hidden states that the system hears, in ascending order.
        cached: those that are given, the last of them what enters the trained blocks; none: audio is given.
        trainable: how many blocks below the deepest layer take gradients.
        dtype: precision of the frozen part's matrix products; the trained part's are float32, or autocast's.
        whole: whether all utterances are equally long.
        base: fingerprint of the model, in hexadecimal digits.

    Attributes:
        layers: the same.
        width: numbers a frame.
        trainable: the same.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[int, ...],
        *,
        cached: tuple[int, ...],
        trainable: int,
        dtype: torch.dtype,
        whole: bool,
        base: str,
    ):
        super().__init__()
        self.layers, self.width, self.trainable = layers, model.config.hidden_size, trainable
        self._cached, self._whole, self._base = cached, whole, base
        self._frozen_depth = max(layers) - trainable
        # In a tuple, modules are not registered.
        self._frozen = () if cached else (SslEncoder(model, self._frozen_depth, dtype).eval(),)
        self.top = None
        if trainable:
            self.top = _trained_blocks(model, self._frozen_depth, max(layers))
            self.position_bias = PositionBias(model, torch.float32)

    def forward(self, given: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            given: prepared audio, shape (batch, 1, samples, 1), or cached layers, (batch, layers, frames, d).
            lengths: real samples, or frames, of each, shape (batch,).

        Returns:
            hidden states, float32, shape (batch, layers, frames, d), and real frames of each.
        """
        states, lengths = self._look_up(given, lengths) if self._cached else self._run_frozen(given, lengths)
        if self.top is not None:
            start = states[self._frozen_depth]
            bias = self.position_bias(start.shape[1])
            top = self.top(start, None, bias, None if self._whole else lengths)
            states |= {number: state.float() for number, state in enumerate(top, self._frozen_depth)}
        return torch.stack([states[layer] for layer in self.layers], dim=1), lengths

    def train_top(self, count: int) -> None:
        """Let the ``count`` top blocks take gradients, and no others."""
        if self.top is None:
            return
        for number, block in self.top.blocks.items():
            block.requires_grad_(int(number) > max(self.layers) - count)
        if self.top.outer_norm is not None:
            self.top.outer_norm.requires_grad_(count > 0)

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

    def _apply(self, *arguments, **options):
        for module in self._frozen:
            module._apply(*arguments, **options)
        return super()._apply(*arguments, **options)

    def _look_up(self, given: Tensor, lengths: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        return dict(zip(self._cached, given.unbind(1), strict=True)), lengths

    def _run_frozen(self, given: Tensor, lengths: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        (encoder,), audio = self._frozen, given[:, 0, :, 0]
        with (
            torch.no_grad(),
            torch.autocast(audio.device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            states = encoder(audio, None if self._whole else lengths)
            states = {number: state.float() for number, state in enumerate(states)}
        return states, encoder.stem.frames(lengths)


def _trained_blocks(model: nn.Module, first: int, last: int) -> BlockStack:
    """The blocks behind layer ``first`` that give layers up to ``last``."""
    pre_norm, blocks = model.config.do_stable_layer_norm, model.encoder.layers
    ends_model = pre_norm and last == len(blocks)
    return BlockStack(
        {number: TrainedBlock(blocks[number - 1], pre_norm) for number in range(first + 1, last + 1)},
        model.encoder.layer_norm if ends_model else None,
        pre_norm,
    )
