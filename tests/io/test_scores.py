"""Score files, protocols and keys in every form we know, and each fault with its message."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asvtk.io.asv_scores import read_asv_scores
from asvtk.io.errors import AsvtkError
from asvtk.io.protocols import label, read_protocol
from asvtk.io.scores import read_scores, write_scores
from asvtk.metrics.breakdown import factorize

OFFICIAL = "LA_E_1 A07 spoof -1.5\nLA_E_2 - bonafide 2e-1\nLA_E_3 A08 spoof -.25\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="scores.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(read, path, *words):
    with pytest.raises(AsvtkError) as fault:
        read(path)
    for word in (str(path), *words):
        assert word in str(fault.value)


@pytest.mark.parametrize(
    "content",
    [
        OFFICIAL,
        OFFICIAL.rstrip(),
        OFFICIAL.replace("\n", "\r\n"),
        OFFICIAL.replace("\n", "\r"),
        OFFICIAL.replace(" ", "\t"),
        OFFICIAL.replace(" ", "   ").replace("\n", "  \n"),
        "\n\n" + OFFICIAL + "\n \n",
        OFFICIAL.replace("LA_E_2", "\nLA_E_2"),
        "# made by us\n" + OFFICIAL,
        OFFICIAL.replace("LA_E_3", "# the third: \nLA_E_3"),
        "utt attack key score\n" + OFFICIAL,
        "Filename,Attack,CM-Score,Label\nLA_E_1,A07,-1.5,spoof\nLA_E_2,,0.2,bonafide\nLA_E_3,A08,-0.25,spoof\n",
        'score;utterance;key;system_id\n"-1.5";LA_E_1;spoof;A07\n.2;LA_E_2;bona-fide;-\n-.25;LA_E_3;spoof;A08',
        "utterance\tscore\tkey\tattack\nLA_E_1\t-1.5\tspoof\tA07\nLA_E_2\t0.2\tbonafide\t-\nLA_E_3\t-.25\tspoof\tA08",
        OFFICIAL.replace(" ", ","),
        b"\xef\xbb\xbf" + OFFICIAL.encode(),
        gzip.compress(OFFICIAL.encode(), mtime=0),
        gzip.compress(OFFICIAL[:23].encode(), mtime=0) + gzip.compress(OFFICIAL[23:].encode(), mtime=0),
    ],
)
def test_any_form_gives_the_same_table(write, content):
    table = read_scores(write(content))
    assert table.utterances.tolist() == ["LA_E_1", "LA_E_2", "LA_E_3"]
    assert table.scores.tolist() == [-1.5, 0.2, -0.25]
    assert table.bonafide.tolist() == [False, True, False]
    assert table.attacks.tolist() == ["A07", "-", "A08"]


def test_columns_are_named_by_the_user(write):
    path = write("clip,logit,codec\nä.wav,1,mp3\nb.wav,2,ogg\n")
    refused(read_scores, path, ":1:", "3 fields", "--columns utterance=")
    refused(read_scores, write("clip logit\na 1\n"), ":1:", "'logit' is no number", "--columns utterance=")
    path = write("clip,logit,codec\nä.wav,1,mp3\nb.wav,2,ogg\n")
    table = read_scores(path, {"utterance": "clip", "score": "logit"})
    assert table.utterances.tolist() == ["ä.wav", "b.wav"] and table.scores.tolist() == [1, 2]
    assert table.bonafide is None and table.columns["codec"].tolist() == ["mp3", "ogg"]
    refused(
        lambda path: read_scores(path, {"score": "logits"}), path, "no column logits", "clip, logit, codec"
    )
    refused(lambda path: read_scores(path, {"score": "logit"}), path, "no column is the utterance")


@pytest.mark.parametrize("quirk", ["A00", "bonafide", "bona-fide"])
def test_attack_id_on_bonafide_is_read_as_none_and_noted(write, quirk):
    table = read_scores(write(OFFICIAL.replace("LA_E_2 -", f"LA_E_2 {quirk}")))
    assert table.attacks.tolist() == ["A07", "-", "A08"]
    assert quirk in table.notes[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b"\n \n", ["empty"]),
        (b"# only this\n", ["empty"]),
        (b"utterance,score\n", ["no trial"]),
        (OFFICIAL + "LA_E_4 A07 spoof", [":4:", "3 fields", "has 4"]),
        (OFFICIAL + "LA_E_4 A07 spoof 1 2\nLA_E_5 - bonafide", [":4:", "5 fields"]),
        ("a b c\n", [":1:", "3 fields", "utterance attack key score"]),
        (OFFICIAL.replace("2e-1", "0,2"), [":2:", "'0,2' is no number"]),
        (OFFICIAL.replace("2e-1", "nan"), ["LA_E_2 (nan)", "1 of 3 scores"]),
        (OFFICIAL.replace("2e-1", "-inf").replace("-1.5", "NaN"), ["LA_E_1 (nan), LA_E_2 (-inf)"]),
        (OFFICIAL.replace("LA_E_3", "LA_E_1"), [":3:", "LA_E_1", "line 1"]),
        (OFFICIAL.replace("bonafide", "genuine"), [":2:", "'genuine'", "Did you mean bonafide?"]),
        (OFFICIAL.replace("spoof", "fake"), [":1:", "'fake'", "Did you mean spoof?"]),
        (OFFICIAL.replace("spoof", "0"), [":1:", "expected bonafide"]),
        (OFFICIAL.replace("LA_E_2 -", "LA_E_2 A07"), [":2:", "LA_E_2 is bona fide but has attack A07"]),
        (OFFICIAL.encode("utf-16"), ["UTF-16"]),
        ("LA_Ä 1\n".encode("latin-1"), [":1:", "UTF-8"]),
        (gzip.compress(OFFICIAL.encode(), mtime=0)[:-9], ["gzip"]),
        (b"\x1f\x8bnonsense that is no gzip", ["damaged gzip"]),
        (b"utterance,score\na,1,2\n", [":2:", "3 fields", "has 2"]),
    ],
)
def test_a_fault_is_named_with_its_place(write, content, words):
    refused(read_scores, write(content), *words)


def test_a_missing_file_is_named(tmp_path):
    refused(read_scores, tmp_path / "none.txt", "no such file")


PROTOCOL_2019 = "LA_9 LA_E_3 - A08 spoof\nLA_9 LA_E_1 - A07 spoof\nLA_8 LA_E_2 - - bonafide\n"


@pytest.mark.parametrize(
    "content",
    [
        PROTOCOL_2019,
        "LA_9 LA_E_3 x t A08 spoof n e\nLA_9 LA_E_1 x t A07 spoof n e\nLA_8 LA_E_2 x t - bonafide n e\n",
        "LA_9 LA_E_3 - - A08 spoof\nLA_9 LA_E_1 - - A07 spoof\nLA_8 LA_E_2 - - - bona-fide\n",
        "utterance,speaker,label,attack\nLA_E_3,LA_9,spoof,A08\nLA_E_1,LA_9,spoof,A07\nLA_E_2,LA_8,bona-fide,-\n",
    ],
)
def test_protocols_label_scores_in_their_own_order(write, content):
    scores = read_scores(write("LA_E_1 1\nLA_E_2 2\nLA_E_3 3\n"))
    table = label(scores, read_protocol(write(content, "protocol.txt")))
    assert table.utterances.tolist() == ["LA_E_3", "LA_E_1", "LA_E_2"]
    assert table.scores.tolist() == [3, 1, 2]
    assert table.bonafide.tolist() == [False, False, True]
    assert table.attacks.tolist() == ["A08", "A07", "-"]
    assert table.columns["speaker"].tolist() == ["LA_9", "LA_9", "LA_8"]


KEYS = {  # the organisers' own keys, as published -> some of their columns
    "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval": {
        "speaker": "LA_0009", "codec": "alaw", "transmission": "ita_tx", "trim": "notrim", "subset": "eval",
    },
    "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -": {
        "compression": "nocodec", "database": "asvspoof", "vocoder": "traditional_vocoder",
    },
    "PA_0010 PA_E_1000001 R4 M3 d4 r1 m1 s4 c3 spoof notrim eval": {
        "asv_room": "R4", "attacker_to_speaker": "c3", "subset": "eval",
    },
    "E_4608 E_0002302238 F C04 2 E_0007161785 AC2 A18 spoof -": {
        "codec": "C04", "codec_q": "2", "codec_seed": "E_0007161785", "attack_tag": "AC2",
    },
    "- 0.wav - - - spoof": {"codec": "-"},
}  # fmt: skip


@pytest.mark.parametrize("line", KEYS)
def test_fault_12_published_keys_name_their_columns(write, line):
    trials = read_protocol(write(f"{line}\n"))
    assert trials.utterances.tolist() == [line.split()[1]] and trials.bonafide.tolist() == [False]
    found = {name: trials.columns[name][0] for name in KEYS[line]}
    assert found == KEYS[line]
    attack = next((field for field in line.split() if field in ("A07", "A14", "A18")), "-")
    assert trials.attacks is None or trials.attacks.tolist() == [attack]


def test_data_directory_is_a_protocol(write, tmp_path):
    write("LA_E_1 spoof\nLA_E_2 bonafide\n", "utt2label")
    assert read_protocol(tmp_path).attacks is None
    write("LA_E_1 A07\nLA_E_2 -\n", "utt2attack")
    write("LA_E_1 LA_1\nLA_E_2 LA_1\n", "utt2speaker")
    trials = read_protocol(tmp_path)
    assert trials.bonafide.tolist() == [False, True] and trials.attacks.tolist() == ["A07", "-"]
    assert trials.columns["speaker"].tolist() == ["LA_1", "LA_1"]
    write("LA_E_1 LA_1\nLA_E_3 LA_1\n", "utt2speaker")
    refused(read_protocol, tmp_path, "utt2label", "LA_E_2, LA_E_3", "asvtk validate")


def test_protocol_without_key_is_refused(write):
    refused(read_protocol, write("LA_1 LA_E_1 - A07 genuine\n"), ":1:", "column 5")
    refused(read_protocol, write("utterance,attack\na,b\n"), "utterance and key")


def test_scores_and_protocol_must_name_the_same_trials(write):
    protocol = read_protocol(write(PROTOCOL_2019, "protocol.txt"))

    def told(scores):
        with pytest.raises(AsvtkError) as fault:
            label(read_scores(write(scores)), protocol)
        return str(fault.value)

    assert "1 of its 3 trials have no score: LA_E_2" in told("LA_E_1 1\nLA_E_3 3\n")
    assert "1 scores belong to no trial of it: LA_E_4" in told("LA_E_1 1\nLA_E_2 1\nLA_E_3 3\nLA_E_4 4\n")
    assert "audio suffix only" in told("LA_E_1.flac 1\nLA_E_2.flac 1\nLA_E_3 3\n")
    assert "disagree about the key of 1 trials: LA_E_1" in told(OFFICIAL.replace("A07 spoof", "- bonafide"))


def test_asv_scores(write):
    path = write("bonafide target 2.5\nbonafide nontarget -1\nA07 spoof 0\nA08 spoof 1\n")
    asv = read_asv_scores(path)
    assert (asv.target, asv.nontarget) == (2.5, -1) and asv.spoof.tolist() == [0, 1]
    assert asv.attacks == {"A07", "A08"}
    refused(read_asv_scores, write(OFFICIAL), "4 fields", "target, nontarget or spoof")
    refused(read_asv_scores, write("bonafide target 1\nA07 spoof 0\n"), "no nontarget trial")
    refused(read_asv_scores, write("bonafide target 1\nbonafide bonafide 0\n"), ":2:", "'bonafide'")
    refused(read_asv_scores, write("bonafide target 1\nbonafide target inf\n"), ":2:", "inf")


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
def test_written_scores_come_back_to_the_last_bit(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("scores") / "scores.txt"
    n = len(scores)
    write_scores(path, [f"u{i}" for i in range(n)], ["A07"] * n, ["spoof"] * n, scores)
    assert read_scores(path).scores.tobytes() == np.array(scores).tobytes()


def test_bad_scores_are_not_written(tmp_path):
    path = tmp_path / "scores.txt"
    refused(lambda p: write_scores(p, ["a", "b"], "--", ["spoof"] * 2, [1, float("nan")]), path, "b (nan)")
    refused(lambda p: write_scores(p, ["a", "a"], "--", ["spoof"] * 2, [1, 2]), path, "twice: a")
    refused(lambda p: write_scores(p, ["a"], ["-"], ["human"], [1]), path, "human")
    refused(lambda p: write_scores(p, ["a"], ["-"], ["spoof"], [1, 2]), path, "1 utterances", "(2,)")
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.text("ab\u00e4", max_size=3), max_size=30))
def test_strings_as_numbers(words):
    words = np.array(words, dtype="U3")
    names, codes = factorize(words)
    expected_names, expected_codes = np.unique(words, return_inverse=True)
    assert names == expected_names.tolist() and codes.tolist() == expected_codes.tolist()
