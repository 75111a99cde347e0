"""Back-ends by name, and the detector that one makes with a front-end and a loss head.

"The reports" are the two project reports that this toolkit implements; S1 to S5 are their numbers for
Cascade-Mamba, plain Mamba, MoE-Mamba, the dual stream and AASIST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asvtk.frontends import build_frontend
from asvtk.io.errors import AsvtkError
from asvtk.io.registry import Registry
from asvtk.nn.config import LOSSES

if TYPE_CHECKING:
    from asvtk.frontends.base import FrontEnd
    from asvtk.models.base import BackEnd, Batch, FittedBackEnd, Output
    from asvtk.models.detector import Detector

__all__ = ["MODELS", "BackEnd", "Batch", "Detector", "FittedBackEnd", "Output", "assemble", "build_detector"]

MODELS = Registry(
    "model",
    "asvtk.models.backend_config",
    {
        "cascade_mamba": "asvtk.models.cascade_mamba:CascadeMamba",  # S1
        "plain_mamba": "asvtk.models.plain_mamba:PlainMamba",  # S2
        "moe_mamba": "asvtk.models.moe_mamba:MoeMamba",  # S3
        "conv_moe_mamba": "asvtk.models.conv_moe_mamba:ConvMoeMamba",  # MoE-Mamba on images
        "dual_stream": "asvtk.models.dual_stream:DualStream",  # S4
        "aasist": "asvtk.models.aasist:Aasist",  # S5
        "ssl_aasist": "asvtk.models.ssl_aasist:SslAasist",
        "logistic": "asvtk.models.logistic:Logistic",
        "sls": "asvtk.models.sls:Sls",
        "mhfa": "asvtk.models.mhfa:Mhfa",
        "nes2net": "asvtk.models.nes2net:Nes2Net",
        "attentive_layers": "asvtk.models.attentive_layers:AttentiveLayers",
        "tcm": "asvtk.models.tcm:Tcm",
    },
)


def __getattr__(name: str):
    """Classes that need torch, which a configuration does without."""
    if name == "Detector":
        from asvtk.models.detector import Detector

        return Detector
    if name in ("BackEnd", "Batch", "FittedBackEnd", "Output"):
        from asvtk.models import base

        return getattr(base, name)
    raise AttributeError(f"module 'asvtk.models' has no attribute {name!r}")


def build_detector(config, frontend: FrontEnd | None = None) -> Detector:
    """Fresh detector of a configuration.

    Args:
        config: with sections ``frontend``, ``model`` and ``loss``.
        frontend: that of the configuration, where it is at hand; else a new one, without weights.

    Raises:
        AsvtkError: the back-end hears audio alone, and the front-end would run for nothing; or it hears
            features, and the front-end has none.
    """
    return assemble(frontend or build_frontend(config.frontend), config.model, config.loss)


def assemble(frontend: FrontEnd, model_config, loss_config) -> Detector:
    """Fresh detector of a front-end that is there.

    Raises:
        AsvtkError: as ``build_detector``.
    """
    from asvtk.models.detector import Detector

    model = MODELS.build(model_config, len(frontend.layers), frontend.width)
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
    return Detector(frontend, model, LOSSES.build(loss_config, model.d_embedding))
