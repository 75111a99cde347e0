"""Configuration of a detector: front-end, back-end, loss head."""

from dataclasses import dataclass

from asvtk.frontends import FRONTENDS
from asvtk.io.errors import AsvtkError
from asvtk.io.former import refuse_former
from asvtk.models import MODELS
from asvtk.nn.config import LOSSES

__all__ = ["DetectorConfig", "build_sections"]

_CHOICES = {"frontend": FRONTENDS, "model": MODELS, "loss": LOSSES}


@dataclass(frozen=True)
class DetectorConfig:
    """Configuration of a detector: one section for each part."""

    frontend: object
    model: object
    loss: object

    @classmethod
    def of(cls, content, where: str) -> "DetectorConfig":
        """From a loaded configuration of anybody, whose other sections say how it was trained.

        Raises:
            AsvtkError: a section is missing, or holds what is unknown or impossible; or it names code outside
                this package that was not imported yet.
        """
        if not isinstance(content, dict):
            raise AsvtkError(f"{where}: expected 'key: value' lines")
        if missing := [name for name in _CHOICES if name not in content]:
            raise AsvtkError(f"{where}: the key {missing[0]!r} is missing")
        # Of the other sections nothing is asked: a package of an earlier asvtk scores as it did.
        return cls(**build_sections({name: content[name] for name in _CHOICES}, where, imports=False))


def build_sections(content: dict, where: str, imports: bool = True) -> dict:
    """A loaded configuration, its sections of a detector built.

    Args:
        content: the configuration.
        where: its file, for messages.
        imports: whether modules outside this package may be imported for it.

    Raises:
        AsvtkError: they hold what is unknown or impossible.
    """
    refuse_former(content, where)
    return content | {
        name: registry.config(content[name], f"{where}: {name}", imports)
        for name, registry in _CHOICES.items()
        if name in content
    }
