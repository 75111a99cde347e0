"""Mixture of experts: per frame, a router picks k of n feed-forward networks.

Sources: Shazeer et al., "Outrageously large neural networks", ICLR 2017 (top-k routing); Fedus, Zoph
and Shazeer, "Switch transformers", JMLR 2022, equation 4 (load-balance loss); Zoph et al., "ST-MoE",
2022, equation 5 (router z-loss).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MixtureOfExperts"]


class MixtureOfExperts(nn.Module):
    """(batch, frames, d_model) -> the same shape. No frame is ever dropped.

    All experts are computed for all frames and the unchosen ones weighted by zero: for a handful of
    small experts that is faster than sorting frames by expert, and it makes the output of a frame
    independent of its company.
    """

    def __init__(self, d_model: int, d_hidden: int, experts: int = 4, top_k: int = 2):
        super().__init__()
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
        logits = self.router(x).float()  # (batch, frames, experts)
        chosen, indices = logits.topk(self.top_k, dim=-1)
        gates = torch.zeros_like(logits).scatter(-1, indices, chosen.softmax(-1)).to(x.dtype)
        hidden = torch.einsum("btd,edh->bteh", x, self.weight_in) + self.bias_in
        hidden = F.gelu(hidden) * gates.unsqueeze(-1)
        output = torch.einsum("bteh,ehd->btd", hidden, self.weight_out) + gates @ self.bias_out
        return output, *self._router_losses(logits, gates, mask)

    def _router_losses(self, logits: Tensor, gates: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        real = mask.unsqueeze(-1) / mask.sum()  # averages over the real frames
        share_of_choices = ((gates > 0) * real).sum((0, 1)) / self.top_k
        importance = (logits.softmax(-1) * real).sum((0, 1))
        balance = logits.shape[-1] * (share_of_choices * importance).sum()
        z = (logits.logsumexp(-1, keepdim=True).square() * real).sum()
        return balance, z
