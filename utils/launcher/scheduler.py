"""What launcher.cluster asks of a scheduler, and how it is asked: through its own commands."""

import os
import re
import shutil
import subprocess

from launcher.messages import CannotStart

#: Seconds that a command of the scheduler may take.
TIMEOUT = 300.0

WAITING, RUNNING, ENDED = "waiting", "running", "ended"

#: A job's number in its array, None outside of arrays; with the array's id it names a job in the queue.
Index = int | None


class State:
    """What the scheduler says of one job.

    Args:
        kind: WAITING, RUNNING or ENDED.
        word: the scheduler's own word for it.
        reason: why it waits, or why it failed.
        node: where it runs or ran.
        failed: it has ended, and not well; its log may know more.
    """

    def __init__(self, kind: str, word: str, reason: str = "", node: str = "", failed: bool = False) -> None:
        self.kind = kind
        self.word = word
        self.reason = reason
        self.node = node
        self.failed = failed


class Chunk:
    """Jobs that are submitted together: one array, or one job without a number.

    Args:
        numbers: of the jobs, ascending.
        indices: theirs in the array; ``[None]`` for the job that is no array.
    """

    def __init__(self, numbers: list[int], indices: list[Index]) -> None:
        self.numbers = numbers
        self.indices = indices


class Refused(Exception):
    """The scheduler refuses to take a job; it says why."""


class NoAnswer(Exception):
    """The scheduler does not answer, which says nothing about its jobs."""


class TimedOut(NoAnswer):
    """It was asked, and what came of that is not known."""


class Unclear(Exception):
    """It is not known whether the scheduler took a job: it did not answer in time, or not with an id."""


class Scheduler:
    """One kind of scheduler; ``slurm`` and ``sge`` fill it in.

    ``name`` is that of its conf files, ``title`` what messages call it, ``cancel_with`` its command to
    cancel jobs, ``index_variable`` where a job finds its index, ``builtin`` the conf without any file.
    """

    name = title = cancel_with = index_variable = builtin = ""
    tools: tuple[str, ...] = ()

    def require_tools(self, submit: str) -> None:
        """Raises CannotStart unless all commands are there; ``submit`` is the conf's."""
        for tool in (submit, *self.tools):
            if shutil.which(tool) is None:
                raise CannotStart(
                    f"{tool}: no such command: is this a host that submits to {self.title}? "
                    "(run.py in cmd.sh runs jobs on this machine); nothing was submitted"
                )

    def pass_on(self, option: str, values: list[str]) -> list[str]:
        """The words for an option with a single dash, which is the scheduler's own. Raises UsageError."""
        return [option, *values]

    def chunks(self, numbers: list[int], is_array: bool) -> list[Chunk]:
        """The jobs in arrays no longer than the site allows."""
        raise NotImplementedError

    def preflight(self, words: list[str], chunk: Chunk, script: str) -> None:
        """Raises Refused if the jobs could never run; submits nothing."""
        raise NotImplementedError

    def submit(self, words, chunk, script, output, name, throttle, after) -> str:
        """Submit, and give the id.

        Args:
            words: the command that submits, with the options that the conf made.
            chunk: the jobs.
            script: path of their script.
            output: path of the file for what the scheduler itself has to say.
            name: what to call them.
            throttle: at most so many at a time; None: no limit.
            after: start only when this id has ended; None: at once.

        Raises:
            Refused: it is not taken.
            NoAnswer: it was not even asked.
            Unclear: it may have been taken.
        """
        raise NotImplementedError

    def find(self, name: str) -> list[str]:
        """The ids of the user's jobs of this name that the scheduler still knows. Raises NoAnswer."""
        raise NotImplementedError

    def poll(self, ids: list[str]) -> dict[tuple[str, Index], State]:
        """The state of each job that the scheduler still knows. Raises NoAnswer."""
        raise NotImplementedError

    def explain(self, identity: str, index: Index, state: State, said: list[str]) -> tuple[str, str]:
        """Why a job ended without success, in words for the user, and what and where it was.

        Args:
            said: what the scheduler wrote into its output file.
        """
        raise NotImplementedError

    def describe_wait(self, ids: list[str], reason: str) -> str:
        """What a reason to wait means for the user."""
        return reason

    def cancel(self, ids: list[str]) -> None:
        """Cancel all jobs of these ids. Raises NoAnswer."""
        answer = call([self.cancel_with, *ids])
        if answer.returncode and "nvalid job id" not in answer.stderr:
            raise NoAnswer(one_line(answer.stderr))


def call(words: list[str], environment: dict | None = None) -> subprocess.CompletedProcess:
    """Run a command of the scheduler. A Ctrl-C does not reach it: a submission must give its id."""
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=TIMEOUT,
            start_new_session=True,
            env={**(os.environ if environment is None else environment), "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"{words[0]} gave no answer in {TIMEOUT:.0f} s") from None
    except OSError as error:
        raise NoAnswer(f"{words[0]}: {error.strerror}") from None


def one_line(text: str) -> str:
    """The message in what a command wrote to stderr, without the names it puts before each line."""
    lines = (re.sub(r"^(\w+: )?((error|fatal): )?", "", line.strip()) for line in text.splitlines())
    return "; ".join(filter(None, lines)) or "no reason given"
