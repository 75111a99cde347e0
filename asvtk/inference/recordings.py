"""Batch scoring of many files, read ahead while the detector computes."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from asvtk.inference.speech import MIN_SPEECH, has_speech
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory
from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError
from asvtk.io.recording import read_recording
from asvtk.models.detector import BATCH_SIZE, Detector

__all__ = ["Scored", "score_files", "score_set", "score_recordings"]


class Scored(NamedTuple):
    """Outcome of one file."""

    score: float | None  # higher = bona fide; None: it has none
    fault: str = ""  # why it has none
    note: str = ""  # what was done to it on the way
    has_speech: bool = True  # whether there is enough speech in it for the score to mean anything


def score_recordings(detector: Detector, files: Sequence) -> Iterator[Scored]:
    """Scores of audio files of any kind, in order; a bad one costs no other its score.

    Args:
        detector: on its device.
        files: paths.
    """

    def read(path) -> tuple[np.ndarray, str]:
        recording = read_recording(path)
        notes = [" and ".join(recording.changes)] if recording.changes else []
        if recording.doubt:
            notes.append(f"it may be cut off ({recording.doubt})")
        return recording.samples, "; ".join(notes)

    return score_files(detector, files, read, list(map(path_text, files)), look_for_speech=True)


def score_set(detector: Detector, data: DataDirectory) -> tuple[dict[str, float], list[str]]:
    """Scores of a data directory's utterances, without features of stage 2.

    Returns:
        utterance -> score, and a line for each that has none.
    """

    def read(utterance: str):
        return read_audio(data.wav[utterance], data.num_samples[utterance], md5=data.md5[utterance]), ""

    found = list(score_files(detector, data.utterances, read, data.utterances))
    pairs = zip(data.utterances, found, strict=True)
    return (
        {utterance: scored.score for utterance, scored in pairs if scored.score is not None},
        [scored.fault for scored in found if scored.score is None],
    )


def score_files(
    detector: Detector,
    items: Sequence,
    read: Callable[[object], tuple[np.ndarray, str]],
    names: Sequence[str],
    look_for_speech: bool = False,
) -> Iterator[Scored]:
    """Scores of what a function reads, in order.

    Batches are of the items that can be read, in their order: the same files get the same bits.

    Args:
        detector: on its device.
        items: what to score.
        read: item -> 16 kHz mono audio, and what was done to it, for people; may raise AsvtkError.
        names: of the items, for messages.
        look_for_speech: whether ``has_speech`` is wanted, of what is heard.
    """

    def outcome(item, name: str) -> tuple[np.ndarray | None, Scored]:
        try:
            audio, note = read(item)
            # A copy: of a long recording only what is heard has to stay.
            return audio[: detector.crop.samples].copy(), Scored(None, "", note)
        except AsvtkError as error:
            return None, Scored(None, str(error))
        except (OSError, MemoryError) as error:  # such as a disk that fails
            return None, Scored(None, f"{name}: cannot be read: {error or type(error).__name__}")

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        pending = _prefetch(pool, outcome, items, names)
        waiting: list[tuple[np.ndarray | None, Scored, str]] = []
        bar = tqdm(
            zip(pending, names, strict=True), total=len(items), desc="scoring", unit="file", disable=None
        )
        for (audio, scored), name in bar:
            if audio is not None and look_for_speech:  # not in the pool: the speech detector has a state
                scored = scored._replace(has_speech=has_speech(audio, MIN_SPEECH))
            waiting.append((audio, scored, name))
            if sum(audio is not None for audio, *_ in waiting) == BATCH_SIZE:
                yield from _score(detector, waiting)
                waiting = []
        yield from _score(detector, waiting)


def _prefetch(pool: ThreadPoolExecutor, outcome: Callable, items: Sequence, names: Sequence[str]) -> Iterator:
    """What ``outcome`` gives, in order; no more than two batches are read ahead."""
    futures = []
    for pair in zip(items, names, strict=True):
        futures.append(pool.submit(outcome, *pair))
        if len(futures) > 2 * BATCH_SIZE:
            yield futures.pop(0).result()
    for future in futures:
        yield future.result()


def _score(detector: Detector, batch: Iterable[tuple[np.ndarray | None, Scored, str]]) -> Iterator[Scored]:
    scores = iter(detector.score_batch([audio for audio, *_ in batch if audio is not None]).tolist())
    for audio, scored, name in batch:
        if audio is None:
            yield scored
        elif np.isfinite(score := next(scores)):
            yield scored._replace(score=score)
        else:
            yield scored._replace(fault=f"{name}: the score is not finite ({score})")
