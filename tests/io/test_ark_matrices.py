"""FM, CM2 and CM: byte for byte Kaldi's, within the errors that are promised, and readable by kaldiio."""

import io

import kaldiio
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from kaldiio.matio import read_kaldi, write_array

from asvtk.io.ark import ArkWriter, MatrixReader, encode_matrix, entry_size, read_scp
from asvtk.io.ark.matrices import CODECS

METHODS = {"FM": None, "CM2": 3, "CM": 2}  # what kaldiio calls our kinds
kinds = pytest.mark.parametrize("kind", CODECS)


def decode(entry: bytes) -> np.ndarray:
    """The matrix of an entry that lies in memory."""
    codec = next(codec for codec in CODECS.values() if entry.startswith(codec.token))
    rows, columns, scale = codec.parse(entry)
    out = np.empty((rows, columns), np.float32)
    body = np.frombuffer(entry, np.uint8)[codec.header.size :]
    codec.decode(lambda array: np.copyto(array.reshape(-1).view(np.uint8), body), scale, out)
    return out


# Kaldi's compression, one number at a time, in the types that its C++ has.


def kaldi_header(matrix):
    minimum, maximum = np.float32(matrix.min()), np.float32(matrix.max())
    if minimum == maximum:
        maximum = np.float32(float(minimum) + (1.0 + abs(float(minimum))))
    return minimum, np.float32(maximum - minimum)


def kaldi_uint16(value, minimum, span):
    share = min(max((value - minimum) / span, np.float32(0)), np.float32(1))
    return int(float(share * np.float32(65535)) + 0.499)


def kaldi_percentiles(column, minimum, span):
    ranked = sorted(column)
    quarter = len(ranked) // 4
    picked = [ranked[r] for r in (0, quarter, 3 * quarter, -1)] if len(ranked) >= 5 else ranked
    steps = [kaldi_uint16(value, minimum, span) for value in picked]
    percentiles = [min(steps[0], 65532)]
    for rank in (1, 2, 3):
        least = percentiles[-1] + 1
        percentiles.append(min(max(steps[rank], least), 65532 + rank) if rank < len(steps) else least)
    return percentiles


def kaldi_byte(value, p0, p25, p75, p100):
    if value < p25:
        low, left, right, steps = 0, p0, p25, 64
    elif value < p75:
        low, left, right, steps = 64, p25, p75, 128
    else:
        low, left, right, steps = 192, p75, p100, 63
    ans = low + int(float((value - left) / (right - left) * np.float32(steps)) + 0.5)
    return min(max(ans, low), low + steps)


def kaldi_entry(matrix, kind):
    minimum, span = kaldi_header(matrix)
    header = np.array([minimum, span], "<f4").tobytes() + np.array(matrix.shape, "<i4").tobytes()
    if kind == "CM2":
        steps = [[kaldi_uint16(value, minimum, span) for value in row] for row in matrix]
        return b"\0BCM2 " + header + np.array(steps, "<u2").tobytes()
    percentiles = [kaldi_percentiles(column, minimum, span) for column in matrix.T]
    step = span * np.float32(1.52590218966964e-05)
    marks = [[minimum + step * np.float32(p) for p in column] for column in percentiles]
    assume(np.diff(marks, axis=1).all())  # or float32 cannot tell percentiles apart: Kaldi divides by 0
    coded = [[kaldi_byte(v, *m) for v in column] for column, m in zip(matrix.T, marks, strict=True)]
    return b"\0BCM " + header + np.array(percentiles, "<u2").tobytes() + np.array(coded, np.uint8).tobytes()


@st.composite
def matrices(draw):
    """Of all scales and offsets; with ties, constant columns, outliers; of few and of many rows."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix = rng.standard_t(2, size=(rows, columns))
    if draw(st.booleans()):
        matrix = matrix.round()  # ties
    matrix[:, rng.random(columns) < draw(st.sampled_from([0, 0.3, 1]))] = rng.normal()
    matrix = matrix * 10.0 ** draw(st.integers(-20, 20)) * (1 + draw(st.sampled_from([0, 1e3])))
    return (matrix + draw(st.sampled_from([0, 1, -1e3])) * np.abs(matrix).max()).astype(np.float32)


@given(matrices(), st.sampled_from(["CM2", "CM"]))
@example(np.array([[0, 65535, 30000.5, 60000.5, 60000.502, 8000.5005, 1.501]], np.float32), "CM2")
@settings(max_examples=150, deadline=None)
def test_compressed_bytes_are_those_of_kaldi(matrix, kind):
    assert encode_matrix(matrix, kind) == kaldi_entry(matrix, kind)


@given(matrices())
@settings(max_examples=100, deadline=None)
def test_fm_is_exact(matrix):
    np.testing.assert_array_equal(decode(encode_matrix(matrix)), matrix)


def rounding(matrix):
    """Of float32, at numbers of this size."""
    return 1e-6 * np.abs(matrix).max() + 1e-38


@given(matrices())
@settings(max_examples=150, deadline=None)
def test_cm2_is_off_by_half_a_step_at_most(matrix):
    found = decode(encode_matrix(matrix, "CM2"))
    _, span = kaldi_header(matrix)
    assert np.abs(found - matrix).max() <= 0.501 * float(span) / 65535 + rounding(matrix)


@given(matrices())
@settings(max_examples=150, deadline=None)
def test_cm_is_off_by_half_a_step_of_the_segment_at_most(matrix):
    found = decode(encode_matrix(matrix, "CM"))
    minimum, span = map(float, kaldi_header(matrix))
    step = span / 65535
    for column, decoded in zip(matrix.T, found.T, strict=True):
        p0, p25, p75, p100 = (minimum + step * p for p in kaldi_percentiles(column, *kaldi_header(matrix)))
        half = np.where(
            column < p25, (p25 - p0) / 128, np.where(column < p75, (p75 - p25) / 256, (p100 - p75) / 126)
        )
        beyond = np.where((column < p0) | (column > p100), 3.5 * step, 0)
        assert (np.abs(decoded - column.astype(float)) <= half + beyond + 2 * rounding(matrix)).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning:kaldiio")  # divides by 0 where percentiles coincide
@given(matrices(), st.sampled_from(sorted(CODECS)))
@settings(max_examples=150, deadline=None)
def test_kaldiio_decodes_the_same_numbers_of_our_bytes_and_of_its_own(matrix, kind):
    stream = io.BytesIO()
    write_array(stream, matrix, compression_method=METHODS[kind])
    for entry in (encode_matrix(matrix, kind), stream.getvalue()):
        theirs = read_kaldi(io.BytesIO(entry))
        assert decode(entry).shape == theirs.shape
        assert np.abs(decode(entry) - theirs).max() <= (0 if kind == "FM" else 2 * rounding(matrix))


@kinds
def test_numbers_of_usual_features_agree_with_kaldiio_to_a_millionth_of_the_range(kind):
    matrix = np.random.default_rng(0).normal(size=(199, 96)).astype(np.float32)
    entry = encode_matrix(matrix, kind)
    stream = io.BytesIO()
    write_array(stream, matrix, compression_method=METHODS[kind])
    assert len(entry) == len(stream.getvalue())
    assert np.abs(decode(entry) - read_kaldi(io.BytesIO(entry))).max() <= 1e-6 * np.ptp(matrix)
    # kaldiio rounds in float32 where Kaldi has double: a few numbers fall to the neighbouring step
    assert np.mean(np.frombuffer(entry, np.uint8) != np.frombuffer(stream.getvalue(), np.uint8)) < 0.005


def test_integers_that_kaldiio_wrote_as_they_are_come_back():
    matrix = np.random.default_rng(0).integers(-32768, 32768, size=(50, 7)).astype(np.float32)
    stream = io.BytesIO()
    write_array(stream, matrix, compression_method=4)  # kTwoByteSignedInteger: CM2, one step is 1
    np.testing.assert_allclose(decode(stream.getvalue()), matrix, atol=0.01)


@pytest.mark.parametrize("kind", ["CM2", "CM"])
@pytest.mark.parametrize("value", [0, 1.7, -3e38, 1e-40, 1e30])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (30, 4)])
def test_constant_matrix_comes_back_exactly(kind, value, shape):
    matrix = np.full(shape, value, np.float32)
    np.testing.assert_array_equal(decode(encode_matrix(matrix, kind)), matrix)


@pytest.mark.parametrize("rows", [1, 4, 9, 100])
def test_constant_column_is_kept_to_a_few_steps(rows):
    matrix = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    matrix[:, 0], matrix[:, 1] = matrix.max() + 1, matrix.min() - 1
    step = np.ptp(matrix) / 65535
    assert np.abs(decode(encode_matrix(matrix, "CM")) - matrix)[:, :2].max() <= 3.51 * step


@pytest.mark.filterwarnings("error")
def test_range_that_float32_can_hardly_tell_from_the_numbers():
    """Percentiles one step apart are one float32 here; nothing is divided by 0."""
    matrix = 1e8 + 8 * np.random.default_rng(0).integers(0, 2, size=(40, 5)).astype(np.float32)
    for kind in ("CM2", "CM"):
        found = decode(encode_matrix(matrix, kind))
        assert found.shape == matrix.shape and np.abs(found - matrix).max() <= 8


def test_kaldis_empty_matrix_is_read():
    entry = b"\0BCM " + bytes(16)  # as Kaldi writes it, whatever the kind
    assert decode(entry).shape == (0, 0)


@pytest.mark.parametrize("kind", ["CM2", "CM"])
@pytest.mark.parametrize(
    "numbers, fault",
    [
        ([[1, np.nan]], "finite"),
        ([[1, np.inf]], "finite"),
        ([[-np.inf, np.inf]], "finite"),
        ([[3e38, -3e38]], "float32 range"),
        ([[3.4e38, 3.4e38]], "float32 range"),
        (np.zeros((0, 4)), "empty"),
        (np.zeros((4, 0)), "empty"),
    ],
)
def test_what_cannot_be_compressed_is_refused(kind, numbers, fault):
    with pytest.raises(ValueError, match=fault):
        encode_matrix(np.array(numbers, np.float32), kind)


def test_what_is_no_matrix_or_no_kind_is_refused():
    with pytest.raises(ValueError, match=r"expected a matrix .*, found shape \(3,\)"):
        encode_matrix(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="no kind of matrices 'CM3'; there are FM, CM2, CM"):
        encode_matrix(np.zeros((2, 2), np.float32), "CM3")


@kinds
@pytest.mark.parametrize("layout", ["C", "F", "strided", "float64", "big-endian"])
def test_memory_layout_and_type_do_not_matter(kind, layout):
    matrix = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    wide = np.zeros((60, 16), np.float32)
    wide[::2, ::2] = matrix
    other = {
        "C": matrix,
        "F": np.asfortranarray(matrix),
        "strided": wide[::2, ::2],
        "float64": matrix.astype(np.float64),
        "big-endian": matrix.astype(">f4"),
    }[layout]
    assert encode_matrix(other, kind) == encode_matrix(matrix, kind)


@kinds
def test_matrix_of_many_blocks_is_decoded_whole(kind):
    matrix = np.random.default_rng(0).normal(size=(700, 300)).astype(np.float32)
    entry = encode_matrix(matrix, kind)
    np.testing.assert_allclose(decode(entry), read_kaldi(io.BytesIO(entry)), atol=1e-6 * np.ptp(matrix))


@kinds
def test_size_of_an_entry_is_that_on_disk(tmp_path, kind):
    rng, expected = np.random.default_rng(0), 0
    writer = ArkWriter(tmp_path / "a.ark", tmp_path / "a.scp")
    for key, shape in (("a", (1, 1)), ("LA_E_1000147", (9, 5)), ("größer", (57, 31))):
        writer.write(key, rng.normal(size=shape), kind)
        expected += entry_size(kind, *shape, key)
    writer.close()
    assert (tmp_path / "a.ark").stat().st_size == expected


@kinds
def test_kaldiio_reads_our_arks_and_we_read_its(tmp_path, kind):
    rng = np.random.default_rng(0)
    written = {f"u{i}": rng.normal(size=(rng.integers(1, 60), 13)).astype(np.float32) for i in range(20)}
    writer = ArkWriter(tmp_path / "ours.ark", tmp_path / "ours.scp")
    for key, matrix in written.items():
        writer.write(key, matrix, kind)
    writer.close()
    with kaldiio.WriteHelper(
        f"ark,scp:{tmp_path}/theirs.ark,{tmp_path}/theirs.scp", compression_method=METHODS[kind]
    ) as theirs:
        for key, matrix in written.items():
            theirs(key, matrix)
    reader = MatrixReader()
    for name in ("ours", "theirs"):
        found = kaldiio.load_scp(str(tmp_path / f"{name}.scp"))
        for key, place in read_scp(tmp_path / f"{name}.scp").items():
            np.testing.assert_allclose(reader.read(*place), found[key], rtol=0, atol=2e-6)
            np.testing.assert_allclose(found[key], written[key], rtol=0, atol=0.06)
    assert list(found) == list(written)
