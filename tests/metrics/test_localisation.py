"""Measures of spoofed parts: values computed by hand, and against definitions of each millisecond."""

import json

import numpy as np
import pytest

from asvtk.io.errors import AsvtkError
from asvtk.metrics.localisation import (
    Localised,
    localisation,
    match_intervals,
    merge_intervals,
    overlap,
    segment_edges,
    segment_labels,
    segment_scores,
)
from asvtk.metrics.localised import read_localised
from asvtk.report.localisation import localisation_tables


def intervals(*pairs):
    return np.array(pairs, float).reshape(-1, 2)


NONE = intervals()


def test_merging_joins_what_touches():
    assert merge_intervals([]).shape == (0, 2)
    joined = merge_intervals([(0, 1), (1.001, 2), (2.1, 3), (3, 4), (5, 6)])
    assert joined.tolist() == [[0, 2], [2.1, 4], [5, 6]]


def test_overlap():
    others = intervals((1, 2), (2, 3), (5, 7))
    wanted = intervals((0, 1), (0, 1.5), (1.5, 2.5), (0, 10), (6, 6.5), (8, 9))
    assert overlap(wanted, others) == pytest.approx([0, 0.5, 1, 4, 0.5, 0])
    assert overlap(wanted, NONE).tolist() == [0] * 6 and overlap(NONE, others).size == 0


def test_a_segment_is_a_spoof_if_any_of_it_is():
    edges = segment_edges(0.25, 0.1)
    assert edges.ravel() == pytest.approx([0, 0.1, 0.1, 0.2, 0.2, 0.25])
    # 10 ms of the second one, and 30 ms of the last, which has 50
    spoofed = intervals((0.1, 0.11), (0.22, 0.25))
    assert segment_labels(edges, spoofed).tolist() == [False, True, True]
    assert segment_labels(edges, spoofed, majority=True).tolist() == [False, False, True]
    assert not segment_labels(edges, NONE).any()


@pytest.mark.parametrize("resolution", [0.02, 0.04, 0.08, 0.16, 0.32, 0.64])
def test_segments_against_every_sample(resolution):
    """As many as it takes, and no label leaks over an edge by rounding, for any time in milliseconds."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        total = int(rng.integers(700, 9000))
        ends = np.sort(rng.choice(np.arange(0, total, 20 if rng.random() < 0.5 else 1), 4, replace=False))
        spoofed = (ends / 1000).reshape(2, 2)
        each = np.zeros(total, bool)
        for first, last in ends.reshape(2, 2):
            each[first:last] = True
        size = round(1000 * resolution)
        expected = [each[place : place + size].any() for place in range(0, total, size)]
        majority = [each[place : place + size].mean() > 0.5 for place in range(0, total, size)]
        edges = segment_edges(total / 1000, resolution)
        assert segment_labels(edges, spoofed).tolist() == expected
        differ = segment_labels(edges, spoofed, True) != majority  # exactly half may round to either side
        shares = np.array([each[place : place + size].mean() for place in range(0, total, size)])
        assert (shares[differ] == 0.5).all()


def test_the_score_of_a_segment_is_that_of_the_cell_with_its_middle():
    edges = segment_edges(3.5, 1.0)  # middles 0.5, 1.5, 2.5, 3.25
    starts, ends, values = np.array([0.0, 0.5, 2.0]), np.array([0.5, 2.0, 2.5]), np.array([1.0, 2.0, 3.0])
    np.testing.assert_equal(segment_scores(edges, starts, ends, values), [2, 2, np.nan, np.nan])
    values[1] = np.nan  # no speech
    assert np.isnan(segment_scores(edges, starts, ends, values)).all()
    assert np.isnan(segment_scores(edges, *[np.zeros(0)] * 3)).all()


@pytest.mark.parametrize(
    "predicted, true, matched",
    [
        (intervals((0, 2)), intervals((0, 2)), 1),
        (intervals((0, 2)), intervals((1, 3)), 0),  # 1 of 3
        (intervals((0, 2)), intervals((0, 4)), 1),  # exactly half
        (intervals((0, 4)), intervals((0, 2), (2, 4)), 1),  # half with both, but one partner
        (intervals((0, 4), (5, 6)), intervals((0, 2), (2, 4), (5, 7)), 2),
        (intervals((0, 1), (2, 3), (8, 9)), intervals((2, 3.5)), 1),
        (intervals((0, 1)), NONE, 0),
        (NONE, intervals((0, 1)), 0),
    ],
)
def test_intervals_match_in_pairs(predicted, true, matched):
    assert match_intervals(predicted, true) == matched


def scored(duration, spoofed, predicted, values, score):
    """A timeline of one cell a second."""
    starts = np.arange(len(values), dtype=float)
    return Localised(duration, spoofed, predicted, starts, starts + 1, np.array(values, float), score)


def test_all_measures_by_hand():
    recordings = [
        # Spoofed from 1.28 to 2.56 s; the detector hears it from second 1 on, and nothing in second 3.
        scored(4.0, intervals((1.28, 2.56)), intervals((1, 3)), [2, -1, -2, np.nan], -0.5),
        scored(4.0, NONE, intervals((0, 1)), [1, 3, 4, 5], 2.0),
        scored(2.0, intervals((0, 2)), NONE, [0.5, -3], None),
        scored(4.0, intervals((0, 0.32)), NONE, [-1, 4, 4, 4], 3.0),
    ]
    found = localisation(recordings)
    assert found == json.loads(json.dumps(found)) and found["seconds"] == 14
    # 0.64 s: 7 segments of 4 s, middles 0.32 0.96 1.6 2.24 2.88 3.52 3.92 (the last has 0.16 s).
    # First file: labels 0 0 1 1 0 0 0, scores 2 2 -1 -2 -2 nan nan. Second: 0s; 1 1 3 4 4 5 5.
    # Third, 4 segments, middles 0.32 0.96 1.6 1.96: 1 1 1 1; 0.5 0.5 -3 -3. Fourth: 1 0 0 ...; -1 -1 4 ...
    at_640 = found["segments"]["640"]
    assert (at_640["n_bonafide"], at_640["n_spoof"]) == (3 + 7 + 6, 2 + 4 + 1)
    assert (at_640["left_out_bonafide"], at_640["left_out_spoof"]) == (2, 0)
    # Ranked: spoofs -3 -3 -2 -1 -1 0.5 0.5, bona fide -2 -1 1 1 2 2 3 4 x 9 ...; rejecting up to -1 makes
    # FRR 2/16 and FAR 2/7; up to 0.5, FRR 2/16 and FAR 0; between them, after one 0.5, FAR 1/7.
    assert at_640["eer_percent"] == pytest.approx(100 * (2 / 16 + 1 / 7) / 2)
    assert found["time"] == pytest.approx(
        {"true": 1.28 + 2 + 0.32, "predicted": 3, "both": 1.28, "precision": 1.28 / 3, "recall": 1.28 / 3.6,
         "f1": 2 * 1.28 / 6.6}
    )  # fmt: skip
    # 1.28 s of 2 s are in common
    assert found["intervals"] == pytest.approx(
        {"true": 3, "predicted": 2, "both": 1, "precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "iou": 0.5}
    )
    files = found["files"]
    assert (files["n_bonafide"], files["n_spoof"], files["left_out_spoof"]) == (1, 2, 1)
    # Bona fide 2; spoofs -0.5 and 3: reject -0.5 -> FRR 0, FAR 1/2
    assert files["eer_percent"] == pytest.approx(25)
    assert {share: of["n_spoof"] for share, of in files["per_share"].items()} == {
        "0% to 10%": 1, "10% to 25%": 0, "25% to 50%": 1, "50% to 100%": 0,
    }  # fmt: skip
    assert files["per_share"]["25% to 50%"]["eer_percent"] == 0
    assert files["per_share"]["0% to 10%"]["eer_percent"] == 100  # 3 above 2
    assert files["per_share"]["50% to 100%"]["left_out_spoof"] == 1
    assert files["per_share"]["50% to 100%"]["eer_percent"] is None


def test_without_scores_there_are_time_and_intervals():
    found = localisation([Localised(2.0, NONE, NONE)])
    assert found["segments"] == {} and found["files"] is None
    assert found["time"]["f1"] is None and found["intervals"]["precision"] is None
    whole = localisation([Localised(2.0, intervals((0, 2)), intervals((0, 2)))])
    assert whole["time"]["f1"] == whole["intervals"]["f1"] == 1


RTTM = """\
SPEAKER a 1 0 1 <NA> <NA> bonafide <NA> <NA>
SPEAKER a 1 1 1.5 <NA> <NA> spoof <NA> <NA>
SPEAKER b 1 0 3 <NA> <NA> bonafide <NA> <NA>
"""


def detection(name, duration, llr, **more):
    segments = [{"start": 0.5, "end": 2, "verdict": "spoof", "llr": llr}]
    segments.append({"start": 2, "end": duration + 0.1, "verdict": "spoof", "llr": llr})
    found = {"file": f"x/{name}.wav", "duration": duration, "verdict": "spoof", "llr": llr, "score": 7}
    return found | {"timeline": [[0, duration, llr]], "segments": segments} | more


def test_reference_and_detections_are_joined_by_name(tmp_path):
    (tmp_path / "r.rttm").write_text(RTTM)
    path = tmp_path / "d.jsonl"

    def read(*objects, **files):
        path.write_text("".join(json.dumps(content) + "\n" for content in objects))
        return read_localised(tmp_path / "r.rttm", path, **files)

    a, b = read(detection("b", 3.0, None, segments=[]), detection("a", 2.5, -1.0))
    assert a.spoofed.tolist() == [[1, 2.5]] and a.predicted.tolist() == [[0.5, 2.5]] and a.score == -1
    assert b.spoofed.size == b.predicted.size == 0 and np.isnan(b.score)  # 7 is no LLR, as the other's is
    a, b = read(detection("b", 3.0, None), detection("a", 2.5, None))
    assert a.score == b.score == 7
    for wrong, message in [
        ([detection("a", 2.5, 1.0)], r"d.jsonl: says nothing of 1 of the 2 recordings in .*r.rttm: b\."),
        ([detection(name, 2.5, 1.0) for name in "abc"], r"r.rttm: says nothing of 1 of the 3 .*: c\."),
        ([detection("a", 2.5, 1.0), detection("b", 9.0, 1.0)], "b lasts 9.000 s there, but 3.000 s in"),
    ]:
        with pytest.raises(AsvtkError, match=message):
            read(*wrong)
    without = read(detection("b", 3.0, 1.0, segments=[]), detection("a", 2.5, -1.0, segments=[]))
    assert without[0].predicted is None
    found = localisation(without)
    assert found["time"] is found["intervals"] is None and found["files"]["eer_percent"] == 0
    assert "is not measured" in localisation_tables(found)
    (tmp_path / "h.rttm").write_text("")
    assert localisation(read_localised(tmp_path / "r.rttm", None, tmp_path / "h.rttm"))["time"]["recall"] == 0
    (tmp_path / "h.rttm").write_text("SPEAKER a 1 1 1 <NA> <NA> spoof <NA> <NA>\n")
    a, b = read_localised(tmp_path / "r.rttm", hypothesis=tmp_path / "h.rttm")
    assert a.predicted.tolist() == [[1, 2]] and b.predicted.size == 0 and a.values is None
    (tmp_path / "h.rttm").write_text(
        "SPEAKER x/a.flac 1 1 1 <NA> <NA> spoof <NA> <NA>\n"
        "SPEAKER b.flac 1 0 3 <NA> <NA> undecided <NA> <NA>\n"
    )
    named = read_localised(tmp_path / "r.rttm", hypothesis=tmp_path / "h.rttm")
    assert [of.predicted.tolist() for of in named] == [[[1, 2]], []]
    (tmp_path / "h.rttm").write_text(
        "SPEAKER x/a.flac 1 1 1 <NA> <NA> spoof <NA> <NA>\nSPEAKER a 1 0 3 <NA> <NA> spoof <NA> <NA>\n"
    )
    with pytest.raises(AsvtkError, match="h.rttm: a is the second recording there that is called a"):
        read_localised(tmp_path / "r.rttm", hypothesis=tmp_path / "h.rttm")
    (tmp_path / "h.rttm").write_text("SPEAKER z 1 1 1 <NA> <NA> spoof <NA> <NA>\n")
    with pytest.raises(AsvtkError, match="r.rttm: says nothing of 1 of the 1 recordings in .*h.rttm: z"):
        read_localised(tmp_path / "r.rttm", hypothesis=tmp_path / "h.rttm")
