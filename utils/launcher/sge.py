"""Grid Engine (Sun, Univa, Son of, Open ...): qsub, qstat, qconf, qdel."""

import os
import pwd
import re

from launcher import ranges
from launcher.scheduler import (
    ENDED,
    RUNNING,
    WAITING,
    Chunk,
    Index,
    NoAnswer,
    Refused,
    Scheduler,
    State,
    TimedOut,
    Unclear,
    call,
    one_line,
)


class GridEngine(Scheduler):
    name, title = "sge", "Grid Engine"
    cancel_with, index_variable = "qdel", "SGE_TASK_ID"
    tools = ("qstat", "qdel")
    # -r y: may be started again when its node went down.
    builtin = """\
command qsub -V -cwd -S /bin/bash -j y -r y
option mem=* -l mem_free=$0
option mem=0
option num_threads=* -pe smp $0
option num_threads=1
option time=* -l h_rt=$0
option gpu=* -l gpu=$0
option gpu=0
"""

    def chunks(self, numbers: list[int], is_array: bool) -> list[Chunk]:
        if not is_array:
            return [Chunk(numbers, [None])]
        longest = self._longest_array()
        groups = [numbers[at : at + longest] for at in range(0, len(numbers), longest)]
        # An array here is a range without gaps: its indices count the numbers.
        return [Chunk(group, list(range(1, len(group) + 1))) for group in groups]

    @staticmethod
    def _longest_array() -> int:
        try:
            found = re.search(r"^max_aj_tasks\s+(\d+)", call(["qconf", "-sconf"]).stdout, re.MULTILINE)
        except NoAnswer:  # a host may submit without being allowed to see the configuration
            found = None
        return int(found[1]) or 75000 if found else 75000

    def preflight(self, words: list[str], chunk: Chunk, script: str) -> None:
        if "-w" in words:  # somebody knows better
            return
        answer = call([*words, "-w", "v", *_array_option(chunk, None), script])
        if answer.returncode:
            raise Refused(_message(answer.stderr or answer.stdout))

    def submit(self, words, chunk, script, output, name, throttle, after) -> str:
        options = ["-terse", "-N", _valid_name(name), "-o", output, *_array_option(chunk, throttle)]
        if after:
            options += ["-hold_jid", after]
        try:
            answer = call([*words, *options, script])
        except TimedOut as error:
            raise Unclear(str(error)) from None
        if answer.returncode:
            raise Refused(_message(answer.stderr or answer.stdout))
        # Sites put a banner before or after it, or a wrapper that forgets -terse.
        printed = f"{answer.stdout}\n{answer.stderr}"
        ids = re.findall(r"[Yy]our job(?:-array)? (\d+)", printed) or re.findall(
            r"^(\d+)(?:\.\d+-\d+:\d+)?[ \t\r]*$", printed, re.MULTILINE
        )
        if len(set(ids)) != 1:
            raise Unclear(f"qsub printed no job's id: {_message(printed)[:200]}")
        return ids[0]

    def find(self, name: str) -> list[str]:
        entries = _listing().iter("job_list")
        # qstat shows the whole name in XML.
        found = (
            e.findtext("JB_job_number", "") for e in entries if e.findtext("JB_name") == _valid_name(name)
        )
        return list(dict.fromkeys(found))

    def poll(self, ids: list[str]) -> dict[tuple[str, Index], State]:
        states = {}
        for entry in _listing().iter("job_list"):
            job_id = entry.findtext("JB_job_number", "")
            if job_id in ids:
                state = _state(entry.findtext("state", ""), entry.findtext("queue_name") or "")
                tasks = entry.findtext("tasks")
                for task in ranges.expand(tasks) if tasks else [None]:
                    states[job_id, task] = state
        return states

    def explain(self, identity: str, index: Index, state: State, said: list[str]) -> tuple[str, str]:
        task = identity if index is None else f"{identity}.{index}"
        place = f"Grid Engine job {task}" + (f" on {state.node.rpartition('@')[2]}" if state.node else "")
        if "E" in state.word:
            # It would stay in the queue for ever.
            answer = call(["qstat", "-j", identity]).stdout
            call(["qdel", identity, *(["-t", str(index)] if index else [])])
            reasons = re.findall(r"^error reason\s*\d*:\s*(.*)", answer, re.MULTILINE)
            cause = f"could not be started: {'; '.join(dict.fromkeys(reasons)) or 'no reason given'}"
        elif "d" in state.word:
            cause = "deleted (qdel)"
        else:
            cause = (
                "left the queue without finishing its log: deleted, killed at its memory or time limit, or "
                f"its node went down; 'qacct -j {identity}' may know"
            )
        return cause, place

    def describe_wait(self, ids: list[str], reason: str) -> str:
        if "h" in reason:
            return f"{reason}: held; 'qrls {' '.join(ids)}' lets it go, unless it waits for another job"
        return reason


def _listing():
    """The user's jobs in the queue, as XML. Raises NoAnswer."""
    answer = call(["qstat", "-xml", "-u", pwd.getpwuid(os.getuid()).pw_name])
    if answer.returncode:
        raise NoAnswer(one_line(answer.stderr))
    from xml.etree import ElementTree  # takes its time, which the other launchers need not spend

    try:
        return ElementTree.fromstring(answer.stdout)
    except ElementTree.ParseError as error:
        raise NoAnswer(f"qstat -xml gave no XML: {error}") from None


def _message(said: str) -> str:
    return one_line(said.replace("Exiting.", "").replace("Unable to run job:", ""))


def _array_option(chunk: Chunk, throttle: int | None) -> list[str]:
    if chunk.indices == [None]:
        return []
    limit = ["-tc", str(throttle)] if throttle else []
    return ["-t", f"1-{len(chunk.indices)}", *limit]


def _valid_name(name: str) -> str:
    """Names must not start with a digit, nor hold some characters."""
    clean = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    return clean if re.match(r"[A-Za-z_]", clean) else f"j{clean}"


def _state(word: str, queue: str) -> State:
    """A state is letters: q queued, w waiting, h held, r running, t in transfer, d in deletion, E error."""
    if "E" in word:
        return State(ENDED, word, "error", queue, failed=True)
    if set(word) & set("rtRdsST"):
        return State(RUNNING, word, "", queue)
    return State(WAITING, word, word, queue)
