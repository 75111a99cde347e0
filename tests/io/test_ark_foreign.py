"""Arks of other programs: what kaldiio writes is read, and nothing of it is ever run."""

import gzip
import io
import os
import pickle
import struct
import subprocess

import kaldiio
import numpy as np
import pytest

from asvtk.io.ark import ArkWriter
from asvtk.io.ark.foreign import entry_shape, find_entries, read_entry
from asvtk.io.errors import AsvtkError

RNG = np.random.default_rng(1)
MATRICES = {
    f"utt{n}": RNG.normal(0, 3, (rows, 7)).astype(np.float32) for n, rows in enumerate((5, 12, 1, 40))
}
WRITERS = {
    "FM": {},
    "DM": {"dtype": np.float64},
    "text": {"text": True},
    "auto": {"compression_method": 1},
    "CM": {"compression_method": 2},
    "CM2": {"compression_method": 3},
    "integers in 16 bits": {"compression_method": 4},
    "CM3": {"compression_method": 5},
    "bytes": {"compression_method": 6},
    "NPY": {"write_function": "numpy"},
    "NPY float16": {"write_function": "numpy", "dtype": np.float16},
    "NPY float64 in columns": {"write_function": "numpy", "dtype": np.float64, "order": "F"},
}


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def forbidden(*_, **__):
        pytest.fail("something was run or unpickled")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(pickle, "load", forbidden)
    monkeypatch.setattr(pickle, "loads", forbidden)


def write(name="a", matrices=MATRICES, dtype=np.float32, order="C", **options):
    matrices = {key: np.asarray(matrix, dtype, order=order) for key, matrix in matrices.items()}
    kaldiio.save_ark(f"{name}.ark", matrices, scp=f"{name}.scp", **options)
    return f"{name}.ark", f"{name}.scp"


def read_all(source):
    return {entry.key: read_entry(entry) for entry in find_entries(source)}


def fault(source):
    with pytest.raises(AsvtkError) as error:
        read_all(source)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.filterwarnings("ignore::RuntimeWarning:kaldiio")
@pytest.mark.parametrize("kind", WRITERS)
def test_whatever_kaldiio_writes_comes_back_from_ark_and_scp(kind):
    matrices = {key: np.abs(matrix) for key, matrix in MATRICES.items()} if kind == "bytes" else MATRICES
    for source in write(matrices=matrices, **WRITERS[kind]):
        entries = list(find_entries(source))
        assert [entry.key for entry in entries] == list(matrices)
        for entry in entries:
            matrix, expected = read_entry(entry), matrices[entry.key]
            assert matrix.dtype == np.float32 and matrix.shape == entry_shape(entry) == expected.shape
            error = {"CM3": 0.1, "auto": 0.1, "CM": 0.1, "CM2": 2e-4, "NPY float16": 5e-3}.get(kind, 1e-9)
            if kind in ("integers in 16 bits", "bytes"):
                error = 0.51
            np.testing.assert_allclose(matrix, expected, atol=error)
            if kind in ("DM", "CM3", "NPY"):  # what kaldiio decodes
                place = f"{entry.ark}:{entry.offset}"
                assert np.array_equal(matrix, kaldiio.load_mat(place).astype(np.float32))


@pytest.mark.parametrize("kind", ["FM", "CM2", "CM"])
def test_our_own_arks(kind):
    writer = ArkWriter("a.ark", "a.scp")
    for key, matrix in MATRICES.items():
        writer.write(key, matrix, kind)
    writer.close()
    by_ark, by_scp = read_all("a.ark"), read_all("scp:a.scp")
    assert by_ark.keys() == by_scp.keys() == MATRICES.keys()
    assert all(np.array_equal(by_ark[key], by_scp[key]) for key in MATRICES)
    if kind == "FM":
        assert all(np.array_equal(by_ark[key], MATRICES[key]) for key in MATRICES)


def test_text_as_kaldi_prints_it_whole_numbers_first():
    with open("a.ark", "w") as stream:
        stream.write("utt1  [\n  0 1.5 -2e-05 \n  1e-05 3 4 ]\nutt2  [\n  7 8 9 ]\n")
    matrices = read_all("a.ark")
    assert np.array_equal(matrices["utt1"], np.float32([[0, 1.5, -2e-5], [1e-5, 3, 4]]))
    assert np.array_equal(matrices["utt2"], np.float32([[7, 8, 9]]))


def test_ranges_and_files_of_one_matrix_without_a_key():
    ark, _ = write()
    (entry,) = [entry for entry in find_entries(ark) if entry.key == "utt3"]
    kaldiio.save_mat("one.mat", MATRICES["utt1"].astype(np.float64))
    lines = {"a": "[0:9]", "b": "[3:3,2:6]", "c": "[,0:1]", "d": "[:,0:1]"}
    with open("r.scp", "w") as stream:
        stream.writelines(f"{key} {ark}:{entry.offset}{range_}\n" for key, range_ in lines.items())
        stream.write("e one.mat\nf one.mat[2:4]\n")
    matrices, whole = read_all("r.scp"), MATRICES["utt3"]
    assert np.array_equal(matrices["a"], whole[:10]) and np.array_equal(matrices["b"], whole[3:4, 2:7])
    assert np.array_equal(matrices["c"], whole[:, :2]) and np.array_equal(matrices["d"], whole[:, :2])
    assert np.array_equal(matrices["e"], MATRICES["utt1"]) and len(matrices["f"]) == 3
    assert [entry_shape(entry) for entry in find_entries("r.scp")] == [m.shape for m in matrices.values()]


@pytest.mark.parametrize(
    "line, message",
    [
        ("utt1 cat a.ark |", "'cat a.ark |' is a command, which is never run"),
        ("utt1 | cat a.ark", "is a command"),
        ("utt1 touch ran|", "is a command"),
        ("utt1 -", "standard input"),
        ("utt1", "expected 'key file.ark:offset', found 'utt1'"),
        ("utt1 none.ark:5", "none.ark cannot be read: No such file or directory; relative paths begin in /"),
        ("utt1 /dev/zero", "/dev/zero is no regular file"),
        ("utt1 pipe", "pipe is no regular file"),
        ("utt1 a.ark:99999", "a.ark at byte 99999: has "),
        ("utt1 a.ark:9" + 18 * "9", "expected the byte of a.ark"),
        ("utt1 a.ark:6", "holds b'B"),
        ("utt1 a.ark:5[0:5]", "has 5 rows there; expected a range within them, found 0:5"),
        ("utt1 a.ark:5[0:1,7:7]", "has 7 columns there"),
        ("utt1 a.ark:5[4:2]", "found 4:2"),
        ("utt1 a.ark:5[0:1:2]", "range [0:1:2]: expected [rows]"),
        ("utt1 a.ark:5[-1:2]", "range [-1:2]"),
    ],
)
def test_scp_lines_of_no_use_are_named(line, message):
    write()
    os.mkfifo("pipe")
    with open("b.scp", "w") as stream:
        stream.write(f"utt0 a.ark:5\n{line}\n")
    said = fault("b.scp")
    assert said.startswith("b.scp:2: ") and message in said
    assert not os.path.exists("ran")


@pytest.mark.parametrize("source", ["ark:gunzip -c a.gz |", "cat a.scp |", "|x.ark", "scp:-"])
def test_commands_as_sources_are_never_run(source):
    assert "is a command" in fault(source) or "standard input" in fault(source)


def test_other_sources(tmp_path):
    ark, scp = write()
    assert "expected NAME.ark or NAME.scp" in fault("a.txt")
    assert "a.ark:1: expected lines of UTF-8 text; is it an ark" in fault(f"scp:{ark}")
    kaldiio.save_mat("one.mat", MATRICES["utt1"])
    assert "one.mat: byte 0: expected a key, a space and a matrix" in fault("ark:one.mat")
    with open("b.ark", "wb") as stream:
        stream.write(gzip.compress(open(ark, "rb").read()))
    assert "b.ark: is compressed as a whole; expected a plain ark: run gzip -d first" in fault("b.ark")
    with open("c.ark", "w"):
        pass
    assert read_all("c.ark") == {}


class Payload:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def entry_of(content):
    with open("bad.ark", "wb") as stream:
        stream.write(b"utt1 " + content)
    return "bad.ark"


def numpy_entry(array, length=None, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    content = stream.getvalue()
    return b"NPY" + b"\x02" + struct.pack("<H", len(content) if length is None else length) + content


@pytest.mark.parametrize(
    "content, message",
    [
        (b"PKL" + pickle.dumps(Payload()), "holds a pickle, which can run any code"),
        (numpy_entry(np.array([[Payload()]], object), allow_pickle=True), "a NumPy array of object"),
        (b"NPY\x01\x80" + pickle.dumps(Payload()) + bytes(200), "no array in NumPy's format"),
        (b"NPY\x01\x80\x93NUMPY\x01\x00v\x00" + b"{" * 118, "no array in NumPy's format"),
        (b"NPY\xff" + bytes(600), "a length of 255 digits"),
        (numpy_entry(np.zeros((2, 3)), length=9), "9 bytes for a NumPy array of 2 x 3 numbers of float64"),
        (numpy_entry(np.zeros((2, 3)))[:-1], "ends 1 bytes before the 2 x 3 numbers"),
        (numpy_entry(np.zeros(6)), "shape (6,), where a matrix is expected"),
        (numpy_entry(np.zeros((2, 3), complex)), "a NumPy array of complex128"),
        (numpy_entry(np.zeros((2, 3))).replace(b"(2, 3)", b"(-2,-3)"), "claims"),
        (b"AUDIO\x01\x05RIFFx", "holds audio"),
        (b"RIFF" + bytes(40), "holds audio"),
        (b"fLaC" + bytes(40), "holds audio"),
        (b"\0B\4" + struct.pack("<i", 1) + b"\4" + struct.pack("<i", 1), "holds a vector of integers"),
        (b"\0BFV \4" + struct.pack("<if", 1, 1), "holds a vector;"),
        (b"\0BDV \4" + struct.pack("<id", 1, 1), "holds a vector;"),
        (b"\0BSM " + bytes(20), "holds b'"),
        (
            b"\0BDM \4" + struct.pack("<ibi", 2**31 - 1, 4, 2**31 - 1),
            "before the 2147483647 x 2147483647 numbers",
        ),
        (b"\0BCM3 " + struct.pack("<ffii", 0, 1, 2**31 - 1, 2**31 - 1), "before the 2147483647 x 2147483647"),
        (b"\0BFM \4" + struct.pack("<ibi", 2**31 - 1, 4, 2**31 - 1), "before the 2147483647 x 2147483647"),
        (b"\0BDM \4" + struct.pack("<ibi", -1, 4, -8) + bytes(64), "claims -1 x -8 numbers"),
        (b"\0BDM \x08" + struct.pack("<ibi", 1, 8, 1) + bytes(64), "claims integers of 8 and 8 bytes"),
        (b"\0BCM3 " + struct.pack("<ffii", 0, np.nan, 1, 1) + b"1", "claims minimum 0.0 and range nan"),
        (b"\0BDM \4", "ends within a header"),
        (b"\0BFM \4", "ends within a header"),
        (b" [ 1 2 3 ]\n", "holds a vector"),
        (b" [\n 1 2\n 3 ]\n", "has 1 numbers in row 2 and 2 in row 1"),
        (b" [\n 1 2\n 3 x ]\n", "has b'x' in row 2"),
        (b" [\n 1_0 2 ]\n", "has b'1_0' in row 1"),
        (b" [\n 1 2\n 3 4 \n", "has no ']' within "),
        (b" 3.5\n", "holds b' 3.5"),
    ],
)
def test_entries_of_no_use_are_named_before_memory_is_taken(content, message):
    said = fault(entry_of(content))
    assert said.startswith("bad.ark: utt1: at byte 5: ") and message in said
    assert not os.path.exists("ran")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning:kaldiio")
def test_cut_or_changed_anywhere_it_is_one_line_or_other_numbers(kind):
    ark, _ = write(matrices={"utt0": np.abs(MATRICES["utt1"])}, **WRITERS[kind])
    content = open(ark, "rb").read()
    rng = np.random.default_rng(2)
    for end in range(5, min(len(content) - 1, 200)):
        open("bad.ark", "wb").write(content[:end])
        fault("bad.ark")
    for _ in range(400):
        changed = bytearray(content)
        changed[rng.integers(min(200, len(content)))] = rng.integers(256)
        open("bad.ark", "wb").write(changed)
        try:
            for matrix in read_all("bad.ark").values():
                assert matrix.ndim == 2 and matrix.nbytes <= 8 * len(content)
        except AsvtkError:
            pass


def test_files_with_holes_take_no_memory():
    with open("hole.ark", "wb") as stream:
        stream.write(b"utt1 \0BDM \4" + struct.pack("<ibi", 1 << 20, 4, 1 << 17))
        stream.truncate(1 << 41)
    with open("range.scp", "w") as stream:
        stream.write("utt1 hole.ark:5[0:1]\n")
    for source in ("hole.ark", "range.scp"):
        assert "holds 1048576 x 131072 numbers; expected the features of an utterance" in fault(source)
    with open("hole.scp", "wb") as stream:
        stream.truncate(1 << 41)
    assert "hole.scp:1: has no end within 65536 bytes" in fault("hole.scp")
    with open("text.ark", "wb") as stream:
        stream.write(b"utt1 [\n 1 2\n")
        stream.truncate(1 << 41)
    assert "has no ']' within 268435456 bytes" in fault("text.ark")
