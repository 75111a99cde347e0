"""Fits the calibration of a detector: log-likelihood ratios on dev, errors on eval, the likeness of train."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from asvtk.inference.calibration import PRIOR, DetectorCalibration, ErrorCurve, Reference
from asvtk.inference.detector import DetectConfig, RecordingDetector
from asvtk.inference.likeness import MEASUREMENTS
from asvtk.inference.windows import Heard
from asvtk.io.audio import SAMPLE_RATE, read_audio
from asvtk.io.datadir import BONAFIDE, LABELS, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.metrics.calibration import Calibration, train_calibration
from asvtk.metrics.eer import det_curve

__all__ = ["FEWEST", "MOST", "Fitted", "Judged", "fit_calibration", "measure_errors", "measure_reference"]

_log = logging.getLogger(__name__)

MOST = 1000  #: recordings of a class that are heard of a data set
FEWEST = 30  #: recordings of a class that a calibration of their own, or a reference, is worth
_LONGEST = 60 * SAMPLE_RATE  # samples of a recording that are heard
_POINTS = 256  # of a curve of errors
_SEED = 0


class Judged(NamedTuple):
    """What a detector says of the recordings of a data set that have keys."""

    bonafide: np.ndarray  # bool (n,)
    scores: np.ndarray  # mean of a recording's windows, (n,)
    llr: np.ndarray  # calibrated, (n,)


class Fitted(NamedTuple):
    """A calibration, and what it makes of the recordings that it was trained and measured on."""

    calibration: DetectorCalibration
    dev: Judged
    evaluation: Judged | None


class _Clips(NamedTuple):
    """Recordings of a data set, as a detector hears them."""

    utterances: np.ndarray  # strings (n,)
    bonafide: np.ndarray  # bool (n,)
    first: np.ndarray  # score of the first window, (n,)
    mean: np.ndarray  # of all windows, (n,)
    windows: np.ndarray  # how many there are, (n,)

    def long(self) -> "_Clips":
        """Those of several windows."""
        return _Clips(*(values[self.windows > 1] for values in self))


def fit_calibration(
    detector: RecordingDetector,
    dev: DataDirectory,
    evaluation: DataDirectory | None = None,
    train: DataDirectory | None = None,
    *,
    dev_scores: ScoreTable | None = None,
    eval_scores: ScoreTable | None = None,
    prior: float = PRIOR,
    most: int = MOST,
) -> Fitted:
    """Fit the calibration of a detector.

    **A window's** score is calibrated on the first window with speech of each dev recording: one trial a
    recording, as windows of one recording are no independent trials. An experiment has these scores already,
    those of stage 4, of the head of each utterance: given as ``dev_scores``, they are taken as they are. (A
    front-end without a crop scored whole utterances there, which stand for windows.)

    **A recording's** mean score is calibrated on dev recordings of several windows, as a mean varies less
    than one score. Where dev has fewer than ``FEWEST`` of a class, the calibration of a window stands in, and
    the warnings of ``recording`` say so.

    **Errors** are measured on ``evaluation``, else on dev: of whole recordings as `RecordingDetector.detect`
    judges them by the mean of their windows; of an experiment's score file, of the head of each recording.

    **The reference** is of the bona fide recordings of ``train``.

    Of each set at most ``most`` recordings of a class are heard, drawn by a fixed seed, and at most the first
    minute of each. Those that cannot be read are left out, and counted in a warning.

    Args:
        detector: on its device.
        dev, evaluation, train: data sets.
        dev_scores, eval_scores: scores of stage 4; None: their audio is heard.
        prior: of bona fide speech, which training weighs the classes with; 0.5: both errors cost the same.
        most: recordings of a class to hear.

    Raises:
        AsvtkError: nothing of dev can be heard; or as `train_calibration`.
    """
    seconds = detector.window_seconds(DetectConfig())
    if dev_scores is None:
        clips = _hear_clips(detector, dev, _choose(dev, most))
        long = clips.long()
    else:
        clips = _clips_of(dev_scores)
        longer = {u for u in dev.utterances if dev.num_samples[u] > round(seconds * SAMPLE_RATE)}
        chosen = _choose(dev, most, longer)
        long = _hear_clips(detector, dev, chosen).long() if _enough(dev, chosen) else _none()
    if not len(clips.utterances):
        raise AsvtkError(f"{dev.path}: there is speech in none of its recordings that could be read")
    name = f"{detector.name} on {dev.name}"
    window = _train(name, clips, clips.first, prior)
    if min(np.count_nonzero(long.bonafide), np.count_nonzero(~long.bonafide)) >= FEWEST:
        recording = _train(name, long, long.mean, prior)
    else:
        few = (
            f"longer recordings: {dev.name} has fewer than {FEWEST} of a class that are longer than one "
            f"window ({seconds:.2f} s); their mean score is calibrated as if it were the score of one"
        )
        recording = replace(window, warnings=(*window.warnings, few))
    calibration = DetectorCalibration(window=window, recording=recording)
    of_dev, of_eval = _judge(calibration, clips), None
    if evaluation is not None:
        heard = (
            _hear_clips(detector, evaluation, _choose(evaluation, most))
            if eval_scores is None
            else _clips_of(eval_scores)
        )
        of_eval = _judge(calibration, heard)
    calibration = replace(
        calibration,
        errors=measure_errors(dev.name, of_dev)
        if of_eval is None
        else measure_errors(evaluation.name, of_eval),
        reference=None if train is None else measure_reference(detector, train, most),
    )
    return Fitted(calibration, of_dev, of_eval)


def measure_errors(data: str, judged: Judged) -> ErrorCurve | None:
    """Error rates over thresholds of the LLR; None, with a warning, where a class is missing.

    Of more than 256 thresholds those are kept that lie evenly by the arcsine of the square root of both
    rates, which makes the variance of a binomial rate the same everywhere (F. J. Anscombe, "The
    transformation of Poisson, binomial and negative-binomial data", Biometrika 1948). A step is 0.0124, the
    standard error of a rate measured on 1,600 trials. The rates at the threshold 0 are exact.

    Args:
        data: name of the data set.
        judged: its recordings.
    """
    bonafide, spoof = judged.llr[judged.bonafide], judged.llr[~judged.bonafide]
    if not bonafide.size or not spoof.size:
        _log.warning("%s: has one class only; error rates were not measured", data)
        return None
    frr, far, thresholds = det_curve(bonafide, spoof)
    cuts = np.flatnonzero(np.append(thresholds[1:] != thresholds[:-1], True))  # none between equal scores
    if cuts.size > _POINTS:
        place = np.arcsin(np.sqrt(frr[cuts])) - np.arcsin(np.sqrt(far[cuts]))
        even = np.searchsorted(place, np.linspace(place[0], place[-1], _POINTS - 1))
        at_zero = max(0, np.searchsorted(thresholds[cuts], 0.0, side="right") - 1)
        cuts = cuts[np.unique([*even, at_zero])]
    return ErrorCurve(
        data=data,
        bonafide=bonafide.size,
        spoof=spoof.size,
        thresholds=tuple(thresholds[cuts].tolist()),
        frr=tuple(frr[cuts].tolist()),
        far=tuple(far[cuts].tolist()),
    )


def measure_reference(
    detector: RecordingDetector, train: DataDirectory, most: int = MOST
) -> Reference | None:
    """What the bona fide speech of training is like; None, with a warning, where there is too little of it.

    Deviations are at least a tenth of their root mean square over dimensions: an element of the embedding
    that training left constant must not outweigh all others.

    Args:
        detector: on its device.
        train: the training set.
        most: recordings to hear.
    """
    chosen = [u for u in _choose(train, most) if train.label[u] == BONAFIDE]
    heard = [of for _, of in _hear(detector, train, chosen)]
    if len(heard) < FEWEST:
        _log.warning(
            "%s: %d bona fide recordings with speech, fewer than %d: recordings unlike them cannot be told",
            train.path,
            len(heard),
            FEWEST,
        )
        return None
    ranges = {
        name: tuple(np.percentile([of.measured[name] for of in heard], (1, 99)).tolist())
        for name in MEASUREMENTS
    }
    embeddings = np.stack([of.embedding for of in heard])
    deviation = embeddings.std(axis=0)
    floor = 0.1 * np.sqrt(np.square(deviation).mean()) or 1.0  # 1: all of them are constant
    reference = Reference(
        recordings=len(heard),
        ranges=ranges,
        embedding=tuple(embeddings.mean(axis=0).tolist()),
        deviation=tuple(np.maximum(deviation, floor).tolist()),
        farthest=0.0,
    )
    return replace(reference, farthest=float(np.percentile(reference.distance(embeddings), 99)))


def _choose(data: DataDirectory, most: int, among=None) -> list[str]:
    """At most so many utterances of each class, in order."""
    chosen = []
    for label in LABELS:
        members = [u for u in data.utterances if data.label[u] == label and (among is None or u in among)]
        if len(members) > most:
            generator = np.random.default_rng(_SEED)
            members = [members[i] for i in generator.choice(len(members), most, replace=False)]
        chosen += members
    return sorted(chosen)


def _enough(data: DataDirectory, utterances: list[str]) -> bool:
    bonafide = sum(data.label[u] == BONAFIDE for u in utterances)
    return min(bonafide, len(utterances) - bonafide) >= FEWEST


def _hear(
    detector: RecordingDetector, data: DataDirectory, utterances: list[str]
) -> Iterator[tuple[str, Heard]]:
    """What is heard of recordings, as ``detect`` hears them; those without speech are left out."""
    faults, silent = [], 0
    for utterance in tqdm(utterances, desc=f"hearing {data.name}", unit="file", disable=None):
        scorer = detector.window_scorer(DetectConfig())
        try:
            scorer.push(
                read_audio(
                    data.wav[utterance], data.num_samples[utterance], _LONGEST, md5=data.md5[utterance]
                )
            )
            heard = scorer.finish()
        except (AsvtkError, OSError, MemoryError) as error:
            faults.append(f"{utterance}: {error or type(error).__name__}")
            continue
        finally:
            scorer.close()
        if len(heard.scores):
            yield utterance, heard
        else:
            silent += 1
    if faults:
        _log.warning(
            "%s: %d of %d recordings were left out, the first: %s",
            data.path,
            len(faults),
            len(utterances),
            faults[0],
        )
    if silent:
        _log.warning(
            "%s: there is no speech in %d of %d recordings, left out", data.path, silent, len(utterances)
        )


def _hear_clips(detector: RecordingDetector, data: DataDirectory, utterances: list[str]) -> _Clips:
    rows = [
        (utterance, data.label[utterance] == BONAFIDE, of.scores[0], of.scores.mean(), len(of.scores))
        for utterance, of in _hear(detector, data, utterances)
    ]
    return _clips(*zip(*rows, strict=True)) if rows else _none()


def _clips(utterances, bonafide, first, mean, windows) -> _Clips:
    numbers = (np.array(first, np.float64), np.array(mean, np.float64), np.array(windows, np.int64))
    return _Clips(np.array(utterances, object), np.array(bonafide, bool), *numbers)


def _none() -> _Clips:
    return _clips([], [], [], [], [])


def _clips_of(table: ScoreTable) -> _Clips:
    if table.bonafide is None:
        raise AsvtkError(f"{table.source}: holds no keys; run stage 4 again")
    ones = np.ones(table.scores.size)
    return _clips(table.utterances, table.bonafide, table.scores, table.scores, ones)


def _train(name: str, clips: _Clips, scores: np.ndarray, prior: float) -> Calibration:
    table = ScoreTable(utterances=clips.utterances, bonafide=clips.bonafide, scores=scores, source=name)
    return train_calibration([table], prior=prior)


def _judge(calibration: DetectorCalibration, clips: _Clips) -> Judged:
    llr = calibration.window_llr(clips.mean)  # of one window, that is its own score
    long = clips.windows > 1
    llr[long] = calibration.recording.apply(clips.mean[None, long])
    return Judged(clips.bonafide, clips.mean, llr)
