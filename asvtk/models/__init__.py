"""Models by name: the single systems of ``asvtk.models.systems``, and the committee of several."""

from asvtk.io.errors import AsvtkError
from asvtk.models.base import Detector, Inputs, Output, System
from asvtk.models.committee import Committee, CommitteeConfig
from asvtk.models.systems import SYSTEMS
from asvtk.nn.losses import LOSSES, CommitteeLoss

__all__ = ["MODELS", "MODEL_CONFIGS", "Detector", "Inputs", "Output", "System", "build_detector"]

MODELS = {**SYSTEMS, CommitteeConfig: Committee}
MODEL_CONFIGS = {config.name: config for config in MODELS}


def build_detector(model_config, loss_config, layers: int, d_in: int, frontend=None) -> Detector:
    """A fresh detector for features of ``layers`` layers with ``d_in`` numbers a frame (0, 0: none).

    Raises:
        AsvtkError: a ``frontend`` runs with a system that uses no features.
    """
    model = MODELS[type(model_config)](model_config, layers, d_in)
    if frontend is not None and not model.uses_features:
        raise AsvtkError(
            f"model {model_config.name}: hears audio alone, and the front-end would run for nothing; choose "
            "frontend: waveform"
        )
    return Detector(model, _build_loss(loss_config, model), frontend)


def _build_loss(config, model: System):
    if isinstance(model, Committee):
        return CommitteeLoss(config, [member.d_embedding for member in model.members])
    return LOSSES[type(config)](config, model.d_embedding)
