"""The quick way of reading a key gives what the slow one gives, or leaves it to that one."""

import numpy as np
import pytest

from asvtk.io import columns
from asvtk.io.errors import AsvtkError
from asvtk.io.factors import Factored, Fields, Names, factorize, match_names
from asvtk.io.protocols import label, read_protocol
from asvtk.io.rows import cut_rows
from asvtk.io.scores import read_scores


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(columns, "_WORTH_IT", 0)


def key(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    words = ["none", "alaw", "-", "neural_vocoder_nonautoregressive", "a" * 9, "b"]
    lines = []
    for i in rng.permutation(n).tolist():
        kind, attack = ("bonafide", "-") if i % 3 else ("spoof", f"A{i % 19:02d}")
        word = words[rng.integers(len(words))]
        lines.append(f"s{i % 7} LA_E_{i} {word} x{'y' * (i % 23)} {attack} {kind} notrim eval")
    return lines


@pytest.mark.parametrize("end", ["\n", ""])
def test_quick_and_slow_agree(tmp_path, monkeypatch, end):
    path = tmp_path / "key.txt"
    path.write_text("\n".join(key()) + end)
    slow = read_protocol(path)
    monkeypatch.setattr(columns, "_WORTH_IT", 0)
    quick = read_protocol(path)
    assert isinstance(quick.attacks, Factored) and isinstance(quick.utterances, Names)
    assert (quick.bonafide == slow.bonafide).all()
    assert quick.utterances.tolist() == slow.utterances.tolist()
    assert quick.attacks.tolist() == slow.attacks.tolist()
    assert quick.columns.keys() == slow.columns.keys()
    for name, values in slow.columns.items():
        assert quick.columns[name].tolist() == values.tolist()
        for ours, theirs in zip(factorize(quick.columns[name]), factorize(values), strict=True):
            assert np.array_equal(ours, theirs)
    assert read_protocol(path, only={"codec"}).columns.keys() == {"codec", "subset"}
    assert read_protocol(path, only={"room"}).columns.keys() == slow.columns.keys()


def test_scores_are_matched_with_the_key(tmp_path, quick):
    lines = key()
    (tmp_path / "key.txt").write_text("\n".join(lines))
    scores = {line.split()[1]: str(i / 7) for i, line in enumerate(lines)}
    text = "\n".join(f"{name} {score}" for name, score in sorted(scores.items()))
    (tmp_path / "scores.txt").write_text(text)
    protocol = read_protocol(tmp_path / "key.txt")
    table = label(read_scores(tmp_path / "scores.txt"), protocol)
    assert table.scores.tolist() == [i / 7 for i in range(len(lines))]
    keep = protocol.columns["speaker"] == "s3"
    part = label(read_scores(tmp_path / "scores.txt"), protocol, keep)
    assert part.scores.tolist() == table.scores[keep].tolist()
    assert part.utterances.tolist() == protocol.utterances[keep].tolist()
    (tmp_path / "less.txt").write_text(text[text.index("\n") + 1 :])
    with pytest.raises(AsvtkError, match="1 of its 3000 trials have no score"):
        label(read_scores(tmp_path / "less.txt"), protocol)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda lines: [*lines, lines[5]], "stands there and in line 6 already"),
        (lambda lines: [*lines[:9], lines[9] + " x", *lines[10:]], ":10: 9 fields"),
        (lambda lines: [*lines[:9], lines[9].rpartition(" ")[0], *lines[10:]], ":10: 7 fields"),
        (lambda lines: [*lines[:9], "s u c x - human t e"], ":10: the key 'human' is unknown"),
    ],
)
def test_faults_are_told_as_ever(tmp_path, quick, change, words):
    path = tmp_path / "key.txt"
    path.write_text("\n".join(change(key())))
    with pytest.raises(AsvtkError, match=words):
        read_protocol(path)


@pytest.mark.parametrize(
    "text",
    ["a b\n\nc d\n", "a  b\nc d\n", " a b\nc d\n", "a b \nc d\n", "#a b\nc d\n", "a b\n#c d\n",
     "a b\nc\td e\n", "a\x1fb c\nd e\n", "a b\nc\nd e f\n"],
)  # fmt: skip
def test_what_is_out_of_the_ordinary_is_left_to_the_slow_way(text):
    assert cut_rows(text.encode(), 2, text.count("\n")) is None


def test_a_bad_number_is_named_with_its_line(tmp_path, quick):
    path = tmp_path / "scores.txt"
    path.write_text("a 1\nb 1_0\nc 3\n")
    with pytest.raises(AsvtkError, match="scores.txt:2: '1_0' is no number"):
        read_scores(path)


def test_names_of_all_lengths_are_told_apart():
    names = ["a" * n for n in range(1, 65)] + ["b" * n for n in range(1, 30)]
    data = "".join(f"{name} x\n" for name in names).encode()
    fields = cut_rows(data, 2, len(names))
    assert isinstance(fields, Fields) and fields[0] == names and fields[1:] == [["x"] * len(names)]
    found = fields.names(0)
    assert found.are_unique() and found[3] == "aaaa" and found[[5, 1]].tolist() == ["a" * 6, "aa"]
    assert found.factor()[0] == sorted(names)
    assert match_names(found[::-1], found).tolist() == list(range(len(names)))[::-1]
    assert match_names(found, found[1:]) is None
    assert found.astype("U5").tolist() == [name[:5] for name in names]
    assert cut_rows(b"a" * 65 + b" x\n", 2, 1).names(0).factor() is None


def test_what_a_column_of_few_strings_does():
    column = Factored(["x", "y", "z"], np.array([0, 2, 0], np.uint16))
    assert column.tolist() == ["x", "z", "x"] and column[1] == "z" and column.size == len(column) == 3
    assert (column == "x").tolist() == [True, False, True] and (column != "x").tolist() == [
        False,
        True,
        False,
    ]
    assert (column == np.array(["x", "x", "x"])).tolist() == [True, False, True]
    assert factorize(column)[0] == ["x", "z"] and factorize(column)[1].tolist() == [0, 1, 0]
    assert np.where(column == "x", "-", column).tolist() == ["-", "z", "-"]
    column[column == "x"] = "y"
    assert column.tolist() == ["y", "z", "y"] and factorize(column)[0] == ["y", "z"]


@pytest.mark.parametrize("text", ["a 1\r\nb 2\r\n", "a 1\rb 2\r", "a\x00b 1\nc 2\n", "a 1\nb\x0b2\n"])
def test_other_line_ends_and_blanks_are_left_to_the_slow_way(text):
    assert cut_rows(text.encode(), 2, text.count("\n")) is None
