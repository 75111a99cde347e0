"""Weights of a detector, as checkpoints and packages hold them."""

from pathlib import Path

from torch import Tensor

from asvtk.frontends import build_frontend
from asvtk.frontends.base import FrontEnd
from asvtk.frontends.cache.store import cache_name
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.text import read_json
from asvtk.models import Detector, build_detector
from asvtk.nn.construction import require_shapes
from asvtk.nn.weights import require_finite

__all__ = ["PREFIX", "build_trained", "part", "prefixed", "put_detector", "require_features_of"]

#: their names in a checkpoint begin so
PREFIX = "detector."
#: of parts of a front-end that moved
_MOVED = {"frontend._extra_state": "frontend.top._extra_state"}


def build_trained(source, config, tensors: dict[str, Tensor], frontend=None) -> Detector:
    """A detector with weights that were read from anywhere.

    The weights' shapes are compared with the configuration's before anything of that size is made: a
    package may come from anybody.

    Args:
        source: what a person calls the weights.
        config: with sections ``frontend``, ``model`` and ``loss``.
        tensors: of a checkpoint; what stands there beside the detector is ignored.
        frontend: that of the configuration, where it is at hand.

    Raises:
        AsvtkError: the weights are not finite, those of another system, or stand on another speech model.
    """
    state = part(PREFIX, tensors)
    require_finite(source, state)
    frontend = frontend or build_frontend(config.frontend)
    shapes = {name: tuple(x.shape) for name, x in state.items() if not name.startswith("frontend.")}
    require_shapes(source, lambda: build_detector(config, frontend), shapes)
    frontend.load(lower=False)
    detector = build_detector(config, frontend)
    put_detector(source, detector, tensors)
    return detector.eval()


def require_features_of(experiment, frontend: FrontEnd) -> None:
    """Make sure that a front-end makes the features that an experiment was trained on.

    Args:
        experiment: its folder.
        frontend: of its configuration.

    Raises:
        AsvtkError: it makes others now; or the record of them is missing or damaged.
    """
    path = Path(experiment) / "inputs.json"
    theirs = field_of(read_json(path), "features", str, path)
    if (ours := cache_name(frontend)) != theirs:
        raise AsvtkError(
            f"{experiment}: was trained on the features {theirs}, and its front-end makes {ours} now: "
            "another model lies there, or another version of asvtk made them; train it anew"
        )


def put_detector(path, detector: Detector, tensors: dict[str, Tensor]) -> None:
    """Load the detector among ``tensors``, which came from ``path``.

    Raises:
        AsvtkError: it is of another kind.
    """
    found = part(PREFIX, tensors)
    for old, new in _MOVED.items():
        if old in found:
            state = found.pop(old)
            if detector.frontend.trainable:
                found[new] = state
    try:
        detector.load_state_dict(found)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise AsvtkError(f"{path}: holds the weights of another system: {reason}") from None


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def part(prefix: str, tensors: dict) -> dict:
    """Those whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
