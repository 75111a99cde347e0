"""Writing arks and reading scp files: kaldiio reads them, and no full disk or kill tears them."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asvtk.io.ark import ArkWriter, MatrixReader, encode_matrix, parse_scp_line, read_scp
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


def test_matrices_are_encoded_in_threads_and_appended_by_one(tmp_path):
    matrices = some_matrices(60)
    writer = ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp", buffer_bytes=500)
    with ThreadPoolExecutor(4) as pool:
        entries = pool.map(encode_matrix, matrices.values(), ["FM", "CM2", "CM"] * 20)
        for key, entry in zip(matrices, entries, strict=True):
            writer.write_encoded(key, entry)
    writer.close()
    theirs = kaldiio.load_scp(str(tmp_path / "a.scp"))
    assert list(theirs) == list(matrices)
    for key, matrix in matrices.items():
        np.testing.assert_allclose(theirs[key], matrix, atol=0.05)


def test_matrix_that_cannot_be_stored_leaves_no_trace(tmp_path):
    writer = ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp")
    writer.write("a", np.ones((2, 2)))
    with pytest.raises(ValueError, match="finite"):
        writer.write("b", np.full((2, 2), np.nan), "CM2")
    writer.write("c", np.full((1, 2), 3))
    writer.close()
    entries = read_scp(tmp_path / "a.scp")
    assert list(entries) == ["a", "c"] and MatrixReader().read(*entries["c"]).tolist() == [[3, 3]]


@pytest.mark.parametrize(
    "line",
    [
        "a touch /tmp/x |",
        "a touch x:5 |",
        "a some.ark",
        "a",
        "",
        " ",
        "a :5",
        "a x.ark:",
        "a x.ark:-1",
        "a x.ark:+1",
        "a x.ark:1_0",
        "a x.ark:²",
        "a x.ark:5[0:3]",
        "a x.ark:" + "9" * 5000,
    ],
)
def test_scp_line_that_is_no_place_in_an_ark_is_refused(line):
    with pytest.raises(AsvtkError, match=r"f\.scp:3: expected 'key file\.ark:offset'"):
        parse_scp_line(line, "f.scp:3")


def test_blanks_and_colons_of_an_scp_line(tmp_path):
    (tmp_path / "f.scp").write_bytes("a\tx y:z.ark:2 \nö  /ä.ark:9\r\nlast x.ark:70".encode())
    assert read_scp(tmp_path / "f.scp") == {"a": ("x y:z.ark", 2), "ö": ("/ä.ark", 9), "last": ("x.ark", 70)}


@pytest.mark.parametrize("line", ["b x.ark |", "b"])
def test_malformed_line_of_an_scp_is_named(tmp_path, line):
    (tmp_path / "f.scp").write_text(f"a x.ark:2\n{line}\nc x.ark:9\n")
    with pytest.raises(AsvtkError, match=r"f\.scp:2: expected 'key file\.ark:offset', found 'b"):
        read_scp(tmp_path / "f.scp")


def test_ark_given_for_an_scp_is_refused(tmp_path):
    write(tmp_path, {"a": np.full((2, 2), -3.7)})
    with pytest.raises(AsvtkError, match=r"a\.ark: expected lines of UTF-8 text"):
        read_scp(tmp_path / "a.ark")
    with pytest.raises(AsvtkError, match=r"b\.scp: no such file"):
        read_scp(tmp_path / "b.scp")


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
    from asvtk.io.ark import writer as module

    write_all, fail = module._write_all, []

    def torn(stream, data):
        if fail and stream.name == str(fail[0]):
            write_all(stream, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write_all(stream, data)

    monkeypatch.setattr(module, "_write_all", torn)
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
