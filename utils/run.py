#!/usr/bin/env python3
"""Run a command, or n numbered copies of it, on this machine; each writes its own log.

usage: run.py [options] [JOB=1:n | JOB=k] [options] LOG command args...

  utils/run.py JOB=1:4 exp/log/score.JOB.log asvtk score --part JOB
  utils/run.py --gpu 1 exp/log/train.log asvtk train exp

JOB (any identifier) is replaced by the job's number wherever its text stands in LOG and in the command.

  --max-jobs-run n, -tc n  at most n jobs at a time; the smallest counts when repeated
                           (default: usable CPUs / --num-threads)
  --num-threads n          threads of one job, given to it as OMP_NUM_THREADS and its like (default: 1)
  --gpu n                  n GPUs for each job, its own through CUDA_VISIBLE_DEVICES (default: 0)
  --pick all|failed|incomplete
                           by what the logs of an earlier run say: `incomplete` runs the jobs that never
                           ended, `failed` those and the failed ones, `all` (default) every job
  anything else            an option for another launcher: dropped with its value (--mem 4G);
                           -V has no value, -pe has two

A word of the command reaches bash as it is (so `\\|` is a pipe and `\\$HOME` the job's), unless it holds
white space: then it is put in double quotes, or in single quotes when it holds a double quote itself.
Each job starts in this folder, reads ./path.sh if there is one, and stops at its first failing command.

Exit status: 0, 1 when a job failed or none could start, 255 for a wrong command line,
128 + the signal's number when interrupted.
"""

import contextlib
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections import deque

PROGRAM = "run.py"
TAIL_LINES = 20
#: Seconds between asking the jobs of an interrupted run to end and killing them.
GRACE = 4.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# The two trailers of a log: this launcher's, and that of the cluster ones. Not anchored on the left:
# the output of a program may lack its last newline.
LOCAL_TRAILER = re.compile(r"# Ended \(code (?P<code>\d+)(?P<signal>; signal \d+)?\) at ")
CLUSTER_TRAILER = re.compile(r"# Finished at .* with status (?P<code>-?\d+)\s*$")


class UsageError(Exception):
    """The command line is wrong."""


class CannotStart(Exception):
    """The command line is right, but this machine cannot run it."""


# ---------------------------------------------------------------- the command line


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

    @property
    def total(self) -> int:
        return self.last - self.first + 1


def parse(argv) -> Request:
    """The request that the words ``argv`` (without the program's name) spell."""
    request = Request()
    words = deque(argv)
    while words:
        if words[0].startswith("-"):
            take_option(words, request)
        elif looks_like_range(words[0]):
            take_range(words.popleft(), request)
        else:
            break
    if len(words) < 2:
        missing = "command" if words else "LOG and the command"
        raise UsageError(
            f"the {missing} is missing; usage: {PROGRAM} [options] [JOB=1:n] LOG command args..."
        )
    request.log = words.popleft()
    request.command = " ".join(quote(word) for word in words)
    return request


def take_option(words: deque, request: Request) -> None:
    option = words.popleft()
    values = {"-V": 0, "-pe": 2}.get(option, 1)
    if len(words) < values:
        raise UsageError(f"option {option} needs a value")
    value = [words.popleft() for _ in range(values)][-1] if values else ""
    if value.startswith("--"):
        say(f"WARNING: the value of {option} is {value!r}, which looks like an option; is one missing?")
    if option in ("--max-jobs-run", "-tc"):
        limit = number(option, value, least=1)
        request.max_jobs_run = min(limit, request.max_jobs_run or limit)
    elif option == "--num-threads":
        request.num_threads = number(option, value, least=1)
    elif option == "--gpu":
        request.gpus = number(option, value, least=0)
    elif option == "--pick":
        if value not in ("all", "failed", "incomplete"):
            raise UsageError(f"--pick takes all, failed or incomplete, not {value!r}")
        request.pick = value


def number(option: str, value: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]+", value) or int(value) < least:
        raise UsageError(f"invalid option {option} {value}: it takes a whole number >= {least}")
    return int(value)


def looks_like_range(word: str) -> bool:
    """Also true of a broken range, such as JOB=1: from an empty $nj, so that it is never taken for LOG."""
    return re.fullmatch(r"[A-Za-z_]\w*=([^/]*:[^/]*|[0-9,-]*)", word, re.ASCII) is not None


def take_range(word: str, request: Request) -> None:
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
    """One word of the command as bash is to read it; see the top of this file."""
    if word and not re.search(r"\s", word):
        return word
    if '"' in word:
        return "'" + word.replace("'", r"'\''") + "'"
    return f'"{word}"'


# ---------------------------------------------------------------- the jobs and their logs


class Job:
    """One numbered job; ``failed`` is known once it has ended, or was passed over by --pick."""

    def __init__(self, log: str, command: str) -> None:
        self.log = log
        self.command = command
        self.failed = False
        self.descriptor = -1  # of the open log
        self.started = 0.0
        self.process: subprocess.Popen | None = None
        self.slot: dict[str, str] = {}  # the variables that pin it to its GPUs


def expand(request: Request) -> list[Job]:
    """The jobs of a request: its job name replaced by each number, as blind text."""
    if request.job_name is None:
        return [Job(request.log, request.command)]
    if request.total > 1 and request.job_name not in request.log:
        raise CannotStart(
            f"{request.total} jobs would share the log {request.log}: put {request.job_name} into its name"
        )
    return [
        Job(
            request.log.replace(request.job_name, str(n)),
            request.command.replace(request.job_name, str(n)),
        )
        for n in range(request.first, request.last + 1)
    ]


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
    # A progress bar rewrites its line after each \r: only what it wrote last was to be seen.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.rstrip("\n").split("\n")]
    return lines[-count:]


def outcome(log: str) -> str:
    """What a log says of its job: ``done``, ``failed`` or ``incomplete`` (no trailer, or no log)."""
    for line in reversed(last_lines(log, 10)):
        match = LOCAL_TRAILER.search(line)
        if match:
            return "done" if int(match["code"]) == 0 and not match["signal"] else "failed"
        match = CLUSTER_TRAILER.search(line)
        if match:
            return "done" if int(match["code"]) == 0 else "failed"
    return "incomplete"


def picked(jobs: list[Job], pick: str) -> list[Job]:
    """The jobs to run. A failed one that is passed over still counts as failed."""
    if pick == "all":
        return jobs
    chosen = []
    for job in jobs:
        state = outcome(job.log)
        if state == "incomplete" or (state == "failed" and pick == "failed"):
            chosen.append(job)
        else:
            job.failed = state == "failed"
    return chosen


def prepare_logs(jobs: list[Job]) -> None:
    """Make the log folders, prove that every log can be written, and only then empty the old ones.

    An old log that survived until its job's turn could claim, after an interrupted run, a success that
    belongs to the run before: --pick would believe it.
    """
    old = []
    for job in jobs:
        existed = os.path.lexists(job.log)
        try:
            os.makedirs(os.path.dirname(job.log) or ".", exist_ok=True)
            os.close(open_log(job.log))
            if not existed:
                os.unlink(job.log)
        except OSError as error:
            raise CannotStart(
                f"cannot write the log {job.log}: {error.strerror}; nothing was started"
            ) from None
        if existed:
            old.append(job.log)
    for log in old:
        os.close(open_log(log, os.O_TRUNC))


def open_log(path: str, flags: int = 0) -> int:
    # Readable, to look at its last byte; appending, because the job and this program both write to it.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | flags, 0o666)


def date() -> str:
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def write_header(job: Job) -> None:
    command = job.command.replace("\n", "\n# ")
    os.write(job.descriptor, os.fsencode(f"# {command}\n# Started at {date()}\n#\n"))


def write_trailer(job: Job, ending: str, threads: int) -> None:
    elapsed = int(time.monotonic() - job.started)
    text = (
        f"# Accounting: time={elapsed} threads={threads}\n"
        f"# Ended ({ending}) at {date()}, elapsed time {elapsed} seconds\n"
    )
    os.write(job.descriptor, os.fsencode(unfinished_line(job.descriptor) + text))


def unfinished_line(descriptor: int) -> str:
    """A newline if the output so far lacks its last one."""
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
        return ""
    return "" if os.pread(descriptor, 1, facts.st_size - 1) == b"\n" else "\n"


def describe(code: int) -> str:
    """The trailer's words for an exit code of ``subprocess`` (negative: killed by that signal).

    A shell whose command was killed ends with 128 + the signal, so that is named too. Only "code 0"
    directly before the closing bracket means success.
    """
    if code < 0:
        return f"code 0; signal {-code}"
    if 128 < code < 128 + signal.SIGRTMIN:
        return f"code {code}; signal {code - 128}"
    return f"code {code}"


# ---------------------------------------------------------------- what a job runs in


def visible_gpus() -> list[str]:
    """The GPUs that this program may hand out, as CUDA_VISIBLE_DEVICES names them."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names = [name.strip() for name in listed.split(",")]
        # CUDA stops at the first name that is no device: "-1", "NoDevFiles" and "" all mean none.
        usable = []
        for name in names:
            if not re.fullmatch(r"[0-9]+|(GPU|MIG)-\S+", name):
                break
            usable.append(name)
        return list(dict.fromkeys(usable))
    try:
        answer = subprocess.run(
            ["nvidia-smi", "-L"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^GPU ([0-9]+):", answer.stdout.decode("utf-8", "replace"), re.MULTILINE)


def slots(request: Request) -> list[dict]:
    """One entry for each job that may run at the same time: the variables that pin the job to it."""
    if request.gpus == 0:
        free = max(1, len(os.sched_getaffinity(0)) // (request.num_threads or 1))
        return [{}] * min(request.max_jobs_run or free, request.total)
    names = visible_gpus()
    if len(names) < request.gpus:
        source = "CUDA_VISIBLE_DEVICES" if "CUDA_VISIBLE_DEVICES" in os.environ else "nvidia-smi -L"
        raise CannotStart(
            f"each job needs {request.gpus} GPU(s) (--gpu), but {source} offers {len(names)}; "
            "nothing was started"
        )
    shares = [
        {"CUDA_VISIBLE_DEVICES": ",".join(names[at : at + request.gpus])}
        for at in range(0, len(names) - request.gpus + 1, request.gpus)
    ]
    return shares[: request.max_jobs_run]


def thread_variables(request: Request) -> tuple[dict, dict]:
    """The variables that limit a job's threads: (defaults, demands).

    Demands come from --num-threads and overrule path.sh, like the GPUs. Without that option a job gets
    one thread, so that n jobs do not start n times all the CPUs' threads; the user's own setting wins.
    """
    if request.num_threads is not None:
        return {}, dict.fromkeys(THREAD_VARIABLES, str(request.num_threads))
    if "OMP_NUM_THREADS" in os.environ:
        return {}, {}
    return {name: "1" for name in THREAD_VARIABLES if name not in os.environ}, {}


def working_folder() -> str:
    """The current folder by the name the user came by: a cluster's other hosts may know no other one."""
    name = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.isabs(name) and os.path.samefile(name, "."):
            return name
    return os.getcwd()


def script(command: str, demands: dict) -> str:
    """What bash is given. In braces, so that it is read whole before any of it runs."""
    lines = ["{", f"cd {shlex.quote(working_folder())} || exit 1"]
    if os.path.exists("path.sh"):
        lines.append(". ./path.sh")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in demands.items()]
    # The brackets keep an `exit` of the command inside; the newline, a `#` in it.
    lines += ["set -e -o pipefail", f"( {command}", ")", "} </dev/null", ""]
    return "\n".join(lines)


# ---------------------------------------------------------------- running


class Interrupted(Exception):
    """A signal asks to end, and the program was only waiting."""


class Runner:
    """Runs jobs, as many at a time as there are slots."""

    def __init__(self, request: Request, free: list[dict]) -> None:
        self.free = deque(free)
        self.threads = request.num_threads or 1
        defaults, self.demands = thread_variables(request)
        self.environment = {**os.environ, **defaults}
        self.running: dict[int, Job] = {}
        self.signals: list[int] = []
        self.waiting = False

    def run(self, jobs: list[Job]) -> int:
        """Run them all. Returns the signal that interrupted, or 0."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # What is ignored stays so: nohup, and Ctrl-C for a script's background step.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.note_signal)
        pending = deque(jobs)
        while (pending or self.running) and not self.signals:
            if pending and self.free:
                self.start(pending.popleft())
            else:
                with contextlib.suppress(Interrupted):
                    self.wait()
        if self.signals:
            self.kill_all()
            return self.signals[0]
        return 0

    def note_signal(self, number, _frame) -> None:
        # Raising just anywhere could lose a job that was started but not yet noted in `running`.
        self.signals.append(number)
        if self.waiting:
            self.waiting = False
            raise Interrupted

    def start(self, job: Job) -> None:
        job.slot = self.free.popleft()
        job.started = time.monotonic()
        try:
            job.descriptor = open_log(job.log, os.O_TRUNC)
            write_header(job)
            job.process = subprocess.Popen(
                ["bash"],
                stdin=subprocess.PIPE,
                stdout=job.descriptor,
                stderr=job.descriptor,
                env=self.environment,
                start_new_session=True,  # its own process group, to be killed as a whole
            )
        except OSError as error:
            say(f"cannot start a job: {error.filename or job.log}: {error.strerror}")
            self.retire(job, failed=True)
            return
        self.running[job.process.pid] = job
        # A bash that has died already is found by wait().
        with contextlib.suppress(BrokenPipeError):
            job.process.stdin.write(os.fsencode(script(job.command, {**self.demands, **job.slot})))
        with contextlib.suppress(BrokenPipeError):
            job.process.stdin.close()

    def wait(self) -> None:
        """Wait for one job to end."""
        try:
            self.waiting = True
            if self.signals:
                return
            pid, status = os.wait()
        finally:
            self.waiting = False
        job = self.running.pop(pid, None)
        if job is None:  # a child that was there before this program (exec from a shell)
            return
        code = job.process.returncode = os.waitstatus_to_exitcode(status)
        try:
            write_trailer(job, describe(code), self.threads)
        except OSError as error:
            say(f"cannot finish the log {job.log}: {error.strerror}")
            code = 1
        self.retire(job, failed=code != 0)

    def retire(self, job: Job, failed: bool) -> None:
        job.failed = failed
        if job.descriptor >= 0:
            os.close(job.descriptor)
        self.free.append(job.slot)

    def kill_all(self) -> None:
        """End every running job with all its processes: ask, wait a little, kill.

        Their logs get a remark but no trailer: --pick incomplete runs them again.
        """
        groups = list(self.running)
        self.signal_groups(groups, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        # A second Ctrl-C ends the patience.
        while time.monotonic() < deadline and len(self.signals) == 1:
            self.reap()
            if not has_processes(groups):
                break
            time.sleep(0.02)
        self.signal_groups(groups, signal.SIGKILL)
        for job in self.running.values():
            with contextlib.suppress(OSError):
                name = signal.Signals(self.signals[0]).name
                os.write(
                    job.descriptor,
                    os.fsencode(f"{unfinished_line(job.descriptor)}# Interrupted by {name} at {date()}\n"),
                )

    @staticmethod
    def signal_groups(groups: list[int], number: int) -> None:
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)

    @staticmethod
    def reap() -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def has_processes(groups: list[int]) -> bool:
    """Does any of these process groups still have a living process?

    Asked of /proc, because for killpg a dead one lives until its parent has seen it die: in a container
    without an init that is never.
    """
    for folder in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{folder}/stat", "rb") as stream:
            # PID (NAME) STATE PARENT GROUP ...; a name may hold anything.
            state, _parent, group = stream.read().rpartition(b")")[2].split()[:3]
            if state != b"Z" and int(group) in groups:
                return True
    return False


# ---------------------------------------------------------------- the user


def say(text: str) -> None:
    print(f"{PROGRAM}: {text}", file=sys.stderr)


def report(request: Request, jobs: list[Job]) -> None:
    """Say which jobs failed, and show the end of the first one's log."""
    failed = [job for job in jobs if job.failed]
    if not failed:
        return
    if len(jobs) == 1:
        say(f"job failed, log is in {jobs[0].log}")
        if "JOB" in jobs[0].log:
            say("the log's name still holds JOB: was JOB=1:n left out?")
    else:
        pattern = request.log.replace(request.job_name, "*")
        say(f"{len(failed)} / {len(jobs)} failed, log is in {pattern}")
    lines = last_lines(failed[0].log, TAIL_LINES)
    if lines:
        say(f"the end of {failed[0].log}:")
        print("\n".join(f"    {line}" for line in lines), file=sys.stderr)


def main(argv=None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv in (["--help"], ["-h"]):
        print(__doc__.strip())
        return 0
    try:
        request = parse(argv)
        jobs = expand(request)
        chosen = picked(jobs, request.pick)
        if chosen:
            free = slots(request)
            prepare_logs(chosen)
            interrupted = Runner(request, free).run(chosen)
            if interrupted:
                say(f"interrupted by {signal.Signals(interrupted).name}; its jobs were killed")
                return 128 + interrupted
    except UsageError as error:
        say(str(error))
        return 255
    except CannotStart as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:  # before any job was started
        return 130
    report(request, jobs)
    return 1 if any(job.failed for job in jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
