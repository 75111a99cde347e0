"""More epochs for an experiment that has begun or finished: 12 -> 14.

Learning rates are those of a training of the new length, from where it goes on. What was trained before
had those of the shorter one, so that the weights are not those of 14 epochs in one go.
"""

import yaml

from asvtk.io.atomic import write_text
from asvtk.io.config import differences, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import read_stamp, write_stamp
from asvtk.training.checkpoint import read_training, write_tensors
from asvtk.training.experiment import ExperimentConfig
from asvtk.training.experiment_folder import Experiment

__all__ = ["extend", "is_extension"]

#: settings that say how long training goes on and what it writes, and change no step of it
_FREE = {f"training.{name}" for name in ("epochs", "patience", "eval_all_best", "save_every")}


def extend(experiment: Experiment, config: ExperimentConfig, inputs: dict) -> str | None:
    """Take over a configuration that differs from the experiment's only by how long training goes on.

    A finished one goes on from its last checkpoint; the best weights so far, averaged or not, stay the ones
    to beat. What stages 4 to 7 made is thrown away. Killed, the same call does the rest.

    Args:
        experiment: its folder.
        config: the new configuration.
        inputs: as ``Experiment.claim`` takes them.

    Returns:
        what was done, in words; None where there is nothing to do here, or ``Experiment.claim`` has to say
        what else differs.

    Raises:
        AsvtkError: the last checkpoint is gone.
    """
    if not is_extension(experiment, config, inputs):
        return None
    before = experiment.config().training
    said = None
    if config.training.epochs > before.epochs or config.training.patience != before.patience:
        said = _reopen(experiment, experiment.inputs(), before.epochs, config.training.epochs)
    write_text(experiment.folder / "config.yaml", yaml.safe_dump(to_mapping(config), sort_keys=False))
    return said


def is_extension(experiment: Experiment, config: ExperimentConfig, inputs: dict) -> bool:
    """Does a configuration differ from the experiment's by how long training goes on, and by nothing else?"""
    if not (experiment.folder / "config.yaml").exists():
        return False
    before = experiment.config()
    changed = {line.partition(":")[0] for line in differences(to_mapping(before), to_mapping(config))}
    return (
        bool(changed)
        and changed <= _FREE
        and config.training.epochs >= before.training.epochs
        and not differences({**experiment.inputs(), "extended": None}, inputs)
    )


def _reopen(experiment: Experiment, inputs: dict, old: int, new: int) -> str | None:
    """Let training go on where the last checkpoint is; says so."""
    found, finished = read_training(experiment.checkpoints), read_stamp(experiment.done)
    if found is None:
        if not experiment.done.exists():
            return None  # nothing was trained yet
        raise AsvtkError(
            f"{experiment.checkpoints}/last.safetensors: is gone, and training cannot go on from there; name "
            "another --tag and begin with these weights (--init), or give --force true"
        )
    _, tensors, progress = found
    if finished is not None:
        # The best weights may be an average, and what it was made of was deleted.
        progress |= {name: value for name, value in finished.items() if name.startswith("best_")}
        progress["top"] = []
        write_tensors(experiment.checkpoints / "last.safetensors", tensors, progress)
    experiment.done.unlink(missing_ok=True)
    experiment.forget_results()
    step = {"after epoch": progress["epoch"], "epochs": f"{old} -> {new}"}
    if step not in (steps := inputs.get("extended", [])):
        write_stamp(experiment.folder / "inputs.json", inputs | {"extended": [*steps, step]})
    return (
        f"{experiment.folder}: {old} -> {new} epochs; goes on after epoch {progress['epoch']} with the "
        f"learning rates of a training of {new}. What was trained before had those of {old}: the weights "
        f"will not be those of {new} epochs in one go"
    )
