"""Jobs in the queue of a scheduler: submit, watch until all have ended, cancel when interrupted."""

import contextlib
import os
import time
from collections import deque

from launcher import conf, logs, signals
from launcher.grammar import Request
from launcher.jobs import Job
from launcher.messages import CannotStart, say
from launcher.scheduler import ENDED, Chunk, NoAnswer, Refused, Scheduler, Unclear
from launcher.submission import Files, Note, fingerprint, script
from launcher.watch import Task, Watch

# All in seconds.
#: Between two looks at the queue: soon for short jobs, later seldom enough for the scheduler's health.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: Between two tries to submit what the scheduler did not take.
RETRY = 30.0
#: How long to wait for jobs that were cancelled.
GRACE = 15.0
#: Pauses before each look for a job that may have been taken.
LOOKS = (0.5, 2.0, 5.0)

#: Part of the names of this launcher's jobs, and of no other's.
TOKEN = f"{time.time_ns() // 1_000_000:x}{os.getpid():x}"


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
        except Unclear as error:
            raise CannotStart(
                f"it is not known whether {self.scheduler.title} took the job: {error}"
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
        limit = self.request.max_jobs_run
        submitted = []
        try:
            while self.unsubmitted and not self.caught.first:
                chunk, path = self.unsubmitted[0]
                # Where a limit holds for the jobs that run at a time, arrays go one after the other.
                after = self.watch.tasks[-1].identity if limit and self.watch.tasks else None
                identity = self.submit_once(chunk, path, limit, after)
                self.unsubmitted.popleft()
                submitted.append(identity)
                for number, index in zip(chunk.numbers, chunk.indices, strict=True):
                    self.watch.tasks.append(Task(self.jobs[number], identity, index))
                try:
                    self.note.add(identity, chunk)
                except CannotStart as error:  # a full disk, say; the job is in the queue all the same
                    say(f"job {identity} runs, but a launcher after this one would not know: {error}")
        except (Refused, NoAnswer, Unclear) as error:
            if not self.watch.open():
                raise
            self.refused(error)
        if submitted:
            log = self.request.log
            pattern = log.replace(self.request.job_name, "*") if self.request.job_name else log
            say(f"job {' '.join(submitted)} submitted, log is in {pattern}")

    def submit_once(self, chunk: Chunk, path: str, limit: int | None, after: str | None) -> str:
        """Submit a chunk; where that has no clear answer, look for the job before anything is tried again.

        Each try has the same name, which no other job has, so that none runs twice.

        Raises:
            Unclear: still not known; the message says by what name to look for it.
        """
        name = f"{os.path.basename(self.files.base)}.{TOKEN}.{chunk.numbers[0]}"
        for is_again in (False, True):
            try:
                identity = self.scheduler.submit(
                    self.words, chunk, path, self.files.output, name, limit, after
                )
                return self.only(identity, name) if is_again else identity
            except Unclear as error:
                unclear = error
            try:
                for pause in LOOKS:
                    time.sleep(pause)
                    if found := self.scheduler.find(name):
                        say(f"{unclear}; but {self.scheduler.title} has it, as job {found[0]}")
                        return self.only(found[0], name)
            except NoAnswer as error:
                unclear = Unclear(f"{unclear}; {error}")
                break
        raise Unclear(f"{unclear}; look for jobs named {name} before you run it again")

    def only(self, identity: str, name: str) -> str:
        """Cancel what an earlier try turns out to have submitted as well."""
        with contextlib.suppress(NoAnswer):
            if others := [other for other in self.scheduler.find(name) if other != identity]:
                self.scheduler.cancel(others)
        return identity

    def submit_more(self) -> None:
        """Try again to submit what was refused; for the last time when no job of ours is left."""
        try:
            self.submit()
        except (Refused, NoAnswer, Unclear) as error:
            doubt = "may not have been submitted" if isinstance(error, Unclear) else "was not submitted"
            for chunk, _ in self.unsubmitted:
                for number in chunk.numbers:
                    self.jobs[number].fail(f"{doubt}: {error}")
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
