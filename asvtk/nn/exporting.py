"""Whether a graph is being exported."""

import torch

__all__ = ["is_exporting"]


def is_exporting() -> bool:
    """Whether ``torch.export`` traces; torch's own flag is also true while ``torch.compile`` does."""
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
