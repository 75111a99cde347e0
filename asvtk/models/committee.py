"""A committee: several systems that hear the same utterance and are trained side by side as one.

Each member has its own embedding and its own loss (``asvtk.nn.losses.CommitteeLoss``), so none can lean on
another while it learns (only the norm that gradients are clipped by is that of all); their scores are
averaged. Members that hear different things, such as bands and the audio itself, err on different
utterances, and several of one kind, which begin at different weights, err less together than each of them.
"""

from dataclasses import dataclass

import torch
from torch import nn

from asvtk.io.config import build_named, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.models.base import Inputs, Output, System
from asvtk.models.systems import SYSTEM_CONFIGS, SYSTEMS
from asvtk.nn.pooling import GlobalMvn

__all__ = ["Committee", "CommitteeConfig", "Members"]


@dataclass(frozen=True)
class Members:
    """Configurations of systems; in YAML a list of sections, each with the ``name`` of a system."""

    configs: tuple[object, ...]

    @classmethod
    def build(cls, content, where: str) -> "Members":
        if not isinstance(content, list) or len(content) < 2:
            raise AsvtkError(
                f"{where}: expected a list of two systems or more, each with its name; found {content!r}"
            )
        sections = enumerate(content)
        return cls(
            tuple(build_named(SYSTEM_CONFIGS, part, f"{where}[{number}]") for number, part in sections)
        )

    def describe(self) -> list[dict]:
        return [to_mapping(config) for config in self.configs]


@dataclass(frozen=True)
class CommitteeConfig:
    members: Members

    name = "committee"


class Committee(System):
    """The system, for features of ``layers`` layers with ``d_in`` numbers a frame.

    Its embedding is that of all members, one behind the other.

    Attributes:
        members: the systems, in the order of the configuration.
    """

    def __init__(self, config: CommitteeConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(
            SYSTEMS[type(part)](part, layers, d_in) for part in config.members.configs
        )
        self.uses_features = any(member.uses_features for member in self.members)
        self.uses_audio = any(member.uses_audio for member in self.members)
        self.d_embedding = sum(member.d_embedding for member in self.members)
        if self.uses_features:
            self.mvn = GlobalMvn(layers, d_in)  # of all; those of the members change nothing

    def forward(self, inputs: Inputs) -> Output:
        if self.uses_features:
            inputs = inputs._replace(features=self.mvn(inputs.features))
        outputs = [member(inputs) for member in self.members]
        embedding = torch.cat([output.embedding for output in outputs], dim=-1)
        return Output(embedding, sum(output.auxiliary for output in outputs))
