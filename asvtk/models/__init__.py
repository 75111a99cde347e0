"""Registry of models by name, and the detector built of one.

To add a model: a module with a configuration dataclass and a ``System``, and a line in ``MODELS``.
"""

from asvtk.io.errors import AsvtkError
from asvtk.models.aasist import Aasist, AasistConfig
from asvtk.models.base import Detector, Inputs, Output, System
from asvtk.models.cascade_mamba import CascadeMamba, CascadeMambaConfig
from asvtk.models.conv_moe_mamba import ConvMoeMamba, ConvMoeMambaConfig
from asvtk.models.dual_stream import DualStream, DualStreamConfig
from asvtk.models.moe_mamba import MoeMamba, MoeMambaConfig
from asvtk.models.plain_mamba import PlainMamba, PlainMambaConfig
from asvtk.nn.losses import LOSSES

__all__ = ["MODELS", "MODEL_CONFIGS", "Detector", "Inputs", "Output", "System", "build_detector"]

MODELS = {
    CascadeMambaConfig: CascadeMamba,  # S1
    PlainMambaConfig: PlainMamba,  # S2
    MoeMambaConfig: MoeMamba,  # S3
    ConvMoeMambaConfig: ConvMoeMamba,  # S3's back-end on images
    DualStreamConfig: DualStream,  # S4
    AasistConfig: Aasist,  # S5
}
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
    return Detector(model, LOSSES[type(loss_config)](loss_config, model.d_embedding), frontend)
