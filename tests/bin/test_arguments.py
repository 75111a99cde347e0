"""Types of command-line arguments."""

from argparse import ArgumentTypeError

import pytest

from asvtk.bin.arguments import assignments, between, finite, pairs, whole_number


@pytest.mark.parametrize(
    "kind, text, value",
    [
        (whole_number(), "0", 0),
        (whole_number(1), "12", 12),
        (whole_number(-2), "-2", -2),
        (whole_number(0, 8), "8", 8),
        (finite, "-1e3", -1000.0),
        (between(0, 1), ".25", 0.25),
        (between(0, 1, ends=True), "1", 1.0),
        (assignments, "utterance=path, score=logit", {"utterance": "path", "score": "logit"}),
        (pairs, "bonafide=1,bonafide=2,spoof=0", [("bonafide", "1"), ("bonafide", "2"), ("spoof", "0")]),
    ],
)
def test_good_values(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    "kind, bad, words",
    [
        (whole_number(1), ["0", "-1", "1_0", "1.0", "", "\u0663", "9" * 20], "whole number from 1 upwards"),
        (whole_number(0, 8), ["9"], "whole number from 0 to 8"),
        (finite, ["nan", "inf", "1_0", "one", "1e999"], "expected a finite number"),
        (between(0, 1), ["0", "1", "2", "-0.1"], "between 0 and 1, these excluded"),
        (between(0, 1, ends=True), ["1.5"], "from 0 to 1"),
        (pairs, ["a", "a=", "=b", "a=b,,c=d"], "expected NAME=VALUE"),
        (assignments, ["a=b,a=c"], "a stands twice"),
    ],
)
def test_fault_19_values_out_of_range_are_one_line(kind, bad, words):
    for text in bad:
        with pytest.raises(ArgumentTypeError, match=words):
            kind(text)
    with pytest.raises(ArgumentTypeError) as fault:
        kind("x" * 10_000)
    assert len(str(fault.value)) < 200
