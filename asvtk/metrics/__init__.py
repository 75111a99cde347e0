"""Detection metrics: numpy only, no torch, no audio. Higher score = bona fide, everywhere."""

__all__ = ["evaluate"]


def __getattr__(name: str):
    """``evaluate``: what reads results alone, as ``asvtk exp`` does, needs no numpy."""
    if name == "evaluate":
        from asvtk.metrics.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module 'asvtk.metrics' has no attribute {name!r}")
