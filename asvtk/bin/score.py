"""Stage 4: score data sets with the best checkpoint of experiments, or with published weights.

  asvtk score --exp DIR ... --dump DIR --data DIR ...
      writes EXP/scores/NAME.txt for each; a score file that is up to date is left as it is
  asvtk score begin|job|join --exp DIR ... --dump DIR --data DIR ... --nj N
      the same by several jobs: begin checks all that can be checked and prints how many jobs there is
      work for; each job J scores its share (--job J), and join puts the shares together
  asvtk score --system aasist --weights AASIST.pth --data DIR --out FILE
      needs no experiment; AASIST-L.pth is told by its shapes
  asvtk score --model NAME.asvtk.tar --audio FOLDER_OR_FILE ... [--out scores.tsv]
      audio of any kind, by what 'asvtk pack' made: a table of file, score, and bonafide or spoof by the
      threshold chosen on dev; with --data DIR --out FILE instead, the scores of a data directory

Scores of data directories have the official form, 'utterance attack key score'; higher = bona fide. The
number of jobs changes no score: jobs have whole batches of the data set.
"""

import sys
from contextlib import redirect_stdout

from asvtk.bin.arguments import check_share, whole_number
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import write_scores
from asvtk.training.device import choose_device
from asvtk.training.score_parts import ScoreParts

PUBLISHED = ("aasist",)  # systems with published weights
PUBLISHED_BATCH = 8  # utterances at once; memory is all that depends on it

_EXPERIMENT_OPTIONS = ("exp", "dump")
_PUBLISHED_OPTIONS = ("system", "weights", "out")


def add_arguments(parser):
    parser.add_argument(
        "action", nargs="?", choices=("begin", "job", "join"), help="one step of several jobs"
    )
    parser.add_argument("--data", nargs="+", metavar="DIR", help="data directories to score")
    parser.add_argument("--out", metavar="FILE", help="score file to write or replace; not with --exp")
    parser.add_argument("--ngpu", type=whole_number(), default=0, help="0: CPU, 1: GPU (default 0)")
    trained = parser.add_argument_group("with an experiment")
    trained.add_argument("--exp", nargs="+", metavar="DIR", help="folders of experiments")
    trained.add_argument("--dump", metavar="DIR", help="folder of the feature caches")
    trained.add_argument("--force", action="store_true", help="score again what is up to date")
    trained.add_argument("--nj", type=whole_number(1), default=1, help="number of jobs (default 1)")
    trained.add_argument("--job", type=whole_number(1), default=1, help="job: which, from 1 (default 1)")
    published = parser.add_argument_group("with published weights")
    published.add_argument("--system", choices=PUBLISHED, help="whose weights they are")
    published.add_argument("--weights", metavar="FILE", help="the weights, as their authors publish them")
    packed = parser.add_argument_group("with a packed model")
    packed.add_argument(
        "--model", metavar="FILE", help="what 'asvtk pack' made, or a folder it was unpacked to"
    )
    packed.add_argument("--audio", nargs="+", metavar="PATH", help="audio files, and folders of them")
    packed.add_argument(
        "--ssl-model", metavar="DIR", help="directory of the front-end's model, if it has one"
    )


def run(args):
    check_share(args.job, args.nj)
    from_experiments = args.model is None and _check_options(args)
    import torch

    # Only who computes needs the GPU; the host that submits may have none.
    device = choose_device(args.ngpu if args.action in (None, "job") else 0)
    # Scores are compared across machines: a GPU's convolutions would round to 10 bits otherwise.
    torch.backends.cudnn.allow_tf32 = False
    if args.model is not None:
        _refuse_others(args)
        from asvtk.bin.score_packed import score_packed

        score_packed(args, device)
    elif from_experiments:
        _score_with_experiments(args, device)
    else:
        _score_with_published(args, device)


def _refuse_others(args) -> None:
    for name in ("exp", "dump", "system", "weights", "force"):
        if getattr(args, name):
            raise AsvtkError(f"--{name} does not go with --model")
    if args.action is not None or args.nj != 1:
        raise AsvtkError("begin, job, join and --nj: go with --exp; a packed model is one job's work")


def _check_options(args) -> bool:
    """True: an experiment's options are given, and all of them; False: those of published weights."""
    if args.data is None or args.audio is not None or args.ssl_model is not None:
        raise AsvtkError("--data DIR says what to score; --audio and --ssl-model go with --model")
    given = {name for name in _EXPERIMENT_OPTIONS + _PUBLISHED_OPTIONS if getattr(args, name) is not None}
    if given == set(_EXPERIMENT_OPTIONS):
        if args.action is None and args.nj != 1:
            raise AsvtkError(
                f"--nj {args.nj}: goes with begin, job and join; without them one job does it all"
            )
        return True
    if given != set(_PUBLISHED_OPTIONS):
        said = " ".join(f"--{name}" for name in sorted(given)) or "neither"
        raise AsvtkError(
            "expected either --exp and --dump (an experiment) or --system, --weights and --out (published "
            f"weights) or --model (a packed model); found {said}"
        )
    if len(args.data) != 1:
        raise AsvtkError(f"--out {args.out}: takes the scores of one data directory, found {len(args.data)}")
    if args.force:
        raise AsvtkError("--force: goes with --exp; --out is written anew in any case")
    if args.action is not None or args.nj != 1:
        raise AsvtkError("begin, job, join and --nj: go with --exp; published weights are one job's work")
    return False


def _score_with_experiments(args, device: str) -> None:
    from asvtk.training.assembly import TrainedSystem
    from asvtk.training.experiment_folder import Experiment

    systems = [TrainedSystem(Experiment(folder), args.dump) for folder in args.exp]
    data = [DataDirectory.read(path) for path in args.data]
    work = [_Work(system, of) for system in systems for of in data]
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


class _Work:
    """One data set that is scored with one experiment."""

    def __init__(self, system, data: DataDirectory):
        self._system, self._data = system, data
        basis = {"checkpoint": system.digest, "data": data.digest()}
        self.scores = ScoreParts(system.experiment.scores(data.name), basis)
        self._batch_size = system.config.training.batch_size

    def count_batches(self) -> int:
        from asvtk.training.scoring import batches_of

        return len(batches_of(len(self._system.open(self._data)), self._batch_size))

    def compute(self, device: str, job: int, num_jobs: int) -> None:
        """Write the part of a job, unless it is there."""
        part = self.scores.part(job, num_jobs)
        with self.scores.lock(job, num_jobs):
            if self.scores.is_complete():  # since another run joined it
                print(f"{self.scores.path}: up to date")
                return
            if part.exists():
                print(f"{self._data.path}: part {job} of {num_jobs} is there")
                return
            dataset = self._system.open(self._data)
            detector = self._system.detector(dataset)
            trials = _score(detector, self._data, dataset, self._batch_size, device, part, job, num_jobs)
            if num_jobs > 1:
                print(f"{self._data.path}: part {job} of {num_jobs}: {trials} trials")


def _score_with_published(args, device: str) -> None:
    from asvtk.bin.score_packed import without_scores
    from asvtk.frontends.base import Crop
    from asvtk.models.aasist_weights import load_published
    from asvtk.training.data import UtteranceDataset
    from asvtk.training.scoring import undecodable

    detector = load_published(args.weights)
    data = DataDirectory.read(args.data[0])
    faults = undecodable(data)
    data = data.subset(u for u in data.utterances if u not in faults)
    if data.utterances:
        dataset = UtteranceDataset(data, [], Crop())
        print(f"{args.out}: {_score(detector, data, dataset, PUBLISHED_BATCH, device, args.out)} trials")
    if faults:
        raise AsvtkError(without_scores(list(faults.values()), len(data.utterances)))


def _score(
    detector, data, dataset, batch_size: int, device: str, out, job: int = 1, num_jobs: int = 1
) -> int:
    """Write the scores of a job's share; returns the number of trials."""
    from asvtk.training.scoring import batches_of, require_finite_scores, score_dataset

    scores = score_dataset(detector.to(device), dataset, batch_size, device, job, num_jobs)
    batches = batches_of(len(dataset), batch_size, job, num_jobs)
    utterances = [dataset.utterances[index] for batch in batches for index in batch]
    require_finite_scores(utterances, scores, out)
    attacks, labels = ([table[u] for u in utterances] for table in (data.attack, data.label))
    write_scores(out, utterances, attacks, labels, scores)
    return len(scores)
