"""Every back-end exported: the scores of torch on ONNX Runtime."""

import os

import pytest
from tiny_detectors import LFCC, WINDOW, make_detector

import asvtk
from asvtk.bin.main import main
from asvtk.inference.export import write_export
from asvtk.inference.parity import speech_like
from asvtk.models import MODELS

pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")

MAMBA = dict(d_model=16, blocks=1, d_state=2, d_embedding=8)
MOE = dict(d_expert=8, **MAMBA)
SPECTROGRAM, WAVEFORM = dict(name="spectrogram"), dict(name="waveform")
GRAPH = dict(channels=[4, 4], d_graph=8, d_stack=8)
WHISPER = dict(name="ssl", model="Whisper", layers=[0, 1, 2], storage="CM2")
WAVLM = dict(name="ssl", model="WavLM", layers=[1])
WAV2VEC2 = dict(name="ssl", model="Wav2Vec2", layers=[1], trainable=1)
#: every back-end once, and every front-end with one of them
SYSTEMS = {
    "cascade_mamba": (WHISPER, dict(MAMBA, name="cascade_mamba")),
    "plain_mamba": (LFCC, dict(MAMBA, name="plain_mamba")),
    "moe_mamba": (LFCC, dict(MOE, name="moe_mamba", experts=3)),
    "conv_moe_mamba": (SPECTROGRAM, dict(MOE, name="conv_moe_mamba", channels=[4, 4])),
    "dual_stream": (LFCC, dict(MOE, name="dual_stream", stack=2, channels=[2] * 6, filters=12)),
    "aasist": (WAVEFORM, dict(GRAPH, name="aasist")),
    "ssl_aasist": (LFCC, dict(GRAPH, name="ssl_aasist", d_projection=24)),
    "logistic": (WAVLM, dict(name="logistic")),
    "sls": (WAV2VEC2, dict(name="sls", d_embedding=8, columns=5)),
    "mhfa": (LFCC, dict(name="mhfa", heads=2, d_compressed=8, d_embedding=8)),
    "nes2net": (LFCC, dict(name="nes2net", groups=3, scale=4)),
    "attentive_layers": (LFCC, dict(name="attentive_layers", d_model=8, d_embedding=8)),
    "tcm": (LFCC, dict(name="tcm", d_model=8, blocks=1, heads=2, taps=5)),
}


@pytest.fixture(scope="module")
def clips():
    return speech_like(5, 0.7) + [clip[:3_000] for clip in speech_like(2, 0.7, seed=1)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_back_end_gives_the_scores_of_torch(tmp_path, clips, name):
    detector = make_detector(*SYSTEMS[name], tmp_path)
    written = write_export(detector, tmp_path / "x.onnx", clips)  # raises, unless they are the same
    assert written.parity.deviation > 1e-4 and written.parity.windows == len(clips)
    exported = asvtk.load(tmp_path / "x.onnx")
    assert exported.score_batch(clips) == pytest.approx(detector.score_batch(clips).numpy(), abs=2e-5)
    assert (exported.name, exported.threshold, exported.about.window) == (name, 0.25, WINDOW)
    text = (tmp_path / "x.onnx").read_bytes()
    assert str(os.getcwd()).encode() not in text and b"site-packages" not in text


@pytest.mark.parametrize("architecture", ["Hubert", "UniSpeechSat", "Data2VecAudio", "Wav2Vec2Bert"])
def test_every_other_encoder_gives_the_states_of_torch(tmp_path, clips, architecture):
    frontend = dict(name="ssl", model=architecture, layers=[1])
    detector = make_detector(frontend, dict(name="logistic"), tmp_path)
    assert write_export(detector, tmp_path / "x.onnx", clips).parity.deviation > 1e-2


def test_all_back_ends_are_among_them():
    assert set(SYSTEMS) == set(MODELS)


def test_the_verb_takes_published_weights_and_prints_parity(shared_data, tmp_path, capsys):
    weights, out = shared_data / "aasist" / "AASIST-L.pth", tmp_path / "small.onnx"
    clips = sorted((shared_data / "la_real/LA").glob("*eval/flac/*"))[:3]
    assert main(["export", str(weights), str(out), "--clips", *map(str, clips)]) == 0
    said = capsys.readouterr().out
    assert "3 clips" in said and "times as fast" in said and "64600 samples" in said
    exported, windows = asvtk.load(out), speech_like(1, 4.1, seed=3)  # others than the verb compares
    assert exported.score_batch(windows) == pytest.approx(
        asvtk.load(weights).score_batch(windows).numpy(), abs=2e-5
    )
    assert main(["export", str(out), str(out)]) == 1
    assert "is exported already" in capsys.readouterr().err
    assert main(["export", str(weights), str(tmp_path / "x.pth")]) == 2
