"""Integrity check of a feature cache: what a disk or a copy has damaged."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from asvtk.frontends.cache.contents import layers_of
from asvtk.frontends.cache.store import FeatureCache
from asvtk.io.ark import MatrixReader, read_scp
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.tables import read_table

__all__ = ["verify"]

#: matrices that a thread reads at a time
_CHUNK = 64

Shape = tuple[int, int]


class Place(NamedTuple):
    """Where the features of an utterance lie."""

    utterance: str
    ark: str
    offset: int


def verify(cache: FeatureCache, quick: bool = False) -> tuple[int, list[str]]:
    """Read every matrix that the cache would give, and check that all belong together.

    Each must be whole, stand behind its own utterance's name, be finite, have the shape that the other
    layers have, and be of an utterance of ``utt2md5``; and every line of a ``feats.scp`` must lead to
    one. Numbers that a disk turned into other finite numbers cannot be told.

    Args:
        cache: what to check; jobs may be adding to it.
        quick: read headers only, and no numbers.

    Returns:
        how many matrices were looked at; and what is wrong, a line each, with the remedy.
    """
    layers = layers_of(cache)
    known = cache.folder / "utt2md5"
    index = {utterance: row for row, utterance in enumerate(read_table(known) if known.exists() else {})}
    shapes = np.zeros((len(index), len(layers), 2), np.int32)  # 0: there is none
    problems, count = [], 0
    reader = _Reader()
    with tqdm(desc=f"{cache.root.name}/{cache.folder.name}", unit="matrix", disable=None) as bar:
        bar.total = len(index) * len(layers)
        for column, layer in enumerate(layers):
            places, lost = _places(cache, layer)
            problems += lost
            faults = {}
            for place, outcome in _look_at(reader, places, quick):
                bar.update()
                if isinstance(outcome, str):
                    faults[place] = outcome
                elif place.utterance in index:
                    shapes[index[place.utterance], column] = outcome
            count += len(places)
            problems += _by_ark(faults)
            problems += _unknown(known, layer, [place.utterance for place in places], index)
    return count, problems + _disagreements(cache, layers, list(index), shapes)


class _Reader(MatrixReader):
    def look(self, place: Place, quick: bool) -> Shape | str:
        """The shape of a matrix, or what is wrong with it."""
        try:
            entry = self._find(place.ark, place.offset, place.utterance)
            if 0 in entry.shape:
                return f"the matrix at byte {place.offset} is empty"
            if not quick and not np.isfinite(entry.load(np.empty(entry.shape, np.float32))).all():
                return f"numbers at byte {place.offset} are not finite"
        except AsvtkError as error:  # its remedy is told once for all of the ark
            return str(error).removeprefix(f"{place.ark}: ").partition("; ")[0]
        return entry.shape


def _places(cache: FeatureCache, layer: int) -> tuple[list[Place], list[str]]:
    """Where the matrices of a layer lie, ark by ark; and what is wrong with its ``feats.scp``."""
    folder, feats = cache.layer_folder(layer), cache.layer_folder(layer) / "feats.scp"
    parts = cache.completed(layer)
    joined = read_scp(feats) if feats.exists() else {}
    elsewhere = {
        ark for ark, _ in joined.values() if os.path.realpath(Path(ark).parent) != os.path.realpath(folder)
    }
    problems = []
    if elsewhere:
        problems.append(
            f"{feats}: leads to arks that are not of this cache, such as {min(elsewhere)}; was it moved or "
            "copied? Run stage 2 again, which writes this file anew"
        )
    elif lost := sorted(joined.keys() - parts.keys()):
        problems.append(
            f"{feats}: the arks of {len(lost)} utterances are gone or were cut: {listing(lost, 3)}; "
            "run stage 2 again, which computes them anew"
        )
    return sorted((Place(u, *place) for u, place in parts.items()), key=lambda place: place[1:]), problems


def _look_at(reader: _Reader, places: list[Place], quick: bool) -> Iterator[tuple[Place, Shape | str]]:
    """Each matrix's shape, or what is wrong with it; several threads read."""
    chunks = [places[begin : begin + _CHUNK] for begin in range(0, len(places), _CHUNK)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        answers = pool.map(lambda chunk: [reader.look(place, quick) for place in chunk], chunks)
        for chunk, outcomes in zip(chunks, answers, strict=True):
            yield from zip(chunk, outcomes, strict=True)


def _by_ark(faults: dict[Place, str]) -> list[str]:
    """One line for each damaged ark."""
    arks = defaultdict(list)
    for place, fault in faults.items():
        arks[place.ark].append((place.utterance, fault))
    return [
        f"{ark}: {len(damaged)} matrices are damaged: {listing([u for u, _ in damaged], 3)} "
        f"(first: {damaged[0][1]}); {_remedy([ark])}"
        for ark, damaged in arks.items()
    ]


def _remedy(arks) -> str:
    files = " ".join(f"{Path(ark).with_suffix('')}.*" for ark in arks)
    return f"delete the part (rm {files}) and run stage 2 again, which computes it anew"


def _unknown(known: Path, layer: int, utterances: list[str], index: dict[str, int]) -> list[str]:
    lacking = sorted(utterance for utterance in utterances if utterance not in index)
    if not lacking:
        return []
    return [
        f"{known}: lacks {len(lacking)} utterances that layer {layer} has: {listing(lacking, 3)}; nothing "
        "says which audio they are of: run stage 2 again with their data directory, which notes it"
    ]


def _disagreements(cache: FeatureCache, layers, utterances: list[str], shapes: np.ndarray) -> list[str]:
    """Utterances whose layers differ in shape; what most layers have is taken to be right.

    Args:
        shapes: int, (utterances, layers, 2), zeros where there is no matrix.
    """
    there = shapes.any(axis=2)
    largest = shapes.max(axis=1, keepdims=True, initial=0)
    differ = ((shapes != largest).any(axis=2) & there).any(axis=1)
    wrong = defaultdict(list)  # layer -> (utterance, its shape there, the other layers' shapes)
    for row in np.flatnonzero(differ):
        by_layer = {
            layers[column]: tuple(shapes[row, column].tolist()) for column in np.flatnonzero(there[row])
        }
        votes = Counter(by_layer.values())
        right, most = votes.most_common(1)[0]
        for layer, shape in by_layer.items():
            if shape != right or 2 * most <= len(by_layer):  # without a majority any may be wrong
                others = " ".join(map(str, sorted(votes.keys() - {shape})))
                wrong[layer].append((utterances[row], shape, others))
    problems = []
    for layer, cases in sorted(wrong.items()):
        places = cache.completed(layer)
        arks = sorted({places[utterance][0] for utterance, _, _ in cases})
        _, shape, others = cases[0]
        problems.append(
            f"{cache.layer_folder(layer)}: {len(cases)} matrices differ in shape from other layers: "
            f"{listing([u for u, _, _ in cases], 3)} (first: {shape}, elsewhere {others}); {_remedy(arks)}"
        )
    return problems
