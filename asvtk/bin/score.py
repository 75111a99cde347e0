"""Stage 4: score data sets with the best checkpoint of an experiment, or with published weights.

  asvtk score --exp DIR --dump DIR --data DIR ...
      writes EXP/scores/NAME.txt for each; a score file that is up to date is left as it is
  asvtk score --system aasist --weights AASIST.pth --data DIR --out FILE
      needs no experiment; AASIST-L.pth is told by its shapes
  asvtk score --model NAME.asvtk.tar --audio FOLDER_OR_FILE ... [--out scores.tsv]
      audio of any kind, by what 'asvtk pack' made: a table of file, score, and bonafide or spoof by the
      threshold chosen on dev; with --data DIR --out FILE instead, the scores of a data directory

Scores of data directories have the official form, 'utterance attack key score'; higher = bona fide.
"""

import torch

from asvtk.bin.score_packed import add_packed_arguments, score_packed
from asvtk.frontends.base import Crop
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import write_scores
from asvtk.io.stamps import file_digest, read_stamp, write_stamp
from asvtk.models.aasist_weights import load_published
from asvtk.training.assembly import TrainedSystem
from asvtk.training.data import UtteranceDataset
from asvtk.training.device import choose_device
from asvtk.training.experiment import Experiment
from asvtk.training.scoring import score_dataset

#: systems with published weights -> what reads them
PUBLISHED = {"aasist": load_published}
PUBLISHED_BATCH = 8  # utterances at once; memory is all that depends on it

_EXPERIMENT_OPTIONS = ("exp", "dump")
_PUBLISHED_OPTIONS = ("system", "weights", "out")


def add_arguments(parser):
    parser.add_argument("--data", nargs="+", metavar="DIR", help="data directories to score")
    parser.add_argument("--out", metavar="FILE", help="score file to write or replace; not with --exp")
    parser.add_argument("--ngpu", type=int, default=0, help="0: CPU, 1: GPU (default 0)")
    trained = parser.add_argument_group("with an experiment")
    trained.add_argument("--exp", metavar="DIR", help="folder of the experiment")
    trained.add_argument("--dump", metavar="DIR", help="folder of the feature caches")
    trained.add_argument("--force", action="store_true", help="score again what is up to date")
    published = parser.add_argument_group("with published weights")
    published.add_argument("--system", choices=PUBLISHED, help="whose weights they are")
    published.add_argument("--weights", metavar="FILE", help="the weights, as their authors publish them")
    add_packed_arguments(parser.add_argument_group("with a packed model"))


def run(args):
    from_experiment = args.model is None and _check_options(args)
    device = choose_device(args.ngpu)
    # Scores are compared across machines: a GPU's convolutions would round to 10 bits otherwise.
    torch.backends.cudnn.allow_tf32 = False
    if args.model is not None:
        _refuse_others(args)
        score_packed(args, device)
    elif from_experiment:
        _score_with_experiment(args, device)
    else:
        _score_with_published(args, device)


def _refuse_others(args) -> None:
    for name in ("exp", "dump", "system", "weights", "force"):
        if getattr(args, name):
            raise AsvtkError(f"--{name} does not go with --model")


def _check_options(args) -> bool:
    """True: an experiment's options are given, and all of them; False: those of published weights."""
    if args.data is None or args.audio is not None or args.ssl_model is not None:
        raise AsvtkError("--data DIR says what to score; --audio and --ssl-model go with --model")
    given = {name for name in _EXPERIMENT_OPTIONS + _PUBLISHED_OPTIONS if getattr(args, name) is not None}
    if given == set(_EXPERIMENT_OPTIONS):
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
    return False


def _score_with_experiment(args, device: str) -> None:
    experiment = Experiment(args.exp)
    system = TrainedSystem(experiment, args.dump)
    for path in args.data:
        data = DataDirectory.read(path)
        out = experiment.scores(data.name)
        stamp = out.with_name(f".{data.name}.done")
        basis = {"checkpoint": file_digest(system.best), "data": data.digest()}
        if out.exists() and read_stamp(stamp) == basis and not args.force:
            print(f"{out}: up to date")
            continue
        dataset = system.open(data)
        _score(system.detector(dataset), data, dataset, system.config.training.batch_size, device, out)
        write_stamp(stamp, basis)


def _score_with_published(args, device: str) -> None:
    detector = PUBLISHED[args.system](args.weights)
    data = DataDirectory.read(args.data[0])
    dataset = UtteranceDataset(data, [], Crop())
    _score(detector, data, dataset, PUBLISHED_BATCH, device, args.out)


def _score(detector, data: DataDirectory, dataset, batch_size: int, device: str, out) -> None:
    scores = score_dataset(detector.to(device), dataset, batch_size, device)
    attacks, labels = ([table[u] for u in dataset.utterances] for table in (data.attack, data.label))
    write_scores(out, dataset.utterances, attacks, labels, scores)
    print(f"{out}: {len(scores)} trials")
