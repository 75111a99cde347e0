"""RTTM files: what is read, and which line is at fault."""

import pytest

from asvtk.io.errors import AsvtkError
from asvtk.io.rttm import Span, read_rttm, require_cover, rttm_text

GOOD = "SPEAKER a 1 0.000 1.500 <NA> <NA> bonafide <NA> <NA>\n"


def write(tmp_path, text):
    path = tmp_path / "x.rttm"
    path.write_text(text)
    return path


def test_what_is_written_is_read_back(tmp_path):
    spans = {
        "a": [Span(0, 1.5, "bonafide"), Span(1.5, 1.625, "spoof")],
        "b": [Span(0, 0.1 + 0.2, "spoof"), Span(0.1 + 0.2, 0.7, "bonafide")],
    }
    text = rttm_text(spans)
    assert text.splitlines()[:2] == [GOOD.strip(), "SPEAKER a 1 1.500 0.125 <NA> <NA> spoof <NA> <NA>"]
    found = require_cover("x", read_rttm(write(tmp_path, text)))
    for name, expected in spans.items():
        assert [span.label for span in found[name]] == [span.label for span in expected]
        times = [time for span in expected for time in span[:2]]
        assert [time for span in found[name] for time in span[:2]] == pytest.approx(times)


def test_lines_may_stand_in_any_order_with_comments_between(tmp_path):
    text = ";; by hand\n\nSPEAKER a 1 1.49 1 <NA> <NA> spoof <NA> <NA>\n" + GOOD
    (spans,) = read_rttm(write(tmp_path, text)).values()
    assert spans == [(0, 1.49, "bonafide"), (1.49, 2.49, "spoof")]  # rounded times end where the next begin


@pytest.mark.parametrize(
    "line, message",
    [
        ("SPEAKER a 1 0 1 <NA> <NA> spoof <NA>", "x.rttm:2: expected 'SPEAKER file 1"),
        ("LEXEME a 1 0 1 <NA> <NA> spoof <NA> <NA>", "x.rttm:2: expected 'SPEAKER file 1"),
        ("SPEAKER a 2 0 1 <NA> <NA> spoof <NA> <NA>", "x.rttm:2: channel '2', expected 1"),
        ("SPEAKER a 1 x 1 <NA> <NA> spoof <NA> <NA>", "x.rttm:2: 'x' is no number"),
        ("SPEAKER a 1 2 nan <NA> <NA> spoof <NA> <NA>", "x.rttm:2: start '2' and duration 'nan'"),
        ("SPEAKER a 1 -1 1 <NA> <NA> spoof <NA> <NA>", "x.rttm:2: start '-1'"),
        ("SPEAKER a 1 2 1e9 <NA> <NA> spoof <NA> <NA>", "x.rttm:2: .* an end within a day"),
        ("SPEAKER a 1 2 0 <NA> <NA> spoof <NA> <NA>", "a duration above 0"),
        ("SPEAKER a 1 2 1 <NA> <NA> fake <NA> <NA>", "x.rttm:2: label 'fake', expected one of"),
        ("SPEAKER a 1 1.4 1 <NA> <NA> spoof <NA> <NA>", "x.rttm:2: a from 1.400 .* overlaps the part"),
        ("SPEAKER a 1 0 1 <NA> <NA> spoof <NA> <NA>", "overlaps"),
        ("SPEAKER a 1 1.6 1 <NA> <NA> spoof <NA> <NA>", "a says nothing of 1.500 to 1.600 s"),
        ("SPEAKER b 1 1 1 <NA> <NA> spoof <NA> <NA>", "b says nothing of 0.000 to 1.000 s"),
    ],
)  # fmt: skip
def test_faults_name_file_and_line(tmp_path, line, message):
    path = write(tmp_path, GOOD + line + "\n")
    with pytest.raises(AsvtkError, match=message):
        require_cover(path, read_rttm(path))


def test_a_reference_without_lines_is_a_fault(tmp_path):
    path = write(tmp_path, ";; nothing\n")
    assert read_rttm(path) == {}  # nothing was found
    with pytest.raises(AsvtkError, match="x.rttm: holds no line 'SPEAKER"):
        require_cover(path, {})
