"""Score files, protocols and data directories: damaged ones are refused by name, others read alike."""

import json
import random
import re

import numpy as np
import pytest
from hypothesis import strategies as st
from mutations import DAMAGED, WRAPPINGS, apply, fuzz, text_edits


def _trials(seed: int, letter: str, count: int = 60) -> list[list[str]]:
    """``utterance attack key score``; a third bona fide."""
    rng, attacks = np.random.default_rng(seed), [f"A{number:02d}" for number in range(7, 20)]
    rows = []
    for number in range(count):
        attack = attacks[number % len(attacks)] if number % 3 else "-"
        score = rng.normal() + 2 * (number % 3 == 0)
        rows.append(
            [f"LA_{letter}_{number:07d}", attack, "spoof" if number % 3 else "bonafide", f"{score:.6f}"]
        )
    return rows


def _text(rows, *places, header: str = "", separator: str = " ") -> bytes:
    lines = [header] if header else []
    lines += [
        separator.join(row[place] if isinstance(place, int) else place for place in places) for row in rows
    ]
    return ("\n".join(lines) + "\n").encode()


EVAL, DEV = _trials(1, "E"), _trials(2, "D")
SCORES, DEV_SCORES = (_text(rows, 0, 1, 2, 3) for rows in (EVAL, DEV))
UNLABELLED = _text(EVAL, 0, 3)
PROTOCOL = _text(EVAL, "LA_0001", 0, "-", 1, 2)
KEY_2021 = _text(EVAL, "LA_0001", 0, "alaw", "ita_tx", 1, 2, "notrim", "eval")
ASV = "".join(
    f"{attack} {key} {score}\n"
    for number in range(20)
    for attack, key, score in (
        ("bonafide", "target", 5 + number / 7),
        ("bonafide", "nontarget", number / 9 - 1),
        (f"A{7 + number % 13:02d}", "spoof", 2 + number / 8),
    )
).encode()
QUOTED = [[f'"{field}"' for field in row] for row in EVAL]
#: the same scores in forms that asvtk documents
FORMS = {
    "header": _text(EVAL, 0, 1, 2, 3, header="utterance attack key score"),
    "header, other order": _text(EVAL, 3, 2, 0, 1, header="score key utterance attack"),
    "CSV": _text(EVAL, 0, 1, 2, 3, header="utterance,attack,key,score", separator=","),
    "CSV, quoted": _text(QUOTED, 2, 0, 3, 1, header="key,utterance,score,attack", separator=","),
    "tabs and header": _text(EVAL, 0, 1, 2, 3, header="utterance\tattack\tkey\tscore", separator="\t"),
    "shuffled": _text(random.Random(1).sample(EVAL, len(EVAL)), 0, 1, 2, 3),
}  # fmt: skip


def _evaluate(case, scores: bytes, *options, names: str = ""):
    """The results as JSON, or None where the file is refused; then nothing was written."""
    case.write("scores.txt", scores)
    said = case.run("--scores", "scores.txt", "--json", "out.json", *options, names=names, verb="evaluate")
    written = (case.folder / "out.json").exists()
    assert written == (said.status == 0), "refused, but wrote --json" if written else "wrote no --json"
    if not written:
        return None
    results = json.loads((case.folder / "out.json").read_text())
    return {key: value for key, value in results.items() if key not in ("scores", "asv_scores")}


def _refuse_to_lose_trials(scores: bytes, found: int) -> None:
    """All lines count, but for a header and comments; an id may begin with #, in a line of four fields."""
    lines = re.split(rb"\r\n|\r|\n", scores.removeprefix(b"\xef\xbb\xbf"))
    lines = [line.split() for line in lines if line.strip()]
    trials = sum(not fields[0].startswith(b"#") or len(fields) == 4 for fields in lines)
    assert trials - 1 <= found <= len(lines), f"{found} trials of {trials} lines"


# ---- damaged


@fuzz(180, edits=text_edits())
def test_damaged_scores(lab, edits):
    with lab.case("evaluate") as case:
        scores = apply(edits, SCORES)
        results = _evaluate(case, scores, names="scores.txt")
        if results is not None:
            _refuse_to_lose_trials(scores, results["n_bonafide"] + results["n_spoof"])


@fuzz(65, edits=text_edits(), protocol=st.sampled_from([PROTOCOL, KEY_2021, SCORES]))
def test_damaged_protocol(lab, edits, protocol):
    with lab.case("evaluate") as case:
        case.write("key.txt", apply(edits, protocol))
        _evaluate(case, UNLABELLED, "--protocol", "key.txt", names="key.txt")


@fuzz(65, edits=text_edits())
def test_damaged_scores_without_labels(lab, edits):
    with lab.case("evaluate") as case:
        case.write("key.txt", PROTOCOL)
        _evaluate(
            case, apply(edits, UNLABELLED), "--protocol", "key.txt", "--report", "page", names="scores.txt"
        )


@fuzz(65, edits=text_edits())
def test_damaged_asv_scores(lab, edits):
    with lab.case("evaluate") as case:
        case.write("asv.txt", apply(edits, ASV))
        _evaluate(case, SCORES, "--asv-scores", "asv.txt", names="asv.txt")


@fuzz(40, edits=text_edits(), form=st.sampled_from(sorted(FORMS)))
def test_damaged_tables_with_a_header(lab, edits, form):
    with lab.case("evaluate") as case:
        _evaluate(case, apply(edits, FORMS[form]), names="scores.txt")


@fuzz(40, edits=text_edits(), of_dev=st.booleans())
def test_damaged_scores_to_calibrate(lab, edits, of_dev):
    with lab.case("calibrate") as case:
        case.write("dev.txt", apply(edits, DEV_SCORES) if of_dev else DEV_SCORES)
        case.write("eval.txt", SCORES if of_dev else apply(edits, SCORES))
        words = ["--dev", "dev.txt", "--scores", "eval.txt", "--out", "out.txt"]
        said = case.run(*words, names="dev.txt" if of_dev else "eval.txt")
        for name in ("out.txt", "out.json"):
            assert (case.folder / name).exists() == (said.status == 0), f"{name} does not fit the exit status"


DATA_FILES = [
    "wav.scp",
    "utt2spk",
    "spk2utt",
    "utt2speaker",
    "utt2label",
    "utt2attack",
    "utt2num_samples",
    "utt2md5",
]


@fuzz(65, edits=text_edits(), name=st.sampled_from([*DATA_FILES, "attack2kind"]))
def test_damaged_data_directory(lab, edits, name):
    with lab.case("validate") as case:
        path = case.copy(lab.data / "dev", "dev") / name
        path.write_bytes(apply(edits, path.read_bytes()))
        # A file that is judged before or after the bad one may be what is named: they must agree.
        case.run("dev", names="dev/")
        case.write("scores.txt", (lab.exp / "scores" / "dev.txt").read_bytes())
        case.run("--scores", "scores.txt", "--data", "dev", verb="evaluate")


@fuzz(50, edits=text_edits(), name=st.sampled_from(["wav.scp", "utt2num_samples", "utt2md5"]))
def test_damaged_data_directory_to_score(lab, edits, name):
    with lab.case("score") as case:
        path = case.copy(lab.data / "dev", "dev") / name
        path.write_bytes(apply(edits, path.read_bytes()))
        if path.read_bytes() != (lab.data / "dev" / name).read_bytes():
            case.run("--model", lab.package, "--data", "dev", "--out", "out.txt")


@fuzz(30, edits=text_edits(), split=st.sampled_from(["train.trn", "dev.trl", "eval.trl"]))
def test_damaged_corpus_protocol(lab, edits, split):
    with lab.case("prepare") as case:
        name = f"ASVspoof2019.LA.cm.{split}.txt"
        path = case.copy(lab.corpus, "LA") / "ASVspoof2019_LA_cm_protocols" / name
        path.write_bytes(apply(edits, path.read_bytes()))
        case.run("LA", "data", "--nj", 1, names="LA")


@fuzz(
    50, edits=text_edits(), name=st.sampled_from(["layer_00/feats.scp", "utt2md5", "layer_00/part.0001.scp"])
)
def test_damaged_cache(lab, edits, name):
    with lab.case("cache") as case:
        dump = case.copy_cache(lab)
        path = next(dump.glob(f"*/dev/{name}"))
        sound = path.read_bytes()
        path.write_bytes(apply(edits, sound))
        said = case.run("verify", "--dump", "dump", names="dump")
        assert "/train: sound" in said.out, "a bad cache hides the verdict on another"
        if name.endswith("feats.scp") and said.status == 0:
            places = {tuple(line.split()) for line in sound.splitlines()}
            found = {tuple(line.split()) for line in path.read_bytes().splitlines() if line.split()}
            assert found <= places, "features of another utterance are sound"
        case.run("ls", "--dump", "dump")
        case.run("prune", "--dump", "dump")


# ---- sound, in another wrapping


@pytest.fixture(scope="module")
def plain(lab):
    with lab.case("evaluate") as case:
        case.write("asv.txt", ASV)
        return _evaluate(case, SCORES, "--asv-scores", "asv.txt")


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings_change_no_number(lab, plain, wrapping):
    wrap = WRAPPINGS[wrapping]
    with lab.case("evaluate") as case:
        case.write("asv.txt", wrap(ASV))
        case.write("key.txt", wrap(PROTOCOL))
        assert _evaluate(case, wrap(SCORES), "--asv-scores", "asv.txt") == plain, "scores"
        labelled = _evaluate(case, wrap(UNLABELLED), "--asv-scores", "asv.txt", "--protocol", "key.txt")
        labelled = {key: labelled[key] for key in plain if not key.startswith("per_") and key != "warnings"}
        assert labelled == {key: plain[key] for key in labelled}, "scores with a protocol"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrapping", ["plain", "byte order mark", "CRLF", "gzip", "blank lines at the end"])
def test_forms_change_no_number(lab, plain, form, wrapping):
    with lab.case("evaluate") as case:
        case.write("asv.txt", ASV)
        found = _evaluate(case, WRAPPINGS[wrapping](FORMS[form]), "--asv-scores", "asv.txt")
        assert found == plain


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings_change_no_calibration(lab, wrapping):
    with lab.case("calibrate") as case:
        for folder, wrap in (("plain", WRAPPINGS["plain"]), ("other", WRAPPINGS[wrapping])):
            case.write(f"{folder}/dev.txt", wrap(DEV_SCORES))
            case.write(f"{folder}/eval.txt", wrap(SCORES))
            words = [
                "--dev",
                f"{folder}/dev.txt",
                "--scores",
                f"{folder}/eval.txt",
                "--out",
                f"{folder}/out.txt",
            ]
            case.run(*words, status=0)
        written = [(case.folder / folder / "out.txt").read_bytes() for folder in ("plain", "other")]
        assert written[0] == written[1]


@pytest.mark.parametrize(
    "wrapping", [name for name in WRAPPINGS if not name.startswith(("gzip", "two", "bzip", "xz"))]
)
def test_wrappings_of_protocols_change_no_data_directory(lab, wrapping):
    with lab.case("prepare") as case:
        for path in (case.copy(lab.corpus, "LA") / "ASVspoof2019_LA_cm_protocols").iterdir():
            path.write_bytes(WRAPPINGS[wrapping](path.read_bytes()))
        case.run("LA", "data", "--nj", 1, status=0)
        for split in ("train", "dev", "eval"):
            for name in ("utt2label", "utt2speaker", "utt2attack", "utt2md5"):
                assert (case.folder / "data" / split / name).read_bytes() == (
                    lab.data / split / name
                ).read_bytes(), name


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("slot", ["scores", "protocol", "asv"])
def test_damaged_containers_are_refused(lab, damage, slot):
    files = {"scores": UNLABELLED, "protocol": PROTOCOL, "asv": ASV}
    with lab.case("evaluate") as case:
        case.write("protocol", files["protocol"])
        case.write("asv", files["asv"])
        case.write(slot, DAMAGED[damage](files[slot]))
        scores = (case.folder / "scores").read_bytes() if slot == "scores" else UNLABELLED
        options = ["--protocol", "protocol", "--asv-scores", "asv"]
        assert _evaluate(case, scores, *options, names=slot) is None, "read as if it were sound"
