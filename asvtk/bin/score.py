"""Stage 4: score a data set with the best checkpoint of an experiment.

Writes EXP/scores/NAME.txt in the official form, 'utterance attack key score'; higher = bona fide.
A score file that is up to date is left as it is.
"""

from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import write_scores
from asvtk.io.stamps import file_digest, read_stamp, write_stamp
from asvtk.models import build_detector
from asvtk.training.checkpoint import load_detector
from asvtk.training.data import open_dataset
from asvtk.training.device import choose_device
from asvtk.training.experiment import Experiment
from asvtk.training.scoring import score_dataset


def add_arguments(parser):
    parser.add_argument("--exp", required=True, metavar="DIR", help="folder of the experiment")
    parser.add_argument("--data", required=True, nargs="+", metavar="DIR", help="data directories to score")
    parser.add_argument("--dump", required=True, metavar="DIR", help="folder of the feature caches")
    parser.add_argument("--ngpu", type=int, default=0, help="0: CPU, 1: GPU (default 0)")
    parser.add_argument("--force", action="store_true", help="score again what is up to date")


def run(args):
    experiment = Experiment(args.exp)
    config = experiment.config()
    device = choose_device(args.ngpu)
    if not experiment.done.exists():
        raise AsvtkError(f"{args.exp}: training has not finished; run stage 3 again, it goes on where it was")
    inputs = experiment.inputs()
    best = experiment.checkpoints / "best.safetensors"
    for path in args.data:
        data = DataDirectory.read(path)
        out = experiment.scores(data.name)
        stamp = out.with_name(f".{data.name}.done")
        basis = {"checkpoint": file_digest(best), "data": data.digest()}
        if out.exists() and read_stamp(stamp) == basis and not args.force:
            print(f"{out}: up to date")
            continue
        dataset = open_dataset(data, args.dump, inputs["features"], inputs["layers"], config.frontend)
        detector = build_detector(config.model, config.loss, *dataset.feature_shape)
        load_detector(best, detector)
        scores = score_dataset(detector.to(device), dataset, config.training.batch_size, device)
        write_scores(out, data.utterances, data.attack.values(), data.label.values(), scores)
        write_stamp(stamp, basis)
        print(f"{out}: {len(scores)} trials")
