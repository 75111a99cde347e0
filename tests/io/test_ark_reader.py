"""Reading arks: right under any number of threads and workers, and never wrong in silence."""

import gc
import multiprocessing
import os
import pickle
import struct
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import kaldiio
import numpy as np
import pytest

from asvtk.io.ark import ArkWriter, MatrixReader, entry_size, read_scp
from asvtk.io.ark.matrices import CODECS
from asvtk.io.errors import AsvtkError

kinds = pytest.mark.parametrize("kind", CODECS)


def write(folder, kind, count=30, name="a", columns=24):
    """An ark of matrices of many lengths; returns its places, and what kaldiio reads there."""
    rng = np.random.default_rng(0)
    writer = ArkWriter(folder / f"{name}.ark", folder / f"{name}.scp")
    for number in range(count):
        writer.write(f"u{number:04d}", rng.normal(size=(rng.integers(5, 60), columns)), kind)
    writer.close()
    theirs = kaldiio.load_scp(str(folder / f"{name}.scp"))
    return read_scp(folder / f"{name}.scp"), {key: theirs[key] for key in theirs}


def agree(found, expected):
    return found.shape == expected.shape and np.abs(found - expected).max() <= 2e-6


@kinds
def test_matrices_are_float32_contiguous_and_writable(tmp_path, kind):
    places, expected = write(tmp_path, kind)
    reader = MatrixReader()
    for key, place in places.items():
        found = reader.read(*place)
        assert found.dtype == np.float32 and found.flags.c_contiguous and found.flags.writeable
        assert agree(found, expected[key])


@kinds
def test_threads_share_a_reader(tmp_path, kind):
    places, expected = write(tmp_path, kind)
    keys = list(places) * 30
    reader = MatrixReader()
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda key: reader.read(*places[key]), keys)
        assert all(agree(one, expected[key]) for key, one in zip(keys, found, strict=True))


def test_threads_that_open_an_ark_at_once_leave_one_descriptor(tmp_path, monkeypatch):
    places, _ = write(tmp_path, "FM", count=1)
    together, system_open = threading.Barrier(8), os.open

    def open_together(*args):
        together.wait()
        return system_open(*args)

    reader = MatrixReader()
    with ThreadPoolExecutor(8) as pool:
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(os, "open", open_together)
        list(pool.map(lambda _: reader.read(*places["u0000"]), range(8)))
    assert len(os.listdir("/proc/self/fd")) == before + 1


@kinds
def test_forked_workers_and_their_threads_share_a_reader(tmp_path, kind):
    places, expected = write(tmp_path, kind)
    reader = MatrixReader()
    reader.read(*places["u0000"])  # the file is open when the workers are born
    children = []
    for seed in range(4):
        if (child := os.fork()) == 0:
            status = 1
            try:
                keys = np.random.default_rng(seed).permutation(list(places) * 10)
                with ThreadPoolExecutor(2) as pool:
                    right = pool.map(lambda key: agree(reader.read(*places[key]), expected[key]), keys)
                    status = 0 if all(right) else 1
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_spawned_worker_opens_its_own_files(tmp_path):
    places, expected = write(tmp_path, "CM2", count=2)
    reader = MatrixReader()
    reader.read(*places["u0000"])
    assert agree(pickle.loads(pickle.dumps(reader)).read(*places["u0001"]), expected["u0001"])


def test_stack_is_that_of_single_reads_of_any_kinds(tmp_path):
    all_places = [write(tmp_path, kind, name=kind)[0] for kind in CODECS]
    reader = MatrixReader()
    for key in all_places[0]:
        places = [places[key] for places in all_places]
        stacked = reader.stack(places)
        assert stacked.dtype == np.float32 and stacked.flags.c_contiguous
        np.testing.assert_array_equal(stacked, np.stack([reader.read(*place) for place in places]))


def test_stack_of_unequal_matrices_is_refused(tmp_path):
    places, _ = write(tmp_path, "FM", name="a")
    others, _ = write(tmp_path, "FM", name="b", columns=25)
    pattern = r"b\.ark: the matrix at byte 6 has shape \(\d+, 25\), that at .*a\.ark:6 has \(\d+, 24\)"
    with pytest.raises(AsvtkError, match=pattern):
        MatrixReader().stack([places["u0000"], others["u0000"]])


def test_reader_sees_an_ark_grow(tmp_path):
    reader = MatrixReader()
    writer = ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp")
    for number in range(5):
        writer.write(f"u{number}", np.full((4, 3), number))
        writer.flush()
        place = read_scp(tmp_path / "a.scp")[f"u{number}"]
        assert (reader.read(*place) == number).all()


@kinds
def test_cut_ark_gives_whole_matrices_or_none(tmp_path, kind):
    places, expected = write(tmp_path, kind, count=3, columns=1)
    whole = (tmp_path / "a.ark").read_bytes()
    ends = {
        key: offset - len(key) - 1 + entry_size(kind, *expected[key].shape, key)
        for key, (_, offset) in places.items()
    }
    assert max(ends.values()) == len(whole)
    ark, patient = str(tmp_path / "a.ark"), MatrixReader()
    patient.read(ark, places["u0000"][1])  # it opened the ark when it was whole
    for size in range(len(whole) - 1, -1, -1):
        os.truncate(ark, size)
        for key, (_, offset) in places.items():
            for reader in (patient, MatrixReader()):
                if size >= ends[key]:
                    assert agree(reader.read(ark, offset), expected[key])
                else:
                    with pytest.raises(
                        AsvtkError, match=r"a\.ark: damaged at byte \d+: ends before the entry"
                    ):
                        reader.read(ark, offset)


@kinds
def test_no_changed_byte_gives_another_shape_or_another_exception(tmp_path, kind):
    """A bit turned in a number is beyond us; one in a header is not."""
    places, expected = write(tmp_path, kind, count=3)
    whole = (tmp_path / "a.ark").read_bytes()
    reader = MatrixReader()
    with open(tmp_path / "a.ark", "r+b", buffering=0) as stream, np.errstate(over="ignore"):
        for key, (ark, offset) in places.items():
            refused = 0
            for position in range(offset, offset + 60):
                right = whole[position]
                for wrong in {0, 1, 32, 255, *(right ^ 1 << bit for bit in range(8))} - {right}:
                    os.pwrite(stream.fileno(), bytes([wrong]), position)
                    try:
                        assert reader.read(ark, offset).shape == expected[key].shape
                    except AsvtkError as error:
                        assert "\n" not in str(error) and f"a.ark: damaged at byte {offset}" in str(error)
                        refused += 1
                os.pwrite(stream.fileno(), bytes([right]), position)
            assert refused > 100
            assert agree(reader.read(ark, offset), expected[key])


HUGE = 2**31 - 1


@kinds
@pytest.mark.parametrize("shape", [(HUGE, HUGE), (HUGE, 1), (1, HUGE), (-1, 4), (4, -1), (-3, -3), (5000, 8)])
def test_absurd_shape_is_refused_before_memory_is_taken(tmp_path, kind, shape):
    codec = CODECS[kind]
    fields = (codec.token, 4, shape[0], 4, shape[1]) if kind == "FM" else (codec.token, 0, 1, *shape)
    (tmp_path / "a.ark").write_bytes(b"key " + codec.header.pack(*fields) + bytes(9999))
    tracemalloc.start()
    with pytest.raises(AsvtkError, match=r"a\.ark: damaged at byte 4: (ends before|the header there claims)"):
        MatrixReader().read(str(tmp_path / "a.ark"), 4)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["CM2", "CM"])
@pytest.mark.parametrize("scale", [(np.nan, 1), (np.inf, 1), (0, np.nan), (0, np.inf), (0, -1)])
def test_impossible_scale_is_refused(tmp_path, kind, scale):
    codec = CODECS[kind]
    (tmp_path / "a.ark").write_bytes(b"k " + codec.header.pack(codec.token, *scale, 2, 2) + bytes(100))
    with pytest.raises(AsvtkError, match="damaged at byte 2: the header there claims minimum"):
        MatrixReader().read(str(tmp_path / "a.ark"), 2)


MATRIX = np.ones((3, 3), np.float32)


@pytest.mark.parametrize(
    "array, options, found",
    [
        (MATRIX.astype(np.float64), {}, r"\\x00BDM "),
        (MATRIX[0], {}, r"\\x00BFV "),
        (np.arange(3, dtype=np.int32), {}, r"\\x00B\\x04"),
        (MATRIX, {"compression_method": 5}, r"\\x00BCM3"),
        (MATRIX, {"text": True}, r" \["),
        (MATRIX, {"write_function": "pickle"}, "PKL"),
        (MATRIX, {"write_function": "numpy"}, "NPY"),
        ((8000, MATRIX[0]), {"write_function": "soundfile"}, "AUDIO"),
    ],
    ids=["DM", "FV", "int32", "CM3", "text", "PKL", "NPY", "AUDIO"],
)
def test_foreign_content_is_named_and_never_loaded(tmp_path, array, options, found):
    ark = str(tmp_path / "k.ark")
    kaldiio.save_ark(ark, {"key": array}, **options)
    with pytest.raises(AsvtkError, match=rf"k\.ark: damaged at byte 4: holds no matrix .*found b'{found}"):
        MatrixReader().read(ark, 4)


@kinds
@pytest.mark.parametrize("shift", [-5, -1, 1, 2, 7, 40])
def test_place_beside_an_entry_is_refused(tmp_path, kind, shift):
    places, _ = write(tmp_path, kind)
    ark, offset = places["u0010"]
    with pytest.raises(AsvtkError, match=rf"damaged at byte {offset + shift}"):
        MatrixReader().read(ark, offset + shift)


@pytest.mark.parametrize("offset", [10**6, 10**17])
def test_place_behind_the_end_is_refused(tmp_path, offset):
    places, _ = write(tmp_path, "FM", count=1)
    with pytest.raises(AsvtkError, match=f"damaged at byte {offset}: ends before"):
        MatrixReader().read(places["u0000"][0], offset)


def test_file_that_cannot_be_read_is_named(tmp_path):
    for path, reason in (("none.ark", "No such file"), (".", "Is a directory"), ("a\0b", "embedded null")):
        with pytest.raises(AsvtkError, match=f"cannot be read: {reason}.*; run stage 2 again"):
            MatrixReader().read(str(tmp_path / path), 0)


def test_next_key_of_any_form_is_no_damage(tmp_path):
    keys = ["a", "größer-ß", "x" * 900, "utt|1~!", "b"]
    writer = ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp")
    for number, key in enumerate(keys):
        writer.write(key, np.full((2, 2), number))
    writer.close()
    reader = MatrixReader()
    assert [reader.read(*place).max() for place in read_scp(tmp_path / "a.scp").values()] == [0, 1, 2, 3, 4]


def test_a_thousand_arks_can_be_open(tmp_path):
    reader = MatrixReader()
    entry = b"a " + struct.pack("<5sbibi", b"\0BFM ", 4, 1, 4, 1)
    for number in range(1100):
        path = tmp_path / f"{number}.ark"
        path.write_bytes(entry + struct.pack("<f", number))
        assert reader.read(str(path), 2).item() == number


def read_in_child(reader, place, queue):
    queue.put(reader.read(*place).tolist())


def test_reader_is_sent_to_a_spawned_process(tmp_path):
    places, expected = write(tmp_path, "FM", count=1)
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=read_in_child, args=(MatrixReader(), places["u0000"], queue))
    process.start()
    assert queue.get() == expected["u0000"].tolist()
    process.join()


def test_what_was_found_is_read_later_whole_or_in_part(tmp_path):
    """By the process that found it: its reader may be gone, and another process has not opened the ark."""
    rng = np.random.default_rng(0)
    matrices = {key: rng.normal(size=(7, 5)).astype(np.float32) for key in "ab"}
    writer = ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp")
    for key, matrix in matrices.items():
        writer.write(key, matrix, "CM2")
    writer.close()
    places = list(read_scp(tmp_path / "a.scp").values())
    found, whole = MatrixReader().find(places), MatrixReader().stack(places)
    gc.collect()
    for part, expected in ((found, whole), (found.cut(2, 3), whole[:, 2:5]), (found.cut(5, 9), whole[:, 5:])):
        steps = np.empty(part.shape, np.uint16)
        part.read(steps)
        assert np.array_equal(steps * part.scales[:, :1, None] + part.scales[:, 1:, None], expected)
    with pytest.raises(TypeError, match="read them first"):
        pickle.dumps(found)
    assert found.cut(9, 2).shape == (2, 0, 5)
