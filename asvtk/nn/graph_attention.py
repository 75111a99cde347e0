"""Attention over small, fully connected graphs whose nodes are bands and moments of an utterance.

Source: Jung et al., "AASIST: audio anti-spoofing using integrated spectro-temporal graph attention
networks", ICASSP 2022 (arXiv 2110.01200), sections 2.2 and 3.

Two nodes attend to each other by the product of their vectors, so scores are symmetric. Graphs have
some thirty nodes: every pair is computed at once.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GraphAttention", "GraphPool", "HeterogeneousGraphAttention"]


class GraphAttention(nn.Module):
    """Nodes of one kind: (batch, nodes, d_in) -> (batch, nodes, d_out).

    Args:
        d_in, d_out: widths of the nodes.
        temperature: divides the scores; high = even attention.
        dropout: of the nodes that come in.
        bias: whether the projections of the nodes have one. The norm behind them undoes it; the published
            weights of AASIST have it.
    """

    def __init__(self, d_in: int, d_out: int, temperature: float, dropout: float = 0.2, bias: bool = True):
        super().__init__()
        self.temperature = temperature
        self.input_dropout = nn.Dropout(dropout)
        self.att_proj = nn.Linear(d_in, d_out)
        self.att_weight = _attention_vector(d_out)
        self.proj_with_att = nn.Linear(d_in, d_out, bias)
        self.proj_without_att = nn.Linear(d_in, d_out, bias)
        self.bn = nn.BatchNorm1d(d_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_dropout(x)
        scores = _compare_pairs(x, self.att_proj) @ self.att_weight
        attention = (scores.squeeze(-1) / self.temperature).softmax(-1)
        return _activate(self.bn, self.proj_with_att(attention @ x) + self.proj_without_att(x))


class HeterogeneousGraphAttention(nn.Module):
    """Nodes of two kinds in one graph, and a master node that gathers from all of them.

    Each kind has its own projection, and each combination of kinds its own attention vector.
    Arguments as for ``GraphAttention``.
    """

    def __init__(self, d_in: int, d_out: int, temperature: float, dropout: float = 0.2, bias: bool = True):
        super().__init__()
        self.temperature = temperature
        self.input_dropout = nn.Dropout(dropout)
        self.proj_type1 = nn.Linear(d_in, d_in)
        self.proj_type2 = nn.Linear(d_in, d_in)
        self.att_proj = nn.Linear(d_in, d_out)
        self.att_weight11 = _attention_vector(d_out)  # between two nodes of type 1
        self.att_weight22 = _attention_vector(d_out)
        self.att_weight12 = _attention_vector(d_out)  # across, in both directions
        self.proj_with_att = nn.Linear(d_in, d_out, bias)
        self.proj_without_att = nn.Linear(d_in, d_out, bias)
        self.bn = nn.BatchNorm1d(d_out)
        self.att_projM = nn.Linear(d_in, d_out)
        self.att_weightM = _attention_vector(d_out)
        self.proj_with_attM = nn.Linear(d_in, d_out)
        self.proj_without_attM = nn.Linear(d_in, d_out)

    def forward(self, nodes1: Tensor, nodes2: Tensor, master: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Update all nodes.

        Args:
            nodes1, nodes2: nodes of either type, (batch, nodes, d_in).
            master: (batch or 1, 1, d_in).

        Returns:
            the same three, d_out wide; the master's batch is that of the nodes.
        """
        count1, count2 = nodes1.shape[1], nodes2.shape[1]
        x = self.input_dropout(torch.cat([self.proj_type1(nodes1), self.proj_type2(nodes2)], dim=1))
        attention = (self._score_pairs(x, count1) / self.temperature).softmax(-1)
        nodes = _activate(self.bn, self.proj_with_att(attention @ x) + self.proj_without_att(x))
        return *nodes.split([count1, count2], dim=1), self._update_master(x, master)

    def _score_pairs(self, x: Tensor, count1: int) -> Tensor:
        pairs = _compare_pairs(x, self.att_proj)
        within1 = pairs[:, :count1, :count1] @ self.att_weight11
        within2 = pairs[:, count1:, count1:] @ self.att_weight22
        across = pairs[:, :count1, count1:] @ self.att_weight12
        upper = torch.cat([within1, across], dim=2)
        lower = torch.cat([across.transpose(1, 2), within2], dim=2)
        return torch.cat([upper, lower], dim=1).squeeze(-1)

    def _update_master(self, x: Tensor, master: Tensor) -> Tensor:
        scores = torch.tanh(self.att_projM(x * master)) @ self.att_weightM  # (batch, nodes, 1)
        attention = (scores / self.temperature).softmax(1)
        return self.proj_with_attM(attention.transpose(1, 2) @ x) + self.proj_without_attM(master)


class GraphPool(nn.Module):
    """Keeps the best-scored nodes, best first, each scaled by its score in 0 ... 1.

    (batch, nodes, d) -> (batch, max(int(nodes * ratio), 1), d).
    """

    def __init__(self, d: int, ratio: float, dropout: float = 0.3):
        super().__init__()
        self.ratio = ratio
        self.dropout = nn.Dropout(dropout)
        self.proj = nn.Linear(d, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.proj(self.dropout(x)).sigmoid()  # (batch, nodes, 1)
        best = scores.topk(max(int(x.shape[1] * self.ratio), 1), dim=1).indices
        return (x * scores).gather(1, best.expand(-1, -1, x.shape[2]))


def _attention_vector(d: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(d, 1)))


def _compare_pairs(x: Tensor, projection: nn.Linear) -> Tensor:
    """tanh of the projected products of all pairs: (batch, nodes, d) -> (batch, nodes, nodes, d_out)."""
    return torch.tanh(projection(x.unsqueeze(2) * x.unsqueeze(1)))


def _activate(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch norm over all nodes of the batch, then SELU: (batch, nodes, d) -> the same shape."""
    return F.selu(norm(x.flatten(0, 1))).view_as(x)
