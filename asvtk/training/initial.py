"""Warm start: training begins with the weights of another system, as far as names and shapes agree."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asvtk.inference.package import WEIGHTS, is_package, read_package
from asvtk.inference.weights import PREFIX, part
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.stamps import file_digest
from asvtk.nn.weights import read_safetensors, require_finite
from asvtk.training.experiment_folder import Experiment

__all__ = ["InitialWeights"]


class InitialWeights(NamedTuple):
    """Weights to begin with."""

    source: str  # what a person calls them
    sha256: str
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, source) -> "InitialWeights":
        """
        Args:
            source: folder of an experiment, whose best weights are taken; a package; or a safetensors file.

        Raises:
            AsvtkError: it is none of these, or its weights are damaged or not finite.
        """
        path, best = Path(source), Experiment(source).checkpoints / "best.safetensors"
        if best.exists() or path.suffix == ".safetensors":
            path = best if best.exists() else path
            return cls._of(source, read_safetensors(path)[0], file_digest(path))
        if path.is_dir() and not is_package(path):
            raise AsvtkError(f"--init {source}: expected an experiment with checkpoints/best.safetensors")
        package = read_package(path)
        return cls._of(source, package.weights(), package.about["files"][WEIGHTS]["sha256"])

    @classmethod
    def _of(cls, source, tensors: dict[str, Tensor], sha256: str) -> "InitialWeights":
        tensors = part(PREFIX, tensors) or tensors
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
        taken = {name: x for name, x in self.tensors.items() if name in own and x.shape == own[name].shape}
        if not taken:
            raise AsvtkError(f"--init {self.source}: none of its tensors has a name and shape of this system")
        with torch.no_grad():
            for name, x in taken.items():
                own[name].copy_(x)
        fresh, unused = sorted(own.keys() - taken.keys()), sorted(self.tensors.keys() - taken.keys())
        said = f"begins with {len(taken)} of {len(own)} tensors of {self.source}"
        said += f"; new: {listing(fresh, 4)}" if fresh else ""
        return set(taken), said + (f"; not used: {listing(unused, 4)}" if unused else "")
