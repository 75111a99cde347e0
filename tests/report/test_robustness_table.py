"""The tables and the page of degraded copies, by score files alone."""

import json

import numpy as np
import pytest
from page_reader import Page

from asvtk.bin.main import main
from asvtk.io.scores import write_scores

UTTERANCES = [f"u{number}" for number in range(8)]
ATTACKS, KEYS = ["-"] * 4 + ["A01"] * 4, ["bonafide"] * 4 + ["spoof"] * 4
GOOD, WORSE = [4, 3, 2, 1, -1, -2, -3, -4], [4, 3, 2, -2.5, -1, -2, -3, 5]
WORST = [-4, -3, -2, 1, -1, 2, 3, 4]


def write(path, scores, count=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_scores(path, UTTERANCES[:count], ATTACKS[:count], KEYS[:count], np.array(scores[:count], float))


@pytest.fixture
def seeds(tmp_path):
    """Two seeds of one system, with scores of dev and eval, and of some copies."""
    for seed in (1, 2):
        folder = tmp_path / f"s{seed}"
        write(folder / "scores/dev.txt", GOOD)
        write(folder / "scores/eval.txt", GOOD)
        write(folder / "robustness/eval_trim.txt", WORSE)
        write(folder / "robustness/eval_mp3-64k.txt", GOOD)
        write(folder / "robustness/eval_mp3-8k.txt", WORSE if seed == 1 else WORST)
        (folder / "config.yaml").write_text(f"seed: {seed}\n")
        (folder / "inputs.json").write_text("{}")
    (tmp_path / "g.yaml").write_text("MP3: [mp3:64k, mp3:8k]\nother: [trim]\n")
    return tmp_path


def rows(text):
    return [line.replace(" ", "") for line in text.splitlines()]


def table_of(seeds, *words):
    return ["robustness", "--exp", f"{seeds}/s1", f"{seeds}/s2", "--set", "eval", *map(str, words)]


def test_table_of_named_copies(seeds, capsys):
    command = table_of(seeds, "--copies", "eval_trim", "--out", seeds / "t.md")
    assert main(command) == 0
    said = rows(capsys.readouterr().out)
    assert said[2] == "|eval|0.00±0.00|–|0.00±0.00|0.00±0.00|"
    assert said[3] == "|eval_trim|25.00±0.00|+25.00|25.00±0.00|25.00±0.00|"
    assert "eval_trim" in (seeds / "t.md").read_text()
    assert main(table_of(seeds, "--copies", "eval_level")) == 1
    assert "local/robustness.sh first" in capsys.readouterr().err


def test_families_have_means_and_a_worst_copy(seeds, capsys):
    assert main(table_of(seeds, "--grid", seeds / "g.yaml", "--out", seeds / "t.md")) == 0
    said = rows(capsys.readouterr().out)
    # mp3:8k has 25 % with one seed and 75 % with the other, mp3:64k 0 %
    assert "|MP3|2|25.00|+25.00|mp3:8k|50.00|" in said and "|other|1|25.00|+25.00|trim|25.00|" in said
    assert "|MP3:meanof2|25.00|+25.00|25.00|25.00|" in said
    assert "|·mp3:8k|50.00±35.36|+50.00|50.00±35.36|50.00±35.36|" in said
    assert said.index("|·mp3:64k|0.00±0.00|+0.00|0.00±0.00|0.00±0.00|") < said.index(
        "|·trim|25.00±0.00|+25.00|25.00±0.00|25.00±0.00|"
    )
    (system,) = json.loads((seeds / "t.json").read_text())["systems"]
    assert system["families"][0] == {
        "family": "MP3",
        "copies": 2,
        "mean_eer_percent": 25.0,
        "change": 25.0,
        "worst": "mp3:8k",
        "worst_eer_percent": 50.0,
    }
    assert [run["eer"] for run in system["copies"][1]["runs"]] == [25.0, 75.0]
    page = Page((seeds / "t.html").read_text())
    assert page.tags.count("figure") == 2 and page.tags.count("circle") == 2
    for text in ("mp3:8k", "bit rate, kbit/s", "mean of 2 runs", "PyAV"):
        assert text in page.text, text


def test_what_is_missing_is_said(seeds, capsys):
    (seeds / "g.yaml").write_text("MP3: [mp3:64k, mp3:32k]\nother: [trim, gsm]\nnone: [alaw]\n")
    for seed in (1, 2):
        write(seeds / f"s{seed}" / "robustness/eval_gsm.txt", GOOD, 7)
    assert main(table_of(seeds, "--grid", seeds / "g.yaml", "--out", seeds / "t.md")) == 0
    said = capsys.readouterr().out
    assert "- mp3:32k: has no scores" in said and "- alaw: has no scores" in said
    assert "- gsm: 1 utterances have no score" in said
    assert "|·mp3:32k|–|–|–|–|" in rows(said) and "|MP3:meanof1|" in "".join(rows(said))
    assert "1 utterances have no score" in Page((seeds / "t.html").read_text()).text
    (seeds / "g.yaml").write_text("a: [opus:8k]")
    assert main(table_of(seeds, "--grid", seeds / "g.yaml")) == 1
    assert "score the copies first" in capsys.readouterr().err


def test_scores_of_other_trials_are_refused(seeds, capsys):
    for seed in (1, 2):
        path = seeds / f"s{seed}" / "robustness/eval_mp3-8k.txt"
        write_scores(path, [f"v{n}" for n in range(8)], ATTACKS, KEYS, np.array(GOOD, float))
    assert main(table_of(seeds, "--grid", seeds / "g.yaml")) == 1
    assert "does not fit" in capsys.readouterr().err


def test_several_systems_have_tables_of_their_own(seeds, capsys):
    (seeds / "s2" / "config.yaml").write_text("seed: 2\nmodel: {name: other}\n")
    assert main(table_of(seeds, "--grid", seeds / "g.yaml", "--out", seeds / "t.md")) == 0
    said = capsys.readouterr().out
    assert said.count("## ") == 2 and "are not averaged" in said
    assert Page((seeds / "t.html").read_text()).tags.count("h2") == 6


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "expected --model"),
        (["--model", "m", "--exp", "e"], "expected --model"),
        (["--model", "m", "--data", "d"], "--out FOLDER"),
        (["score", "--model", "m", "--data", "d", "--out", "o", "--job", "3", "--nj", "2"], "--job 3"),
        (["--exp", "e"], "--set NAME"),
        (["score", "--exp", "e", "--set", "eval"], "--set NAME"),
        (["--exp", "e", "--set", "eval", "--grid", "g", "--copies", "c"], "either --grid or --copies"),
    ],
)
def test_options_that_do_not_go_together(words, message, capsys):
    assert main(["robustness", *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
