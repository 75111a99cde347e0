"""The files of a submission: the script of its jobs, what the scheduler says, and a note of its ids.

They stand in the folder q/ beside the folder log/ of the logs (or in the logs' folder, if that has
another name), under the log's own name:

    q/score.JOB.sh       the script (score.JOB.2.sh ... for further arrays)
    q/score.JOB.out      what the scheduler itself has to say; mostly empty
    q/score.JOB.ids      the jobs that are in the queue; gone when they have ended
"""

import contextlib
import os
import shlex
import zlib

from launcher import body, ranges
from launcher.grammar import Request
from launcher.logs import DATE, RESTART
from launcher.machine import thread_variables
from launcher.messages import CannotStart
from launcher.scheduler import Chunk

# The job numbers itself, then writes its log as run.py would, between a cluster's header and trailer. The
# command is expanded here and not by the launcher, so that one script serves a whole array.
TEMPLATE = r"""#!/bin/bash
# One job of {log}; made by the launcher, which waits for it.
{{
cd {folder} || exit 1
job_log={quoted_log}
job_command={command}
{number}
job_opening={opening}
job_closing={closing}
now() {{ LC_ALL=C date '+{date}'; }}
end_line() {{ [ -f "$job_log" ] && [ -n "$(tail -c 1 "$job_log")" ] && echo; }}
job_started="# Started at"
# What there is comes from an earlier try of this job: its node was lost, say.
[ -s "$job_log" ] && job_started="{restart}"
exec >>"$job_log" 2>&1 </dev/null || exit 1
end_line
echo "# Running on ${{SLURMD_NODENAME:-$HOSTNAME}}"
echo "$job_started $(now)"
for name in ${{!SLURM*}}; do printf '# %s=%s\n' "$name" "${{!name}}"; done
printf '# %s\n#\n' "${{job_command//$'\n'/$'\n# '}}"
{defaults}
job_begin=$(date +%s)
trap 'end_line; echo "# Interrupted by SIGTERM at $(now)"; exit 143' TERM
printf '%s' "$job_opening$job_command$job_closing" | bash
job_status=${{PIPESTATUS[1]}}
end_line
job_end=$(date +%s)
echo "# Accounting: begin_time=$job_begin"
echo "# Accounting: end_time=$job_end"
echo "# Accounting: time=$((job_end - job_begin)) threads={threads}"
echo "# Finished at $(now) with status $job_status"
exit $((job_status > 0))   # Grid Engine would start a job that ends with 99 once more
}}
"""


class Files:
    """The paths of a submission's files."""

    def __init__(self, request: Request) -> None:
        folder, name = os.path.split(request.log)
        parts = folder.split("/")
        if request.job_name:  # logs in a folder of each job: q/ stands above these folders
            numbered = [at for at, part in enumerate(parts) if request.job_name in part]
            parts = parts[: numbered[0]] if numbered else parts
        if parts and parts[-1] == "log":
            parts.pop()
        self.folder = os.path.join("/".join(parts) or ("/" if folder.startswith("/") else ""), "q")
        self.base = os.path.join(self.folder, name[:-4] if name.endswith(".log") else name)
        self.output = os.path.abspath(f"{self.base}.out")
        self.ids = f"{self.base}.ids"

    def script(self, place: int) -> str:
        """Path of the script of the chunk that is the ``place``th, from 0."""
        return f"{self.base}.sh" if place == 0 else f"{self.base}.{place + 1}.sh"

    def write(self, path: str, text: str) -> None:
        """Raises CannotStart if the folder or the file cannot be written."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            with open(f"{path}.tmp", "wb") as stream:
                stream.write(os.fsencode(text))
            os.replace(f"{path}.tmp", path)
        except OSError as error:
            raise CannotStart(f"cannot write {path}: {error.strerror}") from None


def script(request: Request, chunk: Chunk, index_variable: str) -> str:
    """The script of a chunk's jobs."""
    defaults, demands = thread_variables(request)
    quoted = {name: shlex.quote(text) for name, text in (("log", request.log), ("command", request.command))}
    return TEMPLATE.format(
        log=request.log.replace("\n", " "),
        folder=shlex.quote(body.working_folder()),
        quoted_log=quoted["log"],
        command=quoted["command"],
        number=_number(request, chunk, index_variable),
        opening=shlex.quote(body.opening(demands)),
        closing=shlex.quote(body.CLOSING),
        date=DATE,
        restart=RESTART.rstrip(),
        defaults="\n".join(f"export {name}=${{{name}-{value}}}" for name, value in defaults.items()),
        threads=request.num_threads or 1,
    )


def _number(request: Request, chunk: Chunk, variable: str) -> str:
    """The lines that put the job's number in place of the job name, as blind text."""
    if request.job_name is None:
        return ""
    offsets = {number - index for number, index in zip(chunk.numbers, chunk.indices, strict=True)}
    if len(offsets) == 1:
        lines = [f"job_number=$(({variable} + {offsets.pop()}))"]
    else:
        lines = [
            f"job_numbers=(0 {' '.join(map(str, chunk.numbers))})",
            f"job_number=${{job_numbers[{variable}]}}",
        ]
    lines += [f"{text}=${{{text}//{request.job_name}/$job_number}}" for text in ("job_log", "job_command")]
    return "\n".join(lines)


def fingerprint(request: Request) -> str:
    """Tells this command from any other that writes the same logs."""
    parts = (request.job_name or "", request.log, request.command, body.working_folder())
    text = os.fsencode("\0".join(parts))
    return f"{zlib.crc32(text):08x}-{len(text)}"  # hashlib would take a tenth of the time to start


class Note:
    """The jobs in the queue, noted for a launcher that comes after this one was killed.

    A first line with the command's fingerprint, then for each array: id, indices, numbers.
    """

    def __init__(self, files: Files, print_of: str) -> None:
        self.files = files
        self.fingerprint = print_of
        self.entries: list[tuple[str, Chunk]] = []

    @property
    def ids(self) -> list[str]:
        return [identity for identity, _ in self.entries]

    def add(self, identity: str, chunk: Chunk) -> None:
        self.entries.append((identity, chunk))
        lines = [self.fingerprint]
        for entry, of in self.entries:
            indices = "-" if of.indices == [None] else ranges.compress(of.indices)
            lines.append(f"{entry} {indices} {ranges.compress(of.numbers)}")
        self.files.write(self.files.ids, "\n".join(lines) + "\n")

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.files.ids)

    @classmethod
    def read(cls, files: Files) -> "Note | None":
        """The note of an earlier launcher; None if there is none that can be understood."""
        try:
            with open(files.ids, encoding="utf-8") as stream:
                lines = stream.read().splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        note = cls(files, lines[0] if lines else "")
        for fields in map(str.split, lines[1:]):
            if len(fields) == 3:
                indices = [None] if fields[1] == "-" else ranges.expand(fields[1])
                numbers = ranges.expand(fields[2])
                if len(indices) == len(numbers):
                    note.entries.append((fields[0], Chunk(numbers, indices)))
        return note if note.entries else None
