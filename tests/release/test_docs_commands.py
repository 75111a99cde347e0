"""The commands and programs that pages show, run on small inputs that go by the names they have there."""

import importlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import soundfile
import yaml
from tiny_corpora import write_clip

import asvtk
from asvtk.bin.arguments import Parser
from asvtk.bin.main import main

ROOT = Path(__file__).parents[2]
CONFIG = {
    "frontend": {"name": "lfcc"},
    "model": {"name": "moe_mamba", "d_model": 16, "blocks": 1, "d_state": 4, "d_expert": 8, "d_embedding": 8},
    "loss": {"name": "oc_softmax"},
    "training": {"epochs": 2, "warmup_epochs": 0, "batch_size": 8},
}
#: clips of a class of each set
SIZES = {"train": 8, "dev": 4, "eval": 2}
#: what stands in for what a page cannot know
STAND_INS = {
    "/corpora/": "corpora/",
    "--nj 4": "--nj 1",
    '"cuda"': '"cpu"',
    "ffmpeg -i rtsp://...": "cat raw",
}
#: programs of others, which are not run
OTHERS = {"pip", "docker", "echo", "chmod", "cp", "."}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for theirs, ours in STAND_INS.items():
        text = text.replace(theirs, ours)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory, shared_data):
    """A folder with what the pages name: real clips, data directories, an experiment, its package ..."""
    place = tmp_path_factory.mktemp("docs")
    genuine = shared_data / "asvspoof2019_genuine" / "LA"
    la, clips = place / "corpus" / "LA", {}
    (la / "ASVspoof2019_LA_cm_protocols").mkdir(parents=True)
    for protocol in sorted((genuine / "ASVspoof2019_LA_cm_protocols").glob("*LA.cm.*")):
        name = protocol.name.split(".")[3]
        lines = [line for line in protocol.read_text().splitlines() if line]
        flac = la / f"ASVspoof2019_LA_{name}" / "flac"
        flac.mkdir(parents=True)
        chosen = [
            line
            for key in ("bonafide", "spoof")
            for line in [line for line in lines if line.endswith(key)][: SIZES[name]]
        ]
        (la / "ASVspoof2019_LA_cm_protocols" / protocol.name).write_text("\n".join(chosen) + "\n")
        for line in chosen:
            file = f"{line.split()[1]}.flac"
            shutil.copy(genuine / flac.relative_to(la) / file, flac / file)
            clips[flac / file] = line
    exp, data, dump = place / "exp" / "lfcc_moe_mamba", place / "data", place / "dump"
    (place / "lfcc.yaml").write_text(yaml.safe_dump(CONFIG))
    sets = {name: data / name for name in SIZES}
    verbs = [["prepare", la, data]]
    for directory in sets.values():
        given = ["--config", place / "lfcc.yaml", "--data", directory, "--dump", dump]
        verbs += [["extract", step, *given] for step in ("begin", "job", "join")]
    trained = ["--exp", exp, "--dump", dump]
    roles = ["--train-data", sets["train"], "--dev-data", sets["dev"]]
    verbs += [
        ["train", "--config", place / "lfcc.yaml", *trained, *roles],
        ["score", *trained, "--data", sets["dev"], sets["eval"]],
        ["calibrate", "--exp", exp, *roles, "--eval-data", sets["eval"]],
        ["evaluate", "--exp", exp, "--data-root", data],
        ["pack", "--exp", exp],
    ]
    for words in verbs:
        assert main([str(word) for word in words]) == 0, words

    (bonafide, *_), (clip, *_) = (
        [path for path, line in clips.items() if line.endswith(key)] for key in ("bonafide", "spoof")
    )
    shutil.copy(exp / "lfcc_moe_mamba.asvtk.tar", place / "lfcc_moe_mamba.asvtk.tar")
    shutil.copy(exp / "lfcc_moe_mamba.asvtk.tar", place / "MODEL")
    for name in ("interview.m4a", "clip.flac", "calls/a.flac", "recordings/a.flac"):
        (place / name).parent.mkdir(exist_ok=True)
        shutil.copy(clip, place / name)
    shutil.copy(bonafide, place / "calls" / "b.flac")
    (place / "raw").write_bytes(soundfile.read(clip, dtype="int16")[0].tobytes())
    scores = place / "exp" / "a" / "scores"
    scores.mkdir(parents=True)
    for name in ("asvspoof5-eval", "asvspoof2021_df-eval", "in_the_wild-eval"):
        shutil.copy(exp / "scores" / "eval.txt", scores / f"{name}.txt")
    (place / "meta.yaml").write_text("{}\n")
    return place


def write_own_corpus(place) -> None:
    rows = ["file,class,system,who,split,lang"]
    for number, kind in enumerate(["human", "tts", "vc", "human"]):
        write_clip(place / "own" / f"{number}.wav", 22050, seed=number)
        rows.append(f"own/{number}.wav,{kind},{'-' if kind == 'human' else kind},s{number},test,en")
        key, attack = ("real", "none") if kind == "human" else ("fake", kind)
        for folder in ("training", "testing"):
            path = place / "corpora" / "mine" / folder / key / attack / f"s{number}_{folder}.wav"
            write_clip(path, seed=number)
    (place / "clips.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def here(place, shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("ASVTK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ASVTK_MODELS_URL", str(shared_data / "aasist"))
    return place


class Shell:
    """As much of a shell as pages need: asvtk runs in this process, recipes say which options they take."""

    def __init__(self, monkeypatch):
        self.folder, self._monkeypatch = ROOT / "egs" / "asvspoof2019_la", monkeypatch

    def run(self, block: str) -> None:
        for line in block.replace("\\\n", " ").splitlines():
            for command in shlex.split(line, comments=True) and re.split(r" && ", line):
                self._run(command)

    def _run(self, command: str) -> None:
        producer, _, consumer = command.rpartition(" | ")
        words = shlex.split(consumer, comments=True)
        program, *options = words
        if program == "asvtk" and "hf:" in consumer and options[0] != "push":  # from the hub: test_push.py
            parser = Parser(allow_abbrev=False)
            importlib.import_module(f"asvtk.bin.{options[0]}").add_arguments(parser)
            parser.parse_args(options[1:])
        elif program == "asvtk":
            if producer:
                content = Path(shlex.split(producer)[1]).read_bytes()
                self._monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))
            assert main(options) in (0, None), command
        elif program == "cd":
            self.folder = (ROOT if options[0].startswith("egs/") else self.folder) / options[0]
            assert self.folder.is_dir(), command
        elif program.startswith(("./", "local/")):
            self._ask_recipe(program, [word for word in options if re.fullmatch(r"--[\w-]+", word)])
        elif program == "make":
            assert re.search(rf"^{options[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        else:
            assert program in OTHERS, command

    def _ask_recipe(self, program, options) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        asked = subprocess.run(
            [program, "--help"],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        for option in options:
            known = asked.stdout + asked.stderr + (self.folder / program).read_text()
            assert re.search(rf"{option}\b", known), f"{self.folder}/{program} takes no {option}"


@pytest.mark.parametrize(
    "page", ["quickstart", "detect", "score", "own_corpus", "corpora", "packing", "install"]
)
def test_commands(here, tmp_path, monkeypatch, capsys, page):
    if page == "own_corpus":  # has data/ of its own
        write_own_corpus(tmp_path)
        monkeypatch.chdir(tmp_path)
    for block in re.findall(
        r"# (mine\.yaml).*?\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL
    ):
        Path(block[0]).write_text(block[1])
        Shell(monkeypatch).run(f"asvtk prepare --corpus {block[0]} corpora/mine data_mine")
    commands = blocks(page, "bash")
    assert commands
    for block in commands:
        Shell(monkeypatch).run(block)
    if page == "detect":
        answers = [line for line in capsys.readouterr().out.splitlines() if line.startswith('{"t"')]
        assert answers and Path("interview.html").stat().st_size > 10_000
        assert len(Path("results/detections.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("page", ["detect", "python"])
def test_programs(here, page):
    names = {"asvtk": asvtk, "soundfile": soundfile, "paths": sorted(Path("calls").glob("*.flac"))}
    programs = blocks(page, "python")
    assert programs
    for program in programs:
        exec(program, names)
    if page == "python":
        assert names["scores"].shape == names["accepted"].shape == (2,)


def test_the_reference_names_what_is_there():
    names = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert len(names) > 10
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            module, _, attribute = name.rpartition(".")
            documented = getattr(importlib.import_module(module), attribute)
            assert documented.__doc__, name
