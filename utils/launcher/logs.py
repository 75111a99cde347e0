"""The logs of jobs: their headers and trailers, what they say of a job, their last lines."""

import contextlib
import os
import re
import stat
import time

from launcher.messages import CannotStart

# The two trailers: this machine's (Kaldi's run.pl) and the clusters' (queue.pl, slurm.pl). Not anchored on
# the left: the output of a program may lack its last newline.
LOCAL_TRAILER = re.compile(r"# Ended \(code (?P<code>\d+)(?P<signal>; signal \d+)?\) at ")
CLUSTER_TRAILER = re.compile(r"# Finished at .* with status (?P<code>-?\d+)\s*$")
#: A job that the scheduler started once more writes below what it wrote before.
RESTART = "# Started again at "
#: So many earlier logs of a job are kept.
KEPT = 3
#: The form of `date` in the C locale.
DATE = "%a %b %e %H:%M:%S %Z %Y"


def outcome(log: str) -> str:
    """What a log says of its job: ``done``, ``failed`` or ``incomplete`` (no trailer, or no log)."""
    for line in reversed(last_lines(log, 10)):
        if line.startswith(RESTART):
            break
        match = LOCAL_TRAILER.search(line)
        if match:
            return "done" if int(match["code"]) == 0 and not match["signal"] else "failed"
        match = CLUSTER_TRAILER.search(line)
        if match:
            return "done" if int(match["code"]) == 0 else "failed"
    return "incomplete"


def last_lines(log: str, count: int) -> list[str]:
    """The last lines of a log as a terminal would have left them; none if it cannot be read."""
    try:
        if not os.path.isfile(log):
            return []
        with open(log, "rb") as stream:
            stream.seek(max(0, os.path.getsize(log) - 65536))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    if not text:
        return []
    # A progress bar rewrites its line after each \r: only what it wrote last was to be seen.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\n").split("\n")]
    return lines[-count:]


def prepare_logs(logs: list[str]) -> None:
    """Make the log folders, prove that every log can be written, and only then put the old ones aside.

    They become LOG.1, that one LOG.2 ...: what an hour's training said is not lost by a second try.

    An old log that survived until its job's turn could claim, after an interrupted run, a success that
    belongs to the run before: --pick would believe it.

    Raises:
        CannotStart: a log cannot be written.
    """
    old = []
    for log in logs:
        existed = os.path.lexists(log)
        try:
            os.makedirs(os.path.dirname(log) or ".", exist_ok=True)
            os.close(open_log(log))
            if not existed:
                os.unlink(log)
        except OSError as error:
            raise CannotStart(f"cannot write the log {log}: {error.strerror}; nothing was started") from None
        if existed:
            old.append(log)
    for log in old:
        put_aside(log)


def put_aside(log: str) -> None:
    """Rename a log that holds anything, and the ones before it; what cannot be renamed is emptied."""
    with contextlib.suppress(OSError):
        if os.path.isfile(log) and not os.path.islink(log) and os.path.getsize(log):
            for number in range(KEPT - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{log}.{number}", f"{log}.{number + 1}")
            os.replace(log, f"{log}.1")
            return
    os.close(open_log(log, os.O_TRUNC))


def open_log(path: str, flags: int = 0) -> int:
    # Readable, to look at its last byte; appending, because the job and this program both write to it.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | flags, 0o666)


def date() -> str:
    return time.strftime(DATE)


def write_header(descriptor: int, command: str) -> None:
    command = command.replace("\n", "\n# ")
    os.write(descriptor, os.fsencode(f"# {command}\n# Started at {date()}\n#\n"))


def write_trailer(descriptor: int, ending: str, elapsed: int, threads: int) -> None:
    text = (
        f"# Accounting: time={elapsed} threads={threads}\n"
        f"# Ended ({ending}) at {date()}, elapsed time {elapsed} seconds\n"
    )
    os.write(descriptor, os.fsencode(_missing_newline(descriptor) + text))


def write_interruption(descriptor: int, signal_name: str) -> None:
    """A remark that is no trailer: --pick incomplete runs the job again."""
    text = f"{_missing_newline(descriptor)}# Interrupted by {signal_name} at {date()}\n"
    os.write(descriptor, os.fsencode(text))


def _missing_newline(descriptor: int) -> str:
    """A newline if the output so far lacks its last one."""
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
        return ""
    return "" if os.pread(descriptor, 1, facts.st_size - 1) == b"\n" else "\n"
