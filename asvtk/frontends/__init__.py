"""Registry of front-ends, and what reads their configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asvtk.io.config import apply_overrides, build, load_yaml
from asvtk.io.errors import AsvtkError
from asvtk.io.former import refuse_former
from asvtk.io.registry import Registry

if TYPE_CHECKING:
    from asvtk.augment.config import AugmentationConfig
    from asvtk.frontends.base import FrontEnd
    from asvtk.frontends.spec import FrontEndSpec

__all__ = [
    "FRONTENDS",
    "build_frontend",
    "build_frontend_spec",
    "check_augmentation",
    "load_frontend_config",
]

FRONTENDS = Registry(
    "frontend",
    "asvtk.frontends.config",
    {
        "lfcc": "asvtk.frontends.lfcc:Lfcc",
        "spectrogram": "asvtk.frontends.spectrogram:Spectrogram",
        "ssl": "asvtk.frontends.ssl.frontend:Ssl",
        "waveform": "asvtk.frontends.waveform:Waveform",
    },
)
_SPECS = Registry(
    "frontend",
    "asvtk.frontends.config",
    {
        "lfcc": "asvtk.frontends.spec:LfccSpec",
        "spectrogram": "asvtk.frontends.spec:SpectrogramSpec",
        "ssl": "asvtk.frontends.ssl.spec:SslSpec",
        "waveform": "asvtk.frontends.spec:WaveformSpec",
    },
)


def build_frontend(config) -> FrontEnd:
    """The front-end that a configuration describes; its weights are not read yet."""
    return FRONTENDS.build(config)


def build_frontend_spec(config) -> FrontEndSpec:
    """What a front-end's features are called and how large they are, without torch; raises the same faults.

    A front-end from outside this package is its own specification.
    """
    return (_SPECS if config.name in _SPECS else FRONTENDS).build(config)


def check_augmentation(config, augmentation: AugmentationConfig | None) -> None:
    """
    Raises:
        ValueError: a front-end that is not cached is to have augmented copies, or one that is, random crops.
    """
    config.check_random_crop()  # here too: a configuration from outside may have lost its __post_init__
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
    from asvtk.augment.config import AugmentationConfig  # its filters take a second to import

    content = apply_overrides(load_yaml(path), overrides)
    refuse_former(content, str(path))
    frontend = FRONTENDS.config(content.get("frontend"), f"{path}: frontend")
    augmentation = content.get("augmentation")
    if augmentation is not None:
        augmentation = build(AugmentationConfig, augmentation, f"{path}: augmentation")
    try:
        check_augmentation(frontend, augmentation)
    except ValueError as error:
        raise AsvtkError(f"{path}: {error}") from None
    return frontend, augmentation
