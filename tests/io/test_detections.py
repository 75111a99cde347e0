"""What asvtk detect wrote: read right, or a line that names the file and the line."""

import json

import numpy as np
import pytest

from asvtk.io.detections import read_detections
from asvtk.io.errors import AsvtkError

GOOD = {
    "file": "calls/a.b.wav",
    "duration": 2.5,
    "verdict": "spoof",
    "llr": -1,
    "score": None,
    "window": 4.04,
    "hop": 1.0,
    "timeline": [[0, 1, 0.5], [1.0, 2.0, None], [2.0, 2.5, -3]],
    "segments": [
        {"start": 0, "end": 1.0, "verdict": "bonafide", "llr": 0.5},
        {"start": 1.0, "end": 2.5, "verdict": "no_speech", "llr": None},
    ],
}


def write(tmp_path, *objects):
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps(content) for content in objects))  # no end of the last line
    return path


def test_a_detection(tmp_path):
    path = write(tmp_path, GOOD, GOOD | {"file": "/x/c.flac", "llr": None, "timeline": [], "segments": []})
    found = read_detections(path)
    a, c = found["a.b"], found["c"]
    assert (a.duration, a.llr, a.score, c.llr) == (2.5, -1.0, None, None)
    assert a.starts.tolist() == [0, 1, 2] and a.ends.tolist() == [1, 2, 2.5]
    np.testing.assert_equal(a.values, [0.5, np.nan, -3])
    assert a.segments == [(0, 1, "bonafide"), (1, 2.5, "no_speech")]
    assert c.values.shape == (0,) and c.segments == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"file": "a.b.flac"}, "a recording 'a.b' stands there for the second time"),
        ({"file": "/"}, "'file' names no file"),
        ({"verdict": "fake"}, "verdict 'fake', expected one of bonafide spoof no_speech undecided"),
        ({"duration": 0}, "duration 0, expected seconds above 0"),
        ({"duration": "2.5"}, "expected a finite number as 'duration', found '2.5'"),
        ({"llr": "high"}, "expected a finite number as 'llr'"),
        ({"timeline": None}, "expected a list as 'timeline'"),
        ({"timeline": [[0, 1]]}, "timeline: expected cells"),
        ({"timeline": [[0, 1, "x"]]}, "timeline: expected a finite number as 'value', found 'x'"),
        ({"timeline": [[1, 2, 0], [0, 1, 0]]}, "timeline: the part 2 from 0 to 1 s is not in order"),
        ({"timeline": [[0, 1, 0], [0.5, 1.5, 0]]}, "overlaps the one before"),
        ({"timeline": [[9, 10, 0]]}, "lies outside of the 2.5 s"),
        ({"segments": [[0, 1]]}, "segments: expected objects"),
        ({"segments": [{"start": 0, "end": 1}]}, "segments: expected text as 'verdict', found nothing"),
        ({"segments": [{"start": 1, "end": 1, "verdict": "spoof"}]}, "segments: the part 1 .* is empty"),
    ],
)
def test_faults_name_file_and_line(tmp_path, change, message):
    path = write(tmp_path, GOOD, GOOD | {"file": "c.wav"} | change)
    with pytest.raises(AsvtkError, match=rf"d\.jsonl:2: .*{message}"):
        read_detections(path)


def test_what_is_cut_off_or_empty_is_a_fault(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(GOOD)[:-9])
    with pytest.raises(AsvtkError, match=r"d\.jsonl:1: is no JSON"):
        read_detections(path)
    path.write_text("\n")
    with pytest.raises(AsvtkError, match="is empty; expected one JSON object a line"):
        read_detections(path)
