"""Weights of a trained vocoder, as safetensors."""

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError

__all__ = ["load_generator", "save_generator"]


def save_generator(path, generator: nn.Module) -> None:
    """Write the weights of a generator; the file is there whole or not at all."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in generator.state_dict().items()}, temporary)


def load_generator(path, generator: nn.Module) -> nn.Module:
    """Fill a generator with weights, and set evaluation mode.

    Raises:
        AsvtkError: the file is not there, or holds something else.
    """
    try:
        generator.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise AsvtkError(
            f"{path}: no weights of this vocoder ({reason}); asvtk resynth train makes them"
        ) from error
    return generator.eval()
