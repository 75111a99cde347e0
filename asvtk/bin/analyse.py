"""Stage 6: look into a trained experiment: layer weights, experts by attack, gates, embeddings.

Writes EXP/analysis/analysis.html, its pictures as PNG, and all numbers in analysis.json. Systems that lack a
part lack its picture. An analysis that is up to date is left as it is.
"""

import os
from pathlib import Path

import numpy as np

from asvtk.bin.arguments import whole_number
from asvtk.io.datadir import BONAFIDE, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import read_stamp, write_stamp
from asvtk.io.tables import read_table

EXAMPLES = """\
  asvtk analyse --exp exp/lfcc_moe_mamba --dump dump --data data/dev data/eval
"""


def add_arguments(parser):
    parser.add_argument("--exp", required=True, metavar="DIR", help="folder of the experiment")
    parser.add_argument("--dump", required=True, metavar="DIR", help="folder of the feature caches")
    parser.add_argument("--data", required=True, nargs="+", metavar="DIR", help="data directories to look at")
    parser.add_argument("--report", metavar="DIR", help="write there (default: EXP/analysis)")
    parser.add_argument("--ngpu", type=whole_number(), default=0, help="0: CPU, 1: GPU (default 0)")
    parser.add_argument("--force", action="store_true", help="analyse again what is up to date")


def run(args):
    from asvtk.training.experiment import Experiment

    # What can be wrong with the arguments first: it must not wait for torch.
    experiment = Experiment(args.exp)
    experiment.config()
    data = [DataDirectory.read(path) for path in args.data]
    if len({dataset.name for dataset in data}) < len(data):
        raise AsvtkError("--data: two data directories have the same name; analyse them one at a time")
    from asvtk.report.analysis_figures import require_matplotlib
    from asvtk.training.distributed import choose_device
    from asvtk.training.trained import TrainedDetector

    require_matplotlib()
    device = choose_device(args.ngpu)
    system = TrainedDetector(experiment, args.dump)
    folder = Path(args.report or experiment.folder / "analysis")
    basis = {"checkpoint": system.digest, "data": {dataset.name: dataset.digest() for dataset in data}}
    page = folder / "analysis.html"
    if page.exists() and read_stamp(folder / ".done") == basis and not args.force:
        print(f"{page}: up to date")
        return
    _analyse(system, data, device, folder, os.path.basename(os.path.realpath(experiment.folder)))
    write_stamp(folder / ".done", basis)
    print(page)


def _analyse(system, data: list[DataDirectory], device: str, folder: Path, name: str) -> None:
    from asvtk.report.analysis import group_utterances, look_into, sentences
    from asvtk.report.analysis_page import write_analysis
    from asvtk.report.analysis_probe import layer_weights, observe

    detector, sets = None, {}
    for directory in data:
        dataset = system.open(directory)
        if detector is None:
            detector = system.detector().to(device)
        seen = observe(detector, dataset, system.config.training.batch_size, device)
        attacks = [directory.attack[utterance] for utterance in dataset.utterances]
        bonafide = np.array([directory.label[utterance] == BONAFIDE for utterance in dataset.utterances])
        kinds = directory.path / "attack2kind"
        groups = group_utterances(attacks, bonafide, read_table(kinds) if kinds.exists() else None)
        sets[directory.name] = look_into(seen, groups), seen.embedding, groups
        for line in sentences(directory.name, sets[directory.name][0]):
            print(line)
    weights = layer_weights(detector.model)
    write_analysis(folder, name, weights, list(detector.frontend.layers), sets)
