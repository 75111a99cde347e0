"""asvtk models, and detectors by name in every way in."""

from pathlib import Path

import pytest
import soundfile
import torch

import asvtk
from asvtk.bin.main import main
from asvtk.inference.pretrained import find_pretrained, list_pretrained
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import file_digest
from asvtk.models import build_detector
from asvtk.training.config import load_config
from asvtk.training.continuation import InitialWeights

ROOT = Path(__file__).parents[2]


def run(*words):
    assert main([str(word) for word in words]) == 0


@pytest.fixture
def mirror(shared_data, tmp_path, monkeypatch):
    """A folder with the published weights, instead of the net; nothing is fetched yet."""
    monkeypatch.setenv("ASVTK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ASVTK_MODELS_URL", str(shared_data / "aasist"))
    return shared_data / "aasist"


@pytest.fixture
def clip(shared_data):
    return sorted((shared_data / "asvspoof2019_genuine").rglob("LA_E_*.flac"))[0]


def test_ls_is_a_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ASVTK_HOME", str(tmp_path))
    run("models", "ls")
    said = capsys.readouterr().out
    row = [
        "aasist",
        "MIT",
        "ASVspoof 2019 LA, train",
        "ASVspoof 2019 LA, eval",
        "0.83",
        "0.0275",
        "1.3",
        "no",
    ]
    assert row in [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines()]
    for of in list_pretrained().values():
        assert of.url in said and of.sha256 in said


def test_get_fetches_once_and_copies(mirror, tmp_path, capsys):
    for name, file in ("aasist", "AASIST.pth"), ("AASIST-L", "AASIST-L.pth"):
        run("models", "get", name)
        assert capsys.readouterr().out == f"{tmp_path}/home/models/{file}\n"
        run("models", "get", name, "--to", tmp_path / "here")
        assert capsys.readouterr() == (f"{tmp_path}/here/{file}\n", "")
        assert file_digest(tmp_path / "here" / file) == file_digest(mirror / file)


def test_a_name_is_taken_for_a_model_everywhere(mirror, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    detector = asvtk.load("aasist")
    assert detector.name == "AASIST" and detector.sha256 == list_pretrained()["aasist"].sha256
    by_path = asvtk.load(mirror / "AASIST.pth").score(*soundfile.read(clip))
    assert detector.score(*soundfile.read(clip)) == by_path
    capsys.readouterr()
    run("score", "--model", "aasist", "--audio", clip)
    assert float(capsys.readouterr().out.splitlines()[-1].split("\t")[1]) == pytest.approx(by_path, abs=1e-4)
    # What lies here under that name goes before.
    (tmp_path / "aasist").write_text("mine")
    with pytest.raises(AsvtkError, match="^aasist: is plain text"):
        asvtk.load("aasist")


@pytest.mark.parametrize(
    "words", [["detect", "--model", "aassist"], ["score", "--model", "aassist", "--audio"]]
)
def test_an_unknown_name_is_told_with_the_known_ones(clip, capsys, words):
    assert main([*words, str(clip)]) == 1
    err = capsys.readouterr().err
    assert "aassist: no such file" in err and "aasist, aasist-l" in err and err.count("\n") == 1
    assert main(["models", "get", "aassist"]) == 1
    assert "aassist: no such model; known are aasist, aasist-l" in capsys.readouterr().err
    assert main(["models", "get"]) == 2


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": x for name, x in state.items()}},
        lambda state: {"state_dict": {f"model.{name}": x for name, x in state.items()}},
        lambda state: {f"module.model.{name}": x for name, x in state.items()},
    ],
)
def test_published_weights_may_be_wrapped_and_prefixed(shared_data, tmp_path, wrap):
    weights = shared_data / "aasist" / "AASIST-L.pth"
    torch.save(wrap(torch.load(weights, map_location="cpu", weights_only=True)), tmp_path / "wrapped.pth")
    found, expected = (asvtk.load(path).state_dict() for path in (tmp_path / "wrapped.pth", weights))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("source", ["aasist-l", "wrapped.pth", "back_end.pth"])
def test_training_may_begin_with_them(mirror, tmp_path, monkeypatch, source):
    """By name; wrapped by somebody's trainer; or a back-end of ours that was saved alone."""
    monkeypatch.chdir(tmp_path)
    detector = build_detector(load_config(ROOT / "egs/asvspoof2019_la/conf/aasist_l.yaml"))
    state = torch.load(mirror / "AASIST-L.pth", map_location="cpu", weights_only=True)
    torch.save({"state_dict": {f"module.{name}": x for name, x in state.items()}}, "wrapped.pth")
    torch.save(detector.model.state_dict(), "back_end.pth")
    taken, outcome = InitialWeights.read(source).load(detector)
    assert f"tensors of {source}" in outcome and "not used" not in outcome
    if source != "back_end.pth":
        assert "new:" not in outcome and torch.equal(
            detector.loss.classifier.weight, state["out_layer.weight"]
        )
    assert all(name.startswith("model.") for name in taken if not name.startswith("loss."))


def test_paths_are_given_back(tmp_path):
    assert find_pretrained(tmp_path) == tmp_path and str(find_pretrained("none/of it")) == "none/of it"
