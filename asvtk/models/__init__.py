"""Back-ends by name, and the detector that one makes with a front-end and a loss."""

from asvtk.frontends import build_frontend
from asvtk.frontends.base import FrontEnd
from asvtk.io.errors import AsvtkError
from asvtk.models.base import Inputs, Output, System
from asvtk.models.committee import Committee, CommitteeConfig
from asvtk.models.detector import Detector
from asvtk.models.systems import SYSTEMS
from asvtk.nn.losses import LOSSES, CommitteeLoss

__all__ = ["MODELS", "MODEL_CONFIGS", "Detector", "Inputs", "Output", "System", "assemble", "build_detector"]

MODELS = {**SYSTEMS, CommitteeConfig: Committee}
MODEL_CONFIGS = {config.name: config for config in MODELS}


def build_detector(config, frontend: FrontEnd | None = None) -> Detector:
    """A fresh detector.

    Args:
        config: with sections ``frontend``, ``model`` and ``loss``.
        frontend: that of the configuration, where it is at hand; else a new one, without weights.

    Raises:
        AsvtkError: the back-end hears audio alone, and the front-end would run for nothing; or it hears
            features, and the front-end has none.
    """
    return assemble(frontend or build_frontend(config.frontend), config.model, config.loss)


def assemble(frontend: FrontEnd, model_config, loss_config) -> Detector:
    """The same of a front-end that is there.

    Raises:
        AsvtkError: as ``build_detector``.
    """
    model = MODELS[type(model_config)](model_config, len(frontend.layers), frontend.width)
    if model.uses_features and not frontend.layers:
        raise AsvtkError(
            f"model {model_config.name}: needs the features of a front-end, and frontend: waveform has none; "
            "choose another front-end in the configuration"
        )
    if frontend.layers and not frontend.stored and not model.uses_features:
        raise AsvtkError(
            f"model {model_config.name}: hears audio alone, and the front-end would run for nothing; choose "
            "frontend: waveform"
        )
    return Detector(frontend, model, _build_loss(loss_config, model))


def _build_loss(config, model: System):
    if isinstance(model, Committee):
        return CommitteeLoss(config, [member.d_embedding for member in model.members])
    return LOSSES[type(config)](config, model.d_embedding)
