"""Mixture of experts: per frame, a router picks k of n feed-forward networks.

Sources: Shazeer et al., "Outrageously large neural networks", ICLR 2017 (top-k routing); Fedus, Zoph
and Shazeer, "Switch transformers", JMLR 2022, equation 4 (load-balance loss); Zoph et al., "ST-MoE",
2022, equation 5 (router z-loss).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MixtureOfExperts", "RouterStatistics", "record_routing"]


class RouterStatistics(NamedTuple):
    """What a router does with each utterance: means over its real frames."""

    load: Tensor  # (batch, experts), share of the choices that fall on each expert; sums to 1
    entropy: Tensor  # (batch,), of the router's probabilities, in nats; log(experts) = undecided
    confidence: Tensor  # (batch,), the largest of the router's probabilities; 1 / experts = undecided


class MixtureOfExperts(nn.Module):
    """Mixture of experts: (batch, frames, d_model) -> the same shape. No frame is ever dropped.

    All experts are computed for all frames and the unchosen ones weighted by zero: two products of
    matrices, however many experts there are. The output of a frame is then independent of the
    batch's composition, and no host waits for a GPU to say how many frames each expert got, which would take
    longer than a handful of small experts do. (On a CPU, sorting frames by expert would save up to a
    third of the time of 4 experts: a twentieth of what the Mamba block beside them takes.)
    """

    def __init__(self, d_model: int, d_hidden: int, experts: int = 4, top_k: int = 2):
        super().__init__()
        if not 1 <= top_k <= experts:
            raise ValueError(f"top_k {top_k} must lie between 1 and experts ({experts})")
        self.top_k = top_k
        self.router = nn.Linear(d_model, experts, bias=False)
        self.weight_in = nn.Parameter(torch.empty(experts, d_model, d_hidden))
        self.bias_in = nn.Parameter(torch.zeros(experts, d_hidden))
        self.weight_out = nn.Parameter(torch.empty(experts, d_hidden, d_model))
        self.bias_out = nn.Parameter(torch.zeros(experts, d_model))
        nn.init.uniform_(self.weight_in, -(d_model**-0.5), d_model**-0.5)
        nn.init.uniform_(self.weight_out, -(d_hidden**-0.5), d_hidden**-0.5)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Route and transform.

        Args:
            x: shape (batch, frames, d_model).
            mask: True at real frames, shape (batch, frames); padding does not count in the losses.

        Returns:
            output of the shape of ``x``; load-balance loss (1 when the load is even); router z-loss.
        """
        logits, chosen = self._route(x)
        gates = logits.masked_fill(~chosen, -torch.inf).softmax(-1).to(x.dtype).flatten(0, 1)
        weight_in, weight_out = self.weight_in.transpose(0, 1).flatten(1), self.weight_out.flatten(0, 1)
        hidden = F.gelu(torch.addmm(self.bias_in.flatten(), x.flatten(0, 1), weight_in))
        hidden = hidden.unflatten(1, self.bias_in.shape) * gates.unsqueeze(-1)
        output = torch.addmm(gates @ self.bias_out, hidden.flatten(1), weight_out)
        return output.view_as(x), *self._losses(logits, chosen, mask)

    def _route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Router logits and which experts they choose, each (batch, frames, experts)."""
        logits = self.router(x).float()
        indices = logits.topk(self.top_k, dim=-1).indices
        return logits, torch.zeros_like(logits, dtype=torch.bool).scatter(-1, indices, True)

    def _losses(self, logits: Tensor, chosen: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        real = mask.unsqueeze(-1) / mask.sum()  # averages over the real frames
        share_of_choices = (chosen * real).sum((0, 1)) / self.top_k
        importance = (logits.softmax(-1) * real).sum((0, 1))
        balance = logits.shape[-1] * (share_of_choices * importance).sum()
        z = (logits.logsumexp(-1, keepdim=True).square() * real).sum()
        return balance, z

    @torch.no_grad()
    def statistics(self, x: Tensor, mask: Tensor) -> RouterStatistics:
        """What the router does with the frames that ``forward`` would get; takes no gradients."""
        logits, chosen = self._route(x)
        real = mask.unsqueeze(-1) / mask.sum(1)[:, None, None]  # averages over each row's real frames
        logarithms = logits.log_softmax(-1)
        probabilities = logarithms.exp()
        return RouterStatistics(
            (chosen * real).sum(1) / self.top_k,
            -(probabilities * logarithms * real).sum((1, 2)),
            (probabilities.amax(-1, keepdim=True) * real).sum((1, 2)),
        )


@contextmanager
def record_routing(model: nn.Module) -> Iterator[dict[str, list[RouterStatistics]]]:
    """Record the statistics of every router in ``model``; outside the context they cost nothing.

    Yields a dictionary from the name of each layer of experts to a list that each batch adds to.
    """
    layers = {name: part for name, part in model.named_modules() if isinstance(part, MixtureOfExperts)}
    records = {name: [] for name in layers}

    def recorder(record: list[RouterStatistics]):
        return lambda layer, inputs, output: record.append(layer.statistics(*inputs))

    hooks = [layer.register_forward_hook(recorder(records[name])) for name, layer in layers.items()]
    try:
        yield records
    finally:
        for hook in hooks:
            hook.remove()
