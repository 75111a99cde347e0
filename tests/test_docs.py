"""Pages that newcomers read first: what they must say, and what they show works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_corpus import write_tiny_corpus

from asvtk.bin.main import main
from asvtk.frontends.base import FrontEnd
from asvtk.models import BackEnd, Detector

ROOT = Path(__file__).parents[1]
EXTENDING = ROOT / "docs" / "extending.md"


def test_fault_21_first_commands_are_followed_by_what_puts_asvtk_on_the_path():
    for page in "README.md", "docs/quickstart.md":
        text = (ROOT / page).read_text()
        assert text.index("make mini") < text.index(". .venv/bin/activate") < text.index("asvtk "), page
    assert "activate" in (ROOT / "Makefile").read_text().split("env: $(ENV)")[1].split("mini:")[0]


def test_fault_26_extending_names_what_must_be_written():
    text = EXTENDING.read_text()
    for name in (*FrontEnd.__abstractmethods__, *BackEnd.__abstractmethods__):
        assert f"def {name}(" in text, name
    for name in ("d_embedding", "mvn", "uses_features", "uses_audio", "width", "label", "auxiliary"):
        assert name in text, name
    assert "## A corpus" in text


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The files of docs/extending.md, as they stand there."""
    for name, text in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", EXTENDING.read_text(), re.DOTALL):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_extending_passes_its_own_tests(example):
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_pkg.py"]
    answer = subprocess.run(words, cwd=example, capture_output=True, text=True)
    assert answer.returncode == 0 and "2 passed" in answer.stdout, answer.stdout + answer.stderr


def test_extending_goes_through_the_stages(example, monkeypatch, capsys):
    monkeypatch.chdir(example)
    write_tiny_corpus(example / "corpus")
    given = ["--config", "conf/mine.yaml"]
    assert main(["prepare", "corpus/LA", "data"]) == 0
    for split in ("train", "dev"):
        for step in ("begin", "job", "join"):
            assert main(["extract", step, *given, "--data", f"data/{split}", "--dump", "dump"]) == 0
    trained = ["--exp", "exp/mine", "--dump", "dump"]
    sets = ["--train-data", "data/train", "--dev-data", "data/dev"]
    for words in (
        ["train", *given, *trained, *sets],
        ["score", *trained, "--data", "data/dev"],
        ["evaluate", "--exp", "exp/mine", "--data-root", "data"],
        ["pack", "--exp", "exp/mine"],
        ["score", "--model", "exp/mine/mine.asvtk.tar", "--data", "data/dev", "--out", "scores.txt"],
    ):
        assert main(words) == 0, capsys.readouterr().err
    # Of a stranger's package nothing is imported that was not before.
    program = "import asvtk; asvtk.load('exp/mine/mine.asvtk.tar')"
    answer = subprocess.run([sys.executable, "-c", program], cwd=example, capture_output=True, text=True)
    assert "is code outside asvtk, which is not run because a file names it" in answer.stderr


def test_the_example_of_readme_runs(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "AASIST.pth").symlink_to(shared_data / "aasist" / "AASIST.pth")
    (clip, *_) = sorted((shared_data / "asvspoof2019_genuine").rglob("LA_E_*.flac"))
    (tmp_path / "clip.flac").symlink_to(clip)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(example, {})
    assert -20 < float(capsys.readouterr().out) < 20


def test_the_python_page_names_what_is_there():
    text = (ROOT / "docs" / "python.md").read_text()
    for name in re.findall(r"`(?:detector\.)?(\w+)\((?:audios?|batch)\b", text):
        assert name == "detector" or hasattr(Detector, name), name
    assert all(f"`{word}`" in text for word in ("AASIST.pth", "TAG.asvtk.tar", "name", "threshold"))
