"""Packed models: a trained detector in one file that others can use.

TAG.asvtk.tar, uncompressed, with these members and no others:

    package.json        format, name, licence, threshold, the front-end, size and SHA-256 of the others
    config.yaml         the experiment's, resolved
    model.safetensors   the best checkpoint
    card.md             what it was trained on, how good it is, what it is for
    results.json        of stage 5
    environment.json    versions, revision and command of the training
    calibration.json    of stage 5; older packages have none

The same experiment gives the same bytes. Nothing in it is executed, and nothing is read that is not on this
list.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.text import parse_json

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ABOUT",
    "CALIBRATION",
    "MEMBERS",
    "WEIGHTS",
    "Package",
    "is_package",
    "package_files",
    "read_package",
    "unpack",
    "write_package",
]

FORMAT = 1
ABOUT, WEIGHTS, CALIBRATION = "package.json", "model.safetensors", "calibration.json"
_OTHERS = ("config.yaml", WEIGHTS, "card.md", "results.json", "environment.json")
_OPTIONAL = (CALIBRATION,)
MEMBERS = (ABOUT, *_OTHERS, *_OPTIONAL)  #: all that may be in a package
#: bytes of a member that is a page of text: all but the weights
_LONGEST_TEXT = 16 << 20


class Package(NamedTuple):
    """Contents of a package, checked."""

    source: str  # what a person calls it
    about: dict  # package.json
    members: dict[str, bytes]  # all others, by name

    @property
    def threshold(self) -> float:
        """Scores above it are taken for bona fide; finite."""
        return float(self.about["threshold"]["threshold"])

    def weights(self) -> dict[str, Tensor]:
        """
        Raises:
            AsvtkError: they are damaged.
        """
        import safetensors.torch  # not to look at a package: it imports torch

        try:
            return safetensors.torch.load(self.members[WEIGHTS])
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise AsvtkError(f"{self.source}: {WEIGHTS} is damaged ({str(error)[:200]})") from None

    def text(self, name: str) -> str:
        try:
            return self.members[name].decode()
        except UnicodeDecodeError:
            raise AsvtkError(f"{self.source}: {name} is no UTF-8 text") from None


def is_package(path) -> bool:
    """Whether something looks like a package: a tar file, or a folder that one was unpacked to."""
    path = Path(path)
    if not path.is_file():
        return (path / ABOUT).is_file()
    with open(path, "rb") as stream:
        return stream.read(tarfile.BLOCKSIZE)[257:262] == b"ustar"


def read_package(path) -> Package:
    """Read a package, a file or a folder that one was unpacked to; nothing is written.

    Raises:
        AsvtkError: it is none, or damaged.
    """
    path = Path(path)
    return _checked(_read_folder(path) if path.is_dir() else _read_tar(path), path)


def _checked(members: dict[str, bytes], path: Path) -> Package:
    if ABOUT not in members:
        raise AsvtkError(f"{path}: is no package of asvtk: it holds no {ABOUT}")
    others = {name: content for name, content in members.items() if name != ABOUT}
    package = Package(str(path), _about(members[ABOUT], path), others)
    files = package.about["files"]
    there = [name for name in _OPTIONAL if name in others or name in files]
    for name in (*_OTHERS, *there):
        if not isinstance(files.get(name), dict):
            raise AsvtkError(f"{path}: {ABOUT}: does not say what {name} is")
        if name not in others or len(others[name]) != files[name].get("bytes"):
            raise AsvtkError(f"{path}: {name} is missing or damaged, its size is wrong")
        if _identity(others[name]) != files[name]:
            raise AsvtkError(f"{path}: {name} is damaged, its checksum is wrong")
    return package


def package_files(about: dict, members: dict[str, bytes]) -> dict[str, bytes]:
    """The members of a package with its ``package.json``, in their order.

    Args:
        about: ``package.json``; format and files are filled in.
        members: all others, by name.
    """
    assert set(members) - set(_OPTIONAL) == set(_OTHERS)
    members = {name: members[name] for name in (*_OTHERS, *_OPTIONAL) if name in members}
    about = {"format": FORMAT, **about, "files": {name: _identity(x) for name, x in members.items()}}
    return {ABOUT: (json.dumps(about, indent=1) + "\n").encode(), **members}


def write_package(out, about: dict, members: dict[str, bytes]) -> None:
    """Write a package in one step.

    Args:
        out: the file to write or replace.
        about: as `package_files`.
        members: as `package_files`.

    Raises:
        AsvtkError: the file cannot be written.
    """
    files = package_files(about, members)
    with atomic_path(out) as temporary, tarfile.open(temporary, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)  # nobody's, of no time: the same experiment gives the same bytes
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def unpack(file, folder) -> list[Path]:
    """Check a package and write its members into a new folder; returns their paths.

    Args:
        file: the package.
        folder: must not exist, or be empty.

    Raises:
        AsvtkError: it is no package, or damaged; the folder is in use, or cannot be written. Nothing is left
            behind.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise AsvtkError(f"{folder}: is there already; name a new folder")
    members = _read_tar(Path(file))
    _checked(members, Path(file))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name, content in members.items():
            (folder / name).write_bytes(content)
    except BaseException as error:
        shutil.rmtree(folder)
        if isinstance(error, OSError):
            raise AsvtkError(f"{folder}: cannot be written: {error.strerror}") from None
        raise
    return sorted(folder.iterdir())


def _identity(content: bytes) -> dict:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _about(content: bytes, source) -> dict:
    where = f"{source}: {ABOUT}"
    try:
        about = parse_json(content.decode(), where)
    except UnicodeDecodeError:
        raise AsvtkError(f"{where}: is no UTF-8 text") from None
    if (form := field_of(about, "format", int, where)) != FORMAT:
        raise AsvtkError(f"{source}: has format {form!r}, expected {FORMAT}; another asvtk wrote it")
    for name, kind in ("name", str), ("threshold.threshold", float), ("front-end", dict), ("files", dict):
        field_of(about, name, kind, where)
    return about


def _read_folder(folder: Path) -> dict[str, bytes]:
    paths = {name: folder / name for name in MEMBERS}
    for name, path in paths.items():
        if path.exists() and not path.is_file():
            raise AsvtkError(f"{path}: is no plain file")
        if path.exists() and name != WEIGHTS and path.stat().st_size > _LONGEST_TEXT:
            raise AsvtkError(f"{path}: has {path.stat().st_size} bytes, which is no page of text")
    try:
        return {name: path.read_bytes() for name, path in paths.items() if path.exists()}
    except OSError as error:
        raise AsvtkError(f"{folder}: cannot be read: {error.strerror}") from None


def _read_tar(file: Path) -> dict[str, bytes]:
    """Read block by block: tarfile would gather headers of any length in memory before it tells of them."""
    if not file.is_file():
        what = "is no plain file" if file.exists() else "no such package; stage 7 (asvtk pack) makes one"
        raise AsvtkError(f"{file}: {what}")
    members = {}
    try:
        with open(file, "rb") as stream:  # not compressed: it cannot be larger than it looks
            while (block := stream.read(tarfile.BLOCKSIZE)).strip(b"\0"):
                member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                name = member.name
                if name not in MEMBERS or name in members:
                    raise AsvtkError(f"{file}: holds {name!r}, which has no place in a package of asvtk")
                if not member.isreg() or member.issparse():
                    raise AsvtkError(f"{file}: {name} is no plain file")
                if name != WEIGHTS and member.size > _LONGEST_TEXT:
                    raise AsvtkError(f"{file}: {name} has {member.size} bytes, which is no page of text")
                left = file.stat().st_size - stream.tell()
                if not 0 <= member.size <= left:
                    raise EOFError(f"{name} is cut off")
                members[name] = stream.read(member.size)
                stream.read(-member.size % tarfile.BLOCKSIZE)
    except (tarfile.TarError, EOFError) as error:
        raise AsvtkError(f"{file}: is no package of asvtk, or damaged ({error})") from None
    except OSError as error:
        raise AsvtkError(f"{file}: cannot be read: {error.strerror}") from None
    return members
