"""Feature store on disk: what frozen front-ends compute is computed once, for all experiments.

    dump/<front-end>-<fingerprint>/manifest.json          what the fingerprint stands for, in words
    dump/<front-end>-<fingerprint>/<data set>/utt2md5
    dump/<front-end>-<fingerprint>/<data set>/layer_NN/part.NNNN.{ark,scp}   as the jobs wrote them
    dump/<front-end>-<fingerprint>/<data set>/layer_NN/feats.scp             all parts, sorted
    dump/<front-end>-<fingerprint>/<data set>/skipped                        without features, and why

One matrix (frames, dimensions) per utterance and layer. The choice of layers is no part of the
fingerprint, so that experiments share the layers they have in common, and asking for more computes
only the missing ones. A part is never written to by two processes, nor again after a kill: the next
run opens a new one, and what an scp line of an old one points at is complete (see ``io.ark``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asvtk.io.ark import ArkWriter, Encoded, MatrixReader, StoredMatrices, parse_scp_line, read_scp
from asvtk.io.atomic import write_text
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.locks import locked
from asvtk.io.stamps import digest
from asvtk.io.tables import read_table, write_table
from asvtk.io.text import read_text

if TYPE_CHECKING:
    from asvtk.augment.config import AugmentationConfig
    from asvtk.frontends.spec import FrontEndSpec

__all__ = ["CachedFeatures", "FeatureCache", "FeatureWriter", "cache_name", "copy_name", "description"]


def description(frontend: FrontEndSpec, augmentation: AugmentationConfig | None = None) -> dict:
    """All that features depend on, in words; those of augmented copies with an ``augmentation``."""
    content = frontend.describe()
    return content if augmentation is None else content | {"augmentation": augmentation.describe()}


def cache_name(frontend: FrontEndSpec, augmentation: AugmentationConfig | None = None) -> str:
    """Folder of a front-end's caches: its label and the digest of all that its features depend on."""
    return f"{frontend.label}-{digest(description(frontend, augmentation))[:12]}"


def copy_name(dataset: str, copy: int) -> str:
    """What the augmented copy number ``copy`` of a data set is called in the cache; 0: itself."""
    return f"{dataset}_copy{copy}" if copy else dataset


class FeatureCache:
    """Feature cache of one front-end and one data set.

    Args:
        dump: folder of all caches.
        name: the front-end's folder in it, as ``cache_name`` gives it.
        dataset: name of the data set.
    """

    def __init__(self, dump, name: str, dataset: str):
        self.root = Path(dump) / name
        self.folder = self.root / dataset

    def layer_folder(self, layer: int) -> Path:
        return self.folder / f"layer_{layer:02d}"

    def claim(self, data: DataDirectory, manifest: dict) -> None:
        """Write the manifest, and make sure that the cache is of this very audio.

        Utterance ids of different corpora may coincide; their audio does not.

        Args:
            data: the data set.
            manifest: what the fingerprint stands for, as ``description`` gives it.

        Raises:
            AsvtkError: an utterance is cached that sounds otherwise, or none of the data set's is among those
                that are: two corpora must not share a folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock", "claims it"):
            write_text(self.root / "manifest.json", json.dumps(manifest, indent=1) + "\n")
            write_table(self.folder / "utt2md5", self.check_audio(data))

    def check_audio(self, data: DataDirectory) -> dict[str, str]:
        """What ``utt2md5`` will hold once the data set has claimed the cache; nothing is written.

        Raises:
            AsvtkError: as ``claim``.
        """
        path = self.folder / "utt2md5"
        known = read_table(path) if path.exists() else {}
        if known and known.keys().isdisjoint(data.md5):
            raise AsvtkError(
                f"{self.folder}: holds features of another data set called {data.name}, which has no "
                f"utterance of {data.path}; name another --dumpdir for this corpus, or give its data "
                "directory another name"
            )
        for utterance, md5 in data.md5.items():
            if known.setdefault(utterance, md5) != md5:
                raise AsvtkError(
                    f"{self.folder}: holds features of other audio: {utterance} is not the one of "
                    f"{data.path}; name another --dumpdir, or delete this folder"
                )
        return known

    def completed(self, layer: int) -> dict[str, tuple[str, int]]:
        """What the parts of a layer hold: utterance -> (ark, offset). Lost or cut arks do not count."""
        entries = {}
        for scp in sorted(self.layer_folder(layer).glob("part.*.scp")):
            ark = str(scp.with_suffix(".ark").absolute())  # the cache may have been moved
            size = os.path.getsize(ark) if os.path.exists(ark) else 0
            for number, line in enumerate(read_text(scp).split("\n")[:-1], 1):  # a cut line has no end
                utterance, _, offset = parse_scp_line(line, f"{scp}:{number}")
                if offset < size:
                    entries.setdefault(utterance, (ark, offset))
        return entries

    def missing(self, utterances, layers) -> dict[str, tuple[int, ...]]:
        """utterance -> the layers of it that are not cached yet; complete utterances are left out."""
        done = {layer: self.completed(layer).keys() for layer in layers}
        gaps = {u: tuple(layer for layer in layers if u not in done[layer]) for u in utterances}
        return {utterance: gap for utterance, gap in gaps.items() if gap}

    def skip(self, faults: dict[str, str]) -> None:
        """From now on do without these utterances: utterance -> what is wrong with its audio."""
        with locked(self.folder / ".lock", "notes what is skipped"):
            reasons = {utterance: " ".join(fault.split()) for utterance, fault in faults.items()}
            write_table(self.folder / "skipped", self.skipped() | reasons)

    def skipped(self) -> dict[str, str]:
        """What ``skip`` was given. Features that came later, of repaired audio, are used all the same."""
        path = self.folder / "skipped"
        return read_table(path) if path.exists() else {}

    def join(self, data: DataDirectory, layers) -> None:
        """Gather the parts of each layer in one sorted ``feats.scp``.

        Raises:
            AsvtkError: utterances of the data set are missing that are not to be skipped.
        """
        skipped = self.skipped()
        for layer in layers:
            entries = self.completed(layer)
            missing = [u for u in data.utterances if u not in entries and u not in skipped]
            if missing:
                raise AsvtkError(
                    f"{self.layer_folder(layer)}: {len(missing)} of {len(data.utterances)} utterances "
                    f"have no features: {listing(missing)}; run stage 2 again, it goes on where it was"
                )
            write_table(
                self.layer_folder(layer) / "feats.scp",
                {utterance: f"{ark}:{offset}" for utterance, (ark, offset) in entries.items()},
            )

    def open(self, data: DataDirectory, layers) -> CachedFeatures:
        """Read access for training and scoring.

        Raises:
            AsvtkError: there are no features, or not of every utterance; the line says to run stage 2.
        """
        scps, skipped = [], self.skipped()
        for layer in layers:
            path = self.layer_folder(layer) / "feats.scp"
            if not path.exists():
                raise AsvtkError(
                    f"{path}: there are no features of layer {layer} for {data.path}; "
                    "run stage 2 first: ./run.sh --stage 2 --stop-stage 2"
                )
            entries = read_scp(path)
            own = path.absolute().parts[-4:-1]  # a cache may have been copied as a whole
            places = {Path(ark).parent for ark in {ark for ark, _ in entries.values()}}
            if others := sorted(str(place) for place in places if place.parts[-3:] != own):
                raise AsvtkError(
                    f"{path}: leads to features of another kind, in {others[0]}; run stage 2 again, which "
                    "writes this file anew"
                )
            missing = [u for u in data.utterances if u not in entries and u not in skipped]
            if missing:
                raise AsvtkError(
                    f"{path}: {len(missing)} utterances of {data.path} have no features: "
                    f"{listing(missing, 3)}; run stage 2 first: ./run.sh --stage 2 --stop-stage 2"
                )
            scps.append(entries)
        return CachedFeatures(scps)


class CachedFeatures:
    """Read access to cached features by utterance. Safe in threads and in DataLoader workers.

    Args:
        scps: for each layer, utterance -> (ark, offset).

    Attributes:
        utterances: those that there are features of.
    """

    def __init__(self, scps: list[dict[str, tuple[str, int]]]):
        self._scps = scps
        self.utterances = set.intersection(*(set(scp) for scp in scps))
        self._reader = MatrixReader()

    @classmethod
    def union(cls, parts: list[CachedFeatures]) -> CachedFeatures:
        """Features of the same layers of several data sets, as of one."""
        layers = zip(*(part._scps for part in parts), strict=True)
        return cls([{u: place for scp in scps for u, place in scp.items()} for scps in layers])

    def __getitem__(self, utterance: str) -> np.ndarray:
        """float32, shape (layers, frames, dimensions).

        Raises:
            AsvtkError: what the index leads to is damaged, or another utterance's; names both.
        """
        return self._reader.stack((scp[utterance] for scp in self._scps), utterance)

    def find(self, utterance: str) -> StoredMatrices | None:
        """The same, to be read later, where it is stored as CM2. Raises what reading raises."""
        return self._reader.find((scp[utterance] for scp in self._scps), utterance)


class FeatureWriter:
    """Writer of one job's features; a part is opened when its first matrix comes.

    Args:
        cache: where they go.
        threads: how many parts are written at a time; where there are fewer layers, a layer has several.
    """

    def __init__(self, cache: FeatureCache, threads: int = 1):
        self._cache, self._threads = cache, threads
        self._pool = ThreadPoolExecutor(threads)
        self._writers: dict[tuple[int, int], ArkWriter] = {}  # of a layer's shares

    def write_batch(self, features: dict[str, dict[int, Encoded]]) -> None:
        """Add matrices as they stand in an ark, of the cache's kind.

        Args:
            features: utterance -> layer -> entry, which must not change until the writer is left.

        Raises:
            AsvtkError: there is no entry, as the features are not finite; or the disk is full.
        """
        layers = sorted({layer for entries in features.values() for layer in entries})
        shares = max(1, self._threads // max(1, len(layers)))
        work = []
        for layer, share in product(layers, range(shares)):
            own = [
                (u, layer, features[u][layer]) for u in list(features)[share::shares] if layer in features[u]
            ]
            if own:
                # Opened in this order, or a run's parts would be numbered otherwise than another's.
                if (layer, share) not in self._writers:
                    self._writers[layer, share] = _open_part(self._cache.layer_folder(layer))
                work.append((self._writers[layer, share], own))
        written = [self._pool.submit(_write_all, *each) for each in work]
        wait(written)  # all, also where one has failed: a part is for one thread at a time
        for part in written:
            part.result()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, kind, *_) -> None:
        self._pool.shutdown()
        # Also after a fault: what other utterances gave is kept. If the disk is the fault, though,
        # another try to write would only hide its message.
        for writer in self._writers.values():
            try:
                writer.close()
            except AsvtkError:
                if kind is None:
                    raise


def _write_all(writer: ArkWriter, entries: list[tuple[str, int, Encoded]]) -> None:
    # What cannot be written comes last: it ends the job, and nothing else shall be lost by it.
    for utterance, layer, entry in sorted(entries, key=lambda each: each[2] is None):
        if entry is None:
            raise AsvtkError(
                f"{utterance}, layer {layer}: the features are not finite (nan or inf) and were not "
                "written; look at the audio, and at the weights and precision of the front-end"
            )
        writer.write_encoded(utterance, *entry)


def _open_part(folder: Path) -> ArkWriter:
    """Create the first part that no process has taken; creating it is what takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in _count_from(1):
        try:
            return ArkWriter(folder / f"part.{number:04d}.ark", folder / f"part.{number:04d}.scp")
        except FileExistsError:
            continue
        except OSError as error:
            raise AsvtkError(f"{folder}: cannot be written to: {error.strerror}") from error


def _count_from(number: int) -> Iterator[int]:
    while True:
        yield number
        number += 1
