"""asvtk train: which data directories go together, and with which configuration."""

import dataclasses
import shutil

import pytest
from tiny_training import prepare

from asvtk.bin.main import main
from asvtk.io.datadir import DataDirectory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    prepare(folder)
    train = DataDirectory.read(folder / "data" / "train")
    spoofs = {f"{u}-world": u for u, label in train.label.items() if label == "bonafide"}
    tables = {
        field.name: {new: getattr(train, field.name)[old] for new, old in spoofs.items()}
        for field in dataclasses.fields(train)
        if field.name not in ("path", "source")
    }
    tables |= {"label": dict.fromkeys(spoofs, "spoof"), "attack": dict.fromkeys(spoofs, "vocoded-world")}
    tables |= {"source": spoofs}
    DataDirectory(folder / "data" / "made", **tables).write()
    return folder


@pytest.mark.parametrize(
    "train, dev, overrides, message",
    [
        ("train made", "dev", "", "say so in a section 'vocoded'"),
        ("train", "dev", "vocoded.methods=[world]", "hold none of the spoofs"),
        ("train made", "made", "vocoded.methods=[world]", "they are for training only"),
        ("train train", "dev", "", "is also in"),
        ("made", "dev", "vocoded.methods=[world]", "0 bona fide and 6 spoofed utterances"),
        ("train made", "dev", "vocoded.methods=[wold]", "wold"),
        ("train made", "dev", "vocoded.methods=[world]", "made/layer_00/feats.scp: there are no"),
    ],
)
def test_sets_that_do_not_belong_together(folder, capsys, train, dev, overrides, message):
    sets = [str(folder / "data" / name) for name in train.split()]
    words = ["--exp", str(folder / "exp"), "--dump", str(folder / "dump"), "--override", *overrides.split()]
    words += ["--train-data", *sets, "--dev-data", str(folder / "data" / dev)]
    assert main(["train", "--config", str(folder / "c.yaml"), *words]) == 1
    assert message in capsys.readouterr().err.replace(f"{folder}/data/", "")


def test_check_says_what_there_is_and_changes_nothing(trained, tmp_path, capsys):
    exp = tmp_path / "exp"
    sets = [word for name in ("train", "dev") for word in (f"--{name}-data", str(trained / "data" / name))]
    words = [
        "train",
        "--check",
        "--config",
        str(trained / "config.yaml"),
        "--dump",
        str(trained / "dump"),
        *sets,
    ]

    def check(*overrides, status=0):
        assert main([*words, "--exp", str(exp), "--override", *overrides]) == status
        return capsys.readouterr()

    assert check().out == "new\n" and not exp.exists()
    shutil.copytree(trained / "exp", exp)
    files = {path: path.read_bytes() for path in exp.rglob("*") if path.is_file()}
    assert check().out == "finished\n"
    assert check("training.epochs=3").out == "unfinished\n"  # it can be extended
    said = check("training.lr=0.5", status=1)
    assert said.out == "" and "-> 0.5" in said.err and "--tag" in said.err
    assert {path: path.read_bytes() for path in exp.rglob("*") if path.is_file()} == files
    (exp / ".train.done").unlink()
    assert check().out == "unfinished\n"
