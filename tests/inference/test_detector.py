"""Detection of recordings: windows, verdicts, timelines, segments, streams."""

import json
import math

import numpy as np
import pytest
import soundfile
import torch

import asvtk.inference.windows
from asvtk.frontends.crop import Crop
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.inference.calibration import DetectorCalibration, ErrorCurve, Reference
from asvtk.inference.detection import Detection, Segment, probability_of_spoof
from asvtk.inference.detector import DetectConfig
from asvtk.inference.segments import cells_of_windows, find_segments
from asvtk.inference.torch_detector import TorchDetector
from asvtk.inference.windows import WindowScorer
from asvtk.io.errors import AsvtkError
from asvtk.metrics.calibration import Calibration, DevStatistics
from asvtk.models import assemble
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmaxConfig

RATE = 16_000
DEV = DevStatistics(
    trials="", n_bonafide=9, n_spoof=9, eer_percent=10, min_dcf=0.1, act_dcf=0.1, cllr=0.3, min_cllr=0.3
)


def affine(weight: float, offset: float) -> Calibration:
    return Calibration(
        systems=("s",), weights=(float(weight),), negated=(False,), offset=float(offset), prior=0.5, dev=DEV
    )


@pytest.fixture
def detector():
    torch.manual_seed(0)
    frontend = Lfcc(LfccConfig(crop=Crop(samples=RATE)))
    made = assemble(frontend, MoeMambaConfig(d_model=8, blocks=1, d_state=2, d_expert=8), OcSoftmaxConfig())
    trained = TorchDetector.of(made.eval())
    trained.name, trained.sha256 = "tiny", "0" * 64
    return trained


@pytest.fixture(scope="module")
def speech(shared_data):
    """Half a minute of somebody speaking, the loudest second first."""
    clips = [soundfile.read(p)[0] for p in sorted((shared_data / "la_real/LA").glob("*eval/flac/*"))[:30]]
    joined = np.concatenate(clips)[: 30 * RATE].astype(np.float32)
    loudest = np.square(joined).reshape(-1, RATE).sum(axis=1).argmax()
    return np.roll(joined, -loudest * RATE)


@pytest.fixture
def everybody_speaks(monkeypatch):
    def loud(samples, before=0):
        frames = np.pad(samples[before:], (0, -len(samples[before:]) % 512)).reshape(-1, 512)
        return (np.abs(frames).max(axis=1) > 0.01).astype(np.float32)

    monkeypatch.setattr(asvtk.inference.windows, "speech_probabilities", loud)


def listen(samples, piece: int, window=4 * RATE, hop=RATE, **options):
    """Heard, and the windows that were scored, of a recording that comes in pieces."""
    windows = []

    def score(batch):
        windows.extend(batch)
        means = np.array([np.abs(x).mean() for x in batch])
        return means, np.stack([means, -means], axis=1)

    scorer = WindowScorer(score, window, hop, min_speech=1.0, **options)
    for begin in range(0, len(samples), piece):
        scorer.push(samples[begin : begin + piece])
        assert len(scorer._audio) < 128 * RATE + window + 8 * RATE + piece
    return scorer.finish(), windows


@pytest.mark.parametrize("piece", [1_000, 70_001, 10_000_000])
@pytest.mark.parametrize("eager", [False, True])
def test_windows_are_the_same_however_a_recording_comes(everybody_speaks, piece, eager):
    samples = np.linspace(0.02, 0.9, 290 * RATE + 5_000, dtype=np.float32)
    heard, windows = listen(samples, piece, eager=eager)
    starts = [*range(0, 287 * RATE, RATE), len(samples) - 4 * RATE]
    assert heard.starts.tolist() == starts and heard.samples == len(samples)
    for start, window in zip(starts, windows, strict=True):
        assert np.array_equal(window, samples[start : start + 4 * RATE])
    assert heard.scores == pytest.approx([np.abs(window).mean() for window in windows])
    assert heard.embedding == pytest.approx([heard.scores.mean(), -heard.scores.mean()])
    assert len(heard.probabilities) == math.ceil(len(samples) / 512)


def test_windows_without_speech_are_not_scored_and_a_short_recording_is_one_window(everybody_speaks):
    tone = np.full(3 * RATE, 0.5, np.float32)
    quiet = np.zeros(200 * RATE, np.float32)
    heard, _ = listen(np.concatenate([quiet, tone, quiet]), 50_000)
    assert (
        heard.starts.min() == 198 * RATE - RATE and heard.starts.max() == 202 * RATE
    )  # a second of it at least
    (short, (window,)) = listen(tone, 7_000)
    assert short.starts.tolist() == [0] and np.array_equal(window, tone)
    nothing, windows = listen(quiet[:RATE], 7_000)
    assert len(nothing.scores) == 0 == len(windows) and nothing.embedding is None


def test_a_recording_in_windows_scores_as_its_pieces_do(everybody_speaks, detector, speech):
    clip = speech[:RATE]
    detection = detector.detect(clip, RATE, min_speech=0.25)
    assert detection.score == pytest.approx(detector.score(clip), abs=1e-6)
    long = detector.detect(speech[: 4 * RATE], RATE, min_speech=0.25, hop=1.0)
    scores = [detector.score(speech[k * RATE : (k + 1) * RATE]) for k in range(4)]
    values = [value for *_, value in long.timeline]
    for value, score in zip(values, scores, strict=True):
        assert value is None or value == pytest.approx(score, abs=1e-5)
    assert (long.window, long.duration, long.verdict) == (1.0, 4.0, "undecided")
    assert any("uncalibrated" in warning for warning in long.warnings) and long.probability is None


def test_calibrated_verdicts_with_probability_and_error_rates(everybody_speaks, detector, speech):
    clip = speech[:RATE]
    score = detector.score(clip)
    curve = ErrorCurve(
        data="eval",
        bonafide=10,
        spoof=20,
        thresholds=(-1.0, 0.0, 1.0),
        frr=(0.1, 0.2, 0.3),
        far=(0.3, 0.2, 0.1),
    )
    detector.calibration = DetectorCalibration(
        window=affine(10, 1 - 10 * score), recording=affine(1, 0), errors=curve
    )
    judged = detector.detect(clip, RATE, min_speech=0.25)
    assert judged.llr == pytest.approx(1, abs=1e-5) and judged.threshold == 0 and judged.verdict == "bonafide"
    assert judged.probability == pytest.approx(1 / (1 + math.e), abs=1e-5)
    assert judged.error_rates == {"data": "eval", "bonafide": 10, "spoof": 20, "frr": 0.2, "far": 0.2}
    likely = detector.detect(clip, RATE, min_speech=0.25, prior=0.9)
    assert likely.threshold == pytest.approx(math.log(9)) and likely.verdict == "spoof"
    assert (
        likely.probability == pytest.approx(9 / (9 + math.e), abs=1e-5) and likely.error_rates["frr"] == 0.3
    )
    assert detector.detect(clip, RATE, min_speech=0.25, threshold=1.5).verdict == "spoof"
    again = Detection.from_json(likely.to_json(), "a line")
    assert again.to_dict() == likely.to_dict()


def test_what_is_unlike_the_training_data_is_said(everybody_speaks, detector, speech):
    clip = speech[:RATE]
    reference = Reference(
        recordings=5,
        ranges={"level": (-20.0, -10.0)},
        embedding=(0.0,) * 8,
        deviation=(1e-3,) * 8,
        farthest=1.0,
    )
    assert reference.distance([1e-3] * 8) == pytest.approx(1)
    d_embedding = detector.model.d_embedding
    reference = Reference(
        recordings=5,
        ranges={"level": (-20.0, -10.0), "clipped": (0.0, 0.1)},
        embedding=(9.0,) * d_embedding,
        deviation=(1e-3,) * d_embedding,
        farthest=1.0,
    )
    detector.calibration = DetectorCalibration(
        window=affine(0, 3), recording=affine(0, 3), reference=reference
    )
    said = " ".join(detector.detect(0.3 * clip, RATE, min_speech=0.25).warnings)
    assert "unlike the training data: level -" in said and "its embedding lies" in said
    assert "clipped" not in said
    assert "windows of 2.00 s; tiny was trained on 1.00 s" in detector.detect(clip, RATE, window=2.0).warnings


NOTHING_SAID = {
    "silence": np.zeros(5 * RATE),
    "white noise": 0.1 * np.random.default_rng(0).normal(size=5 * RATE),
    "click": np.r_[np.zeros(2000), np.random.default_rng(1).normal(size=800), np.zeros(2000)],
    "chord": 0.1 * sum(np.sin(2 * np.pi * f * np.arange(5 * RATE) / RATE) for f in (220, 277, 330)),
}


@pytest.mark.parametrize("samples", NOTHING_SAID.values(), ids=NOTHING_SAID)
def test_no_speech_is_no_verdict(detector, samples):
    detector.calibration = DetectorCalibration(window=affine(1, 0), recording=affine(1, 0))
    detection = detector.detect(samples, RATE)
    assert detection.verdict == "no_speech" and detection.score is detection.probability is None
    assert detection.segments == () and json.loads(detection.to_json())["verdict"] == "no_speech"


def test_timeline_is_the_mean_of_the_windows_that_cover_a_cell():
    starts, values = np.array([0.0, 1.0, 2.0, 6.5]), np.array([1.0, 2.0, 6.0, 5.0])
    cells = cells_of_windows(starts, values, window=2.0, hop=1.0, duration=8.5)
    expected = [1, 1.5, 4, 6, np.nan, np.nan, 5, 5, 5]
    assert cells == pytest.approx(expected, nan_ok=True)


def test_segments_change_when_the_evidence_pays_for_it():
    llr = np.full(120, 4.0)
    llr[50:70] = -4
    llr[90] = -4  # one second is no evidence against a minute
    speech = np.ones(120, bool)
    speech[30:35] = False  # five seconds of silence
    speech[100] = False  # and a pause
    found = find_segments(llr, speech, 0.0, window=4.0, hop=1.0, duration=119.5)
    assert [(part.start, part.end, part.verdict) for part in found] == [
        (0, 30, "bonafide"),
        (30, 35, "no_speech"),
        (35, 50, "bonafide"),
        (50, 70, "spoof"),
        (70, 119.5, "bonafide"),
    ]
    assert found[3].llr == -4 and found[1].llr is None
    (whole,) = find_segments(llr, speech | True, -5.0, window=4.0, hop=1.0, duration=119.5)
    assert whole.verdict == "bonafide"


def test_a_spoofed_minute_in_bona_fide_speech_is_found(everybody_speaks, detector, monkeypatch):
    """Ten minutes, as the detector would score them if it heard nothing but loudness."""
    samples = np.full(600 * RATE, 0.5, np.float32)
    samples[300 * RATE : 360 * RATE] = 0.1

    def score(self, windows):
        means = np.array([float(np.abs(x).mean()) for x in windows])
        return means, np.zeros((len(windows), 8), np.float32)

    monkeypatch.setattr(TorchDetector, "score_windows", score)
    detector.calibration = DetectorCalibration(window=affine(20, -6), recording=affine(20, -6))
    detection = detector.detect(samples, RATE, window=4.0)
    spoofed = [part for part in detection.segments if part.verdict == "spoof"]
    assert len(spoofed) == 1 and abs(spoofed[0].start - 300) <= 2 and abs(spoofed[0].end - 360) <= 2
    assert detection.verdict == "spoof" and detection.llr > 0 and 56 <= detection.spoofed <= 64
    lines = detection.to_rttm().splitlines()
    assert lines[1].startswith("SPEAKER array 1 ") and lines[1].split()[7] == "spoof" and len(lines) == 3
    assert detector.detect(samples[: 250 * RATE], RATE, window=4.0).verdict == "bonafide"


def test_probability_is_bayes_rule_without_overflow():
    assert probability_of_spoof(0.0, 0.5) == 0.5
    assert probability_of_spoof(math.log(3), 0.5) == pytest.approx(0.25)
    assert probability_of_spoof(0.0, 0.9) == pytest.approx(0.9)
    assert probability_of_spoof(5000.0, 0.5) == 0 and probability_of_spoof(-5000.0, 0.5) == 1


@pytest.mark.parametrize(
    "change, said",
    [
        ({"prior": 0.0}, "prior 0.0"),
        ({"prior": 1.0}, "prior 1.0"),
        ({"threshold": math.nan}, "threshold nan"),
        ({"hop": 0.0}, "hop 0.0"),
        ({"window": 1e9}, "window 1000000000.0"),
        ({"pooling": "max"}, "pooling max: expected one of mean, min, trimmed"),
        ({"min_speech": 0.0}, "min_speech 0.0"),
        ({"channel": 0}, "channel 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, said):
    with pytest.raises(AsvtkError, match=said):
        DetectConfig(**change)


def test_a_stream_answers_after_two_seconds_of_speech_and_then_each_hop(everybody_speaks, detector):
    detector.calibration = DetectorCalibration(window=affine(1, 0), recording=affine(1, 0))
    stream = detector.stream(window=4.0)
    tone = np.full(10 * RATE + 3200, 0.5, np.float32)  # speech is looked for in frames of 32 ms
    answers = [
        answer for begin in range(0, len(tone), 3200) for answer in stream.push(tone[begin : begin + 3200])
    ]
    assert [answer["t"] for answer in answers] == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    assert all(
        answer["verdict"] in ("bonafide", "spoof") and math.isfinite(answer["llr"]) for answer in answers
    )
    whole = stream.finish()
    assert whole.duration == 10.2 and whole.score == pytest.approx(detector.score(tone[: 4 * RATE]), abs=1e-5)


@pytest.mark.parametrize("together", [False, True])
def test_a_stream_that_extends_windows_says_what_whole_windows_say(detector, speech, monkeypatch, together):
    """Real speech, and a pause in which windows are left out."""
    audio = np.concatenate([speech[: 8 * RATE], np.zeros(3 * RATE, np.float32), speech[8 * RATE : 16 * RATE]])
    frames = []
    detector.frontend.cepstra.filterbank.register_forward_hook(
        lambda _, __, bands: frames.append(bands.shape[1])
    )

    def answers():
        frames.clear()
        stream = detector.stream(hop=0.2)
        pieces = (audio[begin : begin + 1000] for begin in range(0, len(audio), 1000))
        return [answer for piece in pieces for answer in stream.push(piece)], stream.finish(), sum(frames)

    if together:
        detector.share_batches()
    extended, whole, few = answers()
    if together:
        detector.close_batches()
    monkeypatch.setattr(TorchDetector, "extension", lambda self, samples: None)
    detector.shared = None
    expected, expected_whole, many = answers()
    assert few < many / 3
    assert [x["t"] for x in extended] == [x["t"] for x in expected] and len(extended) > 60
    assert [x["score"] for x in extended] == pytest.approx([x["score"] for x in expected], abs=2e-5)
    assert whole.score == pytest.approx(expected_whole.score, abs=2e-5)
    assert np.diff([x["t"] for x in extended]).max() > 1  # the pause


def test_a_stream_says_how_many_samples_it_waits_for(everybody_speaks, detector):
    stream, tone, heard = detector.stream(hop=0.5), np.full(RATE, 0.5, np.float32), 0
    while heard < 4 * RATE:
        wanted = stream.wanted
        assert not stream.push(tone[: wanted - 1])
        heard += wanted
        assert len(stream.push(tone[:1])) == (heard >= RATE)


def test_rttm_leaves_out_silence_and_names_have_no_spaces():
    detection = Detection(
        file="my talk.wav", verdict="spoof", score=0.0, llr=-1.0, probability=0.7, threshold=0.0, prior=0.5,
        pooling="mean", error_rates=None, duration=9.0, speech=5.0, window=4.0, hop=1.0, model="m",
        model_sha256="", segments=(Segment(0, 3.5, "spoof", -1.0), Segment(3.5, 9, "no_speech", None)),
    )  # fmt: skip
    assert detection.to_rttm() == "SPEAKER my_talk.wav 1 0.000 3.500 <NA> <NA> spoof <NA> <NA>\n"
    assert detection.spoofed == 3.5
