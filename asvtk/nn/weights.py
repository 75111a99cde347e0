"""Files of model weights: safetensors and PyTorch state dicts.

Weights come from anybody: nothing in a file is executed, and what it claims is compared with its size
before memory is taken for it.
"""

import contextlib
import os
import stat
import zipfile
from collections.abc import Iterator

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from asvtk.io.errors import AsvtkError, listing

__all__ = [
    "Shapes",
    "check_archive",
    "read_safetensors",
    "read_shapes",
    "read_state_dict",
    "require_finite",
    "shape_difference",
    "strip_prefixes",
]

_STATE_DICT = "a state dict that torch.save() wrote"
Shapes = dict[str, tuple[int, ...]]

#: bytes of the longest list of names and shapes; ten thousand tensors have 1.5 MB
_LONGEST_HEADER = 32 << 20
#: keys under which trainers lay a state dict beside their own state
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # of PyTorch before 1.6
#: beginnings of files that are taken for weights by mistake
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer and not the file it stands for; fetch that: git lfs pull",
    b"<": "a web page; download the file itself",
    b"{": "JSON text",
    b"[": "JSON text",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"\x80": "a Python pickle, which could run anything and is not read",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
}


def read_safetensors(path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        AsvtkError: it is missing, no plain file, or damaged.
    """
    _check_header(path)
    with _reading(path), safe_open(path, framework="pt") as stream:
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        return tensors, stream.metadata() or {}


def read_shapes(path) -> Shapes:
    """Names and shapes in a safetensors file, without its numbers.

    Raises:
        AsvtkError: as ``read_safetensors``.
    """
    _check_header(path)
    with _reading(path), safe_open(path, framework="pt") as stream:
        return {name: tuple(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118


def read_state_dict(
    path, expected: str = _STATE_DICT, prefixes: tuple[str, ...] = ("module.",)
) -> tuple[dict[str, Tensor], str]:
    """A state dict that somebody published, as PyTorch or safetensors file.

    Args:
        path: the file.
        expected: what it should be, for messages.
        prefixes: that are taken off where all names begin so; ``module.`` is DataParallel's.

    Returns:
        the tensors; and what was taken off around them, in words: wrapping keys, and prefixes.
        Shapes may be larger than the file: compare them before the numbers are looked at.

    Raises:
        AsvtkError: the file is missing or holds something else; says what.
    """
    try:
        return _unwrapped(_load(path), path, prefixes)
    except AsvtkError as error:
        raise AsvtkError(f"{error}; expected {expected}") from None


def check_archive(path) -> None:
    """Make sure that a PyTorch file is what it seems before PyTorch reads it; others than zip pass.

    Raises:
        AsvtkError: it is no plain file, a TorchScript or other archive, or unpacks to more than it is.
    """
    if not _head(path).startswith(b"PK"):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise AsvtkError(f"{path}: is cut off or damaged ({error}); download it again") from None
    names = {member.filename.partition("/")[2] for member in members}
    if "constants.pkl" in names:
        raise AsvtkError(f"{path}: is a TorchScript archive, which is a program")
    if "data.pkl" not in names:
        raise AsvtkError(
            f"{path}: is a zip archive of something else ({listing([m.filename for m in members], 2)})"
        )
    size, pickled = os.path.getsize(path), [m for m in members if m.filename.endswith("/data.pkl")]
    if (
        any(member.compress_type != zipfile.ZIP_STORED for member in members)
        or sum(member.file_size for member in members) > size
        or any(member.file_size > _LONGEST_HEADER for member in pickled)
    ):
        raise AsvtkError(f"{path}: unpacks to more than PyTorch writes into a file of {size} bytes; not read")


def shape_difference(expected: Shapes, shapes: Shapes) -> str:
    """The first way in which ``shapes`` are not those ``expected``, in words; empty when it fits."""
    if unknown := [name for name in shapes if name not in expected]:
        return f"{len(unknown)} tensors do not belong there ({listing(unknown, 2)})"
    if missing := [name for name in expected if name not in shapes]:
        return f"{len(missing)} of {len(expected)} tensors are missing ({listing(missing, 2)})"
    for name, shape in expected.items():
        if tuple(shapes[name]) != tuple(shape):
            return f"{name} has shape {tuple(shapes[name])}, expected {tuple(shape)}"
    return ""


def strip_prefixes(tensors: dict[str, Tensor], prefixes: tuple[str, ...]) -> tuple[dict[str, Tensor], str]:
    """Tensors without what all names begin with, as long as that is one of ``prefixes``; and what it was."""
    taken = ""
    while prefix := next((p for p in prefixes if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        taken += prefix
    return tensors, taken


def require_finite(path, tensors: dict[str, Tensor]) -> None:
    """
    Raises:
        AsvtkError: the file ``path`` has numbers that are nan or infinite.
    """
    bad = [name for name, x in tensors.items() if x.is_floating_point() and not _is_finite(x)]
    if bad:
        raise AsvtkError(
            f"{path}: holds weights that are not finite (nan or inf): {listing(bad, 3)}; all scores would be "
            "alike. The training diverged, or the file was damaged"
        )


def _is_finite(x: Tensor) -> bool:
    """By the extremes, which nan and inf pass through: ten times as fast as ``isfinite`` of each number."""
    x = x.float() if x.element_size() == 1 else x  # of 8 bits there are no extremes
    return not x.numel() or bool(torch.stack(x.aminmax()).isfinite().all())


def _head(path) -> bytes:
    """
    Raises:
        AsvtkError: there is no plain file; with what is there instead.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no plain file (a pipe or device)"
            raise AsvtkError(f"{path}: is {what}")
        with open(path, "rb") as stream:
            return stream.read(64)
    except FileNotFoundError:
        raise AsvtkError(f"{path}: no such file") from None
    except OSError as error:
        raise AsvtkError(f"{path}: cannot be read: {error.strerror}") from None


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER


def _check_header(path) -> None:
    head, size = _head(path), os.path.getsize(path)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:9] != b"{":
        raise AsvtkError(f"{path}: is damaged, or no safetensors file: it is {_name_of(head)}")
    if not 0 < length <= min(size - 8, _LONGEST_HEADER):
        raise AsvtkError(f"{path}: is damaged: a list of tensors of {length} bytes in a file of {size}")


@contextlib.contextmanager
def _reading(path) -> Iterator[None]:
    try:
        yield
    # RuntimeError: torch's, for a file that was replaced while it was being opened.
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise AsvtkError(f"{path}: is damaged ({str(error)[:200]})") from None


def _name_of(head: bytes) -> str:
    """What a file is that begins so, in words."""
    if not head:
        return "an empty file"
    for magic, name in _OTHERS.items():
        if head.lstrip().startswith(magic):
            return name
    text = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "plain text" if text else "no file of weights"


def _load(path):
    """What a file of weights holds, not looked at yet."""
    head = _head(path)
    if _is_safetensors(head):
        return read_safetensors(path)[0]
    if head.startswith(b"PK"):
        check_archive(path)
    elif not head.startswith(_LEGACY):
        raise AsvtkError(f"{path}: is {_name_of(head)}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=head.startswith(b"PK"))
    except Exception:  # what is damaged makes the reader stumble in any way, and it advises to trust the file
        raise AsvtkError(f"{path}: holds more than named tensors, or is damaged") from None


def _unwrapped(content, path, prefixes) -> tuple[dict[str, Tensor], str]:
    taken = []
    while isinstance(content, dict):
        key = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if key is None:
            break
        content, taken = content[key], [*taken, f"the key {key!r}"]
    if not (isinstance(content, dict) and content) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        names = [str(name)[:40] for name in content] if isinstance(content, dict) else []
        found = f"keys {listing(names, 4)}" if names else type(content).__name__
        raise AsvtkError(f"{path}: holds no table of named tensors ({found})")
    content, prefix = strip_prefixes(content, prefixes)
    if prefix:
        taken.append(f"the prefix {prefix!r} of all names")
    return content, " and ".join(taken)
