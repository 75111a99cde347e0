"""Import of features from foreign arks and scp files into the cache.

All that is given becomes part of the cache, or nothing does: it is written beside the layer, and renamed into
it when the last matrix is on disk.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from asvtk.frontends.cache.contents import require_space
from asvtk.frontends.cache.store import FeatureCache
from asvtk.io.ark import ArkWriter, encode_matrix, entry_size, read_scp
from asvtk.io.ark.foreign import ForeignEntry, bytes_before, entry_shape, find_entries, read_entry
from asvtk.io.atomic import write_text
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.locks import locked

__all__ = ["Imported", "import_features"]

#: largest difference from the front-end's own features, RMS over standard deviation. LFCCs stored as CM3
#: differ by 0.06, as CM by 0.008; with another number of filters or size of FFT by 0.13 and more.
TOLERANCE = 0.1


class Imported(NamedTuple):
    """How many utterances: imported, cached already, in the sources alone, and without features still."""

    added: int
    cached: int
    unknown: int
    missing: int


def import_features(
    sources: Sequence[str],
    cache: FeatureCache,
    layer: int,
    data: DataDirectory,
    manifest: dict,
    storage: str,
    shape: Callable[[str], tuple[int, int]],
    compute: Callable[[str], np.ndarray],
    checks: int = 3,
) -> Imported:
    """Add one layer's features of a data set to a cache, and join the layer when it is complete.

    Args:
        sources: arks and scp files, as ``find_entries`` takes them.
        cache, layer: where the features belong.
        data: the data set; other utterances in the sources are passed over.
        manifest: what the cache's fingerprint stands for.
        storage: the kind of matrix that the cache holds.
        shape: utterance -> frames and dimensions that the front-end gives it.
        compute: utterance -> the front-end's own features of the layer.
        checks: for how many utterances, spread evenly, the features are compared with ``compute``.

    Raises:
        AsvtkError: anything in the sources that is not as expected, with file, line and utterance; or the
            cache is of other audio; or the disk is full. The cache is as it was.
    """
    entries = _collect(sources)
    known = [utterance for utterance in data.utterances if utterance in entries]
    if not known:
        names = (
            f"{listing(entries, 2)} there, {listing(data.utterances, 2)} here"
            if entries
            else "they are empty"
        )
        raise AsvtkError(
            f"{listing(sources, 3)}: no features of {data.path}: {names}; expected its utterances as keys"
        )
    cache.check_audio(data)
    cached = cache.completed(layer).keys()
    wanted = {utterance: entries[utterance] for utterance in known if utterance not in cached}
    utterances = frozenset(data.utterances)
    for utterance, entry in wanted.items():
        _check_shape(entry, entry_shape(entry), shape(utterance))
        _check_name(entry, utterances)
    require_space(cache.root.parent, sum(entry_size(storage, *shape(u), u) for u in wanted))
    for utterance in list(wanted)[:: max(1, len(wanted) // checks)][:checks] if checks else ():
        _check_numbers(wanted[utterance], compute(utterance))
    if wanted:
        with _new_part(cache, layer, data, manifest) as writer:
            for utterance, entry in tqdm(wanted.items(), desc="importing", unit="utt", disable=None):
                matrix = read_entry(entry)
                _check_shape(entry, matrix.shape, shape(utterance))  # it may have been replaced meanwhile
                if not np.isfinite(matrix).all():
                    raise _refusal(
                        entry, "holds nan or inf, or numbers beyond float32", "expected finite numbers"
                    )
                try:
                    writer.write_encoded(utterance, encode_matrix(matrix, storage))
                except ValueError as error:
                    raise _refusal(
                        entry, str(error), f"cannot be stored as {storage}; set frontend.storage: FM"
                    ) from None
    missing = cache.missing(data.utterances, [layer]).keys() - cache.skipped().keys()
    if not missing:
        cache.join(data, [layer])
    return Imported(len(wanted), len(known) - len(wanted), len(entries) - len(known), len(missing))


def _collect(sources: Sequence[str]) -> dict[str, ForeignEntry]:
    entries = {}
    for source in sources:
        for entry in find_entries(source):
            first = entries.setdefault(entry.key, entry)
            if first is not entry:
                raise AsvtkError(
                    f"{entry.listed}: {entry.key} stands in {first.listed} too; expected each utterance once"
                )
    return entries


def _check_shape(entry: ForeignEntry, shape: tuple[int, int], expected: tuple[int, int]) -> None:
    if tuple(shape) != tuple(expected):
        raise _refusal(
            entry,
            f"has {shape[0]} frames of {shape[1]} numbers",
            f"expected {expected[0]} of {expected[1]}, as the configuration's front-end gives: its crop, its "
            "frame shift and its layers must be those of the features",
        )


def _check_name(entry: ForeignEntry, utterances: frozenset[str]) -> None:
    """A stale scp leads to the matrices of other utterances; keys may have got or lost a prefix, though."""
    if entry.ranges:  # pieces of a recording have names of their own
        return
    before = bytes_before(entry, 256)
    if not before.endswith(b" ") or before.endswith(f"{entry.key} ".encode()):
        return
    for begin in range(len(before) - 1):
        name = before[begin:-1].decode(errors="replace")
        if name in utterances:
            raise _refusal(
                entry,
                f"is the matrix of {name} in {entry.ark}",
                "the scp is of another ark: expected its own",
            )


def _check_numbers(entry: ForeignEntry, expected: np.ndarray) -> None:
    difference = np.square(read_entry(entry) - expected, dtype=np.float64)
    # Of most dimensions and of all numbers: in the latter a few wide dimensions, such as the 0th cepstral
    # coefficient, hide the others, in the former they are hidden.
    spread = expected.std(axis=0, dtype=np.float64)
    of_most = np.median(np.sqrt(difference.mean(axis=0)) / np.where(spread > 0, spread, 1))
    of_all = np.sqrt(difference.mean()) / (expected.std(dtype=np.float64) or 1)
    share = max(of_most, of_all)
    if not share <= TOLERANCE:
        raise _refusal(
            entry,
            f"differs from what the configuration's front-end gives by {100 * share:.0f} % of the standard "
            "deviation",
            f"expected at most {100 * TOLERANCE:.0f} %: name the front-end, weights and --layer that the "
            "features were made with, or let stage 2 compute them",
        )


def _refusal(entry: ForeignEntry, problem: str, advice: str) -> AsvtkError:
    return AsvtkError(f"{entry.listed}: {entry.key}: {problem}; {advice}")


@contextlib.contextmanager
def _new_part(cache: FeatureCache, layer: int, data: DataDirectory, manifest: dict) -> Iterator[ArkWriter]:
    """Write a part that the cache gets at the end, and only if nothing went wrong until then."""
    made = [folder for folder in (cache.root, cache.root.parent) if not folder.exists()]
    cache.root.mkdir(parents=True, exist_ok=True)
    # Such names are what `asvtk cache prune` takes for leavings, should this be killed.
    stem = cache.root / f".import.{os.getpid()}.{cache.folder.name}.{cache.layer_folder(layer).name}"
    ark, scp = Path(f"{stem}.ark.tmp"), Path(f"{stem}.scp.tmp")
    try:
        writer = ArkWriter(ark, scp)
        try:
            yield writer
        finally:
            writer.close()
        with locked(cache.folder / ".import.lock", "adds imported features"):  # prune keeps off
            cache.claim(data, manifest)
            _publish(ark, scp, cache.layer_folder(layer))
    finally:
        ark.unlink(missing_ok=True)
        scp.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):  # the import succeeded, or somebody else uses it
                folder.rmdir()


def _publish(ark: Path, scp: Path, folder: Path) -> None:
    """Rename an ark to the first part that no process has taken; a part exists once it has its scp."""
    folder.mkdir(parents=True, exist_ok=True)
    places = read_scp(scp)
    number = 1
    while True:
        part = folder.absolute() / f"part.{number:04d}.ark"
        try:
            part.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            break
    os.replace(ark, part)
    lines = [f"{utterance} {part}:{offset}\n" for utterance, (_, offset) in places.items()]
    write_text(part.with_suffix(".scp"), "".join(lines))
