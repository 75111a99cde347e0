"""Front-ends by name, and the feature cache.

To add one: a module with a configuration dataclass and a ``FrontEnd``, and a line in ``FRONTENDS``.
"""

from asvtk.augment.config import AugmentationConfig
from asvtk.frontends.base import FrontEnd, Mode
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.frontends.spectrogram import Spectrogram, SpectrogramConfig
from asvtk.frontends.ssl import Ssl, SslConfig
from asvtk.frontends.waveform import Waveform, WaveformConfig
from asvtk.io.config import apply_overrides, build, build_named, load_yaml
from asvtk.io.errors import AsvtkError

__all__ = [
    "FRONTENDS",
    "FRONTEND_CONFIGS",
    "FrontEnd",
    "build_frontend",
    "check_augmentation",
    "load_frontend_config",
    "mode_of",
]

FRONTENDS = {
    LfccConfig: Lfcc,
    SpectrogramConfig: Spectrogram,
    SslConfig: Ssl,
    WaveformConfig: Waveform,
}
FRONTEND_CONFIGS = {config.name: config for config in FRONTENDS}


def build_frontend(config, device: str = "cpu") -> FrontEnd:
    """The front-end that a configuration describes, on ``device`` (``cpu`` | ``cuda``)."""
    return FRONTENDS[type(config)](config, device)


def mode_of(config) -> Mode:
    """``cached``, ``live`` or ``split``; front-ends that know no choice are cached."""
    return getattr(config, "mode", "cached")


def check_augmentation(config, augmentation: AugmentationConfig | None) -> None:
    """
    Raises:
        ValueError: a live front-end is to have augmented copies.
    """
    if mode_of(config) == "live" and augmentation is not None and augmentation.copies > 1:
        raise ValueError(
            f"augmentation.copies {augmentation.copies}: frontend.mode is live, which augments anew in every "
            "epoch and caches no copies; leave copies out, or choose mode cached or split"
        )


def load_frontend_config(path, overrides: list[str] = ()):
    """The ``frontend`` and ``augmentation`` sections of an experiment's configuration, and no others.

    Returns:
        configuration of the front-end, and of the augmentation (None without one).

    Raises:
        AsvtkError: anything unknown, missing or impossible in them.
    """
    content = apply_overrides(load_yaml(path), overrides)
    frontend = build_named(FRONTEND_CONFIGS, content.get("frontend"), f"{path}: frontend")
    augmentation = content.get("augmentation")
    if augmentation is not None:
        augmentation = build(AugmentationConfig, augmentation, f"{path}: augmentation")
    try:
        check_augmentation(frontend, augmentation)
    except ValueError as error:
        raise AsvtkError(f"{path}: {error}") from None
    return frontend, augmentation
