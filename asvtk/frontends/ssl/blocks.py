"""Transformer blocks of WavLM, wav2vec 2.0 / XLS-R, HuBERT and Whisper: frozen and fast, or trained.

Both kinds give the numbers of transformers. Frozen ones merge weights once and may be in half precision;
trained ones keep the weights as transformers has them, in float32 and under its names, and merge them
anew in every step. They too have neither dropout nor layer drop: training hears what dev and eval will,
and a block that is frozen gives the same as one that is not trained yet.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.float8 import FLOAT8, Float8Linear, wide
from asvtk.nn.frames import frame_mask
from asvtk.nn.fused_norm import add_norm
from asvtk.nn.gated_attention import gated_attention, position_bias
from asvtk.nn.kernels import kernels_serve

__all__ = [
    "Block",
    "BlockStack",
    "PositionBias",
    "Product",
    "TrainedBlock",
    "blocks_of",
    "final_norm_of",
    "is_gelu",
    "is_pre_norm",
]


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """Blocks of a model of transformers, or of its encoder."""
    return getattr(model, "encoder", model).layers


def is_pre_norm(model: nn.Module) -> bool:
    """Whether its blocks normalise before each part: Large models and Whisper do, Base models do not."""
    return model.config.model_type == "whisper" or getattr(model.config, "do_stable_layer_norm", False)


def final_norm_of(model: nn.Module) -> nn.Module | None:
    """The norm behind the last block; None: there is none, or the model was loaded cut short."""
    return getattr(model, "encoder", model).layer_norm if is_pre_norm(model) else None


class BlockStack(nn.Module):
    """Stack of transformer blocks.

    Args:
        blocks: of either kind, by the number of the layer that each gives.
        outer_norm: of Base models, the norm before the first block; of Large ones, that behind the last.
            None: these blocks do not begin, or not end, the model.
        pre_norm: Large models normalise before each part of a block, Base models behind it.
    """

    def __init__(self, blocks: dict[int, nn.Module], outer_norm: nn.Module | None, pre_norm: bool):
        super().__init__()
        self.blocks = nn.ModuleDict({str(number): block for number, block in blocks.items()})
        self.outer_norm = outer_norm
        self.pre_norm = pre_norm

    def forward(
        self, x: Tensor, branch: Tensor | None, bias: Tensor | None, lengths: Tensor | None
    ) -> list[Tensor]:
        """
        Args:
            x: what enters, shape (batch, frames, d).
            branch: what is to be added to it; None: ``x`` is the output of another block.
            bias: of positions, as ``PositionBias`` gives it.
            lengths: real frames, shape (batch,); None: all are real.

        Returns:
            the output of each block, behind what enters the first one.
        """
        states = []
        norms = [block.outer_norm for block in self.blocks.values()]
        norms = [*norms, self.outer_norm] if self.pre_norm else [self.outer_norm, *norms]
        for block, norm in zip(self.blocks.values(), norms[:-1], strict=True):
            x, normed = self._step(x, branch, norm)
            states.append(x)
            x, normed = self._step(x, block.attend(normed, bias, lengths), block.inner_norm)
            branch = block.feed_forward(normed)
        if norms[-1] is None:
            return [*states, x.float() + branch]
        return [*states, self._step(x, branch, norms[-1])[1]]

    def _step(self, x: Tensor, branch: Tensor | None, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
        """Add a branch to the residual stream; returns the stream and what enters the next part."""
        if branch is None:
            return x, norm(x) if self.pre_norm else x
        total, normed = add_norm(x, branch, norm)
        return (total if self.pre_norm else normed), normed


class PositionBias(nn.Module):
    """WavLM's bias of every pair of frames, which all blocks share; frozen. Other models have none.

    Args:
        model: of transformers.
        dtype: of the matrix products, which the bias has too.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        super().__init__()
        blocks = blocks_of(model)
        first = getattr(blocks[0], "attention", None) if len(blocks) else None
        embedding = getattr(first, "rel_attn_embed", None)
        weight = None if embedding is None else embedding.weight.detach().clone()
        self.register_buffer("embedding", weight, persistent=False)
        self.longest = getattr(model.config, "max_bucket_distance", None)
        self.dtype = wide(dtype)
        self._bias = None

    def forward(self, frames: int) -> Tensor | None:
        """Shape (heads, frames, frames); kept for the next call."""
        if self.embedding is None:
            return None
        if self._bias is None or self._bias.shape[1] != frames or self._bias.device != self.embedding.device:
            # Dev asks for it in inference mode; training then could not go back through it.
            with torch.inference_mode(False), torch.no_grad():
                self._bias = position_bias(self.embedding, self.longest, frames, self.dtype)
        return self._bias


class Product(nn.Module):
    """A linear layer in the precision of matrix products: (..., in) -> (..., out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(weight.detach().to(dtype))
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class Block(nn.Module):
    """Frozen transformer block, its two parts; the stack adds them up."""

    def __init__(self, block: nn.Module, pre_norm: bool, dtype: torch.dtype):
        super().__init__()
        parts_of = _Parts.of(block, pre_norm)
        attention, expand, contract = parts_of.attention, parts_of.expand, parts_of.contract
        self.heads = attention.num_heads
        self.outer_norm, self.inner_norm = parts_of.outer_norm, parts_of.inner_norm
        parts = [_weights(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
        self.gate_scale = None
        if hasattr(attention, "gru_rel_pos_linear"):
            parts.append(_gate_projection(attention.gru_rel_pos_linear, self.heads))
            self.gate_scale = nn.Parameter(attention.gru_rel_pos_const.detach().flatten().clone())
        weights, biases = zip(*parts, strict=True)
        product = Float8Linear if dtype == FLOAT8 else functools.partial(Product, dtype=dtype)
        self.projection = product(torch.cat(weights), torch.cat(biases))
        self.output = product(attention.out_proj.weight, attention.out_proj.bias)
        self.expand = product(expand.weight, expand.bias)
        self.contract = product(contract.weight, contract.bias)
        self.activation, self.in_8_bits = parts_of.activation, dtype == FLOAT8

    def attend(self, x: Tensor, bias: Tensor | None, lengths: Tensor | None) -> Tensor:
        projected = self.projection(x)
        return self.output(_attention(projected, self.heads, self.gate_scale, bias, lengths))

    def feed_forward(self, x: Tensor) -> Tensor:
        if self.in_8_bits and is_gelu(self.activation):
            return self.contract(self.expand(x), gelu=True)
        if not self.in_8_bits and kernels_serve(x) and is_gelu(self.activation):
            # In the product's own epilogue, in its tanh form: off by 5e-4 at most, less than rounding.
            hidden = torch._addmm_activation(
                self.expand.bias, x.flatten(0, -2), self.expand.weight.T, use_gelu=True
            )
            return self.contract(hidden).view(*x.shape[:-1], -1)
        return self.contract(self.activation(self.expand(x)))


class TrainedBlock(nn.Module):
    """Transformer block whose weights take gradients, its two parts."""

    def __init__(self, block: nn.Module, pre_norm: bool):
        super().__init__()
        parts = _Parts.of(block, pre_norm)
        attention = parts.attention
        self.heads = attention.num_heads
        self.outer_norm, self.inner_norm = parts.outer_norm, parts.inner_norm
        self.q_proj, self.k_proj, self.v_proj = attention.q_proj, attention.k_proj, attention.v_proj
        self.out_proj = attention.out_proj
        self.gru_rel_pos_linear = getattr(attention, "gru_rel_pos_linear", None)
        self.gru_rel_pos_const = getattr(attention, "gru_rel_pos_const", None)
        self.intermediate_dense, self.output_dense = parts.expand, parts.contract
        self.activation = parts.activation

    def attend(self, x: Tensor, bias: Tensor | None, lengths: Tensor | None) -> Tensor:
        parts = [_weights(part) for part in (self.q_proj, self.k_proj, self.v_proj)]
        scale = None
        if self.gru_rel_pos_linear is not None:
            parts.append(_gate_projection(self.gru_rel_pos_linear, self.heads))
            scale = self.gru_rel_pos_const.flatten()
        weights, biases = zip(*parts, strict=True)
        projected = F.linear(x, torch.cat(weights), torch.cat(biases))
        return self.out_proj(_attention(projected, self.heads, scale, bias, lengths))

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.output_dense(self.activation(self.intermediate_dense(x)))


def is_gelu(activation: nn.Module) -> bool:
    """Whether it is the exact GELU: transformers has a dozen of near relatives."""
    probe = torch.tensor([-1.0, 0.5, 2.0])
    return torch.equal(activation(probe), F.gelu(probe))


class _Parts(NamedTuple):
    """Parts of a block, by what they do: transformers calls them otherwise in each family."""

    attention: nn.Module
    expand: nn.Linear
    contract: nn.Linear
    activation: nn.Module
    outer_norm: nn.Module  # at the outer end of a block, which is its entry or its exit
    inner_norm: nn.Module  # between attention and feed-forward part

    @classmethod
    def of(cls, block: nn.Module, pre_norm: bool) -> "_Parts":
        if hasattr(block, "fc1"):  # Whisper
            return cls(
                block.self_attn,
                block.fc1,
                block.fc2,
                block.activation_fn,
                block.self_attn_layer_norm,
                block.final_layer_norm,
            )
        wide = block.feed_forward
        norms = block.layer_norm, block.final_layer_norm
        outer, inner = norms if pre_norm else norms[::-1]
        return cls(
            block.attention,
            wide.intermediate_dense,
            wide.output_dense,
            wide.intermediate_act_fn,
            outer,
            inner,
        )


def _weights(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias; Whisper's keys have none."""
    bias = linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias
    return linear.weight, bias


def _attention(
    projected: Tensor, heads: int, gate_scale: Tensor | None, bias: Tensor | None, lengths: Tensor | None
) -> Tensor:
    """``gated_attention``, whose GPU kernel wants heads whose width is a power of two.

    Those of XLS-R 1B and 2B have 80 and 120 numbers.
    """
    width = projected.shape[2] // (3 * heads)
    if gate_scale is not None or not kernels_serve(projected) or width & (width - 1) == 0:
        return gated_attention(projected, heads, gate_scale, bias, lengths)
    batch, frames, _ = projected.shape
    q, k, v = projected.view(batch, frames, 3, heads, width).permute(2, 0, 3, 1, 4)
    mask = None if lengths is None else frame_mask(lengths, frames)[:, None, None, :]
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2).flatten(2)


def _gate_projection(linear: nn.Linear, heads: int) -> tuple[Tensor, Tensor]:
    """Weight and bias that give both numbers of the position gate, for all heads, from whole frames.

    Each head projects its own part of a frame to twice four numbers and adds up the four: that is a
    linear map to two numbers, and for all heads together a sparse map of the whole frame.
    """
    weight = linear.weight.view(2, 4, -1).sum(1)  # (2, d of a head)
    own = torch.eye(heads, dtype=weight.dtype, device=weight.device)
    whole = torch.einsum("gd,hk->ghkd", weight, own).flatten(2).flatten(0, 1)
    return whole, linear.bias.view(2, 4).sum(1).repeat_interleave(heads)
