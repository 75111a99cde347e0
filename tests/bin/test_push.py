"""asvtk push, and models by hf: names, against a stand-in of the hub; its library as it is, over HTTP."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from soundfile import read
from tiny_hub import TOKEN, TinyHub

from asvtk.bin.main import main
from asvtk.frontends.ssl.folder import find_model
from asvtk.inference.load import load
from asvtk.inference.package import read_package
from asvtk.io.errors import AsvtkError

NOBODY = "http://127.0.0.1:9"


def run(*words):
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def package(trained, tmp_path_factory):
    exp = tmp_path_factory.mktemp("push") / "small_lfcc"
    shutil.copytree(trained / "exp", exp)
    sets = [trained / "data" / name for name in ("dev", "eval")]
    run("score", "--exp", exp, "--dump", trained / "dump", "--data", *sets)
    run("evaluate", "--exp", exp, "--data-root", trained / "data")
    run("pack", "--exp", exp, "--licence", "CC BY 4.0")
    return exp / "small_lfcc.asvtk.tar"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in, which this process takes for the hub."""
    from huggingface_hub import constants

    hub = TinyHub()
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(tmp_path / "hf" / "hub"),
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub
    hub.shutdown()


def card_of(readme: str) -> dict:
    return yaml.safe_load(readme.split("---\n")[1])


def test_a_dry_run_prints_all_and_sends_nothing(package, hub, capsys):
    assert main(["push", str(package), "hf:lab/small-lfcc", "--dry-run", "--licence", "MIT"]) == 0
    said = capsys.readouterr().out
    for name in ("README.md", "package.json", "config.yaml", "model.safetensors", "card.md", "results.json"):
        assert f"hf:lab/small-lfcc: {name}, " in said
    card = card_of(said)
    assert card["license"] == "mit" and card["library_name"] == "asvtk"
    assert card["pipeline_tag"] == "audio-classification" and "lfcc" in card["tags"]
    assert "\n- licence: MIT\n" in said and "asvtk detect --model hf:lab/small-lfcc" in said
    assert hub.asked == []


def test_what_is_pushed_is_loaded_by_its_name(package, trained, hub, tmp_path, monkeypatch, capsys):
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "asvtk", "push", str(package), "hf:lab/small", "--private"]
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    repository = hub.repositories["lab/small"]
    sha = repository["sha"]
    there = repository["commits"][sha]
    assert said == f"{hub.url}/lab/small/commit/{sha}\n" and repository["private"]
    assert there["model.safetensors"] == read_package(package).members["model.safetensors"]
    card = card_of(there["README.md"].decode())
    (model,) = card["model-index"]
    measured = {result["dataset"]["split"]: result for result in model["results"]}
    eer = {metric["type"]: metric["value"] for metric in measured["eval"]["metrics"]}["eer"]
    results = yaml.safe_load(read_package(package).text("results.json"))
    assert card["license"] == "cc-by-4.0" and eer == pytest.approx(results["eval"]["eer_percent"], rel=1e-5)
    assert "not the official" in measured["eval"]["dataset"]["name"] and "datasets" not in card

    # A second state without a member that the first one had.
    there["calibration.json"] = b"{}"
    run("push", package, "hf:lab/small")
    assert there.keys() - repository["commits"][repository["sha"]].keys() == {"calibration.json"}
    del there["calibration.json"]

    (clip, *_) = sorted((trained / "corpus").rglob("*.flac"))
    capsys.readouterr()
    run("score", "--model", f"hf:lab/small@{sha}", "--audio", clip)
    score = float(capsys.readouterr().out.splitlines()[-1].split("\t")[1])
    assert score == pytest.approx(load(package).score(*read(clip)), abs=1e-4)
    run("models", "get", "hf:lab/small@main", "--to", tmp_path)
    assert capsys.readouterr().out == f"{tmp_path}/small.asvtk.tar\n"
    assert read_package(tmp_path / "small.asvtk.tar").about["name"] == "small_lfcc"
    # Without a network it is what was fetched last.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", NOBODY)
    run("models", "get", "hf:lab/small")
    assert read_package(capsys.readouterr().out.strip()).about["licence"] == "CC BY 4.0"


def test_an_encoder_by_its_name(hub, tmp_path):
    state = {"config.json": b"{}", "model.safetensors": b"weights", "notes.txt": b"-"}
    hub.repositories["lab/encoder"] = {"private": False, "sha": "1" * 40, "commits": {"1" * 40: state}}
    folder = find_model("hf:lab/encoder@main", None)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert find_model("hf:lab/encoder", "1" * 40) == find_model("lab/encoder", None) == folder
    with pytest.raises(AsvtkError, match="names another revision than frontend.revision, v2"):
        find_model("hf:lab/encoder@main", "v2")
    with pytest.raises(AsvtkError, match="knows no such revision"):
        find_model("hf:lab/encoder@v1", None)


@pytest.mark.parametrize(
    "words, token, message",
    [
        (
            ["models", "get", "hf:lab/none"],
            TOKEN,
            "hf:lab/none: the hub shows no such repository, or not to you",
        ),
        (["push", "PACKAGE", "hf:lab/new"], "hf_wrong", "HF_TOKEN=... or `hf auth login` says who"),
        (["push", "PACKAGE", "hf:lab/new"], None, "cannot be sent there now"),
        (["models", "get", "hf:lab/new"], None, "is not in its cache here (HF_HOME); give a local path"),
        (["push", "PACKAGE", "lab/new"], TOKEN, "lab/new: expected hf:OWNER/NAME"),
        (["push", "none.asvtk.tar", "hf:lab/new"], TOKEN, "none.asvtk.tar: no such package"),
        (["detect", "--model", "hf:lab/other", "CLIP"], TOKEN, "hf:lab/other: holds no detector of asvtk"),
    ],
)
def test_faults_are_one_line(package, trained, hub, monkeypatch, capsys, words, token, message):
    hub.repositories["lab/other"] = {
        "private": False,
        "sha": "1" * 40,
        "commits": {"1" * 40: {"a.txt": b"a"}},
    }
    if token is None:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", NOBODY)
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    (clip, *_) = sorted((trained / "corpus").rglob("*.flac"))
    words = [{"PACKAGE": str(package), "CLIP": str(clip)}.get(word, word) for word in words]
    assert main(words) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asvtk")]
    assert line.startswith(f"asvtk {words[0]}: error: ") and message in line
