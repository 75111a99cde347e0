"""The configuration of an experiment; ``experiment_folder`` has its files."""

from dataclasses import dataclass, field

from asvtk.augment.config import AugmentationConfig
from asvtk.frontends import FRONTEND_CONFIGS, check_augmentation
from asvtk.io.config import apply_overrides, build, build_named, load_yaml
from asvtk.models import MODEL_CONFIGS
from asvtk.nn.losses import LOSS_CONFIGS
from asvtk.training.former import refuse_former
from asvtk.training.settings import TrainingConfig
from asvtk.vocoding.config import VocodedConfig

__all__ = ["ExperimentConfig", "TrainingConfig", "load_config"]


@dataclass(frozen=True)
class ExperimentConfig:
    """One section for each floor that has a choice to make. ``seed`` rules all randomness."""

    frontend: object
    model: object
    loss: object
    augmentation: AugmentationConfig | None = None
    vocoded: VocodedConfig | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 1

    def __post_init__(self):
        check_augmentation(self.frontend, self.augmentation)
        trainable, stages = getattr(self.frontend, "trainable", 0), self.training.unfreeze.stages
        if stages and stages[-1][1] != trainable:
            raise ValueError(
                f"training.unfreeze ends with {stages[-1][1]} blocks, and frontend.trainable is {trainable}; "
                "they must agree"
            )


_CHOICES = {"frontend": FRONTEND_CONFIGS, "model": MODEL_CONFIGS, "loss": LOSS_CONFIGS}


def load_config(path, overrides: list[str] = ()) -> ExperimentConfig:
    """Read and check a configuration.

    Args:
        path: a YAML file.
        overrides: ``section.key=value`` words that win over the file.

    Raises:
        AsvtkError: anything unknown, missing or impossible in it, with the nearest valid key, or with what
            became of a key that was valid once.
    """
    content = apply_overrides(load_yaml(path), overrides)
    refuse_former(content, str(path))
    return _build(content, str(path))


def _build(content: dict, path: str) -> ExperimentConfig:
    content = dict(content)
    for section, registry in _CHOICES.items():
        if section in content:
            content[section] = build_named(registry, content[section], f"{path}: {section}")
    return build(ExperimentConfig, content, path)
