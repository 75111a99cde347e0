"""Continuation of a finished experiment (12 -> 14 epochs), and warm start from the weights of another.

When an experiment is extended, learning rates are those of a training of the new length, from where it goes
on. What was trained before had those of the shorter one, so that the weights are not those of 14 epochs in
one go.
"""

from typing import NamedTuple

import torch
import yaml
from torch import Tensor, nn

from asvtk.inference.package import WEIGHTS, is_package, read_package
from asvtk.inference.pretrained import find_pretrained
from asvtk.inference.published import rename_published
from asvtk.inference.weights import PREFIX, part
from asvtk.io.atomic import write_text
from asvtk.io.config import differences, to_mapping
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.stamps import file_digest, read_stamp, write_stamp
from asvtk.nn.weights import read_safetensors, read_state_dict, require_finite, strip_prefixes
from asvtk.training.checkpoint import read_training, write_tensors
from asvtk.training.config import ExperimentConfig
from asvtk.training.experiment import Experiment

__all__ = ["InitialWeights", "extend", "is_extension"]

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
    outcome = None
    if config.training.epochs > before.epochs or config.training.patience != before.patience:
        outcome = _reopen(experiment, experiment.inputs(), before.epochs, config.training.epochs)
    write_text(experiment.folder / "config.yaml", yaml.safe_dump(to_mapping(config), sort_keys=False))
    return outcome


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
    checkpoint, finished = read_training(experiment.checkpoints), read_stamp(experiment.done)
    if checkpoint is None:
        if not experiment.done.exists():
            return None  # nothing was trained yet
        raise AsvtkError(
            f"{experiment.checkpoints}/last.safetensors: is gone, and training cannot go on from there; name "
            "another --tag and begin with these weights (--init), or give --force true"
        )
    _, tensors, progress = checkpoint
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


class InitialWeights(NamedTuple):
    """Weights to begin with."""

    source: str  # what a person calls them
    sha256: str
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, source) -> "InitialWeights":
        """
        Args:
            source: folder of an experiment, whose best weights are taken; a package; a file of weights,
                safetensors or PyTorch's; or a name that `asvtk.load` takes.

        Raises:
            AsvtkError: it is none of these, or its weights are damaged or not finite.
        """
        path = find_pretrained(source)
        best = Experiment(path).checkpoints / "best.safetensors"
        if best.exists() or path.suffix == ".safetensors":
            path = best if best.exists() else path
            return cls._of(source, read_safetensors(path)[0], file_digest(path))
        if path.is_dir() and not is_package(path):
            raise AsvtkError(f"--init {source}: expected an experiment with checkpoints/best.safetensors")
        if path.is_file() and not is_package(path):
            expected = "an experiment, a package, or a state dict as safetensors or torch.save() writes it"
            return cls._of(source, read_state_dict(path, expected)[0], file_digest(path))
        package = read_package(path)
        return cls._of(source, package.weights(), package.about["files"][WEIGHTS]["sha256"])

    @classmethod
    def _of(cls, source, tensors: dict[str, Tensor], sha256: str) -> "InitialWeights":
        tensors = strip_prefixes(tensors, ("module.", "_orig_mod."))[0]
        tensors = rename_published(part(PREFIX, tensors) or tensors)
        require_finite(source, tensors)
        return cls(str(source), sha256, tensors)

    def load(self, detector: nn.Module) -> tuple[set[str], str]:
        """Copy what fits into ``detector``.

        Returns:
            names of the tensors that were taken; and what was taken and what not, in words.

        Raises:
            AsvtkError: nothing fits.
        """
        # A front-end's extra state says which model it stands on, and is no weight.
        own = {name: x for name, x in detector.state_dict().items() if not name.endswith("_extra_state")}
        given = self.tensors
        taken = _fitting(given, own)
        if not taken:  # of a back-end alone, or wrapped by a trainer
            bare = strip_prefixes(given, ("model.", "net."))[0]
            given = {f"model.{name}": x for name, x in bare.items()}
            taken = _fitting(given, own)
        if not taken:
            raise AsvtkError(f"--init {self.source}: none of its tensors has a name and shape of this system")
        with torch.no_grad():
            for name, x in taken.items():
                own[name].copy_(x)
        fresh, unused = sorted(own.keys() - taken.keys()), sorted(given.keys() - taken.keys())
        outcome = f"begins with {len(taken)} of {len(own)} tensors of {self.source}"
        outcome += f"; new: {listing(fresh, 4)}" if fresh else ""
        return set(taken), outcome + (f"; not used: {listing(unused, 4)}" if unused else "")


def _fitting(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x for name, x in given.items() if name in own and x.shape == own[name].shape}
