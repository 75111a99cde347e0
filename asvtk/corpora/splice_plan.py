"""Plans of long recordings with spoofed stretches: what lies where, before any audio is read.

A plan is a function of the data directory's tables, the configuration and the seed alone. All places are in
samples; ends of stretches are whole milliseconds, so that an RTTM file of three decimals is exact.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.datadir import BONAFIDE, NO_ATTACK, SPOOF, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.randomness import utterance_generator

__all__ = ["MIXED", "Piece", "Recording", "SpliceConfig", "Stretch", "joint_zone", "plan_recordings"]

#: attack of a recording with spoofs of several
MIXED = "mixed"
_MILLISECOND = SAMPLE_RATE // 1000
_GAP = 500  # ms of bona fide speech between two stretches, at least
_LONGEST_FADE = 250  # ms


@dataclass(frozen=True)
class SpliceConfig:
    """What recordings to make.

    Attributes:
        recordings: how many.
        duration: least and most seconds of a recording; drawn uniformly.
        stretch: least and most seconds of a spoofed stretch; drawn log-uniformly, up to the room there is.
        stretches: most spoofed stretches in a recording that is spoofed in part; 1 to so many.
        bonafide_share: share of recordings without any.
        spoof_share: share of recordings that are one spoofed stretch, as long as they are.
        fade: least and most milliseconds of a cross-fade.
        fade_share: share of the joints that are cross-faded; the others are hard cuts.
        match_level: bring every piece to one level.
        seed: of all that is drawn.

    Raises:
        ValueError: values that are out of range or do not go together.
    """

    recordings: int = 100
    duration: tuple[float, float] = (20.0, 180.0)
    stretch: tuple[float, float] = (0.5, 60.0)
    stretches: int = 4
    bonafide_share: float = 0.3
    spoof_share: float = 0.1
    fade: tuple[float, float] = (10.0, 50.0)
    fade_share: float = 0.5
    match_level: bool = True
    seed: int = 1

    def __post_init__(self):
        for name in ("duration", "stretch", "fade"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ValueError(f"{name} {low:g} {high:g}: expected the least and the most, above 0")
        for name in ("bonafide_share", "spoof_share", "fade_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name):g}: expected a number from 0 to 1")
        if self.bonafide_share + self.spoof_share > 1:
            raise ValueError(
                f"bonafide_share {self.bonafide_share:g} and spoof_share {self.spoof_share:g}: together more "
                "than 1"
            )
        if self.recordings < 1 or self.stretches < 1:
            raise ValueError("recordings and stretches: expected at least 1 of each")
        if self.fade[1] > _LONGEST_FADE or 2 * math.ceil(self.fade[1]) > 1000 * self.stretch[0]:
            raise ValueError(
                f"fade up to {self.fade[1]:g} ms: expected at most {_LONGEST_FADE} ms, and half of the "
                f"shortest stretch of {1000 * self.stretch[0]:g} ms"
            )
        if 1000 * self.stretch[0] + _GAP > 1000 * self.duration[0]:
            raise ValueError(
                f"duration from {self.duration[0]:g} s: expected at least {self.stretch[0] + _GAP / 1000:g} "
                f"s, for the shortest stretch of {self.stretch[0]:g} s and bona fide speech beside it"
            )


class Stretch(NamedTuple):
    """A part of a recording of one label, from sample ``start`` to ``end``."""

    start: int
    end: int
    label: str


class Piece(NamedTuple):
    """A part of a recording that comes from one utterance, and the joint before it."""

    source: str  # id of the utterance
    begin: int  # the utterance's sample that lies at ``start``
    start: int
    end: int
    label: str
    fade: int  # samples of the cross-fade with the piece before; 0: a hard cut, or the first piece


class Recording(NamedTuple):
    """The plan of a recording; stretches and pieces cover it without gaps."""

    utterance: str  # its id
    speaker: str  # whose utterances were taken first
    attack: str
    stretches: list[Stretch]
    pieces: list[Piece]

    @property
    def num_samples(self) -> int:
        return self.pieces[-1].end

    @property
    def spoof_share(self) -> float:
        """Share of its samples that are spoofed, in [0, 1]."""
        spoofed = sum(end - start for start, end, label in self.stretches if label == SPOOF)
        return spoofed / self.num_samples


def joint_zone(before: Piece, after: Piece) -> tuple[int, int]:
    """From where to where a cross-fade goes: always inside the spoofed stretch.

    So no sample that stands under ``bonafide`` has a spoof in it; a stretch is spoofed where any of it is.
    """
    if (before.label, after.label) == (SPOOF, BONAFIDE):
        return after.start - after.fade, after.start
    return after.start, after.start + after.fade


def plan_recordings(data: DataDirectory, config: SpliceConfig) -> list[Recording]:
    """Plan all recordings.

    A recording has a speaker, drawn among those of the bona fide speech (of the spoofs, if it is wholly
    spoofed), and an attack, drawn among those on that speaker, or among all where there are none. Of each
    class those utterances come first that are of both, then the speaker's, then the attack's, then any;
    within these in random order, none twice before all were used. Bona fide speech goes on after a stretch
    where it was interrupted; every stretch begins with an utterance of its own, and if it is shorter than
    that, it is taken from within, where there is speech.

    Raises:
        AsvtkError: one of the classes that the recordings need has no utterance long enough.
    """
    # What comes from an utterance leaves so much at both ends for fades, and is at least twice as long.
    reserve = math.ceil(config.fade[1]) * _MILLISECOND
    shelves = {label: _Shelf(data, label, 6 * reserve) for label in (BONAFIDE, SPOOF)}
    n_bonafide = round(config.bonafide_share * config.recordings)
    n_spoof = min(round(config.spoof_share * config.recordings), config.recordings - n_bonafide)
    needed = {BONAFIDE: config.recordings > n_spoof, SPOOF: config.recordings > n_bonafide}
    for label, shelf in shelves.items():
        if needed[label] and not shelf.everyone:
            raise AsvtkError(
                f"{data.path}/utt2label: no utterance of at least {6 * reserve / SAMPLE_RATE:g} s is "
                f"{label}; name a data directory with both bona fide speech and spoofs"
            )
    kinds = [BONAFIDE] * n_bonafide + [SPOOF] * n_spoof
    kinds += ["both"] * (config.recordings - len(kinds))
    order = np.random.Generator(np.random.PCG64(config.seed)).permutation(config.recordings)
    digits = max(4, len(str(config.recordings)))
    return [
        _plan(f"{data.name}-partial-{number:0{digits}d}", kinds[place], data, shelves, reserve, config)
        for number, place in enumerate(order, 1)
    ]


def _plan(utterance: str, kind: str, data: DataDirectory, shelves: dict, reserve: int, config) -> Recording:
    rng = utterance_generator(config.seed, utterance, 0)
    stretches = _draw_stretches(rng, kind, config)
    speaker = _choose(rng, sorted(shelves[SPOOF if kind == SPOOF else BONAFIDE].of_speaker))
    spoofs = shelves[SPOOF]
    attacks = {data.attack[u] for u in spoofs.of_speaker.get(speaker, ())} or set(spoofs.of_attack)
    attack = _choose(rng, sorted(attacks)) if kind != BONAFIDE else NO_ATTACK
    reels = {
        label: _Reel(rng, shelf.tiers(speaker, attack), data.num_samples, reserve)
        for label, shelf in shelves.items()
    }
    pieces: list[Piece] = []
    for start, end, label in stretches:
        reel = reels[label]
        if label == SPOOF:
            reel.begin(end - start)
        while start < end:
            source, begin, length = reel.take(end - start)
            fade = _draw_fade(rng, config) if pieces else 0
            pieces.append(Piece(source, begin, start, start + length, label, fade))
            start += length
    found = {data.attack[piece.source] for piece in pieces if piece.label == SPOOF}
    attack = NO_ATTACK if not found else found.pop() if len(found) == 1 else MIXED
    return Recording(utterance, speaker, attack, stretches, pieces)


def _draw_stretches(rng: np.random.Generator, kind: str, config: SpliceConfig) -> list[Stretch]:
    total = round(1000 * rng.uniform(*config.duration))  # all in milliseconds
    if kind in (BONAFIDE, SPOOF):
        return [Stretch(0, total * _MILLISECOND, kind)]
    least, most = (round(1000 * seconds) for seconds in config.stretch)
    at_most = config.stretches
    while at_most > 1 and at_most * least + (at_most - 1) * _GAP > total:
        at_most -= 1
    count = int(rng.integers(1, at_most + 1))
    room = total - max(count - 1, 1) * _GAP
    lengths = []
    for left in range(count, 0, -1):
        longest = max(least, min(most, room - (left - 1) * least))
        lengths.append(min(longest, round(math.exp(rng.uniform(math.log(least), math.log(longest))))))
        room -= lengths[-1]
    lengths = [lengths[place] for place in rng.permutation(count)]  # the first drawn had the most room
    spare = total - sum(lengths) - (count - 1) * _GAP
    cuts = [0, *sorted(rng.integers(0, spare + 1, count).tolist()), spare]
    gaps = [end - start for start, end in zip(cuts, cuts[1:], strict=False)]
    gaps = [gap + _GAP * (0 < place < count) for place, gap in enumerate(gaps)]
    for outer, inner in ((0, 1), (-1, -2)):
        if gaps[outer] < _GAP:  # too short for a piece: the recording begins, or ends, with a spoof
            gaps[inner] += gaps[outer]
            gaps[outer] = 0
    parts, start = [], 0
    for gap, length in zip(gaps, [*lengths, 0], strict=True):
        for label, size in ((BONAFIDE, gap), (SPOOF, length)):
            if size:
                parts.append(Stretch(start * _MILLISECOND, (start + size) * _MILLISECOND, label))
                start += size
    return parts


def _draw_fade(rng: np.random.Generator, config: SpliceConfig) -> int:
    is_faded, length = rng.random() < config.fade_share, rng.uniform(*config.fade)  # both drawn always
    return round(length * _MILLISECOND) if is_faded else 0


def _choose(rng: np.random.Generator, items: list[str]) -> str:
    return items[rng.integers(len(items))]


class _Shelf:
    """The utterances of one label that are long enough, by speaker and attack."""

    def __init__(self, data: DataDirectory, label: str, shortest: int):
        self.of_speaker, self.of_attack, self.of_both = (defaultdict(list) for _ in range(3))
        self.everyone = [
            u for u in data.utterances if data.label[u] == label and data.num_samples[u] >= shortest
        ]
        for utterance in self.everyone:
            speaker, attack = data.speaker[utterance], data.attack[utterance]
            self.of_speaker[speaker].append(utterance)
            self.of_attack[attack].append(utterance)
            self.of_both[speaker, attack].append(utterance)

    def tiers(self, speaker: str, attack: str) -> list[list[str]]:
        """Lists of utterances, the best first; the later ones hold those of the former too."""
        found = (
            self.of_both.get((speaker, attack)),
            self.of_speaker.get(speaker),
            self.of_attack.get(attack),
            self.everyone,
        )
        return [tier for tier in found if tier]


class _Reel:
    """Utterances one after another, from which a recording's pieces are cut."""

    def __init__(self, rng: np.random.Generator, tiers: list[list[str]], num_samples: dict, reserve: int):
        self._rng, self._num_samples, self._reserve = rng, num_samples, reserve
        self._shortest = 2 * reserve  # a piece may have a fade at either end
        self._order = self._endless(tiers)
        self._utterance, self._place = "", 0

    def _endless(self, tiers: list[list[str]]) -> Iterator[str]:
        while True:
            seen = set()
            for tier in tiers:
                for place in self._rng.permutation(len(tier)):
                    if tier[place] not in seen:
                        seen.add(tier[place])
                        yield tier[place]

    def _room(self) -> int:
        """Samples of the utterance at hand that are left."""
        return self._num_samples.get(self._utterance, 0) - self._reserve - self._place

    def begin(self, wanted: int) -> None:
        """A new utterance; where it is longer than wanted, from its middle half, for the ends are silent."""
        self._utterance, self._place = next(self._order), self._reserve
        spare = self._room() - wanted
        if spare > 0:
            self._place += int(spare * self._rng.uniform(0.25, 0.75))

    def take(self, wanted: int) -> tuple[str, int, int]:
        """The next piece: utterance, its first sample there, and how many, at most ``wanted``."""
        if self._room() < 2 * self._shortest:
            self._utterance, self._place = next(self._order), self._reserve
        length = min(wanted, self._room())
        if 0 < wanted - length < self._shortest:  # so that what is left is no shorter than a piece
            length = wanted - self._shortest
        begin = self._place
        self._place += length
        return self._utterance, begin, length
