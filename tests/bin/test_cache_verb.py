"""asvtk cache: what it prints, what it exits with, and that it removes nothing unasked."""

import re

import pytest
from tiny_cache import Ramp, fill
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.bin.main import main
from asvtk.frontends import load_frontend_config
from asvtk.frontends.cache.contents import Contents
from asvtk.frontends.cache.extraction import Source, extract_missing
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.cache.store import FeatureCache, cache_name
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.io.locks import locked


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return prepare_split(write_tiny_corpus(folder), "train", folder / "data" / "train")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cache(data):
    return fill("dump", data, Ramp(0, 1, 2, 5))


def files(folder):
    return {path for path in folder.rglob("*") if not path.name.endswith(".lock")}


def test_ls(cache, capsys):
    assert main(["cache", "ls"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    label, fingerprint = cache.root.name.split("-")
    assert cells[:6] == [label, fingerprint, "train", "0-2 5", "12", "100 %"]
    (cache.layer_folder(1) / "part.0001.ark").unlink()
    (cache.layer_folder(2) / "feats.scp").unlink()
    assert main(["cache", "ls", "--long"]) == 0
    said = capsys.readouterr().out
    assert " 75.0 % |" in said and f"{cache.root.name}:\nfront-end: ramp\nstored as: FM\n" in said


@pytest.mark.parametrize(
    "done, joined, skipped, text",
    [
        (9999, True, 0, "99.9 %"),
        (10000, True, 0, "100 %"),
        (10000, False, 0, "100 %, not joined"),
        (10000, True, 3, "100 %, 3 skipped"),
    ],
)
def test_ls_says_100_percent_of_nothing_less(cache, capsys, monkeypatch, done, joined, skipped, text):
    found = Contents((3,), 10000, done, skipped, joined, 0, 0)
    monkeypatch.setattr("asvtk.bin.cache.contents", lambda cache: found)
    main(["cache", "ls"])
    assert f" {text} |" in capsys.readouterr().out


def test_ls_of_nothing(tmp_path, capsys):
    assert main(["cache", "ls", "--dump", str(tmp_path)]) == 0
    assert "no caches" in capsys.readouterr().out
    assert main(["cache", "ls", "--dump", str(tmp_path / "none")]) == 1
    assert "none: no such folder" in capsys.readouterr().err


def test_verify(cache, capsys):
    name = f"{cache.root.name}/train"
    assert main(["cache", "verify"]) == 0
    assert capsys.readouterr().out == f"{name}: sound (all numbers of 48 matrices read)\n"
    (cache.layer_folder(1) / "part.0001.ark").write_bytes(b"")
    for argv in (["verify", "--quick"], ["verify", name], ["verify", cache.root.name]):
        assert main(["cache", *argv]) == 1
        said = capsys.readouterr()
        assert "1 problems" in said.out and "the arks of 12 utterances are gone or were cut" in said.err
    assert main(["cache", "verify", f"{name}/layer_01"]) == 1
    assert "expected NAME or NAME/SET" in capsys.readouterr().err


def test_prune_does_nothing_until_it_is_told(cache, data, capsys):
    (cache.layer_folder(1) / "part.0001.ark").unlink()
    fill("dump", data, Ramp(0, 1, 2, 5))
    before = files(cache.root)
    assert main(["cache", "prune"]) == 0
    said = capsys.readouterr().out
    assert f"would remove {cache.layer_folder(1)}/part.0001.scp" in said and "--yes removes them" in said
    assert files(cache.root) == before
    assert main(["cache", "prune", "--yes"]) == 0
    assert "are free now" in capsys.readouterr().out
    assert {path.stem for path in before - files(cache.root)} == {"part.0001"}
    assert main(["cache", "prune"]) == 0 and "nothing to remove" in capsys.readouterr().out
    assert main(["cache", "verify"]) == 0


def test_prune_by_name(cache, capsys):
    before, layer = files(cache.root), cache.layer_folder(5)
    name = f"{cache.root.name}/train/layer_05"
    assert main(["cache", "prune", name]) == 0
    size = sum(path.stat().st_size for path in layer.iterdir())
    assert re.search(rf"would remove {layer}  \({size / 1000:.3g} kB\)", capsys.readouterr().out)
    assert files(cache.root) == before
    assert main(["cache", "prune", name, "--yes"]) == 0
    assert before - files(cache.root) == {path for path in before if path == layer or layer in path.parents}
    assert main(["cache", "prune", cache.root.name, "--yes"]) == 0
    assert not cache.root.exists()


def test_prune_touches_nothing_in_use(cache, data, capsys):
    (cache.layer_folder(1) / "part.0001.ark").unlink()
    fill("dump", data, Ramp(0, 1, 2, 5))
    before = files(cache.root)
    with locked(cache.folder / ".job.1.of.2.lock", "computes this share"):
        assert main(["cache", "prune", "--yes"]) == 0
        assert "left alone: " in capsys.readouterr().err
        assert main(["cache", "prune", cache.root.name, "--yes"]) == 1
        assert "which computes this share; try again when it is done" in capsys.readouterr().err
    assert files(cache.root) == before


CONFIG = """
frontend: {name: lfcc, crop: {samples: 4000}}
model: {name: moe_mamba}
loss: {name: cross_entropy}
"""


def test_size(data, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(CONFIG)
    size = ["cache", "size", "--config", "c.yaml", "--data", str(data.path)]
    assert main(size) == 0
    predicted = int(re.search(r"\((\d+) bytes\) to dump", capsys.readouterr().out)[1])
    config = LfccConfig(crop=type(LfccConfig().crop)(samples=4000))
    cache = fill("dump", data, Lfcc(config))
    assert predicted == sum(ark.stat().st_size for ark in cache.layer_folder(0).glob("*.ark"))
    assert main(size) == 0 and "would write 0 bytes" in capsys.readouterr().out
    assert main([*size, "--override", "frontend.crop.samples=8000"]) == 0
    assert int(re.search(r"\((\d+) bytes\) to dump", capsys.readouterr().out)[1]) > predicted


def test_size_counts_augmented_copies_of_the_training_set(data, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "augmented.yaml").write_text(CONFIG + "augmentation: {copies: 2}\n")

    def predicted(*argv):
        assert main(["cache", "size", "--data", str(data.path), *argv]) == 0
        return int(re.search(r"\((\d+) bytes\) to dump", capsys.readouterr().out)[1])

    clean = predicted("--config", "c.yaml")
    assert predicted("--config", "augmented.yaml") == 3 * clean
    assert predicted("--config", "augmented.yaml", "--training", "other") == clean
    config, augmentation = load_frontend_config("augmented.yaml")
    name = cache_name(Lfcc(config), augmentation)
    extract_missing(Source(data, FeatureCache("dump", name, "train_copy1")), Extractor(Lfcc(config)), 1, 1)
    assert predicted("--config", "augmented.yaml") == 2 * clean


def test_size_that_does_not_fit_is_one_line(data, tmp_path, capsys, monkeypatch):
    (tmp_path / "c.yaml").write_text(CONFIG)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert main(["cache", "size", "--config", "c.yaml", "--data", str(data.path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"asvtk cache: error: dump: needs .* kB, 1 kB are free on /.*; name fewer layers", line)
