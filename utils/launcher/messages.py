"""What the user is told, on stderr and under the launcher's own name, as Kaldi's launchers do it."""

import sys

#: The name of the launcher that runs, such as ``run.py``.
program = "launcher"


class UsageError(Exception):
    """The command line, or a conf file it leads to, is wrong: exit status 255."""


class CannotStart(Exception):
    """The command line is right, but the jobs cannot be run here: exit status 1, and nothing was started."""


def say(text: str) -> None:
    print(f"{program}: {text}", file=sys.stderr, flush=True)
