"""The ``vocoded`` section of a configuration: which vocoded data training is given."""

from dataclasses import dataclass
from typing import Literal

from asvtk.io.errors import listing
from asvtk.io.stamps import digest
from asvtk.vocoding.vocoders import VOCODERS

__all__ = ["VocodedConfig"]

#: raise it when a change of the vocoders changes what they make
GENERATION = 4


@dataclass(frozen=True)
class VocodedConfig:
    """Which spoofs are made of the bona fide training utterances, and how often training draws them."""

    methods: Literal["all"] | tuple[str, ...] = "all"
    copies: int = 1  # of each utterance by each method; they differ where a method is random
    share: float | None = None  # of the spoofs of an epoch; null: each is drawn as often as any other
    seed: int = 1

    def __post_init__(self):
        if self.copies < 1:
            raise ValueError("copies must be at least 1; leave the section out for no vocoded data")
        if self.share is not None and not 0 < self.share < 1:
            raise ValueError("share must lie between 0 and 1, or be null")
        unknown = [name for name in self.names if name not in VOCODERS]
        if unknown or not self.names:
            known = listing(VOCODERS, limit=99)
            raise ValueError(f"methods: {listing(unknown) or 'none'}; there are {known}")
        if len(set(self.names)) < len(self.names):
            raise ValueError("methods: one stands there twice")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(VOCODERS) if self.methods == "all" else self.methods

    def describe(self) -> dict:
        """All that the clips depend on besides their source."""
        return {
            "methods": sorted(self.names),
            "copies": self.copies,
            "seed": self.seed,
            "generation": GENERATION,
        }

    def set_name(self, training_set: str) -> str:
        """What the data directory of the spoofs is called."""
        return f"{training_set}_vocoded-{digest(self.describe())[:12]}"
