"""Stage 2's loop: audio -> front-end -> cache, for the utterances that are not there yet."""

import numpy as np
from tqdm import tqdm

from asvtk.frontends.base import FrontEnd
from asvtk.frontends.cache import FeatureCache, FeatureWriter
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

__all__ = ["extract_missing"]


def extract_missing(
    cache: FeatureCache, frontend: FrontEnd, data: DataDirectory, job: int, num_jobs: int
) -> int:
    """Compute what the cache lacks of this job's share of a data set.

    Args:
        cache: where the features go.
        frontend: whose layers are wanted.
        data: the data set.
        job, num_jobs: which share, 1 ... ``num_jobs``.

    Returns:
        For how many utterances something was computed.

    Raises:
        AsvtkError: unreadable audio (all of it is listed at the end), features that are not finite, a
            full disk. Everything that was computed stays.
    """
    batches = _batches(frontend, data)
    share = batches[len(batches) * (job - 1) // num_jobs : len(batches) * job // num_jobs]
    missing = cache.missing([utterance for batch in share for utterance in batch], frontend.layers)
    faults = []
    with FeatureWriter(cache) as writer, _progress(data, job, sum(map(len, share)), len(missing)) as progress:
        for batch in share:
            gaps = {utterance: missing[utterance] for utterance in batch if utterance in missing}
            if not gaps:
                continue
            layers = tuple(sorted({layer for gap in gaps.values() for layer in gap}))
            audio, unreadable = _read(batch, data)
            features = frontend.extract(np.stack([frontend.prepare(samples) for samples in audio]), layers)
            for place, utterance in enumerate(batch):
                for layer in gaps.get(utterance, ()):
                    if utterance not in unreadable:
                        writer.write(utterance, layer, features[layer][place])
            faults += unreadable.values()
            progress.update(len(gaps))
    if faults:
        raise AsvtkError(
            f"{data.path}: {len(faults)} audio files cannot be used; features of all others are cached:\n  "
            + "\n  ".join(faults)
        )
    return len(missing)


def _batches(frontend: FrontEnd, data: DataDirectory) -> list[list[str]]:
    """Neighbours of equal length, at most ``frontend.batch_size`` together.

    The batches depend neither on the number of jobs nor on what is cached already: matrix products
    round differently in batches of other sizes, and a run that was resumed, or cut up otherwise, must
    give the very bits of one that was not.
    """
    batches, batch_length = [], None
    for utterance in data.utterances:
        length = frontend.crop.length(data.num_samples[utterance])
        if length != batch_length or len(batches[-1]) == frontend.batch_size:
            batches.append([])
            batch_length = length
        batches[-1].append(utterance)
    return batches


def _read(batch: list[str], data: DataDirectory) -> tuple[list[np.ndarray], dict[str, str]]:
    """Samples of a batch, and what is wrong with those that cannot be read (silence stands for them)."""
    audio, unreadable = [], {}
    for utterance in batch:
        try:
            audio.append(read_audio(data.wav[utterance], data.num_samples[utterance]))
        except AsvtkError as error:
            unreadable[utterance] = str(error)
            audio.append(np.zeros(data.num_samples[utterance], np.float32))
    return audio, unreadable


def _progress(data: DataDirectory, job: int, total: int, missing: int) -> tqdm:
    return tqdm(
        total=total, initial=total - missing, desc=f"{data.name}, job {job}", unit="utt", disable=None
    )
