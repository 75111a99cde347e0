"""Processes that decode: in order, bounded, and gone with those that asked."""

import os
import signal
import time

import numpy as np
import pytest

from asvtk.frontends.cache.readers import AudioReaders, Request
from asvtk.io.errors import AsvtkError

REQUESTS = [Request([f"{batch}.{number}" for number in range(20)], 50) for batch in range(7)]


def expected(utterance):
    batch, number = map(int, utterance.split("."))
    return np.full(30 + number, 100 * batch + number, np.float32)


def read(utterance):
    if utterance == "3.7":
        raise AsvtkError("3.7 is broken")
    return expected(utterance)


@pytest.mark.parametrize("processes", [1, 3])
def test_batches_come_in_order_and_whole(processes):
    seconds = []
    found = AudioReaders(read, processes, seconds.append).prefetch(REQUESTS)
    for request, batch in zip(REQUESTS, found, strict=True):
        for utterance, samples in zip(request.utterances, batch, strict=True):
            if utterance == "3.7":
                assert isinstance(samples, AsvtkError) and str(samples) == "3.7 is broken"
            else:
                np.testing.assert_array_equal(samples, expected(utterance))
    assert sum(seconds) > 0


def test_nothing_to_read():
    assert list(AudioReaders(read, 2).prefetch([])) == []


def test_other_faults_are_bugs_and_keep_their_type():
    with pytest.raises(ZeroDivisionError):
        list(AudioReaders(lambda utterance: 1 / 0, 2).prefetch(REQUESTS))


def test_more_samples_than_were_promised_are_a_bug():
    with pytest.raises(ValueError, match="broadcast"):
        list(AudioReaders(lambda utterance: np.ones(51, np.float32), 1).prefetch(REQUESTS))


def test_killed_process_is_one_line():
    with pytest.raises(AsvtkError, match="a process that decodes audio was killed") as error:
        list(AudioReaders(lambda utterance: os.kill(os.getpid(), signal.SIGKILL), 2).prefetch(REQUESTS))
    assert "\n" not in str(error.value)


def test_processes_end_when_their_parent_is_killed(tmp_path):
    def note(utterance):
        (tmp_path / str(os.getpid())).touch()
        return read(utterance)

    if (child := os.fork()) == 0:
        next(AudioReaders(note, 3).prefetch(REQUESTS))
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    readers = [int(path.name) for path in tmp_path.iterdir()]
    assert readers
    for _ in range(200):
        if not any(os.path.exists(f"/proc/{pid}/exe") for pid in readers):
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"{readers} are still there")
