"""Arks: Kaldi's form byte for byte, safe against kills, foreign content and full disks."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asvtk.io.ark import ArkWriter, MatrixReader, parse_scp_line, read_scp
from asvtk.io.errors import AsvtkError


def write(folder, matrices, **options):
    writer = ArkWriter(folder / "a.ark", folder / "a.scp", **options)
    for key, matrix in matrices.items():
        writer.write(key, matrix)
    writer.close()
    return folder / "a.scp"


def some_matrices(count=20, seed=0):
    rng = np.random.default_rng(seed)
    return {f"u{i:04d}": rng.normal(size=(rng.integers(1, 9), 5)).astype(np.float32) for i in range(count)}


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 7)), min_size=1, max_size=8), st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_kaldiio_reads_what_we_write_whatever_the_buffer(tmp_path_factory, shapes, buffer_bytes):
    folder, rng = tmp_path_factory.mktemp("ark"), np.random.default_rng(0)
    matrices = {f"k{i}": rng.normal(size=shape).astype(np.float32) for i, shape in enumerate(shapes)}
    scp = write(folder, matrices, buffer_bytes=buffer_bytes)
    theirs = kaldiio.load_scp(str(scp))
    reader = MatrixReader()
    for key, entry in read_scp(scp).items():
        np.testing.assert_array_equal(theirs[key], matrices[key])
        np.testing.assert_array_equal(reader.read(*entry), matrices[key])


def test_we_read_what_kaldiio_writes(tmp_path):
    matrices = some_matrices()
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/k.ark,{tmp_path}/k.scp") as writer:
        for key, matrix in matrices.items():
            writer(key, matrix)
    reader = MatrixReader()
    for key, entry in read_scp(tmp_path / "k.scp").items():
        np.testing.assert_array_equal(reader.read(*entry), matrices[key])


def test_threads_share_a_reader(tmp_path):
    matrices = some_matrices(200)
    entries, reader = read_scp(write(tmp_path, matrices)), MatrixReader()
    keys = list(matrices) * 20
    with ThreadPoolExecutor(8) as pool:
        for key, found in zip(keys, pool.map(lambda key: reader.read(*entries[key]), keys), strict=True):
            np.testing.assert_array_equal(found, matrices[key])


def test_forked_workers_share_a_reader(tmp_path):
    matrices = some_matrices(50)
    entries, reader = read_scp(write(tmp_path, matrices)), MatrixReader()
    reader.read(*entries["u0000"])  # the file is open when the workers are born
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            wrong = sum(
                not np.array_equal(reader.read(*entries[key]), matrices[key])
                for _ in range(20)
                for key in matrices
            )
            os._exit(min(wrong, 1))
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_truncated_ark_is_refused_by_name(tmp_path):
    entries = read_scp(write(tmp_path, some_matrices()))
    ark = tmp_path / "a.ark"
    os.truncate(ark, ark.stat().st_size - 3)
    with pytest.raises(AsvtkError, match=r"a\.ark: damaged at byte \d+: ends before"):
        MatrixReader().read(*entries["u0019"])


def test_pickled_entry_is_never_loaded(tmp_path):
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/p.ark,{tmp_path}/p.scp", write_function="pickle") as writer:
        writer("a", np.zeros((2, 2), np.float32))
    (entry,) = read_scp(tmp_path / "p.scp").values()
    with pytest.raises(AsvtkError, match="holds no float32 matrix"):
        MatrixReader().read(*entry)


@pytest.mark.parametrize("line", ["a touch /tmp/x |", "a some.ark", "a", "a x.ark:-1"])
def test_scp_line_that_is_no_place_in_an_ark_is_refused(line):
    with pytest.raises(AsvtkError, match=r"f\.scp:3: expected 'key file\.ark:offset'"):
        parse_scp_line(line, "f.scp:3")


def test_key_that_comes_twice_is_refused(tmp_path):
    (tmp_path / "f.scp").write_text("a x.ark:2\na x.ark:9\n")
    with pytest.raises(AsvtkError, match=r"f\.scp:2: a stands here for the second time"):
        read_scp(tmp_path / "f.scp")


def test_an_existing_ark_is_never_written_to(tmp_path):
    write(tmp_path, some_matrices())
    with pytest.raises(FileExistsError):
        ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp")


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_names_the_file_and_keeps_what_was_written(small_disk):
    matrices = {f"u{i:03d}": np.full((100, 60), i, np.float32) for i in range(100)}  # 2.4 MB
    writer = ArkWriter(small_disk / "a.ark", small_disk / "a.scp", buffer_bytes=100_000)
    with pytest.raises(
        AsvtkError, match=r"a\.ark: cannot be written: No space left.*matrices written before are safe"
    ):
        for key, matrix in matrices.items():
            writer.write(key, matrix)
    writer.close()  # as a with statement does; it must not write behind torn bytes
    entries = read_scp(small_disk / "a.scp")
    assert len(entries) == writer.written > 20
    reader = MatrixReader()
    for key, entry in entries.items():
        np.testing.assert_array_equal(reader.read(*entry), matrices[key])


def test_failed_flush_is_taken_back_and_never_tried_again(tmp_path, monkeypatch):
    """Bytes that a full disk let through must not stand before what a later close() writes."""
    from asvtk.io import ark

    write_all, fail = ark._write_all, []

    def torn(stream, data):
        if fail and stream.name == str(fail[0]):
            write_all(stream, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write_all(stream, data)

    monkeypatch.setattr(ark, "_write_all", torn)
    writer = ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp", buffer_bytes=1)
    writer.write("whole", np.ones((2, 2), np.float32))
    sizes = [(tmp_path / name).stat().st_size for name in ("a.ark", "a.scp")]
    for name in ("a.ark", "a.scp"):
        fail[:] = [tmp_path / name]
        with pytest.raises(AsvtkError, match="The 1 matrices written before are safe"):
            writer.write("torn", np.zeros((3, 3), np.float32))
        assert [(tmp_path / name).stat().st_size for name in ("a.ark", "a.scp")] == sizes
    fail.clear()
    writer.write("after", np.full((1, 2), 7, np.float32))
    writer.close()
    entries = read_scp(tmp_path / "a.scp")
    assert list(entries) == ["whole", "after"]
    assert MatrixReader().read(*entries["after"]).tolist() == [[7, 7]]


def test_a_thousand_arks_can_be_open(tmp_path):
    reader = MatrixReader()
    for number in range(1100):
        (tmp_path / f"{number}").mkdir()
        writer = ArkWriter(tmp_path / f"{number}" / "a.ark", tmp_path / f"{number}" / "a.scp")
        writer.write("a", np.full((1, 1), number, np.float32))
        writer.close()
        assert reader.read(*read_scp(tmp_path / f"{number}" / "a.scp")["a"]).item() == number
