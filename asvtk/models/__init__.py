"""Systems by name, one file each.

To add one: a module with a configuration dataclass and a model, and a line in ``MODELS``.
"""

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


def build_detector(model_config, loss_config, layers: int, d_in: int) -> Detector:
    """A fresh detector for features of ``layers`` layers with ``d_in`` numbers a frame (0, 0: none)."""
    model = MODELS[type(model_config)](model_config, layers, d_in)
    return Detector(model, LOSSES[type(loss_config)](loss_config, model.d_embedding))
