"""Front-ends by name, and the feature cache."""

from asvtk.augment.config import AugmentationConfig
from asvtk.frontends.base import FrontEnd
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
]

FRONTENDS = {
    LfccConfig: Lfcc,
    SpectrogramConfig: Spectrogram,
    SslConfig: Ssl,
    WaveformConfig: Waveform,
}
FRONTEND_CONFIGS = {config.name: config for config in FRONTENDS}


def build_frontend(config) -> FrontEnd:
    """The front-end that a configuration describes; its weights are not read yet."""
    return FRONTENDS[type(config)](config)


def check_augmentation(config, augmentation: AugmentationConfig | None) -> None:
    """
    Raises:
        ValueError: a front-end that is not cached is to have augmented copies.
    """
    if not config.cache and augmentation is not None and augmentation.copies > 1:
        raise ValueError(
            f"augmentation.copies {augmentation.copies}: frontend.cache is false, which augments anew in "
            "every epoch and caches no copies; leave copies out, or set cache to true"
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
