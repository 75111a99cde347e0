"""Packing, unpacking, and scoring with what was packed."""

import dataclasses
import io
import json
import os
import shutil
import sys
import tarfile

import numpy as np
import pytest
import soundfile
from tiny_training import prepare

from asvtk.bin.main import main
from asvtk.frontends.base import Conditioning
from asvtk.inference import recordings, windows
from asvtk.inference.load import load
from asvtk.inference.package import read_package, unpack
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import file_digest
from asvtk.report.card import model_card
from asvtk.training.calibration import current_calibration
from asvtk.training.checkpoint import read_tensors, write_tensors
from asvtk.training.experiment import Experiment
from asvtk.training.trained import threshold_on_dev


def asvtk(*words) -> int:
    return main([str(word) for word in words])


def make_experiment(folder, *overrides):
    """Stages 2 to 5 for dev alone, by the verbs."""
    data, dump, exp, config = (folder / name for name in ("data", "dump", "exp", "c.yaml"))
    options = ["--config", config, "--override", *overrides, "--dump", dump]
    for split in ("train", "dev"):
        for action in ("begin", "job", "join"):
            assert asvtk("extract", action, *options, "--data", data / split) == 0
    sets = ["--train-data", data / "train", "--dev-data", data / "dev"]
    assert asvtk("train", *options, "--exp", exp, *sets) == 0
    assert asvtk("score", "--exp", exp, "--dump", dump, "--data", data / "dev") == 0
    assert asvtk("calibrate", "--exp", exp, *sets[2:], *sets[:2]) == 0
    assert asvtk("evaluate", "--exp", exp, "--data-root", data) == 0
    return exp


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lfcc")
    prepare(folder)
    return make_experiment(folder, "training.epochs=2", "frontend.crop.samples=6000")


@pytest.fixture(scope="module")
def package(experiment):
    assert asvtk("pack", "--exp", experiment, "--licence", "CC0") == 0
    return experiment / "exp.asvtk.tar"


def test_scores_of_a_package_are_those_of_stage_4(experiment, package, tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "has_speech", lambda samples, least: True)  # it is noise
    dev = experiment.parent / "data" / "dev"
    expected = (experiment / "scores" / "dev.txt").read_text()
    assert asvtk("unpack", package, tmp_path / "model") == 0
    for model in (package, tmp_path / "model"):
        assert asvtk("score", "--model", model, "--data", dev, "--out", tmp_path / "s.txt") == 0
        assert_alike((tmp_path / "s.txt").read_text(), expected)
    # A folder of the same audio: the same scores, and decisions by the threshold.
    folder = next(iter(DataDirectory.read(dev).wav.values())).rpartition("/")[0]
    assert asvtk("score", "--model", package, "--audio", folder, "--out", tmp_path / "s.tsv") == 0
    lines = [line.split("\t") for line in (tmp_path / "s.tsv").read_text().splitlines()]
    assert lines[0] == ["file", "score", "decision"]
    trials = [line.split() for line in expected.splitlines()]
    assert [line[0].split("/")[-1] for line in lines[1:]] == [f"{t[0]}.flac" for t in trials]
    assert [float(line[1]) for line in lines[1:]] == pytest.approx([float(t[3]) for t in trials], abs=1e-6)
    threshold = read_package(package).threshold
    decisions = ["bonafide" if float(t[3]) > threshold else "spoof" for t in trials]
    assert [line[2] for line in lines[1:]] == decisions and len(set(decisions)) == 2


def test_half_precision_makes_a_smaller_file_of_nearly_the_same_scores(experiment, package, tmp_path):
    half = tmp_path / "half.asvtk.tar"
    assert asvtk("pack", "--exp", experiment, "--precision", "float16", "--out", half) == 0
    whole, small = read_package(package), read_package(half)
    assert len(small.members["model.safetensors"]) < 0.7 * len(whole.members["model.safetensors"])
    assert small.about["precision"] == "float16"
    clips = np.random.default_rng(0).normal(size=(8, 6_000)).astype(np.float32)
    expected, found = (load(file).score_batch(clips).numpy() for file in (package, half))
    assert found == pytest.approx(expected, abs=3e-3) and not np.array_equal(found, expected)


def assert_alike(found: str, expected: str) -> None:
    """The same trials, and the same scores but for rounding: batches are composed otherwise."""
    found, expected = ([line.split() for line in text.splitlines()] for text in (found, expected))
    assert [line[:3] for line in found] == [line[:3] for line in expected]
    assert [float(line[3]) for line in found] == pytest.approx(
        [float(line[3]) for line in expected], abs=1e-6
    )


SSL = "storage: CM2, batch_size: 3, precision: float32"
FRONT_ENDS = {
    "waveform": "name: waveform",
    "spectrogram": "name: spectrogram",
    "ssl": f"name: ssl, model: WAVLM, {SSL}",
    "live": f"name: ssl, model: WAVLM, {SSL}, cache: false, trainable: 1",
    "split": f"name: ssl, model: WAVLM, {SSL}, trainable: 1",
}
AUDIO_MODEL = (
    "model={name: dual_stream, streams: audio, filters: 8, hop: 40, channels: [4, 4, 4, 4, 4, 4],"
    " audio_stack: 2, d_model: 16, blocks: 1, d_state: 4, d_expert: 16, d_embedding: 8}"
)


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_other_front_ends_give_the_scores_of_stage_4_too(kind, tmp_path, capsys):
    prepare(tmp_path)
    wavlm = tmp_path / "wavlm"
    frontend = FRONT_ENDS[kind].replace("WAVLM", str(wavlm))
    if "WAVLM" in FRONT_ENDS[kind]:
        from tiny_models import save_model

        save_model(wavlm)
    changes = [f"frontend={{{frontend}, crop: {{samples: 6000}}}}", *[AUDIO_MODEL] * (kind == "waveform")]
    exp = make_experiment(tmp_path, "training.epochs=2", *changes)
    assert asvtk("pack", "--exp", exp) == 0
    out = tmp_path / "s.txt"
    model = ["--model", exp / "exp.asvtk.tar", "--data", tmp_path / "data" / "dev", "--out", out]
    if wavlm.exists():
        shutil.move(wavlm, tmp_path / "elsewhere")
        assert asvtk("score", *model) == 1 and "--ssl-model DIR" in capsys.readouterr().err
        save_model(tmp_path / "other", hidden_size=48)
        assert asvtk("score", *model, "--ssl-model", tmp_path / "other") == 1
        assert "is not the one of the training" in capsys.readouterr().err
        model += ["--ssl-model", tmp_path / "elsewhere"]
    assert asvtk("score", *model) == 0
    assert_alike(out.read_text(), (exp / "scores" / "dev.txt").read_text())


def test_audio_of_any_kind_is_scored_and_what_is_broken_is_named(package, tmp_path, capsys):
    audio, rng = tmp_path / "in coming", np.random.default_rng(0)
    audio.mkdir()
    soundfile.write(audio / "stereo.wav", 0.1 * rng.normal(size=(44100, 2)), 44100, subtype="FLOAT")
    soundfile.write(audio / "loud.wav", np.sign(rng.normal(size=8000)), 8000)
    soundfile.write(audio / "plain.flac", 0.1 * rng.normal(size=9000), 16000)
    (audio / "broken.wav").write_bytes(b"RIFF")
    (audio / "notes.txt").write_text("no audio")
    shutil.copy(audio / "plain.flac", os.fsencode(audio) + b"/\xff.flac")
    assert asvtk("score", "--model", package, "--audio", audio, "--out", tmp_path / "s.tsv") == 1
    said = capsys.readouterr().err
    assert "1 files have no score" in said and "broken.wav: is not a sound file" in said
    assert "note: 1 files in folders were skipped" in said and "notes.txt" in said
    assert said.count("resampled from") == 1 and "other files were converted too" in said
    rows = (tmp_path / "s.tsv").read_text().splitlines()[1:]
    names = ["loud.wav", "plain.flac", "stereo.wav", r"\xff.flac"]
    assert [row.split("\t")[0].split("/")[-1] for row in rows] == names
    assert {row.split("\t")[2] for row in rows} == {"no_speech"}  # it is noise
    assert asvtk("score", "--model", package, "--audio", audio / "plain.flac") == 0
    scores = [float(line.split("\t")[1]) for line in (capsys.readouterr().out.splitlines()[1], rows[1])]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)  # in another batch
    assert asvtk("score", "--model", package, "--audio", audio / "notes") == 1
    assert asvtk("score", "--model", package) == 1 and "either --audio or --data" in capsys.readouterr().err


def test_the_card_and_the_bytes(experiment, package, tmp_path):
    read = read_package(package)
    card = read.text("card.md")
    assert "CC0" in card and "11,984" in card and "asvtk score --model exp.asvtk.tar" in card
    rows = [line.replace(" ", "") for line in card.splitlines()]
    assert "The epoch was chosen on dev. Eval chose nothing." in card
    assert "|train|6|6|" in rows and "|dev|4|4|" in rows
    assert "host" not in json.loads(read.text("environment.json"))
    assert "Log-likelihood ratio of a window" in card and "4 bona fide and 4 spoofed windows of dev" in card
    assert "At 0, on dev, by the head of each recording: " in card
    assert asvtk("pack", "--exp", experiment, "--licence", "CC0", "--out", tmp_path / "again.tar") == 0
    assert (tmp_path / "again.tar").read_bytes() == package.read_bytes()


@pytest.fixture
def speech(monkeypatch):
    """Everything is."""

    def frames(samples, before=0):
        return np.ones(-(-(len(samples) - before) // 512), np.float32)

    monkeypatch.setattr(windows, "speech_probabilities", frames)


def test_a_package_brings_its_calibration_or_says_uncalibrated(experiment, package, tmp_path, capsys, speech):
    assert asvtk("unpack", package, tmp_path / "model") == 0
    assert (tmp_path / "model" / "calibration.json").read_bytes() == (
        experiment / "calibration.json"
    ).read_bytes()
    noise = 0.1 * np.random.default_rng(0).normal(size=40_000)
    for model in (package, tmp_path / "model", experiment):
        detector = load(model)
        detection = detector.detect(noise, 16000, window=1.0, prior=0.2)
        llr = detector.calibration.recording_llr(detection.score)
        assert detection.llr == pytest.approx(llr) and detection.threshold == pytest.approx(np.log(0.25))
        assert detection.probability == pytest.approx(1 / (1 + 4 * np.exp(llr)))
        assert detection.error_rates["data"] == "dev" and detection.error_rates["spoof"] == 4
        assert any("fewer than 30 of a class that are longer" in line for line in detection.warnings)
    copy = tmp_path / "copy"
    shutil.copytree(experiment, copy)
    (copy / "calibration.json").unlink()
    assert asvtk("pack", "--exp", copy) == 0
    detection = load(copy / "copy.asvtk.tar").detect(noise, 16000, window=1.0)
    assert detection.llr is detection.probability is detection.error_rates is None
    assert any(line.startswith("uncalibrated: ") for line in detection.warnings)
    assert "uncalibrated: stage 5" in read_package(copy / "copy.asvtk.tar").text("card.md")


def calibrate(exp, *words):
    sets = [word for name in ("dev", "train") for word in (f"--{name}-data", exp.parent / "data" / name)]
    return asvtk("calibrate", "--exp", exp, *sets, *words)


def test_an_experiment_is_calibrated_once_and_what_cannot_be_is_said(
    experiment, tmp_path, capsys, monkeypatch
):
    (tmp_path / "data").symlink_to(experiment.parent / "data")
    copy = tmp_path / "exp"
    shutil.copytree(experiment, copy)
    first = (copy / "calibration.json").read_bytes()
    capsys.readouterr()
    assert calibrate(copy, "--check") == 0 and capsys.readouterr().out == ""
    assert calibrate(copy) == 0 and capsys.readouterr().out == f"{copy}/calibration.json: up to date\n"
    assert calibrate(copy, "--check", "--force") == 0 and capsys.readouterr().out == f"{copy}\n"
    assert calibrate(copy, "--force") == 0 and (copy / "calibration.json").read_bytes() == first
    capsys.readouterr()
    # Without scikit-learn there is one line and no fault; when it comes, it is tried again.
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn", None)
        patch.setitem(sys.modules, "sklearn.linear_model", None)
        assert calibrate(copy) == 0
        (line,) = [x for x in capsys.readouterr().out.splitlines() if "scikit-learn" in x]
        assert line.startswith(f"{copy}: uncalibrated: ") and "pip install scikit-learn" in line
        assert calibrate(copy, "--check") == 0 and capsys.readouterr().out == ""
        assert asvtk("pack", "--exp", copy) == 0
        assert "uncalibrated: calibration needs scikit-learn" in read_package(copy / "exp.asvtk.tar").text(
            "card.md"
        )
    assert calibrate(copy) == 0 and (copy / "calibration.json").read_bytes() == first
    # One of other scores is not taken.
    dev = copy / "scores" / "dev.txt"
    dev.write_text(dev.read_text().replace(" 0.", " 0.1").replace(" -0.", " -0.1"))
    assert calibrate(copy, "--check") == 0 and capsys.readouterr().out.endswith(f"{copy}\n")
    calibration, reason = current_calibration(Experiment(copy))
    assert calibration is None and "is of other scores of dev; run stage 5 again" in reason
    shutil.copy(copy / "checkpoints" / "last.safetensors", copy / "checkpoints" / "best.safetensors")
    assert calibrate(copy) == 1 and "is not of the best checkpoint; run stage 4" in capsys.readouterr().err
    dev.unlink()
    assert calibrate(copy) == 1 and "dev.txt: no such score file; run stage 4" in capsys.readouterr().err


def test_the_card_says_when_there_was_nothing_to_choose(experiment, monkeypatch):
    config = Experiment(experiment).config()
    once = dataclasses.replace(config, training=dataclasses.replace(config.training, eval_every=2.0))
    monkeypatch.setattr(Experiment, "config", lambda self: once)
    card = model_card(Experiment(experiment), threshold_on_dev(Experiment(experiment)))
    assert "The last epoch was kept: dev was evaluated once. Eval chose nothing." in card


def test_the_card_says_what_is_not_heard(experiment, monkeypatch):
    config = Experiment(experiment).config()
    heard = dataclasses.replace(config.frontend, conditioning=Conditioning(loudness_db=-26, lowpass_hz=7200))
    changed = dataclasses.replace(config, frontend=heard)
    monkeypatch.setattr(Experiment, "config", lambda self: changed)
    card = model_card(Experiment(experiment), threshold_on_dev(Experiment(experiment)))
    said = "Before that all clips are brought to one level (-26 dB), and nothing above 7,200 Hz is heard."
    assert said in card


def rebuilt(package, out, change):
    """The package with members changed: ``change(name, TarInfo, bytes)`` gives both anew, or None."""
    with tarfile.open(package) as old, tarfile.open(out, "w") as new:
        for member in old:
            content = old.extractfile(member).read()
            member, content = change(member, content)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return out


def renamed(member, content):
    member.name = "../../evil" if member.name == "card.md" else member.name
    return member, content


def damaged(member, content):
    return member, content.replace(b"#", b"!") if member.name == "card.md" else content


def linked(member, content):
    if member.name == "card.md":
        member.type, member.linkname, content = tarfile.SYMTYPE, "/etc/passwd", b""
    return member, content


@pytest.mark.parametrize(
    "change, message",
    [(renamed, "holds '../../evil'"), (damaged, "card.md is damaged"), (linked, "is no plain file")],
)
def test_hostile_and_damaged_packages_are_refused_and_leave_nothing(package, tmp_path, change, message):
    bad = rebuilt(package, tmp_path / "bad.tar", change)
    with pytest.raises(AsvtkError, match=message):
        unpack(bad, tmp_path / "x" / "y")
    assert not (tmp_path / "x" / "y").exists() and not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), True, "0.1", None, [1]])
def test_fault_5_a_threshold_that_is_no_finite_number_is_refused(package, tmp_path, threshold):
    def changed(member, content):
        if member.name == "package.json":
            about = json.loads(content)
            about["threshold"]["threshold"] = threshold
            content = json.dumps(about).encode()
        return member, content

    bad = rebuilt(package, tmp_path / "bad.tar", changed)
    with pytest.raises(AsvtkError, match="bad.tar: .*(as 'threshold.threshold'|no number of JSON)"):
        unpack(bad, tmp_path / "x")


def with_weights(package, folder, change):
    """The package, unpacked, with other weights and checksums that fit them."""
    unpack(package, folder)
    path = folder / "model.safetensors"
    write_tensors(path, change(read_tensors(path)[0]), {})
    about = json.loads((folder / "package.json").read_text())
    about["files"][path.name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    (folder / "package.json").write_text(json.dumps(about))
    return folder


def test_fault_5_weights_that_are_not_finite_score_nothing(experiment, package, tmp_path, capsys):
    bad = with_weights(
        package, tmp_path / "bad", lambda tensors: {n: x * float("nan") for n, x in tensors.items()}
    )
    words = ["--data", experiment.parent / "data" / "dev", "--out", tmp_path / "s.txt"]
    assert asvtk("score", "--model", bad, *words) == 1
    assert (
        "holds weights that are not finite" in capsys.readouterr().err and not (tmp_path / "s.txt").exists()
    )
    large = with_weights(package, tmp_path / "large", lambda tensors: tensors)
    config = (large / "config.yaml").read_text().replace("d_model: 16", "d_model: 1000000")
    (large / "config.yaml").write_text(config)
    about = json.loads((large / "package.json").read_text())
    about["files"]["config.yaml"] = {"bytes": len(config), "sha256": file_digest(large / "config.yaml")}
    (large / "package.json").write_text(json.dumps(about))
    assert asvtk("score", "--model", large, *words) == 1
    assert "describes a larger system than these weights are of" in capsys.readouterr().err


def test_no_package(package, tmp_path):
    cut = tmp_path / "cut.tar"
    cut.write_bytes(package.read_bytes()[:-30000])
    (tmp_path / "text").write_text("hello")
    for file, message in [(cut, "damaged"), (tmp_path / "text", "no package"), (tmp_path / "-", "no such")]:
        with pytest.raises(AsvtkError, match=message):
            unpack(file, tmp_path / "z")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(AsvtkError, match="is there already"):
        unpack(package, tmp_path / "full")
    with pytest.raises(AsvtkError, match="no package"):
        read_package(tmp_path / "full")


def test_scores_of_another_checkpoint_are_not_packed(experiment, tmp_path, capsys):
    copy = tmp_path / "exp"
    shutil.copytree(experiment, copy)
    results = json.loads((copy / "results.json").read_text())
    results["dev"]["eer_percent"] += 1
    (copy / "results.json").write_text(json.dumps(results))
    assert asvtk("pack", "--exp", copy) == 1 and "run stage 5 again" in capsys.readouterr().err
    shutil.copy(copy / "checkpoints" / "last.safetensors", copy / "checkpoints" / "best.safetensors")
    assert asvtk("pack", "--exp", copy) == 1 and "run stages 4 and 5 again" in capsys.readouterr().err
    (copy / ".train.done").unlink()
    assert asvtk("pack", "--exp", copy) == 1 and "run stage 3" in capsys.readouterr().err
