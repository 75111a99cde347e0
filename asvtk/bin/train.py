"""Stage 3: train a detector on cached features or on audio; the best evaluation on dev is kept.

Killed, the same command goes on from the last checkpoint; finished, it does nothing, unless
training.epochs was raised: then it trains these epochs too. SIGTERM and
SIGUSR1 finish the step, save, and end with status 75, for schedulers that requeue. Several GPUs, as
./run.sh --ngpu N has them: torchrun --nproc-per-node N -m asvtk train --ngpu N ...
"""

import contextlib
import sys
import time

from asvtk.bin.arguments import whole_number
from asvtk.io.datadir import SPOOF, DataDirectory, refuse_same_names
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import digest, read_stamp
from asvtk.report.curves import draw_curves
from asvtk.training.signals import EXIT_STATUS, Stopped

EXAMPLES = """\
  asvtk train --config conf/lfcc_moe_mamba.yaml --dump dump --exp exp/lfcc \\
      --train-data data/train --dev-data data/dev
  asvtk train --config conf/aasist.yaml --dump dump --exp exp/tuned --init aasist \\
      --train-data data/train --dev-data data/dev
  torchrun --nproc-per-node 4 -m asvtk train --ngpu 4 --config conf/wavlm_moe_mamba.yaml \\
      --dump dump --exp exp/wavlm --train-data data/train --dev-data data/dev
"""

_REDRAW_S = 30.0


def add_arguments(parser):
    parser.add_argument("--config", required=True, help="experiment configuration (YAML)")
    parser.add_argument(
        "--override", nargs="*", default=[], metavar="KEY=VALUE", help="change the configuration"
    )
    parser.add_argument("--exp", required=True, metavar="DIR", help="folder of the experiment")
    parser.add_argument(
        "--train-data", required=True, nargs="+", metavar="DIR", help="data directories to train on, as one"
    )
    parser.add_argument(
        "--dev-data",
        required=True,
        nargs="+",
        metavar="DIR",
        help="data directories to choose the epoch on, by the mean of their EERs (training.select)",
    )
    parser.add_argument(
        "--eval-data",
        nargs="+",
        metavar="DIR",
        help="data directories to watch, where training.eval_all_best is true",
    )
    parser.add_argument("--dump", required=True, metavar="DIR", help="folder of the feature caches")
    parser.add_argument("--ngpu", type=whole_number(), default=0, help="0: CPU, N: with torchrun (default 0)")
    parser.add_argument(
        "--init", metavar="PATH", help="begin with these weights: an experiment, package, file, or a name"
    )
    parser.add_argument("--force", action="store_true", help="throw away what was trained there")
    parser.add_argument(
        "--check",
        action="store_true",
        help="only say whether DIR is new, unfinished or finished; fail where another training has it",
    )


def run(args):
    from asvtk.training.config import load_config

    # What can be wrong with the arguments first: it must not wait for torch.
    config = load_config(args.config, args.override)
    training_sets = _read_training_sets(args.train_data, config)
    data = {"dev": [_read_two_classes(path) for path in args.dev_data]}
    if config.training.eval_all_best:
        if args.eval_data is None:
            raise AsvtkError("training.eval_all_best is true: name the data directory by --eval-data")
        data["eval"] = [_read_two_classes(path) for path in args.eval_data]
    every_set = [*training_sets, *(of for sets in data.values() for of in sets)]
    refuse_same_names(every_set)
    from asvtk.frontends import build_frontend
    from asvtk.frontends.cache.store import cache_name
    from asvtk.training import distributed
    from asvtk.training.continuation import InitialWeights, extend
    from asvtk.training.dataset import open_dataset
    from asvtk.training.distributed import choose_device
    from asvtk.training.experiment import Experiment, write_environment
    from asvtk.training.trainer import train

    device = choose_device(args.ngpu)
    frontend = build_frontend(config.frontend)
    claim = {"features": cache_name(frontend), "layers": list(frontend.stored)}
    if config.augmentation is not None:
        claim["augmented"] = cache_name(frontend, config.augmentation)
    claim |= _claim_of_data(training_sets, data["dev"], config.training.sampling)
    if config.distillation is not None:
        from asvtk.training.distillation import soft_targets

        targets = soft_targets(config.distillation, training_sets)
        claim["teacher"] = digest(targets)
    initial = None if args.init is None else InitialWeights.read(args.init)
    if initial is not None:
        claim["initial weights"] = initial.sha256
    experiment = Experiment(args.exp)
    if args.check:
        print(_state(experiment, config, claim))
        return None
    sets = {name: open_dataset(of, args.dump, frontend) for name, of in data.items()}
    sets["train"] = open_dataset(training_sets, args.dump, frontend, config.augmentation)
    if config.distillation is not None:
        sets["train"].learn_from(targets)
    with distributed.joined(device), _alone(experiment):
        if distributed.is_writer():
            if args.force:
                experiment.clear()
            elif said := extend(experiment, config, claim):
                print(said)
            experiment.claim(config, claim)
        distributed.wait()
        if stamp := read_stamp(experiment.done):
            if distributed.is_writer():
                print(
                    f"{experiment.folder}: trained already, best epoch {stamp['best_epoch']}; "
                    "--force true trains it anew"
                )
            return None
        if distributed.is_writer():
            write_environment(
                experiment.folder,
                device,
                config.seed,
                {of.name: of for of in every_set},
            )
        curves = _Curves(experiment)
        try:
            progress = train(
                experiment,
                config,
                sets["train"],
                sets["dev"],
                device,
                eval_set=sets.get("eval"),
                on_record=curves,
                initial=initial,
            )
        except Stopped as stopped:
            if distributed.is_writer():
                print(f"asvtk train: {stopped}", file=sys.stderr, flush=True)
            distributed.wait()  # torchrun ends all processes with the first that goes
            return EXIT_STATUS
        finally:
            curves.draw()
        if distributed.is_writer():
            several = len(args.dev_data)
            how = f"{config.training.select} dev EER of {several} sets" if several > 1 else "dev EER"
            print(
                f"{experiment.folder}: best epoch {progress['best_epoch']} of {progress['epoch']}, "
                f"{how} {100 * progress['best_dev_eer']:.3f} %"
            )
    return None


def _claim_of_data(training_sets: list[DataDirectory], dev: list[DataDirectory], sampling) -> dict:
    """What tells the data of a training from other data. One dev set is its digest: so it always was.

    Raises:
        AsvtkError: sets do not go together, or ``training.sampling`` does not go with the training sets.
    """
    train = DataDirectory.union(training_sets)
    DataDirectory.union(dev)
    claim = {
        "train data": train.digest(),
        "dev data": dev[0].digest() if len(dev) == 1 else {data.name: data.digest() for data in dev},
    }
    if sampling is not None:
        from asvtk.training.sampling import stratify

        stratify(sampling, lambda name: list(train.column(name).values()))
        values = digest([train.column(name) for name in sampling.names])
        # The order of the levels matters, and configurations are compared without regard to order.
        claim["sampling"] = {"levels": ", ".join(sampling.names), "values": values}
    return claim


def _state(experiment, config, claim: dict) -> str:
    """``new``, ``unfinished`` or ``finished``.

    Raises:
        AsvtkError: another training has the folder.
    """
    from asvtk.training.continuation import is_extension

    if is_extension(experiment, config, claim):
        return "unfinished"
    if not experiment.is_claimed(config, claim):
        return "new"
    return "finished" if experiment.done.exists() else "unfinished"


class _Curves:
    """Redraws ``curves.png`` as records come, now and then: a picture takes as long as a short epoch."""

    def __init__(self, experiment):
        self._path = experiment.folder / "curves.png"
        self._records, self._drawn = [], 0.0

    def __call__(self, records: list[dict]) -> None:
        self._records = list(records)
        if time.monotonic() - self._drawn > _REDRAW_S:
            self.draw()

    def draw(self) -> None:
        if self._records:
            draw_curves(self._records, self._path)
            self._drawn = time.monotonic()


def _alone(experiment):
    """The lock of the experiment; of several processes of one training the first holds it for all."""
    from asvtk.training import distributed

    return experiment.lock() if distributed.is_writer() else contextlib.nullcontext()


def _read_two_classes(path) -> DataDirectory:
    data = DataDirectory.read(path)
    if data.source:
        raise AsvtkError(f"{path}: holds vocoded spoofs (utt2source); they are for training only")
    _require_both([data])
    return data


def _read_training_sets(paths: list[str], config) -> list[DataDirectory]:
    sets = [DataDirectory.read(path) for path in paths]
    _require_both(sets)
    spoofs = {u in data.source for data in sets for u, label in data.label.items() if label == SPOOF}
    names = " ".join(paths)
    if config.vocoded is None and True in spoofs:
        raise AsvtkError(f"{names}: hold vocoded spoofs (utt2source); say so in a section 'vocoded'")
    if config.vocoded is not None and True not in spoofs:
        raise AsvtkError(
            f"{names}: hold none of the spoofs that the section 'vocoded' asks for; make them by "
            "'asvtk vocode make', and name their data directory too"
        )
    if config.vocoded is not None and config.vocoded.share is not None and False not in spoofs:
        raise AsvtkError(f"{names}: all spoofs are vocoded ones; vocoded.share must be null")
    return sets


def _require_both(sets: list[DataDirectory]) -> None:
    bonafide, spoof = map(sum, zip(*(data.count_classes() for data in sets), strict=True))
    if not (bonafide and spoof):
        paths = " ".join(str(data.path) for data in sets)
        raise AsvtkError(f"{paths}: {bonafide} bona fide and {spoof} spoofed utterances; both are needed")
