"""Scores of a dataset, and the shards of a score file that several jobs write.

    EXP/scores/NAME.txt                        all scores
    EXP/scores/.NAME.done                      what they are scores of: checkpoint and data
    EXP/scores/.NAME.parts/DIGEST/J.of.N.txt   until then: the shard of job J, of the same basis

Shards and the file are written in one step each, and a shard that is there is not computed again: a job
that was killed or put back into a queue loses its own shard at most.
"""

import math
import shutil
from itertools import chain

import torch
from torch import nn

from asvtk.io.atomic import atomic_path
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.locks import locked
from asvtk.io.stamps import digest, read_stamp, write_stamp
from asvtk.training import distributed
from asvtk.training.dataloader import Loader
from asvtk.training.dataset import UtteranceDataset

__all__ = ["ScoreShards", "batches_of", "require_finite_scores", "score_dataset"]


def batches_of(utterances: int, batch_size: int, job: int = 1, num_jobs: int = 1) -> list[list[int]]:
    """The batches of a job's share of a data set: numbers of utterances, in order.

    A job has whole batches of the data set, whatever the number of jobs. Each utterance is thus computed
    in the same company, and on a CPU gets the same score bit for bit.

    Args:
        utterances: how many the data set has.
        batch_size: utterances in a batch.
        job, num_jobs: which share, 1 ... ``num_jobs``; empty where there are fewer batches than jobs.
    """
    begins = range(0, utterances, batch_size)
    share = begins[len(begins) * (job - 1) // num_jobs : len(begins) * job // num_jobs]
    return [list(range(begin, min(begin + batch_size, utterances))) for begin in share]


@torch.inference_mode()
def score_dataset(
    detector: nn.Module,
    dataset: UtteranceDataset,
    batch_size: int,
    device: str,
    job: int = 1,
    num_jobs: int = 1,
) -> list[float]:
    """Scores of a job's share, in the order of ``batches_of``; higher = bona fide. Sets evaluation mode.

    The processes of ``torchrun`` share the batches, and all of them get all scores.
    """
    detector.eval()
    dataset.serve(detector.model)
    batches = batches_of(len(dataset), batch_size, job, num_jobs)
    own = Loader(dataset, device)(distributed.share(batches))
    scores = [detector.score_prepared(inputs).tolist() for inputs, _ in own]
    return list(chain.from_iterable(distributed.gather(scores, len(batches))))


def require_finite_scores(utterances: list[str], scores: list[float], system) -> None:
    """
    Raises:
        AsvtkError: scores are nan or infinite; names ``system`` and the utterances.
    """
    bad = [u for u, score in zip(utterances, scores, strict=True) if not math.isfinite(score)]
    if bad:
        raise AsvtkError(
            f"{system}: gives {len(bad)} of {len(scores)} utterances scores that are not finite: "
            f"{listing(bad, 3)}; look at their audio or features. Nothing was written"
        )


class ScoreShards:
    """One score file and its shards.

    Args:
        path: the score file, a ``Path``.
        basis: what the scores depend on, in words; shards and files of another basis do not count.
    """

    def __init__(self, path, basis: dict):
        self.path, self._basis = path, basis
        self._stamp = path.with_name(f".{path.stem}.done")
        self._folder = path.with_name(f".{path.stem}.parts")
        self._shards = self._folder / digest(basis)[:12]

    def is_complete(self) -> bool:
        """Whether the score file is there, and of this basis."""
        return self.path.exists() and read_stamp(self._stamp) == self._basis

    def refuse_other_set(self, data: DataDirectory) -> None:
        """
        Raises:
            AsvtkError: the score file is of another data set of the same name, which has no utterance of this
                one.
        """
        stamp = read_stamp(self._stamp) or {}
        if not self.path.exists() or stamp.get("data") in (None, self._basis.get("data")):
            return
        with open(self.path, errors="replace") as lines:
            if all(line.partition(" ")[0] not in data.wav for line in lines):
                raise AsvtkError(
                    f"{self.path}: holds scores of another data set called {data.name!r}, which has no "
                    f"utterance of {data.path}; give this data directory another name, or --force true to "
                    "replace the scores"
                )

    def forget(self) -> None:
        """Have everything scored again; the file stays until it is replaced."""
        self._stamp.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def shard(self, job: int, num_jobs: int):
        """Path of the shard of job ``job``, 1 ... ``num_jobs``; it exists when it is whole."""
        return self._shards / f"{job}.of.{num_jobs}.txt"

    def lock(self, job: int, num_jobs: int):
        """One process at a time computes a shard; another one waits."""
        # Not beside the shards, which go when they are joined.
        name = f".{self.path.stem}.{job}.of.{num_jobs}.lock"
        return locked(self.path.with_name(name), "scores this shard")

    def join(self, num_jobs: int) -> int:
        """Put the shards of all jobs together, in their order; returns the number of trials.

        Raises:
            AsvtkError: shards are missing, or the disk is full; the shards stay.
        """
        with locked(self.path.with_name(f".{self.path.stem}.lock"), "joins the scores"):
            if self.is_complete():  # by another run
                return self.path.read_bytes().count(b"\n")
            return self._join(num_jobs)

    def _join(self, num_jobs: int) -> int:
        shards = [self.shard(job, num_jobs) for job in range(1, num_jobs + 1)]
        if missing := [shard.name for shard in shards if not shard.exists()]:
            raise AsvtkError(
                f"{self._shards}: {len(missing)} of {num_jobs} shards are missing: {listing(missing)}; "
                "run stage 4 again, it goes on where it was"
            )
        trials = 0
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            for shard in shards:
                lines = shard.read_bytes()
                file.write(lines)
                trials += lines.count(b"\n")
        write_stamp(self._stamp, self._basis)
        shutil.rmtree(self._folder, ignore_errors=True)
        return trials
