"""asvtk extract: what it refuses, in one line, and what it leaves alone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_corpus import prepare_split, write_tiny_corpus
from tiny_models import LARGE, save_model

from asvtk.bin.main import main
from asvtk.io.datadir import DataDirectory
from asvtk.io.locks import locked, locked_together

CONFIG = "frontend: {name: lfcc, crop: {samples: 4000}}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where train and dev are prepared, and c.yaml is."""
    monkeypatch.chdir(tmp_path)
    corpus = write_tiny_corpus(tmp_path)
    for split in ("train", "dev"):
        prepare_split(corpus, split, tmp_path / "data" / split)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path


def arguments(action, *more):
    return ["extract", action, "--config", "c.yaml", "--dump", "dump", "--data", "data/train", *more]


def the_set(folder):
    (found,) = folder.glob("dump/*/train")
    return found


def test_room_is_asked_for_all_data_sets_at_once(folder, capsys, monkeypatch):
    def fits(free, *more):
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free}))
        return main(arguments("begin", *more)) == 0

    assert main(["cache", "size", "--config", "c.yaml", "--data", "data/train"]) == 0
    train = int(re.search(r"\((\d+) bytes\)", capsys.readouterr().out)[1])
    assert fits(train) and not fits(train - 1)
    assert not fits(train, "--train-data", "data/dev")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line][-1:]
    assert re.match("asvtk extract: error: dump: needs .* are free on /.*; name fewer layers", line)
    assert fits(2 * train, "--train-data", "data/dev")


def test_force_spares_a_cache_in_use(folder, capsys):
    assert main(arguments("begin")) == main(arguments("job")) == main(arguments("join")) == 0
    before = sorted(the_set(folder).rglob("part*"))
    with locked(the_set(folder) / ".job.1.of.1.lock", "computes this share"):
        assert main(arguments("begin", "--force")) == 1
    assert "in use by process" in capsys.readouterr().err
    assert before and sorted(the_set(folder).rglob("part*")) == before
    assert main(arguments("begin", "--force")) == 0
    assert not list(the_set(folder).rglob("part*"))
    assert main(arguments("job")) == main(arguments("join")) == 0


@pytest.mark.parametrize("lock", ["same share", "other number of jobs"])
def test_fault_18_a_second_job_waits_and_computes_nothing_twice(folder, lock):
    """What it says meanwhile goes to standard error: a script may read an answer from the other."""
    assert main(arguments("begin")) == 0
    held = (
        locked(the_set(folder) / ".job.1.of.1.lock", "computes this share")
        if lock == "same share"
        else locked_together(the_set(folder) / ".shares.lock", "2 jobs, which compute its features")
    )
    with held:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        second = subprocess.Popen([sys.executable, "-m", "asvtk", *arguments("job")], **pipes)
        line = second.stderr.readline()
        assert "waiting for " in line and "which comput" in line
        if lock != "same share":
            assert main(arguments("job", "--nj", "2", "--job", "1")) == 0  # of the group that holds it
            assert main(arguments("job", "--nj", "2", "--job", "2")) == 0
    said = second.communicate(timeout=60)[0]
    assert second.returncode == 0 and "waiting" not in said
    computed = "features of 0 utterances computed" in said
    assert computed == (lock != "same share")


def test_corrupt_audio_is_listed_at_the_end_and_skipped_on_demand(folder, capsys):
    wav = DataDirectory.read("data/train").wav
    harmed = [path for number, path in enumerate(wav.values()) if number in (3, 8)]
    for path in harmed:
        with open(path, "r+b") as stream:
            stream.truncate(3000)
    assert main(arguments("begin")) == 0
    assert main(arguments("job")) == 1
    said = capsys.readouterr().err
    assert "2 audio files of data/train cannot be used" in said and all(path in said for path in harmed)
    assert "features of all others are cached; restore these files, or give --skip-bad true" in said
    assert main(arguments("join")) == 1
    assert main(arguments("job", "--skip-bad")) == main(arguments("join")) == 0
    assert "skipped: 2 utterances are done without" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["lfcc", "spectrogram", "ssl", "waveform"])
def test_only_a_job_imports_torch(folder, kind):
    """What comes before it and behind it, by the same fingerprint as its own; so does the size of a cache."""
    section = {"name": kind, "crop": {"samples": 4000}}
    if kind == "ssl":
        section["model"] = save_model(folder / "m", **LARGE)
    (folder / "c.yaml").write_text(yaml.safe_dump({"frontend": section}))
    size = ["cache", "size", "--config", "c.yaml", "--dump", "dump", "--data", "data/train"]
    assert main(arguments("begin")) == main(arguments("job")) == 0
    computed = sorted(folder.rglob("dump/**/part*"))
    assert bool(computed) == (kind != "waveform")
    program = (
        "import json, sys; from asvtk.bin.main import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    assert main(words) == 0, words\n"
        "    slow = {'torch', 'transformers', 'scipy.signal'} & set(sys.modules)\n"
        "    assert not slow, (words, slow)"
    )
    commands = json.dumps([arguments("begin"), arguments("join"), size])
    answer = subprocess.run([sys.executable, "-c", program, commands], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert len(list(folder.rglob("feats.scp"))) == len({path.parent for path in computed})
    assert answer.stdout.startswith("0 0\n") and "would write 0 bytes" in answer.stdout


@pytest.mark.parametrize("action", ["begin", "job"])
def test_a_model_without_weights_is_told_in_one_line(folder, capsys, action):
    (Path(save_model(folder / "m", **LARGE)) / "model.safetensors").unlink()
    (folder / "c.yaml").write_text(
        "frontend: {name: ssl, model: ./m, crop: {samples: 4000}, normalise: true}\n"
    )
    capsys.readouterr()
    assert main(arguments(action)) == 1
    said = capsys.readouterr().err
    assert said == "asvtk extract: error: m: holds no weights (model.safetensors or pytorch_model.bin)\n"
