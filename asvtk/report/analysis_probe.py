"""Forward hooks that record embeddings, routing and gates while a detector scores a data set.

Everything is read by hooks on the kinds of modules that systems are built from, so that any system is
looked into as far as it has such parts, and its score is what it is without being looked at.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from asvtk.nn.frames import frame_mask
from asvtk.nn.fusion import GatedFusion, GatedInjection
from asvtk.nn.mamba import BiMamba
from asvtk.nn.moe import RouterStatistics, record_routing
from asvtk.nn.pooling import WeightedLayerSum
from asvtk.training.scoring import score_dataset

__all__ = ["Gate", "Observations", "Routing", "layer_weights", "observe"]


class Routing(NamedTuple):
    """What the router of one layer does with each utterance; see `asvtk.nn.moe.RouterStatistics`."""

    load: np.ndarray  # (utterances, experts), rows sum to 1
    entropy: np.ndarray  # (utterances,), in nats
    confidence: np.ndarray  # (utterances,)
    top_k: int  # experts per frame


class Gate(NamedTuple):
    """The values of one gate, which lie in (0, 1), over the real frames and numbers of each utterance."""

    mean: np.ndarray  # (utterances,)
    spread: np.ndarray  # (utterances,), standard deviation: what a constant gate has not
    share_of: str  # what 1 stands for, in words


class Observations(NamedTuple):
    """All that was seen of a data set; utterances in the order of the data set."""

    scores: np.ndarray  # (utterances,), higher = bona fide
    embedding: np.ndarray  # (utterances, d_embedding)
    routing: dict[str, Routing]  # by name of the layer of experts
    gates: dict[str, Gate]  # by name of the part that has the gate


#: parts with a gate -> the linear layer of theirs whose sigmoid it is, and what 1 stands for
_GATES = {
    GatedInjection: ("gate", "lower layer, let in"),
    GatedFusion: ("to_gate", "features (the rest: audio)"),
    BiMamba: ("combination", "forward direction (the rest: backward)"),
}


def layer_weights(model: nn.Module) -> dict[str, np.ndarray]:
    """Learned weights of every weighted sum of layers, each summing to 1, by the name of the sum."""
    return {
        name: part.logits.detach().softmax(0).cpu().numpy()
        for name, part in model.named_modules()
        if isinstance(part, WeightedLayerSum)
    }


def observe(detector: nn.Module, dataset, batch_size: int, device: str) -> Observations:
    """Score a data set as stage 4 does, and look on.

    Args:
        detector: on ``device``.
        dataset: an `asvtk.training.dataset.UtteranceDataset`.
        batch_size, device: as for `asvtk.training.scoring.score_dataset`.
    """
    model = detector.model
    embeddings = []
    with ExitStack() as stack:
        routing = stack.enter_context(record_routing(model))
        gates = stack.enter_context(_record_gates(model))
        hook = model.register_forward_hook(lambda *call: embeddings.append(call[-1].embedding.cpu()))
        stack.callback(hook.remove)
        scores = score_dataset(detector, dataset, batch_size, device)
    parts = dict(model.named_modules())
    return Observations(
        np.array(scores),
        torch.cat(embeddings).float().numpy(),
        {name: _joined(records, parts[name].top_k) for name, records in routing.items()},
        {
            name: Gate(*torch.cat(values, dim=1).cpu().numpy(), _GATES[type(parts[name])][1])
            for name, values in gates.items()
        },
    )


def _joined(records: list[RouterStatistics], top_k: int) -> Routing:
    """One record of all batches."""
    columns = (torch.cat(column).cpu().numpy() for column in zip(*records, strict=True))
    return Routing(*columns, top_k)


@contextmanager
def _record_gates(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Record mean and spread (2, batch) of every gate in ``model``, batch by batch.

    A part that is called without lengths works on the frames that the system itself was given.
    """
    of_system, records, hooks = [], {}, []

    def look_at(name: str, part: nn.Module, linear: nn.Module) -> None:
        lengths, record = [], records.setdefault(name, [])

        def before(part, arguments):
            given = arguments[-1].ndim == 1  # sequences have three dimensions
            lengths[:] = [arguments[-1] if given else of_system[0]]

        def after(linear, arguments, logits):
            record.append(_mean_and_spread(logits.float().sigmoid(), lengths[0]))

        hooks.append(part.register_forward_pre_hook(before))
        hooks.append(linear.register_forward_hook(after))

    def enter(model, arguments):
        of_system[:] = [arguments[0].lengths]

    hooks.append(model.register_forward_pre_hook(enter))
    for name, part in model.named_modules():
        if type(part) in _GATES and getattr(part, "combine", "gate") == "gate":  # BiMamba has other ways, too
            look_at(name, part, part.get_submodule(_GATES[type(part)][0]))
    try:
        yield records
    finally:
        for hook in hooks:
            hook.remove()


def _mean_and_spread(gate: Tensor, lengths: Tensor) -> Tensor:
    """Of (batch, frames, d), over real frames and all d: (2, batch)."""
    real = frame_mask(lengths, gate.shape[1]).unsqueeze(-1)
    count = lengths * gate.shape[-1]
    mean = (gate * real).sum((1, 2)) / count
    variance = ((gate - mean[:, None, None]).square() * real).sum((1, 2)) / count
    return torch.stack([mean, variance.sqrt()])
