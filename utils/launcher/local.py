"""Jobs as processes of this machine, as many at a time as there are CPUs or GPUs for them."""

import contextlib
import os
import signal
import subprocess
import time
from collections import deque

from launcher import body, logs, signals
from launcher.grammar import Request
from launcher.jobs import Job
from launcher.logs import open_log
from launcher.machine import Slot, slots, thread_variables
from launcher.messages import say

#: Seconds between asking the jobs of an interrupted run to end and killing them.
GRACE = 4.0


def run_here(request: Request, jobs: list[Job], caught: signals.Signals) -> None:
    """Run the jobs, and note in each whether it failed. Ends early when a signal is caught.

    Raises:
        CannotStart: too few GPUs, or a log that cannot be written.
    """
    free = slots(request)
    logs.prepare_logs([job.log for job in jobs])
    caught.catch()
    Runner(request, free, caught).run(jobs)
    if caught.first:
        say(f"interrupted by {signals.name(caught.first)}; its jobs were killed")


class Process:
    """A job that runs."""

    def __init__(self, job: Job, slot: Slot) -> None:
        self.job = job
        self.slot = slot
        self.started = time.monotonic()
        self.descriptor = -1  # of the open log
        self.process: subprocess.Popen | None = None


class Runner:
    """Runs jobs, as many at a time as there are slots."""

    def __init__(self, request: Request, free: list[Slot], caught: signals.Signals) -> None:
        self.free = deque(free)
        self.threads = request.num_threads or 1
        defaults, self.demands = thread_variables(request)
        self.environment = {**os.environ, **defaults}
        self.running: dict[int, Process] = {}
        self.caught = caught

    def run(self, jobs: list[Job]) -> None:
        pending = deque(jobs)
        while (pending or self.running) and not self.caught.first:
            if pending and self.free:
                self.start(pending.popleft())
            else:
                self.wait()
        if self.caught.first:
            self.kill_all()

    def start(self, job: Job) -> None:
        started = Process(job, self.free.popleft())
        try:
            started.descriptor = open_log(job.log, os.O_TRUNC)
            logs.write_header(started.descriptor, job.command)
            started.process = subprocess.Popen(
                ["bash"],
                stdin=subprocess.PIPE,
                stdout=started.descriptor,
                stderr=started.descriptor,
                env=self.environment,
                start_new_session=True,  # its own process group, to be killed as a whole
                close_fds=False,  # a lock that the caller holds is its jobs', should they outlive it
            )
        except OSError as error:
            say(f"cannot start a job: {error.filename or job.log}: {error.strerror}")
            self.retire(started, failed=True)
            return
        self.running[started.process.pid] = started
        if started.slot.cpus is not None:  # bash still waits for its script, and has no children
            with contextlib.suppress(OSError):
                os.sched_setaffinity(started.process.pid, started.slot.cpus)
        script = body.opening({**self.demands, **started.slot.variables}) + job.command + body.CLOSING
        # A bash that has died already is found by wait().
        with contextlib.suppress(BrokenPipeError):
            started.process.stdin.write(os.fsencode(script))
        with contextlib.suppress(BrokenPipeError):
            started.process.stdin.close()

    def wait(self) -> None:
        """Wait for one job to end."""
        pid, status = self.caught.wait(os.wait) or (0, 0)
        ended = self.running.pop(pid, None)
        if ended is None:  # a signal; or a child that was there before this program (exec from a shell)
            return
        code = ended.process.returncode = os.waitstatus_to_exitcode(status)
        elapsed = int(time.monotonic() - ended.started)
        try:
            logs.write_trailer(ended.descriptor, describe(code), elapsed, self.threads)
        except OSError as error:
            say(f"cannot finish the log {ended.job.log}: {error.strerror}")
            code = 1
        self.retire(ended, failed=code != 0)

    def retire(self, ended: Process, failed: bool) -> None:
        ended.job.finished, ended.job.failed = True, failed
        if ended.descriptor >= 0:
            os.close(ended.descriptor)
        self.free.append(ended.slot)

    def kill_all(self) -> None:
        """End every running job with all its processes: ask, wait a little, kill.

        Their logs get a remark but no trailer: --pick incomplete runs them again.
        """
        groups = list(self.running)
        signal_groups(groups, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        # A second Ctrl-C ends the patience.
        while time.monotonic() < deadline and len(self.caught.caught) == 1:
            reap()
            if not has_processes(groups):
                break
            time.sleep(0.02)
        signal_groups(groups, signal.SIGKILL)
        for killed in self.running.values():
            with contextlib.suppress(OSError):
                logs.write_interruption(killed.descriptor, signals.name(self.caught.first))


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


def signal_groups(groups: list[int], number: int) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


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
