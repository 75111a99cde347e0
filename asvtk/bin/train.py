"""Stage 3: train a head on cached features; the best epoch is chosen on dev.

Killed, the same command goes on from the last checkpoint; finished, it does nothing.
"""

from asvtk.frontends import build_frontend
from asvtk.frontends.cache import cache_name
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import read_stamp
from asvtk.training.data import open_dataset
from asvtk.training.device import choose_device
from asvtk.training.environment import write_environment
from asvtk.training.experiment import Experiment, load_config
from asvtk.training.trainer import train


def add_arguments(parser):
    parser.add_argument("--config", required=True, help="experiment configuration (YAML)")
    parser.add_argument(
        "--override", nargs="*", default=[], metavar="KEY=VALUE", help="change the configuration"
    )
    parser.add_argument("--exp", required=True, metavar="DIR", help="folder of the experiment")
    parser.add_argument("--train-data", required=True, metavar="DIR", help="data directory to train on")
    parser.add_argument(
        "--dev-data", required=True, metavar="DIR", help="data directory to choose the epoch on"
    )
    parser.add_argument("--dump", required=True, metavar="DIR", help="folder of the feature caches")
    parser.add_argument("--ngpu", type=int, default=0, help="0: CPU, 1: GPU (default 0)")
    parser.add_argument("--force", action="store_true", help="throw away what was trained there")


def run(args):
    config = load_config(args.config, args.override)
    device = choose_device(args.ngpu)
    frontend = build_frontend(config.frontend)
    data = {"train": _read_two_classes(args.train_data), "dev": _read_two_classes(args.dev_data)}
    inputs = {"features": cache_name(frontend), "layers": list(frontend.layers)}
    sets = {
        name: open_dataset(of, args.dump, inputs["features"], frontend.layers, config.frontend)
        for name, of in data.items()
    }
    inputs |= {f"{name} data": of.digest() for name, of in data.items()}

    experiment = Experiment(args.exp)
    with experiment.lock():
        if args.force:
            experiment.clear()
        experiment.claim(config, inputs)
        if stamp := read_stamp(experiment.done):
            print(
                f"{experiment.folder}: trained already, best epoch {stamp['best_epoch']}; "
                "--force true trains it anew"
            )
            return
        write_environment(experiment.folder / "environment.json", device)
        progress = train(experiment, config, sets["train"], sets["dev"], device)
    print(
        f"{experiment.folder}: best epoch {progress['best_epoch']} of {progress['epoch']}, "
        f"dev EER {100 * progress['best_dev_eer']:.3f} %"
    )


def _read_two_classes(path) -> DataDirectory:
    data = DataDirectory.read(path)
    bonafide, spoof = data.count_classes()
    if not (bonafide and spoof):
        raise AsvtkError(f"{path}: {bonafide} bona fide and {spoof} spoofed utterances; both are needed")
    return data
