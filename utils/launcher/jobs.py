"""The numbered jobs of a request, and the report on those that failed."""

import sys

from launcher.grammar import Request
from launcher.logs import last_lines, outcome
from launcher.messages import CannotStart, say

TAIL_LINES = 20


class Job:
    """One numbered job; ``failed`` is known once it has finished, or was passed over by --pick."""

    def __init__(self, number: int, log: str, command: str) -> None:
        self.number = number
        self.log = log
        self.command = command
        self.failed = False
        self.finished = False
        #: Why it failed, where the log cannot know it: killed by the scheduler, say.
        self.remark = ""
        #: Its name in the scheduler's books.
        self.place = ""

    def fail(self, remark: str, place: str = "") -> None:
        self.finished = self.failed = True
        self.remark, self.place = remark, place


def expand(request: Request) -> list[Job]:
    """The jobs of a request: its job name replaced by each number, as blind text.

    Raises:
        CannotStart: several jobs would write to one log.
    """
    if request.job_name is None:
        return [Job(1, request.log, request.command)]
    if request.total > 1 and request.job_name not in request.log:
        raise CannotStart(
            f"{request.total} jobs would share the log {request.log}: put {request.job_name} into its name"
        )
    return [
        Job(
            n,
            request.log.replace(request.job_name, str(n)),
            request.command.replace(request.job_name, str(n)),
        )
        for n in range(request.first, request.last + 1)
    ]


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


def report(request: Request, jobs: list[Job]) -> None:
    """Say which jobs failed, and why, and show the end of the first one's log."""
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
    alike: dict[str, list[Job]] = {}
    for job in failed:
        if job.remark:
            alike.setdefault(job.remark, []).append(job)
    for remark, group in alike.items():
        place = f" ({group[0].place})" if group[0].place else ""
        say(f"{numbered(group)}{place}: {remark}" if len(jobs) > 1 else f"{remark}{place}")
    lines = last_lines(failed[0].log, 10 * TAIL_LINES)
    # The scheduler's variables fill the head of a cluster's log; what the job wrote matters more.
    lines = [line for line in lines if not line.startswith("# SLURM")][-TAIL_LINES:]
    if lines:
        say(f"the end of {failed[0].log}:")
        print("\n".join(f"    {line}" for line in lines), file=sys.stderr)


def numbered(group: list[Job]) -> str:
    """``job 3``, or ``jobs 3, 4 and 7 more``."""
    shown = ", ".join(str(job.number) for job in group[:10])
    more = f" and {len(group) - 10} more" if len(group) > 10 else ""
    return f"job {shown}" if len(group) == 1 else f"jobs {shown}{more}"
