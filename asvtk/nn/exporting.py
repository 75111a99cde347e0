"""Whether a graph is being exported."""

import torch

__all__ = ["is_exporting"]


def is_exporting() -> bool:
    """Whether ``torch.export`` traces (``strict=False``, its default and ours).

    torch's own flag is also true while ``torch.compile`` traces.
    """
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
