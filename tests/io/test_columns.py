"""Tables of any form: what is a row, a header, a comment, a number; and limits instead of hangs."""

import gzip

import pytest

from asvtk.io.columns import read_columns
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import read_scores


@pytest.fixture
def write(tmp_path):
    def write(content, name="scores.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path, words, **how):
    with pytest.raises(AsvtkError, match=words) as fault:
        read_scores(path, **how)
    assert len(str(fault.value)) < 2000


@pytest.mark.parametrize(
    "content, names",
    [
        ("#1 A07 spoof 1\nb - bonafide 2\n", ["#1", "b"]),
        ("a A07 spoof 1\n#2 - bonafide 2\n", ["a", "#2"]),
        ("#1,0.5\n#2,0.7\n", ["#1", "#2"]),
        ("file,score\n#1.wav,0.5\nb.wav,1\n", ["#1.wav", "b.wav"]),
        ("file,score\n# 1.wav,0.5\nb.wav,1\n", ["# 1.wav", "b.wav"]),
        ("# utt score\n#made by us\na 1\n# and then\n#\nb 2\n", ["a", "b"]),
        ("# a, b, and so\nfile,score\na,1\n# c, d, e\n", ["a"]),
    ],
)
def test_fault_4_an_id_may_begin_with_a_hash(write, content, names):
    assert read_scores(write(content)).utterances.tolist() == names


def test_fault_4_what_may_be_a_trial_is_never_dropped(write):
    refused(write("a 1\n#b 2 3\n"), ":2: 3 fields")
    refused(write("a 1\n#b two\n"), ":2: 'two' is no number")


@pytest.mark.parametrize("number", ["1_0.5", "\u0661", "0x10", "1,5", "--1", "1e", "infinite"])
def test_fault_4_numbers_have_one_grammar(write, number):
    refused(write(f"a 1\nb {number}\n"), f":2: '{number}' is no number")


@pytest.mark.parametrize("blank", ["\xa0", "\x1c", "\x85", "\u2028", "\u3000"])
def test_only_ascii_blanks_part_fields_and_only_newlines_lines(write, blank):
    assert read_scores(write(f"a{blank}b 1\nc\t \v2\n")).utterances.tolist() == [f"a{blank}b", "c"]


def test_csv_with_quotes_blanks_and_newlines(write):
    content = 'file|score\r\n"a|b ""c"".wav"|1\r\n\r\n"d\r\ne"|2\r\nmy own.wav|3\r\n\r\n'
    table = read_columns(write(content))
    assert table.fields == [['a|b "c".wav', "d\ne", "my own.wav"], ["1", "2", "3"]]
    assert table.lines == [2, 4, 6] and table.names == ["utterance", "score"]
    refused(write('file,score\na,1\n"b,2\nc,3\n'), ":3: is no row of a CSV file")
    refused(write("file\tscore\na\t1\nb\n"), ":3: 1 fields")


def test_a_header_holds_no_number_and_no_key(write):
    assert read_scores(write("file 1\nscore 2\n")).utterances.tolist() == ["file", "score"]
    assert read_scores(write("speaker A07 spoof 1\n")).utterances.tolist() == ["speaker"]


def test_told_columns_and_labels(write):
    path = write("1.5 x real mp3\n2 y fake ogg\n")
    told = dict(utterance="2", score="1", key="3", codec="4")
    table = read_scores(path, told, {"real": True, "fake": False})
    assert table.utterances.tolist() == ["x", "y"] and table.scores.tolist() == [1.5, 2]
    assert table.bonafide.tolist() == [True, False] and table.columns["codec"].tolist() == ["mp3", "ogg"]
    refused(path, "Did you mean bonafide.*--labels", columns=told)
    refused(path, "no column 9; the lines have 4", columns={"utterance": "9", "score": "1"})
    refused(path, "no column logit; the first line is", columns={"score": "logit"})
    table = read_scores(write("cm,real\n1,1.0\n2,2.0\n3,0.0\n"), dict(score="cm", key="real"),
                        {"1": True, "2": True, "0": False})  # fmt: skip
    assert table.bonafide.tolist() == [True, True, False] and not table.named and "each row" in table.notes[0]


@pytest.mark.parametrize(
    "content, bonafide",
    [
        ("Start\nOutput, a, 1, 1.5\nGenerating 1,b\nOutput, b, 0, -2\n", [True, False]),
        ("Output, a, -1, 1.5\nOutput, b, -1, -2\n", None),
        ("LA_1 a - - bonafide 1.5\nLA_1 b - A07 spoof -2\n", [True, False]),
        ("filename\tcm-score\na\t1.5\nb\t-2\n", None),
        ("file\tscore\tdecision\na\t1.5\tspoof\nb\t-2\tspoof\n", None),
        ("file,duration,verdict,score,llr\na,3,spoof,0.9,1.5\nb,3,spoof,0.1,-2\n", None),
    ],
)
def test_fault_12_files_are_read_as_they_are(write, content, bonafide):
    table = read_scores(write(content))
    assert table.utterances.tolist() == ["a", "b"] and table.scores.tolist() == [1.5, -2]
    assert (table.bonafide is None) if bonafide is None else (table.bonafide.tolist() == bonafide)


def test_fault_17_one_long_id_and_bombs(write):
    path = write("x" * 20_000 + " 0.5\n" + "".join(f"u{i} {i}\n" for i in range(2000)))
    table = read_scores(path)
    assert table.scores.size == 2001 and table.utterances.nbytes < 20_000
    refused(write(gzip.compress(bytes([10]) * 2_000_000)), "more than 1,500,000 lines")
    refused(write("a 1\n" + "b " * 1_500_000), "has more than 1,048,576 characters")
    refused(write("a b " * 50_000), "first line of 199999 characters")
    refused(write("file,score\n" + "ab," * 500_000), "first line of 1500000 characters")
    refused(write('file,score\na,2\n"' + "a" * 140_000 + '",1\n'), ":3: .*field larger than field limit")


def test_fault_19_scores_that_nobody_can_add_up(write):
    extreme = write("a A07 spoof 1e308\nb - bonafide -1e308\n")
    refused(extreme, r"2 of 2 scores lie beyond 1e\+300: a \(1e\+308\)")
    assert read_scores(write("a -1e300\n")).scores.tolist() == [-1e300]
