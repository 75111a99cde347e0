"""Arrays of batches in memory that processes share."""

import multiprocessing

import numpy as np
import pytest

from asvtk.io.ring_buffer import RingBuffer

PARTS = [((2, 2), np.float32), None, ((2,), np.float32)]


def test_what_a_forked_process_writes_is_there():
    ring = RingBuffer(2, 6)

    def write():
        for number in (0, 1, 2):  # the last one takes the place of the first
            for value, array in enumerate(ring.arrays(number, PARTS)):
                if array is not None:
                    array[:] = 10 * number + value

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join()
    for number, expected in ((2, 20), (1, 10)):
        matrix, nothing, vector = ring.arrays(number, PARTS)
        assert nothing is None and matrix.dtype == np.float32
        assert np.array_equal(matrix, np.full((2, 2), expected)) and (vector == expected + 2).all()
        assert np.array_equal(ring.slot(number), [expected] * 4 + [expected + 2] * 2)


def test_more_than_a_slot_takes_is_refused():
    with pytest.raises((AssertionError, ValueError)):
        RingBuffer(2, 6).arrays(0, [((7,), np.float32)])


def test_an_odd_number_of_16_bits_leaves_the_next_part_aligned():
    short, numbers = RingBuffer(1, 4).arrays(0, [((3,), np.uint16), ((2,), np.float32)])
    short[:], numbers[:] = 65535, 1.5
    assert short.tolist() == [65535] * 3 and numbers.tolist() == [1.5, 1.5]
