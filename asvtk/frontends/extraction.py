"""Stage 2's loop: audio -> front-end -> cache, for the utterances that are not there yet.

Threads decode the batches that come next and write those that are done, while the front-end computes:
decoding, compressing and writing hold no lock of Python's. A bounded number of batches is under way.
"""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from asvtk.augment.config import AugmentationConfig
from asvtk.frontends.base import Features, FrontEnd
from asvtk.frontends.cache import FeatureCache, FeatureWriter, cache_name, copy_name
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

__all__ = ["Source", "extract_missing", "find_sources"]

#: batches being read, and batches being written, at any time
AHEAD, BEHIND = 3, 2


class Source(NamedTuple):
    """Audio that features are wanted of: a data set as it is, or an augmented copy of it."""

    data: DataDirectory
    cache: FeatureCache
    change: Callable[[str, np.ndarray], np.ndarray] | None = None  # (utterance, samples) -> samples

    def read(self, utterance: str, first: int | None) -> np.ndarray:
        """Samples of an utterance, at least the ``first`` ones (None: all)."""
        path, num_samples = self.data.wav[utterance], self.data.num_samples[utterance]
        if self.change is None:
            return read_audio(path, num_samples, first)
        return self.change(utterance, read_audio(path, num_samples))  # may hang on the whole utterance


def find_sources(
    data: DataDirectory, dump, frontend: FrontEnd, augmentation: AugmentationConfig | None = None
) -> list[Source]:
    """A data set as it is and, with an ``augmentation``, its augmented copies.

    Args:
        data: the data set.
        dump: folder of all caches.
        frontend: whose features are wanted.
        augmentation: for training.
    """
    sources = [Source(data, FeatureCache(dump, cache_name(frontend), data.name))]
    for copy in range(1, augmentation.copies + 1 if augmentation is not None else 1):
        cache = FeatureCache(dump, cache_name(frontend, augmentation), copy_name(data.name, copy))
        sources.append(Source(data, cache, functools.partial(augmentation.apply, copy)))
    return sources


def extract_missing(
    source: Source, frontend: FrontEnd, job: int, num_jobs: int
) -> tuple[int, dict[str, str]]:
    """Compute what the cache lacks of this job's share of a data set.

    Args:
        source: the audio, and where its features go.
        frontend: whose layers are wanted.
        job, num_jobs: which share, 1 ... ``num_jobs``.

    Returns:
        for how many utterances something was computed, and utterance -> what is wrong with its audio;
        of all others the features are cached now.

    Raises:
        AsvtkError: features that are not finite, or a full disk. Everything that was computed stays.
    """
    share = _batches(frontend, source.data)[job - 1 :: num_jobs]
    missing = source.cache.missing([utterance for batch in share for utterance in batch], frontend.layers)
    todo = [batch for batch in share if any(utterance in missing for utterance in batch)]
    faults = {}
    threads = len(os.sched_getaffinity(0))
    bar = tqdm(
        total=sum(map(len, share)),
        initial=sum(map(len, share)) - len(missing),
        desc=f"{source.cache.folder.name}, job {job}",
        unit="utt",
        disable=None,
    )
    with (
        ThreadPoolExecutor(threads) as pool,
        FeatureWriter(source.cache, frontend.storage) as writer,
        ThreadPoolExecutor(1) as saver,  # one after the other, or a run's arks would differ from another's
        bar,
    ):
        saving: deque[Future] = deque()
        for batch, audio in _read_ahead(pool, todo, source, frontend, faults):
            gaps = {utterance: missing[utterance] for utterance in batch if utterance in missing}
            layers = tuple(sorted({layer for gap in gaps.values() for layer in gap}))
            wait = frontend.start(audio, layers)
            wanted = {u: gap for u, gap in gaps.items() if u not in faults}
            saving.append(saver.submit(_save, pool, writer, batch, wanted, wait))
            if len(saving) > BEHIND:
                bar.update(saving.popleft().result())
        while saving:
            bar.update(saving.popleft().result())
    # What is cached already is only company in its batch: that its audio broke since costs nothing.
    faults = {utterance: fault for utterance, fault in faults.items() if utterance in missing}
    return len(missing) - len(faults), faults


def _batches(frontend: FrontEnd, data: DataDirectory) -> list[list[str]]:
    """Utterances of like lengths together, as many as make ``frontend.batch_size`` cropped ones.

    The batches depend neither on the number of jobs nor on what is cached already: matrix products
    round differently in batches of other sizes, and a run that was resumed, or cut up otherwise, must
    give the very bits of one that was not.
    """
    length = {utterance: frontend.crop.length(count) for utterance, count in data.num_samples.items()}
    room = frontend.batch_size * (frontend.crop.samples or 64_600)
    batches = []
    for utterance in sorted(data.utterances, key=lambda utterance: (length[utterance], utterance)):
        # The longest comes last, and all are padded to its length.
        if not batches or (len(batches[-1]) + 1) * length[utterance] > room:
            batches.append([])
        batches[-1].append(utterance)
    return batches


def _read_ahead(
    pool: ThreadPoolExecutor,
    batches: Iterable[list[str]],
    source: Source,
    frontend: FrontEnd,
    faults: dict[str, str],
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Prepared audio of batch after batch; silence stands for what cannot be read (see ``faults``)."""

    def read(utterance: str) -> np.ndarray | AsvtkError:
        try:
            return frontend.prepare(source.read(utterance, frontend.crop.samples))
        except AsvtkError as error:
            return error

    reading: deque[tuple[list[str], list[Future]]] = deque()
    upcoming = iter(batches)
    while True:
        while len(reading) < AHEAD and (batch := next(upcoming, None)) is not None:
            reading.append((batch, [pool.submit(read, utterance) for utterance in batch]))
        if not reading:
            return
        batch, futures = reading.popleft()
        audio = [future.result() for future in futures]
        for place, utterance in enumerate(batch):
            if isinstance(audio[place], AsvtkError):
                faults[utterance] = str(audio[place])
                audio[place] = frontend.prepare(np.zeros(source.data.num_samples[utterance], np.float32))
        yield batch, audio


def _save(
    pool: ThreadPoolExecutor,
    writer: FeatureWriter,
    batch: list[str],
    wanted: dict[str, tuple[int, ...]],
    wait: Callable[[], list[Features]],
) -> int:
    """Write what is wanted of a batch's features; returns for how many utterances."""
    features = dict(zip(batch, wait(), strict=True))
    places = [(utterance, layer) for utterance, gap in wanted.items() for layer in gap]
    entries = [pool.submit(writer.encode, *place, features[place[0]][place[1]]) for place in places]
    for place, entry in zip(places, entries, strict=True):
        writer.write_encoded(*place, entry.result())
    return len(wanted)
