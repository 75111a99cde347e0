"""Memory-bounded construction of modules for weights from anybody."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode

from asvtk.io.errors import AsvtkError
from asvtk.nn.weights import Shapes, shape_difference

__all__ = ["construction_limit", "require_shapes"]

_SIZED = {torch.empty, torch.zeros, torch.ones, torch.full}
_RANDOM = {torch.rand, torch.randn}
_SAME_SHAPE = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.exp, torch.expm1, torch.log}
_SAME_SHAPE |= {torch.neg, torch.Tensor.neg, torch.Tensor.__neg__, torch.log1p, torch.Tensor.copy_}
_BROADCAST = {torch.Tensor.add, torch.Tensor.sub, torch.Tensor.mul, torch.Tensor.div}
_LONGEST_RANGE = 1 << 24


def require_shapes(path, build: Callable[[], nn.Module], shapes: Shapes) -> None:
    """Build a module without its memory, and compare its shapes with those of weights.

    Args:
        path: file of the weights, for messages.
        build: what makes the module.
        shapes: what the file holds, by name of the tensor.

    Raises:
        AsvtkError: they differ, or the module would be far larger.
    """
    try:
        with construction_limit(path, shapes), _OnMeta():
            expected = {name: tuple(x.shape) for name, x in build().state_dict().items()}
    except (MemoryError, OverflowError, RuntimeError, TypeError) as error:  # sizes beyond 64 bits
        reason = str(error).partition("\n")[0][:120]
        raise AsvtkError(
            f"{path}: the configuration describes a system that cannot be built: {reason}"
        ) from None
    if fault := shape_difference(expected, shapes):
        raise AsvtkError(f"{path}: holds the weights of another system: {fault}")


@contextlib.contextmanager
def construction_limit(path, shapes: Shapes, times: int = 2) -> Iterator[None]:
    """Let no module be built that is far larger than the weights that are to fill it.

    Args:
        path: file of the weights, for messages.
        shapes: what it holds.
        times: how often each parameter may be registered.

    Raises:
        AsvtkError: parameters that are registered meanwhile have more than so many times its numbers, or are
            more than so many times as many.
    """
    numbers, count = 1 << 20, 1000  # some are made and thrown away
    numbers += times * sum(torch.Size(shape).numel() for shape in shapes.values())
    count += times * len(shapes)

    def add(_module, _name, parameter) -> None:
        nonlocal numbers, count
        if parameter is not None:
            numbers, count = numbers - parameter.numel(), count - 1
        if numbers < 0 or count < 0:
            raise AsvtkError(f"{path}: the configuration describes a larger system than these weights are of")

    handle = torch_module.register_module_parameter_registration_hook(add)
    try:
        yield
    finally:
        handle.remove()


class _OnMeta(TorchFunctionMode):
    """New tensors have a shape and no numbers.

    ``with torch.device("meta")`` does the same, but ranges, exponents, sums and random numbers there import
    torch's compiler, which takes seconds.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in _SAME_SHAPE and args[0].is_meta:
            return args[0]
        if func in _BROADCAST and args[0].is_meta:
            shape = np.broadcast_shapes(*(x.shape for x in args if isinstance(x, torch.Tensor)))
            return torch.empty(shape, dtype=args[0].dtype, device="meta")
        if func in _RANDOM:
            func = torch.empty
        if func in _SIZED and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        elif func is torch.arange and any(type(n) is int and n > _LONGEST_RANGE for n in args):
            raise MemoryError(f"a range of {max(args)} numbers")
        return func(*args, **kwargs)
