"""Kaldi's command line: [options] [JOB=1:n | JOB=k] [options] LOG command args..."""

import re
from collections import deque

from launcher import messages
from launcher.messages import UsageError, say

#: Options that take other than one value.
VALUES = {"-V": 0, "-pe": 2}


class Request:
    """What the command line asks for. (Not a dataclass: importing those doubles the time to start.)"""

    def __init__(self) -> None:
        self.log = ""
        self.command = ""
        self.job_name: str | None = None
        self.first = 1
        self.last = 1
        self.max_jobs_run: int | None = None
        self.num_threads: int | None = None
        self.gpus = 0
        self.pick = "all"
        self.config: str | None = None
        #: For a scheduler: every option with its values, in the order of the command line, but not
        #: those that the launcher itself obeys (--pick, --config, --max-jobs-run).
        self.options: list[tuple[str, list[str]]] = []

    @property
    def total(self) -> int:
        return self.last - self.first + 1


def parse(argv) -> Request:
    """The request that the words ``argv`` (without the program's name) spell.

    Raises:
        UsageError: they spell none.
    """
    request = Request()
    words = deque(argv)
    while words:
        if words[0].startswith("-"):
            _take_option(words, request)
        elif _looks_like_range(words[0]):
            _take_range(words.popleft(), request)
        else:
            break
    if len(words) < 2:
        missing = "command" if words else "LOG and the command"
        raise UsageError(
            f"the {missing} is missing; usage: {messages.program} [options] [JOB=1:n] LOG command args..."
        )
    request.log = words.popleft()
    request.command = " ".join(quote(word) for word in words)
    return request


def _take_option(words: deque, request: Request) -> None:
    option = words.popleft()
    if option.startswith("--") and "=" in option:
        # Taken for an option without its value, it would swallow the next word.
        raise UsageError(f"an option and its value are two words, --name value; got {option!r}")
    count = VALUES.get(option, 1)
    if len(words) < count:
        raise UsageError(f"option {option} needs a value")
    values = [words.popleft() for _ in range(count)]
    value = values[-1] if values else ""
    if value.startswith("--"):
        say(f"WARNING: the value of {option} is {value!r}, which looks like an option; is one missing?")
    if option in ("--max-jobs-run", "-tc"):
        limit = _number(option, value, least=1)
        request.max_jobs_run = min(limit, request.max_jobs_run or limit)
        return
    if option == "--pick":
        if value not in ("all", "failed", "incomplete"):
            raise UsageError(f"--pick takes all, failed or incomplete, not {value!r}")
        request.pick = value
        return
    if option == "--config":
        request.config = value
        return
    if option == "--num-threads":
        request.num_threads = _number(option, value, least=1)
    elif option == "--gpu":
        request.gpus = _number(option, value, least=0)
    request.options.append((option, values))


def _number(option: str, value: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]+", value) or int(value) < least:
        raise UsageError(f"invalid option {option} {value}: it takes a whole number >= {least}")
    return int(value)


def _looks_like_range(word: str) -> bool:
    """Also true of a broken range, such as JOB=1: from an empty $nj, so that it is never taken for LOG."""
    return re.fullmatch(r"[A-Za-z_]\w*=([^/]*:[^/]*|[0-9,-]*)", word, re.ASCII) is not None


def _take_range(word: str, request: Request) -> None:
    match = re.fullmatch(r"(\w+)=([0-9]+)(?::([0-9]+))?", word, re.ASCII)
    if not match:
        raise UsageError(f"invalid job range {word}: write JOB=1:n or JOB=k")
    if request.job_name is not None:
        raise UsageError(f"a second job range, {word}; the range belongs in the script, not in cmd.sh")
    request.job_name = match[1]
    request.first = int(match[2])
    request.last = int(match[3] or match[2])
    if request.first < 1:
        raise UsageError(f"invalid job range {word}: job numbers start at 1 (clusters have no job 0)")
    if request.last < request.first:
        raise UsageError(f"invalid job range {word}: it ends before it starts")


def quote(word: str) -> str:
    """One word of the command as bash is to read it.

    As it is when it holds no white space, so that ``\\|`` is a pipe and ``\\$HOME`` the job's; else in
    double quotes, or in single quotes when it holds a double quote itself.
    """
    if word and not re.search(r"\s", word):
        return word
    if '"' in word:
        return "'" + word.replace("'", r"'\''") + "'"
    return f'"{word}"'
