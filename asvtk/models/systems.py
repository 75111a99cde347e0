"""Single systems by name, one file each.

To add one: a module with a configuration dataclass and a model, and a line in ``SYSTEMS``.
"""

from asvtk.models.aasist import Aasist, AasistConfig
from asvtk.models.cascade_mamba import CascadeMamba, CascadeMambaConfig
from asvtk.models.conv_moe_mamba import ConvMoeMamba, ConvMoeMambaConfig
from asvtk.models.dual_stream import DualStream, DualStreamConfig
from asvtk.models.moe_mamba import MoeMamba, MoeMambaConfig
from asvtk.models.plain_mamba import PlainMamba, PlainMambaConfig

__all__ = ["SYSTEMS", "SYSTEM_CONFIGS"]

SYSTEMS = {
    CascadeMambaConfig: CascadeMamba,  # S1
    PlainMambaConfig: PlainMamba,  # S2
    MoeMambaConfig: MoeMamba,  # S3
    ConvMoeMambaConfig: ConvMoeMamba,  # S3's back-end on images
    DualStreamConfig: DualStream,  # S4
    AasistConfig: Aasist,  # S5
}
SYSTEM_CONFIGS = {config.name: config for config in SYSTEMS}
