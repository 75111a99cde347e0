"""``asvtk calibrate`` for detectors: --exp (stage 5) and --detector. See `asvtk.bin.calibrate`."""

import os
import sys
from pathlib import Path

from asvtk.bin.arguments import UsageError
from asvtk.inference.calibration import PRIOR
from asvtk.io.datadir import DataDirectory, refuse_same_names
from asvtk.io.errors import AsvtkError, listing
from asvtk.metrics.calibration import quality
from asvtk.report.calibration import quality_table
from asvtk.training.calibration import CalibrationStage
from asvtk.training.experiment import Experiment

__all__ = ["calibrate_detector", "calibrate_exp"]


def calibrate_exp(args) -> None:
    """Stage 5. What cannot be calibrated is a line and no fault: all else of the stage works without."""
    sets = _read_sets(args)
    stages = [CalibrationStage(Experiment(folder), *sets) for folder in args.exp]
    device = None
    for stage in stages:
        path = stage.experiment.calibration
        if stage.is_done() and not args.force:
            if not args.check:
                print(f"{path}: up to date")
        elif args.check:
            print(stage.experiment.folder)
        else:
            device = device or _device(args.ngpu)
            reason = stage.compute(device)
            print(f"{stage.experiment.folder}: uncalibrated: {reason}" if reason else path)


def calibrate_detector(args) -> None:
    """A detector of any kind, by its scores of the audio of dev."""
    from asvtk.inference.fitting import MOST, fit_calibration
    from asvtk.inference.load import load
    from asvtk.inference.pretrained import require_model
    from asvtk.inference.speech import require_detector

    dev, evaluation, train = _read_sets(args)
    if evaluation is not None:
        _refuse_shared(dev, evaluation)
    if not Path(args.out).absolute().parent.is_dir():  # now, and not after hours
        raise AsvtkError(f"{args.out}: no such folder to write to")
    require_model(args.detector)
    require_detector()
    detector = load(args.detector, _device(args.ngpu), ssl_model=args.ssl_model)
    prior, most = args.prior or PRIOR, args.most or MOST
    fitted = fit_calibration(detector, dev, evaluation, train, prior=prior, most=most)
    calibration = fitted.calibration
    calibration.save(args.out)
    for warning in dict.fromkeys((*calibration.window.warnings, *calibration.recording.warnings)):
        print(f"asvtk calibrate: warning: {warning}", file=sys.stderr)
    rows = []
    for data, judged in ((dev, fitted.dev), (evaluation, fitted.evaluation)):
        if judged is None or not 0 < judged.bonafide.sum() < judged.bonafide.size:
            continue
        for what, values in (("scores", judged.scores), ("calibrated", judged.llr)):
            rows.append((data.name, what, quality(values, judged.bonafide)))
    print(quality_table(rows))
    if calibration.errors is not None:
        at = calibration.errors.at(0.0)
        print(
            f"\nat the log-likelihood ratio 0, on {at['data']}: {100 * at['frr']:.3f} % of {at['bonafide']} "
            f"bona fide recordings rejected, {100 * at['far']:.3f} % of {at['spoof']} spoofs accepted"
        )
    print(f"{args.out}: the calibration of {detector.name}")


def _read_sets(args) -> list[DataDirectory | None]:
    roles = [names or [] for names in (args.dev_protocol, args.eval_data, args.train_data)]
    names = [name for role in roles for name in role]
    if len(set(map(os.path.realpath, names))) < len(names):
        raise UsageError("--dev-data, --eval-data, --train-data: a data directory is named twice")
    sets = [[DataDirectory.read(name) for name in role] for role in roles]
    refuse_same_names([data for role in sets for data in role])
    return [None if not role else role[0] if len(role) == 1 else DataDirectory.union(role) for role in sets]


def _refuse_shared(dev: DataDirectory, evaluation: DataDirectory) -> None:
    if shared := dev.label.keys() & evaluation.label.keys():
        raise AsvtkError(
            f"{len(shared)} utterances stand both in {_paths(dev)} and in {_paths(evaluation)}, such as "
            f"{min(shared)}: errors are not measured on what a calibration was trained on"
        )


def _paths(data: DataDirectory) -> str:
    return listing(part.path for part in data.parts)


def _device(ngpu: int) -> str:
    import torch

    from asvtk.training.distributed import choose_device

    # As in stage 4: a GPU's convolutions would round to 10 bits otherwise.
    torch.backends.cudnn.allow_tf32 = False
    return choose_device(ngpu)
