"""Ctrl-C and its like: noted wherever they come, but breaking off only a wait."""

import signal


class _Interrupted(Exception):
    """A signal asks to end, and the program was only waiting."""


class Signals:
    """The signals that asked this program to end, in ``caught``."""

    def __init__(self) -> None:
        self.caught: list[int] = []
        self._waiting = False

    def catch(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # What is ignored stays so: nohup, and Ctrl-C for a script's background step.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number, _frame) -> None:
        # Raising just anywhere could lose a job that was started but not yet noted.
        self.caught.append(number)
        if self._waiting:
            self._waiting = False
            raise _Interrupted

    def wait(self, call, *arguments):
        """``call(*arguments)``; None when a signal came before or in the middle of it."""
        try:
            self._waiting = True
            return None if self.caught else call(*arguments)
        except _Interrupted:
            return None
        finally:
            self._waiting = False

    @property
    def first(self) -> int:
        """The first one's number, 0 if there was none."""
        return self.caught[0] if self.caught else 0


def name(number: int) -> str:
    """SIGINT for 2, and so on."""
    return signal.Signals(number).name
