"""Ctrl-C and SIGTERM at any moment: they end the command once, and without a traceback."""

import os
import signal
import sys
import threading

__all__ = ["Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Inside it, both signals raise ``KeyboardInterrupt``, and are remembered; a further one ends at once.

    What is ignored (by ``nohup``, or in a script's background) stays so, and a verb may take them in its own
    way meanwhile: training saves first.

    Attributes:
        status: exit status 128 + the signal; None while none came.
        name: of the signal.
    """

    status: int | None = None
    name = ""

    def __enter__(self) -> "Interruption":
        self._before, self._hook = {}, sys.unraisablehook
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                    self._before[number] = signal.signal(number, self._raise)
            sys.unraisablehook = self._raise_again
        return self

    def __exit__(self, *_) -> None:
        if self._before:
            sys.unraisablehook = self._hook
        for number, handler in self._before.items():
            # At exit threads are waited for; who has no patience for that gets no traceback either.
            signal.signal(number, handler if self.status is None else signal.SIG_DFL)

    def _raise(self, number, _frame) -> None:
        self.status, self.name = 128 + number, signal.Signals(number).name
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    def _raise_again(self, lost) -> None:
        """Raised in a destructor or a callback from C, it would be printed there and go unheard."""
        if self.status is None or lost.exc_type is not KeyboardInterrupt:
            self._hook(lost)
            return
        number = self.status - 128
        signal.signal(number, self._raise)
        # Not in here: it would be lost once more.
        again = threading.Timer(0.01, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
