"""Inventory of feature caches: what they hold, and the bytes that stage 2 will add."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asvtk.frontends.cache.store import FeatureCache
from asvtk.io.ark import entry_size, read_scp
from asvtk.io.errors import AsvtkError
from asvtk.io.tables import read_table
from asvtk.io.text import read_json

if TYPE_CHECKING:
    from asvtk.frontends.cache.extraction import Source
    from asvtk.frontends.spec import FrontEndSpec

__all__ = [
    "Contents",
    "bytes_by_layer",
    "bytes_needed",
    "contents",
    "find_caches",
    "human_bytes",
    "layers_of",
    "read_manifest",
    "require_space",
    "size_on_disk",
]


def bytes_by_layer(
    source: Source, frontend: FrontEndSpec, missing: dict[str, tuple[int, ...]] | None = None
) -> dict[int, int]:
    """Layer -> bytes of the matrices that the cache lacks, keys and headers included.

    Exact: what the arks of a finished cache hold. The index beside them is not counted: two lines of
    text per matrix.

    Args:
        source: the audio, and the cache of its features.
        frontend: whose features.
        missing: what the cache lacks, if that is known already (see ``FeatureCache.missing``).
    """
    if missing is None:
        missing = source.cache.missing(source.data.utterances, frontend.stored)
    needed = dict.fromkeys(frontend.stored, 0)
    for utterance, layers in missing.items():
        shape = frontend.shape(source.data.num_samples[utterance])
        size = entry_size(frontend.storage, *shape, utterance)
        for layer in layers:
            needed[layer] += size
    return needed


def bytes_needed(source: Source, frontend: FrontEndSpec, missing: dict | None = None) -> int:
    """What stage 2 will write, in bytes: the sum of ``bytes_by_layer``."""
    return sum(bytes_by_layer(source, frontend, missing).values())


def require_space(dump, needed: int) -> None:
    """Make sure that features of ``needed`` bytes fit the disk of the folder ``dump``.

    Raises:
        AsvtkError: they do not.
    """
    folder = Path(dump).absolute()
    while not folder.exists():  # the dump folder may be made later
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        while not folder.is_mount():
            folder = folder.parent
        raise AsvtkError(
            f"{dump}: needs {human_bytes(needed)}, {human_bytes(free)} are free on {folder}; "
            "name fewer layers, a smaller storage (CM2, CM) or another --dumpdir"
        )


def human_bytes(count: float) -> str:
    """Bytes with three digits and a unit of thousands, as disks are sold: ``2.51 TB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB" if count < 999.5 else f"{count:.0f} TB"


def find_caches(dump) -> Iterator[FeatureCache]:
    """Every front-end's cache of every data set in a dump folder, sorted by name.

    Raises:
        AsvtkError: there is no such folder.
    """
    if not Path(dump).is_dir():
        raise AsvtkError(f"{dump}: no such folder; name the dump folder of a recipe with --dump")
    for manifest in sorted(Path(dump).glob("*/manifest.json")):
        for folder in sorted(manifest.parent.iterdir()):
            if (folder / "utt2md5").exists() or any(folder.glob("layer_*")):
                yield FeatureCache(dump, manifest.parent.name, folder.name)


def read_manifest(cache: FeatureCache) -> dict:
    """What the fingerprint of a cache stands for.

    Raises:
        AsvtkError: it was damaged.
    """
    path = cache.root / "manifest.json"
    try:
        return read_json(path)
    except AsvtkError as error:
        raise AsvtkError(f"{error}; stage 2 writes it anew") from None


def layers_of(cache: FeatureCache) -> tuple[int, ...]:
    """The layers that a cache has folders for, in ascending order."""
    numbers = (folder.name.removeprefix("layer_") for folder in cache.folder.glob("layer_*"))
    return tuple(sorted(int(number) for number in numbers if number.isdecimal()))


@dataclass(frozen=True)
class Contents:
    """Inventory of a cache.

    Attributes:
        layers: those that were begun.
        utterances: of the data set.
        done: features there are, of ``utterances * len(layers)``; skipped utterances count as done.
        skipped: utterances that were given up.
        joined: whether every layer has the ``feats.scp`` that training reads.
        size: bytes on disk.
        changed: when features were last added, in seconds since 1970.
    """

    layers: tuple[int, ...]
    utterances: int
    done: int
    skipped: int
    joined: bool
    size: int
    changed: float


def contents(cache: FeatureCache) -> Contents:
    """Count what a cache holds; nothing is read but names and indices."""
    layers, skipped = layers_of(cache), cache.skipped()
    utt2md5 = cache.folder / "utt2md5"
    utterances = read_table(utt2md5) if utt2md5.exists() else {}
    done, joined = 0, bool(layers)
    for layer in layers:
        entries = cache.completed(layer)
        done += sum(utterance in entries or utterance in skipped for utterance in utterances)
        feats = cache.layer_folder(layer) / "feats.scp"
        joined &= feats.exists() and read_scp(feats).keys() >= entries.keys()
    arks = list(cache.folder.glob("layer_*/part.*.ark"))
    changed = max((ark.stat().st_mtime for ark in arks), default=cache.folder.stat().st_mtime)
    return Contents(layers, len(utterances), done, len(skipped), joined, size_on_disk(cache.folder), changed)


def size_on_disk(path) -> int:
    """Bytes of a file, or of all files under a folder."""
    path = Path(path)
    if not path.is_dir():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a running job replaces files
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
