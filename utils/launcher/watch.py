"""Jobs in a queue, watched until each has ended, and judged by their logs and by what the queue says."""

import time

from launcher import logs
from launcher.jobs import Job, numbered
from launcher.messages import say
from launcher.scheduler import ENDED, RUNNING, WAITING, Index, NoAnswer, Scheduler, State

# All in seconds.
#: How long the end of a log may take from a node to this host (NFS keeps what it knew for up to 60).
SHARED_FILES = 60.0
#: The same for a job that was never seen to run: most likely it never did.
NEVER_RAN = 5.0
#: How long jobs may all wait before the reason is told.
QUIET_WAIT = 30.0


class Task:
    """A job in the queue."""

    def __init__(self, job: Job, identity: str, index: Index) -> None:
        self.job = job
        self.identity = identity
        self.index = index
        self.last = State(WAITING, "")  # as it was last seen
        self.missed: float | None = None  # since when the end of its log is missed


class Watch:
    """Watches jobs of one scheduler.

    Args:
        output: path of the file that the scheduler itself writes to.
    """

    def __init__(self, scheduler: Scheduler, output: str) -> None:
        self.scheduler = scheduler
        self.output = output
        self.tasks: list[Task] = []
        self.silent_since: float | None = None  # when the scheduler stopped answering
        self.idle_since = time.monotonic()  # when a job was last seen to run
        self.told = ""  # the last reason to wait that the user was told

    def open(self) -> list[Task]:
        """The tasks that have not ended, as far as is known."""
        return [task for task in self.tasks if not task.job.finished]

    def open_ids(self) -> list[str]:
        return list(dict.fromkeys(task.identity for task in self.open()))

    def look(self) -> None:
        """Look at the queue once."""
        tasks = self.open()
        if not tasks:
            return
        try:
            states = self.scheduler.poll(self.open_ids())
        except NoAnswer as error:
            if self.silent_since is None:
                self.silent_since = time.monotonic()
                say(f"{self.scheduler.title} does not answer ({error}); the jobs go on, and so does the wait")
            return
        if self.silent_since is not None:
            say(f"{self.scheduler.title} answers again, after {time.monotonic() - self.silent_since:.0f} s")
            self.silent_since = None
        put_back = [task for task in tasks if self.judge(task, states.get((task.identity, task.index)))]
        if put_back:
            which, reason = numbered([task.job for task in put_back]), put_back[0].last.reason
            told = "" if reason in ("", "None") else f" ({reason})"
            say(f"{which} stopped before the end and went back into the queue{told}")
        self.tell_wait()

    def judge(self, task: Task, state: State | None) -> bool:
        """What the queue says of a task, and once it has ended, what its log says.

        Returns:
            whether it was running and has been put back into the queue.
        """
        if state is not None and state.kind != ENDED:
            put_back = state.kind == WAITING and task.last.kind == RUNNING
            task.last, task.missed = state, None
            return put_back
        found = logs.outcome(task.job.log)
        if found != "incomplete":
            task.job.finished, task.job.failed = True, found == "failed"
        elif state is not None and state.failed:
            task.job.fail(*self.explain(task, state))
        else:
            self.be_patient(task, state)
        return False

    def be_patient(self, task: Task, state: State | None) -> None:
        """It has ended, well or unknown how, and the end of its log may be on its way to this host."""
        now = time.monotonic()
        if task.missed is None:
            task.missed = now
        never_ran = state is None and task.last.kind == WAITING and not logs.last_lines(task.job.log, 1)
        if now - task.missed < (NEVER_RAN if never_ran else SHARED_FILES):
            return
        if never_ran:
            task.job.fail(f"left the queue without having run: cancelled ({self.scheduler.cancel_with})?")
        elif state is None:
            task.job.fail(*self.explain(task, State(ENDED, task.last.word, "", task.last.node, failed=True)))
        else:
            task.job.fail(
                f"ended well, says {self.scheduler.title}, but its log has no end: "
                "do the nodes share this folder with this host?"
            )

    def explain(self, task: Task, state: State) -> tuple[str, str]:
        said = logs.last_lines(self.output, 200)
        try:
            cause, place = self.scheduler.explain(task.identity, task.index, state, said)
        except NoAnswer:
            cause, place = f"ended: {state.word} {state.reason}".rstrip(), f"job {task.identity}"
        if said and not logs.last_lines(task.job.log, 1):  # its log could not even be opened, say
            cause += f"; {said[-1]}"
        return cause, place

    def tell_wait(self) -> None:
        """Tell why nothing runs, when nothing has run for a while."""
        waiting = self.open()
        now = time.monotonic()
        if any(task.last.kind == RUNNING for task in waiting):
            self.idle_since = now
        reasons = sorted({task.last.reason for task in waiting if task.last.reason not in ("", "None")})
        if now - self.idle_since > QUIET_WAIT and reasons:
            ids = self.open_ids()
            told = "; ".join(self.scheduler.describe_wait(ids, reason) for reason in reasons)
            self.tell(f"job {' '.join(ids)} waits: {told}")

    def tell(self, text: str) -> None:
        """Say it, unless it was the last thing that was told."""
        if text != self.told:
            say(text)
            self.told = text
