"""w2v-BERT 2.0: conformer blocks on log-mel frames, frozen or trained.

Source: Seamless Communication, "Seamless: Multilingual expressive and streaming speech translation", 2023,
section 3.2.1; Gulati et al., "Conformer: Convolution-augmented transformer for speech recognition",
Interspeech 2020.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.frontends.ssl.blocks import Product
from asvtk.frontends.ssl.mel import SHIFT, WINDOW, KaldiLogMel
from asvtk.nn.frames import frame_mask
from asvtk.nn.grouped_convolution import grouped_conv1d

__all__ = ["ConformerBlock", "ConformerStack", "W2vBertEncoder"]


class W2vBertEncoder(nn.Module):
    """w2v-BERT 2.0's encoder: waveform -> hidden states.

    Args:
        model: a ``Wav2Vec2BertModel`` of transformers in float32.
        depth: how many conformer blocks are needed; None: all.
        dtype: precision of matrix products.
    """

    def __init__(self, model: nn.Module, depth: int | None = None, dtype: torch.dtype = torch.float32):
        super().__init__()
        projection = model.feature_projection
        self.mel = KaldiLogMel(projection.projection.in_features // 2)
        self.norm = projection.layer_norm
        self.projection = Product(projection.projection.weight, projection.projection.bias, dtype)
        blocks = enumerate(model.encoder.layers[:depth], 1)
        self.stack = ConformerStack({number: ConformerBlock(block, dtype) for number, block in blocks})
        self.requires_grad_(False)

    def forward(self, audio: Tensor, samples: Tensor | None = None) -> list[Tensor]:
        """Hidden states of utterances, as ``SslEncoder`` gives them, 20 ms a frame.

        Number 0 is what enters the first block: the projection of two log-mel frames.
        """
        x = self.mel(audio, samples)
        pairs = x.shape[1] // 2
        x = x[:, : 2 * pairs].reshape(x.shape[0], pairs, -1)
        lengths = None if samples is None else ((samples - WINDOW) // SHIFT + 1) // 2
        return self.stack(self.projection(self.norm(x)), None, None, lengths)


class ConformerStack(nn.Module):
    """Stack of conformer blocks, with the interface of ``BlockStack``; no norm follows it.

    Args:
        blocks: by the number of the layer that each gives.
    """

    outer_norm = None

    def __init__(self, blocks: dict[int, nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleDict({str(number): block for number, block in blocks.items()})

    def forward(self, x: Tensor, branch: None, bias: None, lengths: Tensor | None) -> list[Tensor]:
        """What enters the first block (batch, frames, d), and the output of each, in float32."""
        states = [x.float()]
        for block in self.blocks.values():
            states.append(block(states[-1], lengths))
        return states


class ConformerBlock(nn.Module):
    """Conformer block: half a feed-forward part, attention, causal convolution, another half.

    Attention has a bias for the distance from a query to a key, by a product of the query with an
    embedding of the distance (``relative_key``).

    Args:
        block: of transformers.
        dtype: of the matrix products of a frozen block; None: the block is trained, with the very modules of
            ``block`` under their names.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype | None = None):
        super().__init__()
        frozen = dtype is not None
        for name in _NORMS:
            setattr(self, name, getattr(block, name))
        attention, convolution = block.self_attn, block.conv_module
        self.heads = attention.num_heads
        parts = {
            name: getattr(attention, name) for name in ("linear_q", "linear_k", "linear_v", "linear_out")
        }
        if hasattr(attention, "distance_embedding"):
            self.reach = attention.left_max_position_embeddings, attention.right_max_position_embeddings
            parts["distance_embedding"] = attention.distance_embedding
        else:
            self.reach = None
        for name in ("pointwise_conv1", "depthwise_conv", "pointwise_conv2"):
            parts[name] = getattr(convolution, name)
        for half in ("ffn1", "ffn2"):
            parts[half + "_expand"] = getattr(block, half).intermediate_dense
            parts[half + "_contract"] = getattr(block, half).output_dense
        for name, part in parts.items():
            setattr(self, name, copy.deepcopy(part).to(dtype) if frozen else part)
        self.conv_norm, self.conv_inner_norm = convolution.layer_norm, convolution.depthwise_layer_norm
        self.conv_activation, self.activation = convolution.activation, block.ffn1.intermediate_act_fn

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """float32 (batch, frames, d), and real frames of each unless all are -> the same shape."""
        x = x + 0.5 * self._feed(self.ffn1_layer_norm(x), self.ffn1_expand, self.ffn1_contract)
        x = x + self._attend(self.self_attn_layer_norm(x), lengths)
        x = x + self._convolve(self.conv_norm(x))
        x = x + 0.5 * self._feed(self.ffn2_layer_norm(x), self.ffn2_expand, self.ffn2_contract)
        return self.final_layer_norm(x.float())

    def _feed(self, x: Tensor, expand: nn.Linear, contract: nn.Linear) -> Tensor:
        return contract(self.activation(expand(x.to(expand.weight.dtype))))

    def _attend(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        batch, frames, d = x.shape
        x = x.to(self.linear_q.weight.dtype)
        q, k, v = (
            linear(x).view(batch, frames, self.heads, -1).transpose(1, 2)
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        mask = None if self.reach is None else self._distance_bias(q)
        if lengths is not None:
            real = frame_mask(lengths, frames)[:, None, None, :]
            mask = real if mask is None else mask.masked_fill(~real, -torch.inf)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.linear_out(y.transpose(1, 2).reshape(batch, frames, d))

    def _distance_bias(self, q: Tensor) -> Tensor:
        """(batch, heads, frames, width) -> (batch, heads, queries, keys)."""
        left, right = self.reach
        # Every query against all distances that are told apart, then each key's own: few products.
        by_distance = q @ self.distance_embedding.weight.to(q.dtype).T * q.shape[-1] ** -0.5
        places = torch.arange(q.shape[2], device=q.device)
        index = (places - places.unsqueeze(1)).clamp(-left, right) + left
        return by_distance.gather(3, index.expand(*q.shape[:2], -1, -1))

    def _convolve(self, x: Tensor) -> Tensor:
        # Causal: real frames never hear the padding behind them.
        x = F.linear(x.to(self.pointwise_conv1.weight.dtype), self.pointwise_conv1.weight.squeeze(-1))
        x = F.glu(x, -1).transpose(1, 2)
        weight = self.depthwise_conv.weight
        x = grouped_conv1d(F.pad(x, (weight.shape[2] - 1, 0)), weight, None, 0, len(weight))
        x = self.conv_activation(self.conv_inner_norm(x.transpose(1, 2).float()))
        return F.linear(x.to(weight.dtype), self.pointwise_conv2.weight.squeeze(-1))


_NORMS = ("ffn1_layer_norm", "self_attn_layer_norm", "ffn2_layer_norm", "final_layer_norm")
