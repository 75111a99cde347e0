"""`asvtk splice`, `asvtk evaluate --rttm` and egs/partial as a user runs them."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.bin.main import main
from asvtk.io.datadir import DataDirectory
from asvtk.io.rttm import read_rttm

RECIPE = Path(__file__).parents[2] / "egs" / "partial"
SMALL = [
    "--recordings",
    "6",
    "--duration",
    "2",
    "4",
    "--stretch",
    "0.3",
    "2",
    "--fade",
    "10",
    "20",
    "--nj",
    "1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data/eval, and data/partial with what a perfect detector says of it."""
    folder = tmp_path_factory.mktemp("splice")
    data = prepare_split(write_tiny_corpus(folder), "eval", folder / "data" / "eval")
    assert main(["splice", "--data", str(data.path), "--out", str(folder / "data" / "partial"), *SMALL]) == 0
    lines = []
    for name, spans in read_rttm(folder / "data" / "partial" / "segments.rttm").items():
        value = {"bonafide": 2.5, "spoof": -1.5}
        timeline = [[start, end, value[label]] for start, end, label in spans]
        segments = [
            {"start": start, "end": end, "verdict": label, "llr": value[label]} for start, end, label in spans
        ]
        llr = min(of for *_, of in timeline)
        lines.append(
            json.dumps(
                {"file": f"{name}.flac", "duration": spans[-1].end, "verdict": "undecided", "llr": llr,
                 "score": None, "window": 4.04, "hop": 1.0, "timeline": timeline, "segments": segments}
            )
        )  # fmt: skip
    (folder / "found.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_the_verb(folder, capsys):
    out = folder / "data" / "partial"
    words = ["splice", "--data", str(folder / "data" / "eval"), "--out", str(out), *SMALL]
    assert main(words) == 0  # finished already
    said = capsys.readouterr().out
    assert re.search(
        r"partial: 0\.\d\d hours, .* 6 recordings: 2 bona fide, 3 spoofed in part, 1 spoofed", said
    )
    assert main(["validate", "--decode", "--nj", "1", str(out)]) == 0
    assert len(DataDirectory.read(out).utterances) == 6
    capsys.readouterr()
    for more, status, message in [
        (["--seed", "2"], 1, "partial: holds something else"),
        (["--duration", "9", "3"], 2, "duration 9 3: expected the least and the most"),
        (["--bonafide-share", "0.95"], 2, "together more than 1"),
        (["--data", str(folder)], 1, "wav.scp: no such file"),
    ]:
        assert main([*words, *more]) == status
        said = capsys.readouterr().err
        assert said.startswith("asvtk splice: error: ") and message in said and said.count("\n") == 1


def test_evaluate_prints_tables_and_writes_all_values(folder, capsys):
    rttm, found = folder / "data" / "partial" / "segments.rttm", folder / "found.jsonl"
    words = ["evaluate", "--rttm", str(rttm)]
    assert main([*words, "--detections", str(found), "--json", str(folder / "out.json")]) == 0
    said = capsys.readouterr().out
    results = json.loads((folder / "out.json").read_text())
    assert list(results["segments"]) == ["20", "40", "80", "160", "320", "640"]
    assert results["time"]["f1"] == pytest.approx(1) and results["intervals"]["f1"] == 1
    assert results["files"]["eer_percent"] == 0 and results["files"]["n_bonafide"] == 2
    # Cells are exact, so only segments that are spoofed in less than their half are misjudged.
    assert 0 < results["segments"]["640"]["eer_percent"] < 50
    for words_of_it in (
        "A segment is a spoof if any of it is spoofed",
        "| Segment ms |",
        "| time, s",
        "| all  ",
        "| 0% to 10%  ",
    ):
        assert words_of_it in said
    assert main([*words, "--hyp", str(rttm), "--majority"]) == 0
    said = capsys.readouterr().out
    assert "if more than half of it is spoofed" in said and "Segment ms" not in said and "1.0000" in said


@pytest.mark.parametrize(
    "words, message",
    [
        (["--rttm", "r"], "--rttm takes what was found: either --detections FILE or --hyp FILE"),
        (["--rttm", "r", "--hyp", "h", "--detections", "d"], "either --detections FILE or --hyp FILE"),
        (["--rttm", "r", "--hyp", "h", "--by", "speaker"], "--by does not go with --rttm"),
        (["--rttm", "r", "--hyp", "h", "--bootstrap", "9"], "--bootstrap does not go with --rttm"),
        (["--rttm", "r", "--hyp", "h", "--negate"], "--negate does not go with --rttm"),
        (["--scores", "s", "--hyp", "h"], "--hyp does not go with --scores"),
        (["--exp", "e", "--majority"], "--majority does not go with --exp"),
        (["--rttm", "none.rttm", "--hyp", "h"], "none.rttm: no such file"),
    ],
)
def test_what_does_not_go_together_is_refused(words, message, capsys):
    assert main(["evaluate", *words]) == 1
    assert message in capsys.readouterr().err


def test_the_recipe(folder, tmp_path):
    options = [
        "--data",
        folder / "data" / "eval",
        "--out",
        tmp_path / "partial",
        "--recordings",
        6,
        "--nj",
        1,
    ]
    options += [
        "--duration",
        "2 4",
        "--stretch",
        "0.3 2",
        "--fade",
        "10 20",
        "--detections",
        folder / "found.jsonl",
    ]

    def run(*more):
        words = ["./run.sh", *map(str, [*options, *more])]
        return subprocess.run(words, cwd=RECIPE, capture_output=True, text=True, timeout=100)

    answer = run()
    assert answer.returncode == 0, answer.stderr
    assert "Successfully validated" in answer.stdout and "| Segment ms |" in answer.stdout
    made, again = folder / "data" / "partial", tmp_path / "partial"
    assert (made / "segments.rttm").read_bytes() == (again / "segments.rttm").read_bytes()
    assert (made / "utt2md5").read_bytes() == (again / "utt2md5").read_bytes()
    assert (folder / "found.results.json").exists()
    for more, message in [
        (["--nj", "x"], "--nj 'x': expected a whole number"),
        (["--data", tmp_path / "none"], "no data directory there; run stage 1 of"),
        (["--spoof-share", "2"], "argument --spoof-share: '2': expected a number from 0 to 1"),
    ]:
        answer = run(*more)
        assert answer.returncode == 2 and message in answer.stderr
