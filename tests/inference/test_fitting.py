"""Calibrations of detectors: fitted on scores and audio that are known."""

import json
import logging
import math
import shutil

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from asvtk.bin.main import main
from asvtk.frontends.crop import Crop
from asvtk.frontends.waveform import Waveform, WaveformConfig
from asvtk.inference import windows
from asvtk.inference.calibration import DetectorCalibration
from asvtk.inference.fitting import Judged, fit_calibration, measure_errors
from asvtk.inference.torch_detector import TorchDetector
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.metrics.calibration import quality
from asvtk.models.base import Output

WINDOW = 16000  # samples: a second


class Mean(nn.Module):
    """The mean of a window is its embedding, beside a constant one, and its score."""

    uses_features, uses_audio = False, True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        mean = batch.audio.mean(dim=1)
        return Output(torch.stack([mean, torch.ones_like(mean)], dim=1), torch.zeros(()))

    def score(self, embedding):
        return embedding[:, 0]


@pytest.fixture
def detector(monkeypatch):
    """It takes everything for speech."""
    monkeypatch.setattr(windows, "speech_seconds", lambda spoken: len(spoken))
    monkeypatch.setattr(
        windows, "speech_probabilities", lambda x, before=0: np.ones(math.ceil((len(x) - before) / 512))
    )
    model = Mean()
    made = TorchDetector(Waveform(WaveformConfig(crop=Crop(samples=WINDOW))), model, model).eval()
    made.name = "mean"
    return made


def write_data(folder, n=80, seconds=1.0, seed=0, separation=0.04):
    """Recordings of constant value and little noise, each of whose windows draws its own value."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    tables = {"wav": {}, "label": {}, "attack": {}, "num_samples": {}, "md5": {}, "speaker": {}}
    for i in range(n):
        name, bonafide = f"{folder.name}{i:03d}", i % 2 == 0
        values = 0.02 * rng.normal(size=math.ceil(seconds)) + separation * bonafide
        audio = np.repeat(values, 16000)[: round(seconds * 16000)]
        soundfile.write(folder / f"{name}.wav", audio, 16000, subtype="PCM_16")
        row = (
            str(folder / f"{name}.wav"), "bonafide" if bonafide else "spoof", "-" if bonafide else "A01",
            len(audio), "", "speaker",
        )  # fmt: skip
        for table, value in zip(tables.values(), row, strict=True):
            table[name] = value
    from asvtk.io.audio import inspect_audio

    tables["md5"] = {name: inspect_audio(path).md5 for name, path in tables["wav"].items()}
    return DataDirectory(path=folder, **tables)


def scores_of(seed, n=4000, shift=0.0):
    """Two normal distributions: their log-likelihood ratio is 2 score - 2."""
    bonafide = np.arange(n) % 2 == 0
    scores = np.random.default_rng(seed).normal(size=n) + 2 * bonafide + shift
    names = np.array([f"u{seed}_{i}" for i in range(n)], object)
    return ScoreTable(utterances=names, bonafide=bonafide, scores=scores, source="file")


def empty(folder, name):
    return DataDirectory(folder / name, {}, {}, {}, {}, {}, {})


def test_score_files_alone_give_the_log_likelihood_ratios_of_normal_distributions(detector, tmp_path):
    dev, evaluation = empty(tmp_path, "dev"), empty(tmp_path, "eval")
    fitted = fit_calibration(detector, dev, evaluation, dev_scores=scores_of(0), eval_scores=scores_of(1))
    calibration = fitted.calibration
    assert calibration.window.weights == pytest.approx((2,), abs=0.15)
    assert calibration.window.offset == pytest.approx(-2, abs=0.15)
    assert calibration.window.systems == ("mean on dev",) and calibration.window.prior == 0.5
    assert calibration.window.warnings == () and calibration.reference is None
    assert calibration.recording.weights == calibration.window.weights
    assert "dev has fewer than 30 of a class" in calibration.recording.warnings[0]
    assert calibration.errors.data == "eval" and calibration.errors.spoof == 2000
    rates = calibration.errors.at(0.0)  # of N(0, 1) above 1 and N(2, 1) below it
    assert rates["frr"] == pytest.approx(0.159, abs=0.02) and rates["far"] == pytest.approx(0.159, abs=0.02)
    values = quality(fitted.evaluation.llr, fitted.evaluation.bonafide)
    assert values["cllr"] - values["min_cllr"] < 0.02
    assert DetectorCalibration.parse(calibration.to_json(), "x") == calibration


def test_the_curve_of_errors_is_thinned_and_stays_true(caplog):
    rng = np.random.default_rng(0)
    bonafide = np.arange(20_000) % 4 == 0
    llr = rng.normal(size=bonafide.size).round(3) + 2 * bonafide
    curve = measure_errors("eval", Judged(bonafide, llr, llr))
    assert len(curve.thresholds) <= 256 and curve.bonafide == 5000
    assert list(curve.thresholds) == sorted(set(curve.thresholds))
    assert curve.at(-100) == {**curve.at(-100), "frr": 0, "far": 1} and curve.at(100)["frr"] == 1
    for threshold in (-1.5, 0.0, 0.7, 1.9, 3.0):
        frr, far = np.mean(llr[bonafide] <= threshold), np.mean(llr[~bonafide] > threshold)
        tolerance = 1e-12 if threshold == 0 else 0.013
        assert curve.at(threshold)["frr"] == pytest.approx(frr, abs=tolerance)
        assert curve.at(threshold)["far"] == pytest.approx(far, abs=tolerance)
    few = measure_errors("eval", Judged(bonafide[:8], llr[:8], llr[:8]))
    assert len(few.thresholds) == 9
    assert measure_errors("eval", Judged(bonafide[:1], llr[:1], llr[:1])) is None
    assert "eval: has one class only" in caplog.text


def test_audio_of_one_window_and_of_several(detector, tmp_path, caplog):
    dev = write_data(tmp_path / "dev", n=80, seconds=3.0)
    short = write_data(tmp_path / "short", n=20, seed=1)
    train = write_data(tmp_path / "train", n=70, seed=2)
    (tmp_path / "train" / "train000.wav").write_bytes(b"RIFF")
    with caplog.at_level(logging.WARNING, "asvtk"):
        fitted = fit_calibration(detector, dev, short, train)
    calibration = fitted.calibration
    assert f"{train.path}: 1 of 35 recordings were left out" in caplog.text
    # The mean of three draws varies less: the same distance means more.
    assert calibration.recording.weights[0] > 1.5 * calibration.window.weights[0]
    assert calibration.recording.warnings == () and fitted.dev.llr.size == 80
    assert calibration.errors.data == "short" and calibration.errors.bonafide == 10
    np.testing.assert_allclose(fitted.evaluation.llr, calibration.window_llr(fitted.evaluation.scores))
    reference = calibration.reference
    assert reference.recordings == 34 and set(reference.ranges) >= {"level", "clipped"}
    assert reference.embedding == pytest.approx((0.04, 1), abs=0.02)
    assert reference.deviation[1] == pytest.approx(0.1 * reference.deviation[0] / math.sqrt(2))  # constant
    assert reference.distance(reference.embedding) == 0 < reference.farthest < 5
    # Scores of stage 4 spare the audio of short recordings, and the recordings of several windows stay.
    table = ScoreTable(
        utterances=np.array(dev.utterances, object), bonafide=fitted.dev.bonafide, scores=fitted.dev.scores
    )
    again = fit_calibration(detector, dev, dev_scores=table).calibration
    assert again.recording.weights == calibration.recording.weights and again.errors.data == "dev"
    seldom = fit_calibration(detector, dev, train=train, most=10).calibration
    assert seldom.window.dev.n_spoof == 10 and seldom.reference is None
    assert "9 bona fide recordings with speech, fewer than 30" in caplog.text


def test_what_was_fitted_is_what_detect_says(detector, tmp_path):
    dev = write_data(tmp_path / "dev", n=80, seconds=3.0)
    fitted = fit_calibration(detector, dev)
    detector.calibration = fitted.calibration
    for place in (0, 1, 40, 41):
        path = dev.wav[dev.utterances[place]]
        detection = detector.detect(path)
        assert detection.llr == pytest.approx(fitted.dev.llr[place], abs=1e-3)
        assert detection.error_rates["data"] == "dev" and detection.threshold == 0
        assert 0 < detection.probability < 1


def test_calibrate_detector_as_a_user_runs_it(detector, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("asvtk.inference.load.load", lambda *_, **__: detector)
    sets = {name: write_data(tmp_path / name, n=70, seed=seed) for seed, name in enumerate(("dev", "eval"))}
    for data in sets.values():
        data.write()
    words = [word for name in sets for word in (f"--{name}-data", str(tmp_path / name))]
    (tmp_path / "m").touch()
    command = ["calibrate", "--detector", str(tmp_path / "m"), *words, "--out", str(tmp_path / "c.json")]
    assert main([*command, "--prior", "0.6"]) == 0
    out, err = capsys.readouterr()
    assert "c.json: the calibration of mean" in out and "warning: longer recordings: dev has fewer" in err
    assert [line.split("|")[1:3] for line in out.splitlines()[2:6]] == [
        [f" {name:<4} ", f" {what:>10} "] for name in sets for what in ("scores", "calibrated")
    ]
    assert "at the log-likelihood ratio 0, on eval: " in out and "of 35 bona fide recordings" in out
    written = DetectorCalibration.load(tmp_path / "c.json")
    assert written.window.prior == 0.6 and written.errors.data == "eval"
    assert main([*command[:-1], str(tmp_path / "none" / "c.json")]) == 1
    assert "no such folder to write to" in capsys.readouterr().err
    shutil.copytree(tmp_path / "dev", tmp_path / "copy")
    assert main([*command[:5], "--eval-data", str(tmp_path / "copy"), *command[-2:]]) == 1
    assert "70 utterances stand both in" in capsys.readouterr().err


def test_nothing_to_fit_on_is_said(detector, tmp_path, monkeypatch):
    dev = write_data(tmp_path / "dev", n=8)
    with pytest.raises(AsvtkError, match="mean on dev: all 4 trials are bona fide"):
        fit_calibration(detector, dev.subset(dev.utterances[::2]))
    swapped = write_data(tmp_path / "swapped", n=8, separation=-0.2)
    with pytest.raises(AsvtkError, match="bona fide trials score no higher than spoofs"):
        fit_calibration(detector, swapped)
    monkeypatch.setattr(windows, "speech_seconds", lambda spoken: 0.0)
    with pytest.raises(AsvtkError, match="dev: there is speech in none of its recordings"):
        fit_calibration(detector, dev)


def test_damaged_files_are_refused(tmp_path, detector):
    fitted = fit_calibration(detector, empty(tmp_path, "dev"), dev_scores=scores_of(0, n=100))
    content = json.loads(fitted.calibration.to_json())
    for change, message in (
        ({"window": None}, "expected the calibration of a detector"),
        ({"more": 1}, "unknown key 'more'"),
        ({"errors": content["errors"] | {"frr": [0.0]}}, "must be equally long"),
    ):
        with pytest.raises(AsvtkError, match=message):
            DetectorCalibration.parse(json.dumps(content | change), "x.json")
