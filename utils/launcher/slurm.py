"""Slurm: sbatch, squeue, scontrol, scancel."""

import os
import re

from launcher import ranges
from launcher.messages import UsageError
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

WAITING_WORDS = (
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
)
RUNNING_WORDS = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
# Jobs that can start when nothing else changes are no fault: all nodes are busy, or down just now.
TRANSIENT = ("busy", "down, drained or reserved", "unavailable", "temporarily")


class Slurm(Scheduler):
    name, title = "slurm", "Slurm"
    cancel_with, index_variable = "scancel", "SLURM_ARRAY_TASK_ID"
    tools = ("squeue", "scontrol", "scancel")
    # No partition is named: every site has a default one. The jobs of recipes may be started again.
    builtin = """\
command sbatch --export=ALL --requeue
option mem=* --mem-per-cpu $0
option mem=0
option num_threads=* --cpus-per-task $0 --ntasks-per-node=1
option time=* --time $0
option gpu=* --gres=gpu:$0
option gpu=0
"""

    def pass_on(self, option: str, values: list[str]) -> list[str]:
        if option == "-V":  # "the whole environment" for Grid Engine, which is so here anyway
            return []
        if option == "-pe":
            raise UsageError("-pe is an option of Grid Engine; --num-threads asks Slurm for CPUs")
        return [option, *values]

    def chunks(self, numbers: list[int], is_array: bool) -> list[Chunk]:
        if not is_array:
            return [Chunk(numbers, [None])]
        answer = call(["scontrol", "show", "config"], environment())
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer.stdout, re.MULTILINE)
        longest = max(1, int(found[1]) - 1 if found else 1000)  # MaxArraySize itself is no valid index
        # Each array has the numbers from k * longest + 1 on, less k * longest.
        groups: dict[int, list[int]] = {}
        for number in numbers:
            groups.setdefault((number - 1) // longest * longest, []).append(number)
        return [Chunk(group, [number - offset for number in group]) for offset, group in groups.items()]

    def preflight(self, words: list[str], chunk: Chunk, script: str) -> None:
        answer = call([*words, "--test-only", *array_option(chunk, None), script], environment())
        message = one_line(answer.stderr)
        if answer.returncode and not any(words in message for words in TRANSIENT):
            raise Refused(message)

    def submit(self, words, chunk, script, output, name, throttle, after) -> str:
        options = ["--parsable", f"--job-name={name}", "--output", output.replace("%", "%%")]
        options += ["--open-mode=append", *array_option(chunk, throttle)]
        if after:
            options.append(f"--dependency=afterany:{after}")
        try:
            answer = call([*words, *options, script], environment())
        except TimedOut as error:
            raise Unclear(str(error)) from None
        if answer.returncode:
            raise Refused(one_line(answer.stderr))
        # Sites put a banner before or after it, or a wrapper that forgets --parsable.
        printed = f"{answer.stdout}\n{answer.stderr}"
        ids = re.findall(r"Submitted batch job (\d+)", printed) or re.findall(
            r"^(\d+)(?:;[\w.-]+)?[ \t\r]*$", printed, re.MULTILINE
        )
        if len(set(ids)) != 1:
            raise Unclear(f"sbatch printed no job's id: {one_line(printed)[:200]}")
        return ids[0]

    def find(self, name: str) -> list[str]:
        listing = ["squeue", "--noheader", "--states=all", "--me", f"--name={name}", "--format=%F"]
        answer = call(listing, environment())
        if answer.returncode:
            raise NoAnswer(one_line(answer.stderr))
        return list(dict.fromkeys(re.findall(r"^\s*(\d+)\s*$", answer.stdout, re.MULTILINE)))

    def poll(self, ids: list[str]) -> dict[tuple[str, Index], State]:
        listing = [
            "squeue",
            "--noheader",
            "--states=all",
            f"--jobs={','.join(ids)}",
            "--format=%F|%K|%T|%N|%r",
        ]
        answer = call(listing, environment())
        if answer.returncode and "Invalid job id" not in answer.stderr:
            raise NoAnswer(one_line(answer.stderr))
        states = {}
        for line in answer.stdout.splitlines():
            fields = line.split("|", 4)
            if len(fields) == 5:
                array_id, index, word, node, reason = (field.strip() for field in fields)
                state = _state(word, reason, node)
                for task in [None] if index == "N/A" else ranges.expand(index):
                    states[array_id, task] = state
        return states

    def explain(self, identity: str, index: Index, state: State, said: list[str]) -> tuple[str, str]:
        task = identity if index is None else f"{identity}_{index}"
        place = f"Slurm job {task} on {state.node}" if state.node else f"Slurm job {task}"
        record = call(["scontrol", "--oneliner", "show", "job", task], environment()).stdout
        facts = dict(re.findall(r"(\w+)=(\S*)", record.partition("\n")[0]))
        # Where no control groups keep the memory limit, it shows nowhere but in these words.
        about_memory = re.compile(rf"StepId={facts.get('JobId', task)}\b.*memory limit")
        word = "OUT_OF_MEMORY" if any(about_memory.search(line) for line in said) else state.word
        cause = {
            "CANCELLED": "cancelled (scancel)",
            "TIMEOUT": f"killed at its time limit, {facts.get('TimeLimit', 'which')} (--time sets it)",
            "OUT_OF_MEMORY": "killed for using more memory than it had asked for (--mem sets it)",
            "NODE_FAIL": "its node went down",
            "PREEMPTED": "preempted by other jobs",
        }.get(word)
        if cause is None:
            code = facts.get("ExitCode", "?")
            reason = f", {state.reason}" if state.reason not in ("", "None") else ""
            cause = f"ended before it had finished its log ({state.word}{reason}, exit code {code})"
            if code in ("0:9", "0:15"):
                cause += "; something on its node killed it"
            elif state.reason == "JobLaunchFailure":
                cause += "; can its node see and write this folder?"
        return cause, place

    def describe_wait(self, ids: list[str], reason: str) -> str:
        if "Held" in reason or "held" in reason or "Hold" in reason:
            return f"{reason}: it will not start by itself; 'scontrol release {' '.join(ids)}' lets it go"
        return reason


def array_option(chunk: Chunk, throttle: int | None) -> list[str]:
    if chunk.indices == [None]:
        return []
    limit = f"%{throttle}" if throttle else ""
    return [f"--array={ranges.compress(chunk.indices)}{limit}"]


def environment() -> dict:
    """This environment, less what would change the meaning of the commands.

    SQUEUE_* filter the listing, SBATCH_WAIT makes sbatch wait; the SLURM_* of the job that a recipe
    itself may run in are not for its jobs.
    """
    kept = ("SLURM_CONF", "SLURM_JWT", "SLURM_CLUSTERS")
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(("SQUEUE_", "SLURM_")) and name != "SBATCH_WAIT"
    }


def _state(word: str, reason: str, node: str) -> State:
    if word in WAITING_WORDS:
        return State(WAITING, word, reason, node)
    if word in RUNNING_WORDS:
        return State(RUNNING, word, reason, node)
    return State(ENDED, word, reason, node, failed=word != "COMPLETED")
