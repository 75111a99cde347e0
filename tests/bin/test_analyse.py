"""asvtk analyse: a trained experiment, looked into; and what it says where that cannot be done."""

import json

from asvtk.bin.main import main
from asvtk.io.tables import write_table


def run(*words, status=0):
    assert main([str(word) for word in words]) == status


def analyse(folder, *words, status=0, sets=("dev", "eval")):
    data = [folder / "data" / name for name in sets]
    run("analyse", "--exp", folder / "exp", "--dump", folder / "dump", "--data", *data, *words, status=status)


def test_an_analysis_of_two_sets_and_again_only_when_something_changed(trained, capsys):
    analyse(trained)
    out = trained / "exp" / "analysis"
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"{out}/analysis.html"
    assert [line.split(":")[0] for line in said[:-1] if "explained by attack" in line] == [
        f"{name} blocks.{block}.experts" for name in ("dev", "eval") for block in (0, 1)
    ]
    content = json.loads((out / "analysis.json").read_text())
    assert content["experiment"] == "exp" and list(content["sets"]) == ["dev", "eval"]
    assert content["layer_weights"] == {}  # LFCC has one layer
    of_eval = content["sets"]["eval"]
    assert of_eval["utterances"] == 10 and of_eval["groups"]["bonafide"] == {"utterances": 5, "kind": None}
    assert all(of["kind"] == "TTS" for name, of in of_eval["groups"].items() if name in ("A07", "A08"))

    page = out / "analysis.html"
    before = page.stat().st_mtime_ns
    analyse(trained)
    assert capsys.readouterr().out == f"{page}: up to date\n" and page.stat().st_mtime_ns == before
    analyse(trained, sets=("eval",))
    assert list(json.loads((out / "analysis.json").read_text())["sets"]) == ["eval"]
    before = page.stat().st_mtime_ns
    analyse(trained, "--force", sets=("eval",))
    assert page.stat().st_mtime_ns > before


def test_it_may_be_written_elsewhere_and_kinds_are_those_of_the_corpus(trained, tmp_path):
    kinds = trained / "data" / "dev" / "attack2kind"
    own = {f"A0{i}": "vocoder" for i in range(1, 7)}
    before = kinds.read_text()
    write_table(kinds, own)
    try:
        analyse(trained, "--report", tmp_path / "report", sets=("dev",))
    finally:
        kinds.write_text(before)
    groups = json.loads((tmp_path / "report" / "analysis.json").read_text())["sets"]["dev"]["groups"]
    assert {of["kind"] for name, of in groups.items() if name != "bonafide"} == {"vocoder"}
    assert (tmp_path / "report" / "dev_experts.png").read_bytes()[1:4] == b"PNG"


def error_of(capsys, *words):
    run("analyse", *words, status=1)
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_is_impossible_is_told_in_one_line(trained, tmp_path, capsys, monkeypatch):
    dump = ["--dump", trained / "dump"]
    data = ["--data", trained / "data" / "dev"]
    assert "nothing was trained here" in error_of(capsys, "--exp", tmp_path, *dump, *data)
    given = ["--exp", trained / "exp", *dump]
    assert "no such data directory" in error_of(capsys, *given, "--data", tmp_path / "none")
    assert "two data directories have the same name" in error_of(capsys, *given, *data, data[1])
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert "pip install 'asvtk[report]'" in error_of(capsys, *given, *data)
