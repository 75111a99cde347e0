"""Jobs in the queue of a scheduler: submit, watch until all have ended, cancel when interrupted."""

import contextlib
import os
import time
from collections import deque

from launcher import conf, logs, signals
from launcher.grammar import Request
from launcher.jobs import Job
from launcher.messages import CannotStart, say
from launcher.scheduler import ENDED, Chunk, NoAnswer, Refused, Scheduler
from launcher.submission import Files, Note, fingerprint, script
from launcher.watch import Task, Watch

# All in seconds.
#: Between two looks at the queue: soon for short jobs, later seldom enough for the scheduler's health.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: Between two tries to submit what the scheduler did not take.
RETRY = 30.0
#: How long to wait for jobs that were cancelled.
GRACE = 15.0


def run_on(scheduler: Scheduler):
    """The function that runs a request's jobs on this scheduler; see ``front.main``."""

    def run(request: Request, jobs: list[Job], caught: signals.Signals) -> None:
        settings = conf.load(scheduler.name, scheduler.builtin, request.config)
        words = [*settings.command, *settings.translate(request, scheduler.pass_on)]
        scheduler.require_tools(settings.command[0])
        caught.catch()
        Run(scheduler, request, words, jobs, caught).run()

    return run


class Run:
    """One call of a launcher: its jobs from submission to end.

    Args:
        words: the command that submits, with the options that the conf made.
    """

    def __init__(
        self, scheduler, request, words: list[str], jobs: list[Job], caught: signals.Signals
    ) -> None:
        self.scheduler = scheduler
        self.request = request
        self.words = words
        self.jobs = {job.number: job for job in jobs}
        self.caught = caught
        self.files = Files(request)
        self.note = Note(self.files, fingerprint(request))
        self.watch = Watch(scheduler, self.files.output)
        self.unsubmitted: deque[tuple[Chunk, str]] = deque()  # with the script of each
        self.tried = 0.0  # when the scheduler last refused to take more

    def run(self) -> None:
        """Raises CannotStart if nothing could be submitted."""
        try:
            self.adopt()
            queued = {task.job.number for task in self.watch.tasks}
            new = [job for job in self.jobs.values() if job.number not in queued and not job.finished]
            if new:
                self.prepare(new)
                self.submit()
        except Refused as error:
            spelt = " ".join(self.words)
            raise CannotStart(
                f"{self.scheduler.title} refuses: {error} ({spelt}); nothing was submitted"
            ) from None
        except NoAnswer as error:
            raise CannotStart(
                f"{self.scheduler.title} does not answer: {error}; nothing was submitted"
            ) from None
        began = time.monotonic()
        while self.watch.open() or self.unsubmitted:
            pause = min(LONGEST_PAUSE, SHORTEST_PAUSE + (time.monotonic() - began) / 20)
            self.caught.wait(time.sleep, pause)
            if self.caught.first:
                self.cancel()
                return
            self.watch.look()
            if self.unsubmitted and (not self.watch.open() or time.monotonic() - self.tried > RETRY):
                self.submit_more()
        self.note.forget()

    def adopt(self) -> None:
        """Take over what an earlier launcher of this very command, since killed, left in the queue."""
        note = Note.read(self.files)
        states = self.scheduler.poll(note.ids) if note else {}
        if all(state.kind == ENDED for state in states.values()):
            return
        ids = " ".join(note.ids)
        if note.fingerprint != self.note.fingerprint:
            raise CannotStart(
                f"job {ids} of another command still writes {self.request.log}: wait for it, or cancel it: "
                f"'{self.scheduler.cancel_with} {ids}'; nothing was submitted"
            )
        say(f"job {ids} of an earlier run is still in the queue: waiting for it")
        self.note = note
        for identity, chunk in note.entries:
            for index, number in zip(chunk.indices, chunk.numbers, strict=True):
                job, state = self.jobs.get(number), states.get((identity, index))
                if job and state and state.kind != ENDED:
                    self.watch.tasks.append(Task(job, identity, index))
                elif job and logs.outcome(job.log) == "done":
                    job.finished = True

    def prepare(self, jobs: list[Job]) -> None:
        """Write the scripts, ask the scheduler whether it would take them, and empty the logs."""
        numbers = [job.number for job in jobs]
        for place, chunk in enumerate(self.scheduler.chunks(numbers, self.request.job_name is not None)):
            path = self.files.script(place)
            self.files.write(path, script(self.request, chunk, self.scheduler.index_variable))
            self.unsubmitted.append((chunk, path))
        self.scheduler.preflight(self.words, *self.unsubmitted[0])
        logs.prepare_logs([job.log for job in jobs])
        if not self.watch.tasks:
            self.files.write(self.files.output, "")

    def submit(self) -> None:
        """Submit all that is not submitted yet. Raises Refused or NoAnswer for what was not taken."""
        name, limit = os.path.basename(self.files.base), self.request.max_jobs_run
        submitted = []
        try:
            while self.unsubmitted and not self.caught.first:
                chunk, path = self.unsubmitted[0]
                # Where a limit holds for the jobs that run at a time, arrays go one after the other.
                after = self.watch.tasks[-1].identity if limit and self.watch.tasks else None
                identity = self.scheduler.submit(
                    self.words, chunk, path, self.files.output, name, limit, after
                )
                self.unsubmitted.popleft()
                submitted.append(identity)
                for number, index in zip(chunk.numbers, chunk.indices, strict=True):
                    self.watch.tasks.append(Task(self.jobs[number], identity, index))
                self.note.add(identity, chunk)
        except (Refused, NoAnswer) as error:
            if not self.watch.open():
                raise
            self.refused(error)
        if submitted:
            log = self.request.log
            pattern = log.replace(self.request.job_name, "*") if self.request.job_name else log
            say(f"job {' '.join(submitted)} submitted, log is in {pattern}")

    def submit_more(self) -> None:
        """Try again to submit what was refused; for the last time when no job of ours is left."""
        try:
            self.submit()
        except (Refused, NoAnswer) as error:
            for chunk, _ in self.unsubmitted:
                for number in chunk.numbers:
                    self.jobs[number].fail(f"was not submitted: {error}")
            self.unsubmitted.clear()

    def refused(self, reason: Exception) -> None:
        self.tried = time.monotonic()
        waiting = sum(len(chunk.numbers) for chunk, _ in self.unsubmitted)
        self.watch.tell(f"{self.scheduler.title} takes no more jobs for now ({reason}): {waiting} wait here")

    def cancel(self) -> None:
        """Cancel everything that was submitted, and wait a little until it is gone."""
        name, ids = signals.name(self.caught.first), self.watch.open_ids()
        if not ids:
            say(f"interrupted by {name}")
            return
        command = f"{self.scheduler.cancel_with} {' '.join(ids)}"
        try:
            self.scheduler.cancel(ids)
        except NoAnswer as error:
            say(f"interrupted by {name}, but could not cancel the jobs ({error}): '{command}' does it")
            return
        say(f"interrupted by {name}; cancelled with '{command}'")
        deadline = time.monotonic() + GRACE
        # A second Ctrl-C ends the patience.
        while time.monotonic() < deadline and len(self.caught.caught) == 1:
            with contextlib.suppress(NoAnswer):
                if all(state.kind == ENDED for state in self.scheduler.poll(ids).values()):
                    self.note.forget()
                    return
            time.sleep(SHORTEST_PAUSE)
