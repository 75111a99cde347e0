"""Feature extraction (stage 2): audio -> front-end -> cache, for the utterances that are not there yet.

Processes decode the batches that come next, and threads write those that are done, each to arks of its
own, while the front-end computes. A bounded number of batches is under way.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Container
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from asvtk.frontends.cache.readers import AudioReaders, Request
from asvtk.frontends.cache.store import FeatureCache, FeatureWriter, cache_name, copy_name
from asvtk.frontends.cache.throughput import Throughput
from asvtk.io.ark import Encoded
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

if TYPE_CHECKING:
    from asvtk.augment.config import AugmentationConfig
    from asvtk.frontends.cache.extractor import Extractor
    from asvtk.frontends.spec import FrontEndSpec

__all__ = ["Source", "count_batches", "extract_missing", "find_sources"]

#: batches of which the features are computed or written, at any time
UNDER_WAY = 3
_MOST_WRITERS = 8  # threads: one cannot write as fast as a GPU computes


class Source(NamedTuple):
    """Audio to extract features of: a data set as it is, or an augmented copy of it."""

    data: DataDirectory
    cache: FeatureCache
    change: Callable[[str, np.ndarray], np.ndarray] | None = None  # (utterance, samples) -> samples

    def read(self, utterance: str, first: int | None) -> np.ndarray:
        """Samples of an utterance, at least the ``first`` ones (None: all)."""
        path, num_samples = self.data.wav[utterance], self.data.num_samples[utterance]
        md5 = self.data.md5[utterance]
        if self.change is None:
            return read_audio(path, num_samples, first, md5)
        return self.change(
            utterance, read_audio(path, num_samples, md5=md5)
        )  # may hang on the whole utterance


def find_sources(
    data: DataDirectory, dump, frontend: FrontEndSpec, augmentation: AugmentationConfig | None = None
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
    source: Source, extractor: Extractor, job: int, num_jobs: int, report: Callable[[str], None] | None = None
) -> tuple[int, dict[str, str]]:
    """Compute what the cache lacks of this job's share of a data set.

    Args:
        source: the audio, and where its features go.
        extractor: of the front-end whose layers are wanted.
        job, num_jobs: which share, 1 ... ``num_jobs``.
        report: is told how fast it went, and what held it up.

    Returns:
        for how many utterances something was computed, and utterance -> what is wrong with its audio;
        of all others the features are cached now.

    Raises:
        AsvtkError: features that are not finite, or a full disk. Everything that was computed stays.
    """
    frontend = extractor.frontend
    share = _batches(frontend, source.data)[job - 1 :: num_jobs]
    missing = source.cache.missing([utterance for batch in share for utterance in batch], frontend.stored)
    todo = [batch for batch in share if any(utterance in missing for utterance in batch)]
    faults = {}
    throughput, processes = Throughput(), _processes(extractor)
    readers = AudioReaders(
        lambda utterance: frontend.prepare(source.read(utterance, frontend.crop.samples)),
        processes,
        functools.partial(throughput.add, "decoding"),
    )
    bar = tqdm(
        total=sum(map(len, share)),
        initial=sum(map(len, share)) - len(missing),
        desc=f"{source.cache.folder.name}, job {job}",
        unit="utt",
        disable=None,
    )
    with (
        closing(readers.prefetch([_request(batch, source.data, frontend) for batch in todo])) as audio,
        FeatureWriter(source.cache, min(_MOST_WRITERS, processes)) as writer,
        ThreadPoolExecutor(1) as saver,  # one after the other, or a run's arks would differ from another's
        bar,
    ):
        saving: deque[Future] = deque()

        def finish_oldest() -> None:
            finished = saving.popleft().result()
            bar.update(finished)
            throughput.done(finished)

        for batch in todo:
            with throughput.spending("audio"):
                decoded = next(audio)
            for utterance, samples in zip(batch, decoded, strict=True):
                if isinstance(samples, AsvtkError):
                    faults[utterance] = str(samples)
            with throughput.spending("feeding"):
                gaps = {utterance: missing[utterance] for utterance in batch if utterance in missing}
                layers = tuple(sorted({layer for gap in gaps.values() for layer in gap}))
                wait = extractor.start(_silence_faults(decoded, batch, source.data, frontend), layers)
            wanted = {u: gap for u, gap in gaps.items() if u not in faults}
            saving.append(saver.submit(_save, writer, batch, wanted, wait, throughput))
            if len(saving) == UNDER_WAY:
                finish_oldest()
        while saving:
            finish_oldest()
    if report is not None:
        report(throughput.report(processes))
    # What is cached already only keeps the batch's composition: that its audio broke since costs nothing.
    faults = {utterance: fault for utterance, fault in faults.items() if utterance in missing}
    return len(missing) - len(faults), faults


def count_batches(frontend: FrontEndSpec, data: DataDirectory, utterances: Container[str]) -> int:
    """How many batches any of these utterances are in: more jobs than that would have nothing to do."""
    return sum(any(u in utterances for u in batch) for batch in _batches(frontend, data))


def _processes(extractor: Extractor) -> int:
    """How many decode: a GPU takes what all the CPUs of its job can give, other front-ends need them."""
    return max(1, len(os.sched_getaffinity(0)) - 1) if extractor.on_gpu else 1


def _batches(frontend: FrontEndSpec, data: DataDirectory) -> list[list[str]]:
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


def _request(batch: list[str], data: DataDirectory, frontend: FrontEndSpec) -> Request:
    longest = max(frontend.crop.length(data.num_samples[utterance]) for utterance in batch)
    return Request(batch, len(_silence(longest, frontend)))


def _silence_faults(
    decoded: list[np.ndarray | AsvtkError], batch: list[str], data: DataDirectory, frontend: FrontEndSpec
) -> list[np.ndarray]:
    """Silence in place of what cannot be read: the composition of the batch does not change."""
    return [
        _silence(data.num_samples[utterance], frontend) if isinstance(samples, AsvtkError) else samples
        for utterance, samples in zip(batch, decoded, strict=True)
    ]


def _silence(samples: int, frontend: FrontEndSpec) -> np.ndarray:
    return frontend.prepare(np.zeros(samples, np.float32))


def _save(
    writer: FeatureWriter,
    batch: list[str],
    wanted: dict[str, tuple[int, ...]],
    wait: Callable[[], list[dict[int, Encoded]]],
    throughput: Throughput,
) -> int:
    """Write what is wanted of a batch's features; returns for how many utterances."""
    with throughput.spending("features"):
        features = dict(zip(batch, wait(), strict=True))
    with throughput.spending("writing"):
        writer.write_batch({u: {layer: features[u][layer] for layer in gap} for u, gap in wanted.items()})
    return len(wanted)
