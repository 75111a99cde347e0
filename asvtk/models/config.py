"""The part of a configuration that says what a detector is: front-end, back-end, loss head."""

from dataclasses import dataclass

from asvtk.frontends import FRONTEND_CONFIGS
from asvtk.io.config import build_named
from asvtk.io.errors import AsvtkError
from asvtk.models import MODEL_CONFIGS
from asvtk.nn.losses import LOSS_CONFIGS

__all__ = ["DetectorConfig", "build_sections"]

_CHOICES = {"frontend": FRONTEND_CONFIGS, "model": MODEL_CONFIGS, "loss": LOSS_CONFIGS}


@dataclass(frozen=True)
class DetectorConfig:
    """One section for each part of a detector."""

    frontend: object
    model: object
    loss: object

    @classmethod
    def of(cls, content: dict, where: str) -> "DetectorConfig":
        """From a loaded configuration, whose other sections say how it was trained.

        Raises:
            AsvtkError: a section is missing, or holds what is unknown or impossible.
        """
        if missing := [name for name in _CHOICES if name not in content]:
            raise AsvtkError(f"{where}: the key {missing[0]!r} is missing")
        sections = build_sections(content, where)
        return cls(**{name: sections[name] for name in _CHOICES})


def build_sections(content: dict, where: str) -> dict:
    """A loaded configuration, its sections of a detector built.

    Raises:
        AsvtkError: they hold what is unknown or impossible.
    """
    return content | {
        name: build_named(registry, content[name], f"{where}: {name}")
        for name, registry in _CHOICES.items()
        if name in content
    }
