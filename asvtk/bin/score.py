"""Stage 4: score data sets with the best checkpoint of experiments, or with published weights.

  asvtk score --exp DIR ... --dump DIR --data DIR ...
      writes EXP/scores/NAME.txt for each; a score file that is up to date is left as it is
  asvtk score begin|job|join --exp DIR ... --dump DIR --data DIR ... --nj N
      the same by several jobs: begin checks all that can be checked and prints how many jobs there is
      work for; each job J scores its share (--job J), and join puts the shares together
  asvtk score --system aasist --weights AASIST.pth --data DIR --out FILE
      needs no experiment; AASIST-L.pth is told by its shapes

Score files have the official form, 'utterance attack key score'; higher = bona fide. The number of jobs
changes no score: jobs have whole batches of the data set.
"""

import sys
from contextlib import redirect_stdout

import torch

from asvtk.frontends.base import Crop
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import write_scores
from asvtk.io.stamps import file_digest
from asvtk.models import build_detector
from asvtk.models.aasist_weights import load_published
from asvtk.training.checkpoint import load_detector
from asvtk.training.data import UtteranceDataset, open_dataset
from asvtk.training.device import choose_device
from asvtk.training.experiment import Experiment
from asvtk.training.score_parts import ScoreParts
from asvtk.training.scoring import batches_of, score_dataset

#: systems with published weights -> what reads them
PUBLISHED = {"aasist": load_published}
PUBLISHED_BATCH = 8  # utterances at once; memory is all that depends on it

_EXPERIMENT_OPTIONS = ("exp", "dump")
_PUBLISHED_OPTIONS = ("system", "weights", "out")


def add_arguments(parser):
    parser.add_argument(
        "action", nargs="?", choices=("begin", "job", "join"), help="one step of several jobs"
    )
    parser.add_argument("--data", required=True, nargs="+", metavar="DIR", help="data directories to score")
    parser.add_argument("--ngpu", type=int, default=0, help="0: CPU, 1: GPU (default 0)")
    trained = parser.add_argument_group("with an experiment")
    trained.add_argument("--exp", nargs="+", metavar="DIR", help="folders of experiments")
    trained.add_argument("--dump", metavar="DIR", help="folder of the feature caches")
    trained.add_argument("--force", action="store_true", help="score again what is up to date")
    trained.add_argument("--nj", type=int, default=1, help="number of jobs (default 1)")
    trained.add_argument("--job", type=int, default=1, help="job: which of them, from 1 (default 1)")
    published = parser.add_argument_group("with published weights")
    published.add_argument("--system", choices=PUBLISHED, help="whose weights they are")
    published.add_argument("--weights", metavar="FILE", help="the weights, as their authors publish them")
    published.add_argument("--out", metavar="FILE", help="score file to write or replace")


def run(args):
    from_experiments = _check_options(args)
    # Only who computes needs the GPU; the host that submits may have none.
    device = choose_device(args.ngpu if args.action in (None, "job") else 0)
    # Scores are compared across machines: a GPU's convolutions would round to 10 bits otherwise.
    torch.backends.cudnn.allow_tf32 = False
    if from_experiments:
        _score_with_experiments(args, device)
    else:
        _score_with_published(args, device)


def _check_options(args) -> bool:
    """True: an experiment's options are given, and all of them; False: those of published weights."""
    given = {name for name in _EXPERIMENT_OPTIONS + _PUBLISHED_OPTIONS if getattr(args, name) is not None}
    if given == set(_EXPERIMENT_OPTIONS):
        if not 1 <= args.job <= args.nj:
            raise AsvtkError(f"--job {args.job} does not lie between 1 and --nj {args.nj}")
        if args.action is None and args.nj != 1:
            raise AsvtkError(
                f"--nj {args.nj}: goes with begin, job and join; without them one job does it all"
            )
        return True
    if given != set(_PUBLISHED_OPTIONS):
        said = " ".join(f"--{name}" for name in sorted(given)) or "neither"
        raise AsvtkError(
            "expected either --exp and --dump (an experiment) or --system, --weights and --out (published "
            f"weights); found {said}"
        )
    if len(args.data) != 1:
        raise AsvtkError(f"--out {args.out}: takes the scores of one data directory, found {len(args.data)}")
    if args.force:
        raise AsvtkError("--force: goes with --exp; --out is written anew in any case")
    if args.action is not None or args.nj != 1:
        raise AsvtkError("begin, job, join and --nj: go with --exp; published weights are one job's work")
    return False


def _score_with_experiments(args, device: str) -> None:
    experiments = [_Trained(folder) for folder in args.exp]
    data = [DataDirectory.read(path) for path in args.data]
    work = [_Work(experiment, of, args.dump) for experiment in experiments for of in data]
    if args.force and args.action in (None, "begin"):
        for of in work:
            of.scores.forget()
    todo = [of for of in work if not of.scores.is_complete()]
    if args.action == "begin":
        # Parts count as long as there are as many: that must not hang on which sets are finished.
        with redirect_stdout(sys.stderr):  # also what opening a data set has to say
            jobs = min(args.nj, max(of.count_batches() for of in work)) if todo else 0
        print(jobs)  # for the shell, and nothing else
        return
    for of in work:
        if of not in todo:
            print(f"{of.scores.path}: up to date")
    for of in todo:
        if args.action in (None, "job"):
            of.compute(device, args.job, args.nj)
        if args.action in (None, "join"):
            print(f"{of.scores.path}: {of.scores.join(args.nj)} trials")


class _Trained:
    """A finished experiment.

    Raises:
        AsvtkError: its training has not finished.
    """

    def __init__(self, folder):
        self.experiment = Experiment(folder)
        self.config, self.inputs = self.experiment.config(), self.experiment.inputs()
        if not self.experiment.done.exists():
            raise AsvtkError(
                f"{folder}: training has not finished; run stage 3 again, it goes on where it was"
            )
        self.checkpoint = self.experiment.checkpoints / "best.safetensors"
        self.digest = file_digest(self.checkpoint)

    def open(self, data: DataDirectory, dump) -> UtteranceDataset:
        return open_dataset(data, dump, self.config.frontend, self.inputs["features"], self.inputs["layers"])

    def detector(self, feature_shape):
        detector = build_detector(self.config.model, self.config.loss, *feature_shape)
        load_detector(self.checkpoint, detector)
        return detector


class _Work:
    """One data set that is scored with one experiment."""

    def __init__(self, trained: _Trained, data: DataDirectory, dump):
        self._trained, self._data, self._dump = trained, data, dump
        basis = {"checkpoint": trained.digest, "data": data.digest()}
        self.scores = ScoreParts(trained.experiment.scores(data.name), basis)
        self._batch_size = trained.config.training.batch_size

    def count_batches(self) -> int:
        return len(batches_of(len(self._trained.open(self._data, self._dump)), self._batch_size))

    def compute(self, device: str, job: int, num_jobs: int) -> None:
        """Write the part of a job, unless it is there."""
        part = self.scores.part(job, num_jobs)
        with self.scores.lock(job, num_jobs):
            if part.exists():
                print(f"{self._data.path}: part {job} of {num_jobs} is there")
                return
            dataset = self._trained.open(self._data, self._dump)
            detector = self._trained.detector(dataset.feature_shape)
            trials = _score(detector, self._data, dataset, self._batch_size, device, part, job, num_jobs)
            if num_jobs > 1:
                print(f"{self._data.path}: part {job} of {num_jobs}: {trials} trials")


def _score_with_published(args, device: str) -> None:
    detector = PUBLISHED[args.system](args.weights)
    data = DataDirectory.read(args.data[0])
    dataset = UtteranceDataset(data, [], Crop())
    print(f"{args.out}: {_score(detector, data, dataset, PUBLISHED_BATCH, device, args.out)} trials")


def _score(
    detector, data, dataset, batch_size: int, device: str, out, job: int = 1, num_jobs: int = 1
) -> int:
    """Write the scores of a job's share; returns the number of trials."""
    scores = score_dataset(detector.to(device), dataset, batch_size, device, job, num_jobs)
    batches = batches_of(len(dataset), batch_size, job, num_jobs)
    utterances = [dataset.utterances[index] for batch in batches for index in batch]
    attacks, labels = ([table[u] for u in utterances] for table in (data.attack, data.label))
    write_scores(out, utterances, attacks, labels, scores)
    return len(scores)
