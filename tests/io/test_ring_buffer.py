"""Arrays of batches in memory that processes share."""

import multiprocessing

import numpy as np
import pytest

from asvtk.io.ring_buffer import RingBuffer


def test_what_a_forked_process_writes_is_there():
    ring = RingBuffer(2, 6)

    def write():
        for number in (0, 1, 2):  # the last one takes the place of the first
            for value, array in enumerate(ring.arrays(number, [(2, 2), None, (2,)])):
                if array is not None:
                    array[:] = 10 * number + value

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join()
    for number, expected in ((2, 20), (1, 10)):
        matrix, nothing, vector = ring.arrays(number, [(2, 2), None, (2,)])
        assert nothing is None and matrix.dtype == np.float32
        assert np.array_equal(matrix, np.full((2, 2), expected)) and (vector == expected + 2).all()
        assert np.array_equal(ring.slot(number), [expected] * 4 + [expected + 2] * 2)


def test_more_than_a_slot_takes_is_refused():
    with pytest.raises((AssertionError, ValueError)):
        RingBuffer(2, 6).arrays(0, [(7,)])
