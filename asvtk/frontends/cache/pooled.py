"""Pooled features: mean and standard deviation over time of each layer, kept beside the cached features.

    dump/<front-end>-<fingerprint>/<data set>/layer_NN/pooled.npz

Reading a cache of frames takes minutes, and pooled vectors are a two-hundredth of it: they are computed once,
by one pass over the arks in their order, and again where ``feats.scp`` has changed since.
"""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from asvtk.frontends.cache.store import CachedFeatures, FeatureCache
from asvtk.io.ark import read_scp
from asvtk.io.atomic import atomic_path
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import file_digest

__all__ = ["cached_layers", "pooled_features"]

_BLOCK = 64  # utterances of a task


def cached_layers(cache: FeatureCache) -> list[int]:
    """Layers of which a cache has features of the whole data set.

    Raises:
        AsvtkError: it has none.
    """
    found = sorted(int(path.parent.name[6:]) for path in cache.folder.glob("layer_*/feats.scp"))
    if not found:
        raise AsvtkError(f"{cache.folder}: there are no features; run stage 2 first")
    return found


def pooled_features(cache: FeatureCache, data: DataDirectory, layer: int, jobs: int = 2) -> np.ndarray:
    """Mean and standard deviation over time of one layer, computed if they are not there.

    Args:
        cache: of the data set.
        data: the data set; utterances without features are refused.
        layer: which one.
        jobs: threads that read.

    Returns:
        float32, shape (utterances, 2, dimensions), in the order of the data set.

    Raises:
        AsvtkError: features are missing or damaged.
    """
    path = cache.layer_folder(layer) / "pooled.npz"
    features = cache.open(data, [layer])
    if missing := [u for u in data.utterances if u not in features.utterances]:
        raise AsvtkError(f"{cache.folder}: {len(missing)} utterances have no features; run stage 2 again")
    digest = file_digest(path.with_name("feats.scp"))
    found = _read(path, digest)
    if found is None:
        found = _pool(features, path, jobs)
        _write(path, digest, *found)
    row = {utterance: number for number, utterance in enumerate(found[0])}
    return found[1][[row[utterance] for utterance in data.utterances]]


def _pool(features: CachedFeatures, path: Path, jobs: int) -> tuple[list[str], np.ndarray]:
    places = read_scp(path.with_name("feats.scp"))
    order = sorted(places, key=places.__getitem__)  # as they lie on the disk
    blocks = [order[begin : begin + _BLOCK] for begin in range(0, len(order), _BLOCK)]

    def pool(block: list[str]) -> np.ndarray:
        return np.stack([_statistics(features[utterance][0]) for utterance in block])

    title = f"{path.parent.parent.name} {path.parent.name}: pooling"
    with ThreadPoolExecutor(max(1, jobs)) as executor:
        rows = list(tqdm(executor.map(pool, blocks), title, len(blocks), unit="block", disable=None))
    return order, np.concatenate(rows)


def _statistics(frames: np.ndarray) -> np.ndarray:
    """(frames, dimensions) -> float32 (2, dimensions); summed in double precision, as some reach 1e3."""
    mean = frames.mean(0, dtype=np.float64)
    spread = np.sqrt(np.square(frames - mean, dtype=np.float64).mean(0))
    return np.stack([mean, spread]).astype(np.float32)


def _read(path: Path, digest: str) -> tuple[list[str], np.ndarray] | None:
    """What a file holds; None where there is none, of these features, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["digest"]) == digest:
                return stored["utterances"].tolist(), stored["statistics"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return None


def _write(path: Path, digest: str, utterances: list[str], statistics: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, digest=digest, utterances=np.array(utterances), statistics=statistics)
