"""Paths and options that people and scripts pass by mistake."""

import os
import shutil
import stat
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies as st
from mutations import LONG_RUN, fuzz
from test_fuzz_tables import ASV, DEV_SCORES, PROTOCOL, SCORES, UNLABELLED

from asvtk.bin.main import VERBS

#: verb and words, with IN where an odd path goes, and what it stands for
INPUTS = [
    ("evaluate", "--scores IN"), ("evaluate", "--scores s.txt --protocol IN"),
    ("evaluate", "--scores s.txt --data IN"), ("evaluate", "--scores s.txt --asv-scores IN"),
    ("evaluate", "--scores s.txt --compare IN"), ("evaluate", "--exp IN"),
    ("evaluate", "--rttm IN --hyp IN"), ("evaluate", "--rttm IN --detections IN"),
    ("splice", "--data IN --out out"),
    ("calibrate", "--dev IN --scores s.txt --out o.txt"),
    ("calibrate", "--dev d.txt --scores IN --out o.txt"),
    ("calibrate", "--model IN --scores s.txt --out o.txt"), ("config", "IN"), ("validate", "IN"),
    ("prepare", "IN data"), ("exp", "ls IN"), ("exp", "show IN"), ("exp", "diff IN IN"),
    ("cache", "ls --dump IN"), ("cache", "verify --dump IN"), ("cache", "prune --dump IN"),
    ("cache", "size --config IN --data data/dev"), ("unpack", "IN out"),
    ("cache", "import --config c.yaml --data data/dev scp:IN"),
    ("cache", "import --config c.yaml --data data/dev ark:IN"),
    ("score", "--model IN --audio a.wav"), ("score", "--model PACKAGE --audio IN"),
    ("score", "--model PACKAGE --data IN --out o.txt"),
    ("score", "--system aasist --weights IN --data data/dev --out o.txt"),
    ("score", "--exp IN --dump dump --data data/dev"), ("pack", "--exp IN"), ("shortcuts", "IN"),
    ("ablations", "configs IN out"), ("tune", "--check --config c.yaml --space IN"),
]  # fmt: skip


def _missing(path):
    pass


def _loop(path):
    path.symlink_to(path.name)


def _dangling(path):
    path.symlink_to("nowhere")


def _unreadable(path):
    path.write_text("x\n")
    path.chmod(0)


def _full_of_odd_names(path):
    path.mkdir()
    for name in (
        b"\xff\xfe.wav",
        b"new\nline.wav",
        b"-rf.wav",
        b'quote".wav',
        b"x" * 250 + b".wav",
        b"\x1b[31m.wav",
    ):
        with open(os.path.join(os.fsencode(path), name), "wb") as stream:
            stream.write(b"no audio")


ODD_PATHS = {
    "missing": _missing,
    "folder": lambda path: path.mkdir(),
    "folder in folder": lambda path: (path / "config.yaml").mkdir(parents=True),
    "FIFO": os.mkfifo,
    "link to itself": _loop,
    "dangling link": _dangling,
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "empty": lambda path: path.write_bytes(b""),
    "link to /dev/null": lambda path: path.symlink_to("/dev/null"),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "folder of odd names": _full_of_odd_names,
    "sparse file of 1 TB": lambda path: path.symlink_to(path.parent.parent / "sparse"),
}
if os.geteuid():  # root reads everything
    ODD_PATHS["unreadable"] = _unreadable
ODD_NAMES = [
    "", " ", ".", "-", "-x", "a\nb", 'a"b', "a'b", "~", "~nobody/x", "x" * 255, "x" * 5000,
    "a/" * 3000, "\udcff.txt", "\u202ex", "$HOME", "*", "s.txt/", "s.txt/x", "cat s.txt |", "|touch canary",
    "/dev/stdin/x", "NUL", "%s%n{}", "a:1",
]  # fmt: skip


def _set_up(case, lab):
    case.write("s.txt", SCORES)
    case.write("d.txt", DEV_SCORES)
    case.write("c.yaml", "frontend: {name: lfcc}\n")
    (case.folder / "data").symlink_to(lab.data)
    (case.folder / "dump").symlink_to(lab.dump)
    shutil.copy(next(lab.corpus.rglob("*.flac")), case.folder / "a.wav")


def _words(lab, line: str, path: str) -> list[str]:
    values = {"IN": path, "PACKAGE": str(lab.package), "scp:IN": f"scp:{path}", "ark:IN": f"ark:{path}"}
    return [values.get(word, word) for word in line.split()]


@fuzz(80, of=st.sampled_from(INPUTS), odd=st.sampled_from(sorted(ODD_PATHS)))
def test_odd_inputs(lab, of, odd):
    verb, line = of
    with lab.case(verb) as case:
        _set_up(case, lab)
        ODD_PATHS[odd](case.folder / "odd.x")
        case.run(*_words(lab, line, "odd.x"), names="" if odd == "folder of odd names" else "odd.x")


@fuzz(40, of=st.sampled_from(INPUTS), name=st.sampled_from(ODD_NAMES))
def test_odd_names_of_inputs(lab, of, name):
    verb, line = of
    with lab.case(verb) as case:
        _set_up(case, lab)
        case.run(*_words(lab, line, name))


@pytest.mark.parametrize(
    "name", [n for n in ODD_NAMES if n and "/" not in n and len(n) < 256 and n not in (".", "..")]
)
def test_sound_files_of_odd_names_are_read(lab, name):
    with lab.case("evaluate") as case:
        os.makedirs("in", exist_ok=True)
        path = f"in/{name}"
        case.write(path, SCORES)
        case.run("--scores", path, "--json", "o.json", status=0)
        audio = f"in/{name[:240]}.flac"
        shutil.copy(next(lab.corpus.rglob("*.flac")), audio)
        said = case.run("--model", lab.package, "--audio", "in", "--out", "s.tsv", verb="score")
        assert said.status == 0 and len((case.folder / "s.tsv").read_bytes().splitlines()) >= 2


# ---- outputs

OUTPUTS = [
    ("evaluate", "--scores s.txt --json OUT"), ("evaluate", "--scores s.txt --report OUT"),
    ("calibrate", "--dev d.txt --scores s.txt --out OUT --model m.json"),
    ("calibrate", "--dev d.txt --scores s.txt --out o.txt --model OUT"), ("unpack", "PACKAGE OUT"),
    ("score", "--model PACKAGE --audio a.wav --out OUT"),
    ("score", "--model PACKAGE --data data/dev --out OUT"), ("prepare", "LA OUT"),
]  # fmt: skip


def _device(path, minor: int) -> None:
    """A device of our own: who replaces it harms nobody."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    except OSError:
        hypothesis.reject()  # no right to make devices


ODD_OUTPUTS = {
    "folder": lambda path: path.mkdir(),
    "folder with a file": lambda path: (path / "x").mkdir(parents=True),
    "file": lambda path: path.write_text("old\n"),
    "dangling link": _dangling,
    "link to itself": _loop,
    "null device": lambda path: _device(path, 3),
    "full device": lambda path: _device(path, 7),
}
if LONG_RUN:  # a reader is waited for, some seconds
    ODD_OUTPUTS["FIFO"] = os.mkfifo


@fuzz(40, of=st.sampled_from(OUTPUTS), odd=st.sampled_from(sorted(ODD_OUTPUTS)))
def test_odd_outputs(lab, of, odd):
    verb, line = of
    with lab.case(verb) as case:
        _set_up(case, lab)
        (case.folder / "LA").symlink_to(lab.corpus)
        path = case.folder / "odd.x"
        ODD_OUTPUTS[odd](path)
        before = path.lstat()
        words = [{"OUT": "odd.x", "PACKAGE": str(lab.package)}.get(word, word) for word in line.split()]
        case.run(*words, names="odd.x")
        if not stat.S_ISREG(before.st_mode) and not stat.S_ISDIR(before.st_mode):
            assert stat.S_IFMT(path.lstat().st_mode) == stat.S_IFMT(before.st_mode), (
                "what stood there was replaced"
            )


OUTPUT_NAMES = [
    "", ".", "..", "/", "x" * 255, "x" * 250, "x" * 5000, "s.txt/x", "/proc/x", "\udcff", "a\nb", "-",
    "s.txt", "d.txt",
]  # fmt: skip


@fuzz(30, of=st.sampled_from(OUTPUTS[:-1]), name=st.sampled_from(OUTPUT_NAMES))
def test_odd_names_of_outputs(lab, of, name):
    verb, line = of
    hypothesis.assume(
        "--report" not in line or name not in (".", "..", "/")
    )  # folders to write a report into
    with lab.case(verb) as case:
        _set_up(case, lab)
        words = [{"OUT": name, "PACKAGE": str(lab.package)}.get(word, word) for word in line.split()]
        said = case.run(*words)
        assert said.status or name not in ("", ".", "..", "/"), "an output without a name"


# ---- options

ODD_VALUES = [
    "", " ", "-1", "0", "1", "1.5", "nan", "inf", "-inf", "1e999", "1e308", "99999999999999999999", "1_0",
    "0x10", "\u0661", "x", "-x", "None", "true", "=", "a=", "=b", "a=b", "a=b,", ",", "eer", "far=",
    "far=nan", "far=2", "far=-1", "frr=1e999", "far=0", "5:1", "1:", ":", "\udcff", "x" * 9000,
]  # fmt: skip
OPTIONS = [
    ("evaluate", "--scores s.txt --bootstrap X"), ("evaluate", "--scores s.txt --seed X --bootstrap 10"),
    ("evaluate", "--scores s.txt --where X"), ("evaluate", "--scores s.txt --columns X"),
    ("evaluate", "--scores s.txt --by X"), ("evaluate", "--scores s.txt --operating-point X"),
    ("evaluate", "--scores s.txt --grouping X"), ("evaluate", "--scores s.txt --negate X"),
    ("calibrate", "--dev d.txt --scores s.txt --out o.txt --prior X"),
    ("calibrate", "--dev d.txt --scores s.txt --out o.txt --negate X"), ("prepare", "LA out --nj X"),
    ("exp", "X"), ("cache", "X"), ("cache", "verify X --dump dump"), ("cache", "prune X --dump dump"),
    ("score", "--model PACKAGE --audio a.wav --ngpu X"), ("score", "--model PACKAGE --audio a.wav --nj X"),
    ("score", "--exp exp --dump dump --data data/dev --nj X --job X"), ("score", "--system X"),
    ("cache", "size --config exp/config.yaml --data data/dev --override X"), ("X", ""), ("evaluate", "X"),
    ("unpack", "PACKAGE out X"),
]  # fmt: skip


@fuzz(130, of=st.sampled_from(OPTIONS), value=st.sampled_from(ODD_VALUES))
def test_odd_options(lab, of, value):
    verb, line = of
    with lab.case(verb if verb in VERBS else "no verb") as case:
        _set_up(case, lab)
        (case.folder / "LA").symlink_to(lab.corpus)
        (case.folder / "exp").symlink_to(lab.exp)
        words = [{"X": value, "PACKAGE": str(lab.package)}.get(word, word) for word in line.split()]
        case.run(*words, verb=value if verb == "X" else verb)


WORDS = [
    "--scores",
    "s.txt",
    "u.txt",
    "k.txt",
    "asv.txt",
    "--protocol",
    "--asv-scores",
    "--negate",
    "--bootstrap",
    "20",
    "--report",
    "page",
    "--json",
    "o.json",
    "--compare",
    "--compare-negate",
    "--by",
    "speaker",
    "--where",
    "subset=eval",
    "--exp",
    "--data",
    "--operating-point",
    "eer",
    "--columns",
    "utterance=a",
    "--summary",
]


@fuzz(40, words=st.lists(st.sampled_from(WORDS), max_size=9))
def test_options_in_any_order(lab, words):
    with lab.case("evaluate") as case:
        for name, content in (
            ("s.txt", SCORES),
            ("u.txt", UNLABELLED),
            ("k.txt", PROTOCOL),
            ("asv.txt", ASV),
        ):
            case.write(name, content)
        case.run("--scores", "s.txt", *words)


@pytest.mark.parametrize("verb", ["evaluate", "calibrate"])
def test_a_process_of_its_own_says_the_same(lab, verb):
    """What the judge sees in this process is what a user sees."""
    words = {"evaluate": "--scores missing.txt", "calibrate": "--model missing.txt --scores a --out b"}
    with lab.case(verb) as case:
        said = case.run(*words[verb].split())
        alone = subprocess.run(
            [sys.executable, "-m", "asvtk", verb, *words[verb].split()],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (alone.returncode, alone.stderr) == (said.status, said.err)
