"""Stage 2's loop: audio -> front-end -> cache, for the utterances that are not there yet."""

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from asvtk.frontends.base import FrontEnd
from asvtk.frontends.cache import FeatureCache, FeatureWriter
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory

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
        AsvtkError: unreadable audio, features that are not finite, a full disk. Everything that was
            computed before stays.
    """
    utterances = data.utterances
    share = utterances[len(utterances) * (job - 1) // num_jobs : len(utterances) * job // num_jobs]
    missing = cache.missing(share, frontend.layers)
    with FeatureWriter(cache) as writer, _progress(data, job, len(share), len(missing)) as progress:
        for batch in _batches(share, frontend, data):
            gaps = {utterance: missing[utterance] for utterance in batch if utterance in missing}
            if not gaps:
                continue
            layers = tuple(sorted({layer for gap in gaps.values() for layer in gap}))
            audio = [frontend.prepare(read_audio(data.wav[u], data.num_samples[u])) for u in batch]
            features = frontend.extract(np.stack(audio), layers)
            for place, utterance in enumerate(batch):
                for layer in gaps.get(utterance, ()):
                    writer.write(utterance, layer, features[layer][place])
            progress.update(len(gaps))
    return len(missing)


def _batches(share: list[str], frontend: FrontEnd, data: DataDirectory) -> Iterator[list[str]]:
    """Neighbours of equal length, at most ``frontend.batch_size`` together.

    The batches do not depend on what is cached already: matrix products round differently in
    batches of other sizes, and a resumed run must give the very bits of an uninterrupted one.
    """
    batch, batch_length = [], 0
    for utterance in share:
        length = frontend.crop.length(data.num_samples[utterance])
        if batch and (len(batch) == frontend.batch_size or length != batch_length):
            yield batch
            batch = []
        batch.append(utterance)
        batch_length = length
    if batch:
        yield batch


def _progress(data: DataDirectory, job: int, total: int, missing: int) -> tqdm:
    return tqdm(
        total=total, initial=total - missing, desc=f"{data.name}, job {job}", unit="utt", disable=None
    )
