"""The score file of a data set, which several jobs write a part of each.

    EXP/scores/NAME.txt                        all scores
    EXP/scores/.NAME.done                      what they are scores of: checkpoint and data
    EXP/scores/.NAME.parts/DIGEST/J.of.N.txt   until then: the part of job J, for the same checkpoint and data

Parts and the file are written in one step each, and a part that is there is not computed again: a job
that was killed or put back into a queue loses its own part at most.
"""

import shutil

from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.locks import locked
from asvtk.io.stamps import digest, read_stamp, write_stamp

__all__ = ["ScoreParts"]


class ScoreParts:
    """One score file and its parts.

    Args:
        path: the score file, a ``Path``.
        basis: what the scores depend on, in words; parts and files of another basis do not count.
    """

    def __init__(self, path, basis: dict):
        self.path, self._basis = path, basis
        self._stamp = path.with_name(f".{path.stem}.done")
        self._folder = path.with_name(f".{path.stem}.parts")
        self._parts = self._folder / digest(basis)[:12]

    def is_complete(self) -> bool:
        """Whether the score file is there, and of this basis."""
        return self.path.exists() and read_stamp(self._stamp) == self._basis

    def forget(self) -> None:
        """Have everything scored again; the file stays until it is replaced."""
        self._stamp.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def part(self, job: int, num_jobs: int):
        """Path of the part of job ``job``, 1 ... ``num_jobs``; it exists when it is whole."""
        return self._parts / f"{job}.of.{num_jobs}.txt"

    def lock(self, job: int, num_jobs: int):
        """One process at a time computes a part; another one waits."""
        # Not beside the parts, which go when they are joined.
        name = f".{self.path.stem}.{job}.of.{num_jobs}.lock"
        return locked(self.path.with_name(name), "scores this part")

    def join(self, num_jobs: int) -> int:
        """Put the parts of all jobs together, in their order; returns the number of trials.

        Raises:
            AsvtkError: parts are missing, or the disk is full; the parts stay.
        """
        with locked(self.path.with_name(f".{self.path.stem}.lock"), "joins the scores"):
            if self.is_complete():  # by another run
                return self.path.read_bytes().count(b"\n")
            return self._join(num_jobs)

    def _join(self, num_jobs: int) -> int:
        parts = [self.part(job, num_jobs) for job in range(1, num_jobs + 1)]
        if missing := [part.name for part in parts if not part.exists()]:
            raise AsvtkError(
                f"{self._parts}: {len(missing)} of {num_jobs} parts are missing: {listing(missing)}; "
                "run stage 4 again, it goes on where it was"
            )
        trials = 0
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            for part in parts:
                lines = part.read_bytes()
                file.write(lines)
                trials += lines.count(b"\n")
        write_stamp(self._stamp, self._basis)
        shutil.rmtree(self._folder, ignore_errors=True)
        return trials
