"""Stop signals of schedulers (SIGTERM, SIGUSR1): training finishes its step, saves, and ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["EXIT_STATUS", "StopRequest", "Stopped", "stop_request"]

#: EX_TEMPFAIL of sysexits.h: try again later
EXIT_STATUS = 75


class Stopped(Exception):
    """Training was asked to stop, and has saved where it is. The message says so."""


class StopRequest:
    """Name of the signal that asked to stop; None while none has."""

    signal: str | None = None


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Take SIGTERM and SIGUSR1 (Slurm's ``--signal``) as requests to stop."""
    request = StopRequest()

    def note(number, frame):
        request.signal = signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
