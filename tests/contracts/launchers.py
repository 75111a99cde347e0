"""The three launchers as the contract tests run them: where a scheduler is needed, with a stand-in for it."""

import re
import subprocess
import sys
from pathlib import Path

UTILS = Path(__file__).resolve().parents[2] / "utils"
OF_THE_JOB = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PWD")
OF_THE_SITE = ("XDG_CONFIG_HOME", "ASVTK_SLURM_CONF", "ASVTK_SGE_CONF")
# -I -S: the standard library is all that a launcher may need, and it starts in a third of the time.
PYTHON = [sys.executable, "-I", "-S"]
RUN = [*PYTHON, str(UTILS / "run.py")]
COMMANDS = ("sbatch", "squeue", "scontrol", "scancel", "qsub", "qstat", "qconf", "qdel")

# As slurm.py and sge.py themselves, but they look at the queue at once.
IMPATIENT = """\
import sys; sys.path.insert(0, {utils!r})
from launcher import cluster, front, scheduler, watch
from launcher.{module} import {name}
cluster.LOOKS, scheduler.TIMEOUT = (0, 0), 2.0
cluster.SHORTEST_PAUSE, watch.SHARED_FILES, watch.NEVER_RAN = 0.01, 0.3, 0.1
sys.exit(front.main({program!r}, "", cluster.run_on({name}())))
"""


def impatient(module: str, name: str) -> list[str]:
    code = IMPATIENT.format(utils=str(UTILS), module=module, name=name, program=f"{module}.py")
    return [*PYTHON, "-c", code]


class Launcher:
    """One launcher.

    Args:
        program: its name, with which its messages begin.
        command: how to start it.
        trailer: what the last line of a log with this exit code begins with.
    """

    def __init__(self, program: str, command: list[str], trailer) -> None:
        self.program = program
        self.command = command
        self.trailer = trailer
        self.is_cluster = program != "run.py"

    def __call__(self, *words, **options) -> subprocess.CompletedProcess:
        return subprocess.run([*self.command, *words], capture_output=True, text=True, timeout=30, **options)

    def said(self, result) -> list[str]:
        """What it wrote to stderr, less the line that tells which jobs were submitted."""
        assert result.stdout == ""
        submitted = rf"{re.escape(self.program)}: job [\d ]+ submitted, log is in .*"
        return [line for line in result.stderr.splitlines() if not re.fullmatch(submitted, line)]

    def silent(self, result) -> None:
        assert (result.returncode, self.said(result)) == (0, [])

    def refused(self, result, status: int, *texts: str) -> None:
        """One line with all these texts."""
        assert result.returncode == status, result.stderr
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert result.stderr.startswith(f"{self.program}: ")
        for text in texts:
            assert text in result.stderr

    def ended(self, log, code: int) -> bool:
        """Does the trailer of this log tell this exit code?"""
        return self.trailer(code) in Path(log).read_text().splitlines()[-1]


LAUNCHERS = {
    "run.py": Launcher("run.py", RUN, lambda code: f"# Ended (code {code}) at "),
    "slurm.py": Launcher("slurm.py", impatient("slurm", "Slurm"), lambda code: f" with status {code}"),
    "sge.py": Launcher("sge.py", impatient("sge", "GridEngine"), lambda code: f" with status {code}"),
}


def install(folder: Path) -> None:
    """Put the stand-ins for the schedulers' commands into ``folder``."""
    text = (Path(__file__).parent / "fake_cluster.py").read_text()
    for name in COMMANDS:
        tool = folder / name
        tool.write_text(f"#!{sys.executable} -IS\n{text}")
        tool.chmod(0o755)


def output(log) -> str:
    """What the job itself wrote: the log less its header and trailer lines."""
    return "".join(
        line + "\n"
        for line in Path(log).read_text().splitlines()
        if not line.startswith("# ") and line != "#"
    )
