"""Batches encoded by torch: byte for byte what ``encode_matrix`` makes of each matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asvtk.io.ark import encode_matrix
from asvtk.io.ark.batches import as_entries, encode_batch

KINDS = ("FM", "CM2", "CM")
DEVICES = ("cpu", *(["cuda"] if torch.cuda.is_available() else []))


@st.composite
def batches(draw):
    """Of all scales and offsets; with ties, constant columns and matrices, outliers; of few and many rows."""
    count, rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = rng.standard_t(2, size=(count, rows, columns))
    if draw(st.booleans()):
        batch = batch.round()
    batch[:, :, rng.random(columns) < draw(st.sampled_from([0, 0.3, 1]))] = rng.normal()
    batch = batch * 10.0 ** draw(st.integers(-45, 30)) + draw(st.sampled_from([0, 1, -1e3]))
    return batch.astype(np.float32) + np.float32(0)  # -0 and 0 are equal: which one is the minimum?


def encode(batch: np.ndarray, kind: str, device: str) -> list[bytes | None]:
    encoded = (part.cpu().numpy() for part in encode_batch(torch.from_numpy(batch).to(device), kind))
    entries = as_entries(kind, batch.shape[1:], *encoded)
    return [None if entry is None else b"".join(entry) for entry in entries]


@pytest.mark.parametrize("device", DEVICES)
@given(batches(), st.sampled_from(KINDS))
@settings(max_examples=300, deadline=None)
def test_bytes_are_those_of_single_matrices(device, batch, kind):
    assert encode(batch, kind, device) == [encode_matrix(matrix, kind) for matrix in batch]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_true_shape(device, kind):
    batch = np.random.default_rng(0).standard_t(3, size=(3, 201, 1024)).astype(np.float32)
    assert encode(batch, kind, device) == [encode_matrix(matrix, kind) for matrix in batch]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_none_and_the_others_are_whole(kind, value):
    batch = np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32)
    batch[1, 3, 2] = value
    first, second, third = encode(batch, kind, "cpu")
    assert second is None
    assert (first, third) == (encode_matrix(batch[0], kind), encode_matrix(batch[2], kind))


@pytest.mark.parametrize("kind", KINDS)
def test_only_fm_holds_numbers_that_are_farther_apart_than_a_float32(kind):
    batch = np.array([[[3e38, -3e38]], [[3.4e38, 3.4e38]]], np.float32)
    expected = [encode_matrix(matrix) for matrix in batch] if kind == "FM" else [None, None]
    assert encode(batch, kind, "cpu") == expected
