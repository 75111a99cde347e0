"""The configuration of an experiment; ``experiment_folder`` has its files."""

from dataclasses import dataclass, field

from asvtk.augment.config import AugmentationConfig
from asvtk.frontends import check_augmentation
from asvtk.io.config import apply_overrides, build, load_yaml
from asvtk.models.config import DetectorConfig, build_sections
from asvtk.training.settings import TrainingConfig
from asvtk.vocoding.config import VocodedConfig

__all__ = ["ExperimentConfig", "TrainingConfig", "load_config"]


@dataclass(frozen=True)
class ExperimentConfig(DetectorConfig):
    """A detector, and how it is trained. ``seed`` rules all randomness."""

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
    return build(ExperimentConfig, build_sections(content, str(path)), str(path))
