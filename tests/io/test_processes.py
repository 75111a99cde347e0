"""Work in processes: order, faults, and one that dies."""

import os
import signal

import pytest

from asvtk.io.errors import AsvtkError
from asvtk.io.processes import in_processes


def work(number: int) -> int:
    if number == 7:
        raise AsvtkError("seven")
    if number == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def test_results_in_order():
    assert list(in_processes(work, range(6), 2, "squares")) == [0, 1, 4, 9, 16, 25]
    assert list(in_processes(work, [], 2, "nothing")) == []


def test_faults_come_through_and_a_killed_process_is_told():
    with pytest.raises(AsvtkError, match="^seven$"):
        list(in_processes(work, [7], 1, "seven"))
    with pytest.raises(AsvtkError, match="squares: a process was killed"):
        list(in_processes(work, [1, 9], 2, "squares"))
