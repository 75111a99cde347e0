"""asvtk resynth with neural vocoders: how many jobs, their training, the spoofs, and what is refused."""

import pytest
from tiny_corpus import write_tiny_corpus
from tiny_vocoders import shrink_vocoders

from asvtk.bin.main import main
from asvtk.io.datadir import DataDirectory

CONFIG = """resynthesis:
  methods: [neural_spectral, neural_spectral_smooth]
  vocoders: {steps: 1, batch_size: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resynth")
    corpus = write_tiny_corpus(folder)
    assert not main(["prepare", str(corpus), str(folder / "data"), "--nj", "1"])
    (folder / "conf.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        shrink_vocoders(patch)
        yield folder


def resynth(folder, action, *more):
    config, data = str(folder / "conf.yaml"), str(folder / "data" / "train")
    return main(["resynth", action, "--config", config, "--data", data, *more])


def test_vocoders_are_trained_once_and_make_the_spoofs(folder, capsys):
    assert resynth(folder, "make") == 1  # nothing is trained yet
    assert "asvtk resynth train makes them" in capsys.readouterr().err
    assert not resynth(folder, "jobs") and capsys.readouterr().out.strip() == "1"
    assert not resynth(folder, "train") and "trained on 6 utterances" in capsys.readouterr().out
    assert not resynth(folder, "jobs") and capsys.readouterr().out.strip() == "0"
    assert not resynth(folder, "train") and "trained already" in capsys.readouterr().out
    assert not resynth(folder, "name")
    name = capsys.readouterr().out.strip()
    assert not resynth(folder, "make", "--nj", "1")
    made = DataDirectory.read(folder / "data" / name)
    assert set(made.attack.values()) <= {"resynth-neural_spectral", "resynth-neural_spectral_smooth"}
    assert made.utterances and set(made.label.values()) == {"spoof"}


def test_a_vocoder_is_kept_at_the_ages_that_methods_name(folder, capsys):
    options = ["--override", "resynthesis.vocoders.steps=2"]
    options.append("resynthesis.methods=[neural_spectral@1,neural_spectral_smooth@1,neural_spectral]")
    assert not resynth(folder, "train", *options) and not resynth(folder, "make", "--nj", "1", *options)
    assert not resynth(folder, "jobs", *options)
    assert capsys.readouterr().out.strip().endswith("\n0")
    assert not resynth(folder, "name", *options)
    made = DataDirectory.read(folder / "data" / capsys.readouterr().out.strip())
    assert "resynth-neural_spectral@1" in made.attack.values()
    (weights,) = (path for path in (folder / "data").glob("*_vocoders-*") if len(list(path.iterdir())) > 1)
    assert {path.name for path in weights.iterdir()} == {"spectral.safetensors", "spectral@1.safetensors"}
    kept = {path: path.stat().st_mtime_ns for path in weights.iterdir()}
    options[-1] = "resynthesis.methods=[neural_spectral]"
    assert not resynth(folder, "train", *options) and "trained on 6" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # spoofs were made with these
    options[-1] = "resynthesis.methods=[neural_spectral@1,neural_spectral_smooth@1,neural_spectral]"
    (weights / "spectral@1.safetensors").unlink()
    assert not resynth(folder, "jobs", *options) and capsys.readouterr().out.strip() == "1"


@pytest.mark.parametrize(
    "methods, message",
    [
        ("neural_spectral@1", "neural_spectral@1: a vocoder is trained for 1 steps (vocoders.steps)"),
        ("neural_spectral@0", "methods: neural_spectral@0; there are"),
        ("neural_spectral@x", "methods: neural_spectral@x; there are"),
        ("griffin_lim@5", "and neural ones also as NAME@STEPS"),
    ],
)
def test_ages_that_no_vocoder_has_are_refused(methods, message, folder, capsys):
    assert resynth(folder, "name", "--override", f"resynthesis.methods=[{methods}]") == 1
    assert message in capsys.readouterr().err


def test_classic_methods_need_no_jobs(folder, capsys):
    assert not resynth(folder, "jobs", "--override", "resynthesis.methods=[griffin_lim]")
    assert capsys.readouterr().out.strip() == "0"


def test_there_is_no_second_job(folder, capsys):
    assert resynth(folder, "train", "--job", "2") == 1
    assert "--job 2: the configuration asks for 1 neural vocoders" in capsys.readouterr().err
