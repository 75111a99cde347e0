"""Pruning of feature caches: what nobody can use, or what is named; never under a running job."""

import contextlib
import fcntl
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

from asvtk.frontends.cache.contents import find_caches, layers_of
from asvtk.frontends.cache.store import FeatureCache
from asvtk.io.ark import read_scp
from asvtk.io.errors import AsvtkError, listing

__all__ = ["CacheInUse", "find_named", "hold", "remove", "unused_files"]

_log = logging.getLogger(__name__)

#: how old, in seconds, a temporary file is before it is nobody's: each is renamed within a moment
_ABANDONED = 3600


class CacheInUse(AsvtkError):
    """A stage 2 runs on this very cache."""


@contextlib.contextmanager
def hold(cache: FeatureCache) -> Iterator[None]:
    """Keep stage 2 away from a cache; its jobs hold ``.job.*.lock`` there, its beginning ``.lock``.

    Raises:
        CacheInUse: one of them is at work.
    """
    with contextlib.ExitStack() as stack:
        for path in {cache.folder / ".lock", *cache.folder.glob(".*.lock")}:
            stream = stack.enter_context(open(path, "a+"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read().strip() or "another process"
                raise CacheInUse(f"{cache.folder}: in use by {holder}; try again when it is done") from None
        yield


def unused_files(cache: FeatureCache) -> list[Path]:
    """Files of a cache that nobody can use, sorted; ask only while it is held.

    These are parts of which every matrix is lost or stands in an earlier part as well, and temporary
    files of killed processes. Parts of a layer that is not finished are of use: the next run goes on
    from them.
    """
    unused = [
        path
        for path in [*cache.root.glob(".*.tmp"), *cache.folder.rglob(".*.tmp")]
        if _is_temporary(path) and _age(path) > _ABANDONED
    ]
    for layer in layers_of(cache):
        folder = cache.layer_folder(layer)
        if folder.is_symlink():
            continue
        used = {Path(ark).name for ark, _ in cache.completed(layer).values()}
        if (feats := folder / "feats.scp").exists():
            # Of a cache that was moved, only the names are still right.
            used |= {Path(ark).name for ark, _ in read_scp(feats).values()}
        parts = (path for path in folder.glob("part.*") if _is_ours(path))
        unused += [path for path in parts if path.with_suffix(".ark").name not in used]
    return sorted(unused)


def find_named(dump, name: str) -> list[tuple[FeatureCache, Path]]:
    """What ``NAME[/SET[/layer_NN]]`` stands for: each cache in it, and the folder that would go.

    Raises:
        AsvtkError: there is no such cache or layer.
    """
    parts = name.strip("/").split("/")
    matches = []
    for cache in find_caches(dump):
        layers = {cache.layer_folder(layer).name: cache.layer_folder(layer) for layer in layers_of(cache)}
        if parts in ([cache.root.name], [cache.root.name, cache.folder.name]):
            matches.append((cache, cache.folder))
        elif parts[:2] == [cache.root.name, cache.folder.name] and len(parts) == 3 and parts[2] in layers:
            matches.append((cache, layers[parts[2]]))
    if not matches:
        raise AsvtkError(
            f"{dump}: holds no cache {name!r}; expected NAME, NAME/SET or NAME/SET/layer_NN, "
            f"as 'asvtk cache ls --dump {dump}' names them"
        )
    return matches


def remove(cache: FeatureCache, path: Path) -> None:
    """Remove a file or folder from a cache that is held; with its last data set a front-end's folder goes."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    whole = {cache.folder, *map(cache.layer_folder, layers_of(cache))}
    whole = {folder for folder in whole if not folder.is_symlink()}  # what a link leads to is not ours
    folders = [folder for folder in whole if folder == path or path in folder.parents]
    for folder in folders:  # what is half removed must not look whole to training
        (folder / "feats.scp").unlink(missing_ok=True)
    for folder in sorted(folders, reverse=True):
        for child in folder.iterdir():
            if _is_ours(child):
                child.unlink()
        if folder != path:
            with contextlib.suppress(OSError):
                folder.rmdir()
    if foreign := sorted(path.rglob("*")):
        _log.info(f"{path}: left alone, as no cache has such files: {listing(map(str, foreign), 3)}")
    # NFS keeps the lock files under other names while they are open; the empty folder does no harm.
    with contextlib.suppress(OSError):
        path.rmdir()
    if path == cache.folder and not any(entry.is_dir() for entry in cache.root.iterdir()):
        for child in cache.root.iterdir():
            if child.name == "manifest.json" or _is_temporary(child):
                child.unlink()
        with contextlib.suppress(OSError):  # there is something that is not the cache's
            cache.root.rmdir()


def _is_ours(path: Path) -> bool:
    """Has it a name that stage 2 gives to files of a set or layer, and is it a file or a link?"""
    made = re.fullmatch(r"part\.\d+\.(ark|scp)|feats\.scp|utt2md5|skipped|\..*\.lock|\.lock", path.name)
    return bool(made or _is_temporary(path)) and (path.is_symlink() or path.is_file())


def _is_temporary(path: Path) -> bool:
    return (
        path.name.startswith(".") and path.name.endswith(".tmp") and not path.is_symlink() and path.is_file()
    )


def _age(path: Path) -> float:
    """Seconds since a file was written; 0 when it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0
