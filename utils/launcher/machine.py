"""What jobs may use: the GPUs and CPUs of this machine, and how many threads a job is told to start."""

import os
import re
import subprocess
from typing import NamedTuple

from launcher.grammar import Request
from launcher.messages import CannotStart

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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


class Slot(NamedTuple):
    """A place for one job at a time."""

    variables: dict = {}  # that pin the job to its GPUs
    cpus: set[int] | None = None  # the CPUs that it is kept to; None: all


def slots(request: Request) -> list[Slot]:
    """One for each job that may run at the same time.

    Jobs with GPUs that run at the same time share the CPUs evenly: each of them takes all that it sees.

    Raises:
        CannotStart: there are fewer GPUs than one job wants.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if request.gpus == 0:
        free = max(1, len(cpus) // (request.num_threads or 1))
        return [Slot()] * min(request.max_jobs_run or free, request.total)
    names = visible_gpus()
    if len(names) < request.gpus:
        source = "CUDA_VISIBLE_DEVICES" if "CUDA_VISIBLE_DEVICES" in os.environ else "nvidia-smi -L"
        raise CannotStart(
            f"each job needs {request.gpus} GPU(s) (--gpu), but {source} offers {len(names)}; "
            "nothing was started"
        )
    places = range(0, len(names) - request.gpus + 1, request.gpus)[: request.max_jobs_run]
    at_once = min(len(places), request.total)
    share = len(cpus) // at_once
    return [
        Slot(
            {"CUDA_VISIBLE_DEVICES": ",".join(names[at : at + request.gpus])},
            set(cpus[number * share : (number + 1) * share]) if at_once > 1 and share else None,
        )
        for number, at in enumerate(places[:at_once])
    ]


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
