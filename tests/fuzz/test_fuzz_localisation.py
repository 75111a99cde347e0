"""RTTM files and detections: damaged ones are refused by name and line, or read as what they say."""

import json

from hypothesis import strategies as st
from mutations import apply, apply_changes, changes, fuzz, text_edits

PARTS = [(0, 2.5, "bonafide"), (2.5, 1.5, "spoof"), (4, 2, "bonafide")]
REFERENCE = "".join(
    f"SPEAKER r{number} 1 {start} {duration} <NA> <NA> {label} <NA> <NA>\n"
    for number in range(8)
    for start, duration, label in PARTS[: 1 + number]
)
FOUND = [
    {
        "file": f"r{number}.flac",
        "duration": 6.0 if number > 1 else 2.5 + 1.5 * number,
        "verdict": "spoof" if number else "bonafide",
        "llr": 2.0 - number,
        "score": 0.5,
        "window": 4.0,
        "hop": 1.0,
        "timeline": [[0, 1, 2.0], [1, 2, None], [2, 2.5, -1.0]],
        "segments": [{"start": 0, "end": 1.5, "verdict": "spoof", "llr": -1.0}],
    }
    for number in range(8)
]


def evaluate(case, reference, found, names: str) -> None:
    case.write("r.rttm", reference)
    case.write("f.jsonl", found)
    said = case.run("--rttm", "r.rttm", "--detections", "f.jsonl", "--json", "out.json", names=names)
    assert (case.folder / "out.json").exists() == (said.status == 0)


def lines(objects) -> str:
    return "".join(json.dumps(content) + "\n" for content in objects)


def test_undamaged(lab):
    with lab.case("evaluate") as case:
        evaluate(case, REFERENCE, lines(FOUND), "")
        assert (case.folder / "out.json").exists()


@fuzz(60, edits=text_edits())
def test_damaged_reference(lab, edits):
    with lab.case("evaluate") as case:
        evaluate(case, apply(edits, REFERENCE.encode()), lines(FOUND), "r.rttm")


@fuzz(60, edits=text_edits())
def test_damaged_detections(lab, edits):
    with lab.case("evaluate") as case:
        evaluate(case, REFERENCE, apply(edits, lines(FOUND).encode()), "f.jsonl")


@fuzz(60, changed=changes(), number=st.integers(0, 7))
def test_wrong_values_in_detections(lab, changed, number):
    with lab.case("evaluate") as case:
        found = [*FOUND]
        found[number] = apply_changes(changed, found[number])
        evaluate(case, REFERENCE, lines(found), "f.jsonl")
