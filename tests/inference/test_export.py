"""Exported detectors: the scores of torch, on ONNX Runtime alone; and files that are none of ours."""

import contextlib
import functools
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from tiny_detectors import LFCC, WINDOW, make_detector

import asvtk
from asvtk.bin.main import main
from asvtk.frontends.rounding import rounded
from asvtk.inference import export, speech
from asvtk.inference.calibration import DetectorCalibration
from asvtk.inference.export import write_export
from asvtk.inference.onnx_detector import ABOUT, OnnxDetector
from asvtk.inference.parity import speech_like
from asvtk.io.ark import as_stored
from asvtk.io.errors import AsvtkError
from asvtk.io.onnx_file import read_metadata
from asvtk.metrics.calibration import Calibration, DevStatistics

onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")

MHFA = dict(name="mhfa", heads=16, d_compressed=64, d_embedding=64)
DEV = DevStatistics(
    trials="", n_bonafide=9, n_spoof=9, eer_percent=10, min_dcf=0.1, act_dcf=0.1, cllr=0.3, min_cllr=0.3
)


@pytest.fixture(scope="module")
def clips():
    return speech_like(5, 0.7) + [clip[:3_000] for clip in speech_like(2, 0.7, seed=1)]


@pytest.fixture(scope="module")
def small(tmp_path_factory, clips):
    """An exported logistic regression with a calibration, and the detector that it was made of."""
    folder = tmp_path_factory.mktemp("small")
    detector = make_detector(LFCC, dict(name="logistic"), folder)
    affine = Calibration(systems=("s",), weights=(20.0,), negated=(False,), offset=0.3, prior=0.5, dev=DEV)
    detector.calibration = DetectorCalibration(window=affine, recording=affine)
    write_export(detector, folder / "small.onnx", clips)
    return folder / "small.onnx", detector


@pytest.fixture
def traced_once(monkeypatch):
    """What torch makes of a detector in several seconds is made once for all files of it."""
    for name in ("export_graph", "_onnx_model"):
        monkeypatch.setattr(export, name, functools.cache(getattr(export, name)))


def test_a_crop_of_whole_utterances_is_exported_as_full_windows_in_either_form(tmp_path, clips, traced_once):
    detector = make_detector(LFCC, dict(name="logistic"), tmp_path, repeat=False)
    write_export(detector, tmp_path / "x.onnx", clips)
    write_export(detector, tmp_path / "x.pt2", clips, form="torch")
    exported = asvtk.load(tmp_path / "x.onnx")
    assert exported.score(clips[0]) == pytest.approx(detector.score(clips[0]), abs=1e-6)
    short = clips[-1]
    assert exported.score(short) == pytest.approx(detector.score(np.resize(short, WINDOW)), abs=1e-6)
    said = {f"{ABOUT}.json": ""}
    program = torch.export.load(tmp_path / "x.pt2", extra_files=said)
    with torch.no_grad():
        scores, _ = program.module()(torch.from_numpy(np.stack(clips[:3])[:, :WINDOW]))
    assert scores.numpy() == pytest.approx(detector.score_batch(clips[:3]).numpy(), abs=1e-6)
    assert json.loads(said[f"{ABOUT}.json"])["window"] == WINDOW


def test_quantised_weights_are_smaller_and_the_front_end_stays_exact(tmp_path, clips, traced_once):
    detector = make_detector(LFCC, MHFA, tmp_path)
    plain = write_export(detector, tmp_path / "x.onnx", clips)
    exported = asvtk.load(tmp_path / "x.onnx")
    assert exported.score_batch(clips) == pytest.approx(detector.score_batch(clips).numpy(), abs=2e-5)
    quantised = write_export(detector, tmp_path / "y.onnx", clips, int8=True)
    assert plain.size - quantised.size > 200_000  # three quarters of its large matrices
    assert quantised.int8.relative > 1e-4
    names = [weight.name for weight in onnx.load(tmp_path / "y.onnx").graph.initializer]
    assert any("quantized" in name for name in names)
    assert not any("quantized" in name for name in names if "filterbank" in name or "cosines" in name)
    assert asvtk.load(tmp_path / "y.onnx").name == "mhfa (int8)"


def test_what_scores_otherwise_is_not_written(small, tmp_path, clips, monkeypatch):
    monkeypatch.setattr(export, "export_graph", lambda detector: None)
    monkeypatch.setattr(export, "_onnx_model", lambda *_: (onnx.load(small[0]), []))
    right = OnnxDetector.score_windows
    monkeypatch.setattr(
        OnnxDetector, "score_windows", lambda self, x: tuple(1.001 * y for y in right(self, x))
    )
    with pytest.raises(AsvtkError, match="gives other scores than torch.*nothing was written"):
        write_export(small[1], tmp_path / "x.onnx", clips)
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize("storage", ["CM2", "CM"])
def test_rounding_is_that_of_the_cache(storage):
    x = torch.randn(2, 50, 7, generator=torch.Generator().manual_seed(0)) * 30 + 2
    x[:, :, 3] = 1.0
    expected = np.stack([as_stored(matrix.numpy(), storage) for matrix in x])
    assert rounded(x, storage).numpy() == pytest.approx(expected, abs=1e-5)


def test_detect_runs_without_torch_and_says_what_torch_says(small, tmp_path, shared_data):
    file, detector = small
    clip = sorted((shared_data / "la_real/LA").glob("*eval/flac/*"))[3]
    soundfile.write(tmp_path / "long.wav", np.resize(soundfile.read(clip)[0], 12 * 16_000), 16_000)
    program = (
        "import sys; from asvtk.bin.main import main; status = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(status)"
    )
    words = ["detect", "--model", file, tmp_path / "long.wav", "--json"]
    outcome = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120
    )
    assert outcome.returncode == 0, outcome.stderr
    said, expected = json.loads(outcome.stdout), detector.detect(tmp_path / "long.wav").to_dict()
    assert said["verdict"] in ("bonafide", "spoof") and len(said["timeline"]) > 8
    for name in ("verdict", "speech", "window", "hop", "prior", "error_rates"):
        assert said[name] == expected[name], name
    for name in ("score", "llr", "probability"):
        assert said[name] == pytest.approx(expected[name], abs=1e-4), name


def test_it_judges_arrays_streams_and_several_files_as_others_do(small, clips, tmp_path, capfd):
    file, detector = small
    exported = asvtk.load(file)
    sound = np.concatenate(clips)
    stream = exported.stream(min_speech=0.25)
    answers = [answer for k in range(0, len(sound), 900) for answer in stream.push(sound[k : k + 900])]
    assert answers == [] or {"t", "llr", "verdict"} == set(answers[0])
    assert stream.finish().verdict == detector.detect(sound, 16_000, min_speech=0.25).verdict
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", sound, 16_000)
    assert main(["detect", "--model", str(file), str(tmp_path), "--csv", "--nj", "2"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 3
    assert main(["detect", "--model", str(file), str(tmp_path), "--ngpu", "1"]) != 0


def test_speech_is_the_same_by_onnx_runtime(shared_data):
    clips = sorted((shared_data / "la_real/LA").glob("*dev/flac/*"))[::10]
    for path in clips:
        samples = np.tile(soundfile.read(path, dtype="float32")[0], 2)
        found = []
        for network in (speech._torch_network(), speech._onnx_network()):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(speech, "_network", lambda network=network: network)
                found.append(speech.speech_probabilities(samples))
        assert found[0] == pytest.approx(found[1], abs=1e-4)
        assert speech.speech_seconds(found[0]) == speech.speech_seconds(found[1])


def test_seconds_of_speech_are_those_of_silero():
    from silero_vad import get_speech_timestamps_from_probs

    generator = np.random.default_rng(0)
    for number in range(300):
        values = generator.random(generator.integers(0, 60)).repeat(generator.integers(1, 12))
        stretches = get_speech_timestamps_from_probs(values.tolist(), sampling_rate=16_000)
        seconds = sum(part["end"] - part["start"] for part in stretches) / 16_000
        assert speech.speech_seconds(values) == pytest.approx(seconds), number


def foreign(metadata: dict, outside: str | None = None, dims=(2,)):
    """An ONNX model that adds a weight; ``outside``: where the weight lies."""
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, dims, [1.0, 2.0])
    if outside:
        weight.ClearField("float_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=outside)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["audio", "w"], ["score"])],
        "g",
        [value("audio", onnx.TensorProto.FLOAT, [None, 2])],
        [value("score", onnx.TensorProto.FLOAT, [None, 2])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, metadata)
    return model


def test_foreign_and_damaged_files_are_refused_in_one_line(small, tmp_path, capsys):
    content = small[0].read_bytes()
    about = {ABOUT: json.dumps(json.loads(read_metadata(content, "x")[ABOUT]) | {"window": 2})}
    (tmp_path / "secret").write_bytes(np.ones(2, np.float32).tobytes())
    place = tmp_path / "folder"
    place.mkdir()
    files = {
        "did not write": foreign({}).SerializeToString(),
        "format 9": foreign({ABOUT: '{"format": 9}'}).SerializeToString(),
        "metadata": foreign({ABOUT: '{"format": 1, "window": "x"}'}).SerializeToString(),
        "not the one": foreign(about).SerializeToString(),
        "in other files": foreign(about, "../secret").SerializeToString(),
        "cut off": content[: len(content) // 2],
        "is no ONNX file": b"PK\x03\x04" + bytes(100),
        "is empty": b"",
    }
    for word, data in files.items():
        (place / "x.onnx").write_bytes(data)
        assert main(["detect", "--model", str(place / "x.onnx"), str(tmp_path / "secret")]) != 0
        lines = capsys.readouterr().err.splitlines()
        assert any(word in line and "x.onnx" in line for line in lines), (word, lines)
        with pytest.raises(AsvtkError):
            asvtk.load(place / "x.onnx")
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for byte in generator.integers(0, len(damaged), 20):
            damaged[byte] = generator.integers(256)
        with contextlib.suppress(AsvtkError):
            OnnxDetector(bytes(damaged), "x")


def test_without_the_extra_it_says_which(small, monkeypatch, tmp_path, clips):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AsvtkError, match=r"pip install 'asvtk\[export\]'"):
        asvtk.load(small[0])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(AsvtkError, match=r"pip install 'asvtk\[export\]'"):
        write_export(small[1], tmp_path / "x.onnx", clips)
