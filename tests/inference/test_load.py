"""asvtk.load: one object from waveform to score, whatever it was made from."""

import doctest
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from tiny_training import prepare

import asvtk
import asvtk.models.detector
from asvtk.bin.main import main
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.io.audio import read_audio
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import read_scores
from asvtk.models import assemble
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmaxConfig

NOISE = (0.1 * np.random.default_rng(0).normal(size=20_000)).astype(np.float32)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Trained, scored, evaluated and packed, by the verbs."""
    folder = tmp_path_factory.mktemp("load")
    prepare(folder)
    config, exp, dump, data = (folder / name for name in ("c.yaml", "exp", "dump", "data"))
    sets = [word for name in ("train", "dev") for word in (f"--{name}-data", data / name)]
    for words in (
        ["train", "--config", config, "--override", "training.epochs=2", "--dump", dump, "--exp", exp, *sets],
        ["score", "--exp", exp, "--dump", dump, "--data", data / "dev"],
        ["evaluate", "--exp", exp, "--data-root", data],
        ["pack", "--exp", exp],
    ):
        assert main([str(word) for word in words]) == 0
    return exp


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    model = MoeMambaConfig(d_model=16, blocks=1, d_state=4, d_expert=16, stack=4)
    return assemble(Lfcc(LfccConfig()), model, OcSoftmaxConfig())


def test_package_and_experiment_give_the_scores_of_stage_4_and_write_nothing(experiment):
    dev = DataDirectory.read(experiment.parent / "data" / "dev")
    expected = {
        line.split()[0]: float(line.split()[3])
        for line in (experiment / "scores" / "dev.txt").read_text().splitlines()
    }
    wav = {utterance: read_audio(path) for utterance, path in dev.wav.items()}
    written = []

    def watch(event, arguments):
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            written.append(arguments[0])
        elif event in ("os.mkdir", "os.rename", "os.remove", "tempfile.mkstemp", "tempfile.mkdtemp"):
            written.append((event, *arguments))

    sys.addaudithook(watch)
    for path in (experiment, experiment / "exp.asvtk.tar"):
        detector = asvtk.load(path)
        for utterance, score in expected.items():
            assert detector.score(wav[utterance]) == pytest.approx(score, abs=1e-6)
        batch = detector.score_batch(wav.values())
        assert batch.numpy() == pytest.approx(list(expected.values()), abs=1e-6)
        assert detector.name == "exp" and detector.threshold is not None
    assert [what for what in written if "/proc/" not in str(what) and "/dev/" not in str(what)] == []


def test_torchs_compiler_is_not_imported_to_load_a_package(experiment):
    """It takes seconds, of which a person waits for each."""
    package = str(experiment / "exp.asvtk.tar")
    code = f"import asvtk, sys; asvtk.load({package!r}); print('torch._dynamo' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"


def test_published_weights(shared_data):
    (clip, *_) = sorted((shared_data / "asvspoof2019_genuine").rglob("LA_E_*.flac"))
    detector = asvtk.load(shared_data / "aasist" / "AASIST.pth")
    released = read_scores(shared_data / "asvspoof2019_genuine" / "scores.AASIST.released.txt")
    released = dict(zip(released.utterances, released.scores, strict=True))
    score = detector.score(*soundfile.read(clip))
    assert detector.name == "AASIST" and detector.threshold is None
    assert isinstance(score, float) and score == pytest.approx(released[clip.stem], abs=2e-3)


def test_arrays_of_any_kind_are_heard(detector):
    whole = detector.score(NOISE)
    half = (NOISE * 2**15).round().astype(np.int16)
    for audio in (
        torch.from_numpy(NOISE),
        NOISE.astype(np.float64),
        NOISE[:, None],
        np.stack([NOISE, NOISE], axis=1),
        np.stack([NOISE, -NOISE], axis=1),  # the mean would be silence
    ):
        assert detector.score(audio) == pytest.approx(whole, abs=1e-6)
    assert detector.score(half) == pytest.approx(detector.score(half / np.float32(2**15)), abs=1e-6)
    assert detector.score(half.astype(np.int32) << 16) == pytest.approx(detector.score(half), abs=1e-6)
    assert detector.score(np.repeat(NOISE, 2), 32_000) != whole
    assert detector.score_batch([]).shape == (0,)


def test_a_score_depends_on_its_recording_alone(detector):
    others = [NOISE[:500], 3 * NOISE, NOISE[:9000]] * 7
    together = detector.score_batch([*others, NOISE])
    assert together[-1].item() == pytest.approx(detector.score(NOISE), abs=1e-5)
    assert not detector.training or detector.train() is detector


@pytest.mark.parametrize(
    "audio, rate, message",
    [
        (np.zeros(0), 16000, "no samples"),
        (np.array([0.0, np.nan]), 16000, "not finite"),
        (np.zeros((2, 16000)), 16000, "transpose it"),
        (np.zeros((2, 2, 2)), 16000, "expected numbers of shape"),
        (np.array(["a"]), 16000, "expected numbers of shape"),
        (NOISE, 0, "sample rate 0"),
        (NOISE, 16000.5, "sample rate 16000.5"),
    ],
)
def test_what_is_no_recording_is_refused(detector, audio, rate, message):
    with pytest.raises(AsvtkError, match=message):
        detector.score(audio, rate)


def test_anything_else_is_named_with_what_was_expected(tmp_path):
    (tmp_path / "text").write_text("hello")
    for path, found in (
        (tmp_path / "text", "plain text"),
        (tmp_path, "a folder without"),
        ("none", "no such"),
    ):
        with pytest.raises(AsvtkError, match=f"{found}.*expected a packed model .*AASIST.pth"):
            asvtk.load(path)


def test_import_is_light():
    code = "import asvtk, sys; print(sorted({'torch', 'numpy', 'scipy'} & sys.modules.keys()), asvtk.load)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("[] <function load")


def test_the_example_of_the_detector_works():
    assert doctest.testmod(asvtk.models.detector) == (0, 9)


def test_an_experiment_whose_features_are_others_now_is_refused(experiment, tmp_path):
    copy = shutil.copytree(experiment, tmp_path / "exp")
    inputs = (copy / "inputs.json").read_text()
    (copy / "inputs.json").write_text(inputs.replace('"lfcc-', '"lfcc-0'))
    with pytest.raises(AsvtkError, match="was trained on the features lfcc-0.* makes lfcc-.* now"):
        asvtk.load(copy)
