"""A trained system in one file that others can use: stage 7.

TAG.asvtk.tar, uncompressed, with these members and no others:

    package.json        format, name, threshold, what the front-end is, size and SHA-256 of the others
    config.yaml         the experiment's, resolved
    model.safetensors   the best checkpoint
    card.md             what it was trained on, how good it is, what it is for
    results.json        of stage 5
    environment.json    versions, revision and command of the training

The same experiment gives the same bytes. Nothing in it is executed, and nothing is unpacked that is
not on this list.
"""

import contextlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asvtk.frontends import build_frontend
from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.scores import read_scores
from asvtk.io.stamps import file_digest, read_stamp
from asvtk.io.text import read_json
from asvtk.metrics.eer import det_curve, eer
from asvtk.metrics.operating_point import operating_point
from asvtk.metrics.results import read_results
from asvtk.training.experiment import ExperimentConfig, load_config
from asvtk.training.experiment_folder import Experiment

__all__ = ["Package", "opened", "pack", "threshold_on_dev", "unpack"]

FORMAT = 1
_ABOUT, _MODEL = "package.json", "model.safetensors"
_OTHERS = ("config.yaml", _MODEL, "card.md", "results.json", "environment.json")
#: all but the weights are pages of text
_LONGEST_TEXT = 16 << 20


class Package(NamedTuple):
    """An unpacked package."""

    folder: Path
    about: dict  # package.json

    @property
    def weights(self) -> Path:
        return self.folder / _MODEL

    @property
    def threshold(self) -> float:
        """Scores above it are taken for bona fide; finite."""
        return float(self.about["threshold"]["threshold"])

    def config(self) -> ExperimentConfig:
        return load_config(self.folder / "config.yaml")


def threshold_on_dev(experiment: Experiment) -> dict:
    """The threshold at the EER of dev, and the error rates that it gives there.

    Raises:
        AsvtkError: training, scores or results are missing, or are not of each other.
    """
    best = experiment.checkpoints / "best.safetensors"
    if not experiment.done.exists():
        raise AsvtkError(f"{experiment.folder}: training has not finished; run stage 3 first")
    checkpoint = file_digest(best)
    for path in sorted(experiment.scores("dev").parent.glob("*.txt")):
        if (read_stamp(path.with_name(f".{path.stem}.done")) or {}).get("checkpoint") != checkpoint:
            raise AsvtkError(f"{path}: is not of {best}; run stages 4 and 5 again")
    table = read_scores(experiment.scores("dev"))
    if table.bonafide is None:
        raise AsvtkError(f"{table.source}: holds no keys; run stage 4 again")
    curve = det_curve(table.scores[table.bonafide], table.scores[~table.bonafide])
    path = experiment.folder / "results.json"
    results = read_results(path) if path.exists() else {}
    if results.get("dev", {}).get("eer_percent") != 100 * eer(curve.frr, curve.far)[0]:
        raise AsvtkError(f"{path}: is not of the scores there; run stage 5 again")
    return {"chosen": "at the EER of dev", **operating_point(curve, "eer")}


def pack(experiment: Experiment, out, card: str) -> None:
    """Write the package of a finished experiment in one step.

    Args:
        experiment: trained, scored and evaluated.
        out: the file to write or replace.
        card: text of the model card.

    Raises:
        AsvtkError: see ``threshold_on_dev``; the front-end's model is not to be found any more; or the
            file cannot be written.
    """
    threshold, inputs = threshold_on_dev(experiment), experiment.inputs()
    environment = read_json(experiment.folder / "environment.json")
    environment.pop("host", None)  # is nobody's business
    with tempfile.TemporaryDirectory() as work:
        texts = {"card.md": card, "environment.json": json.dumps(environment, indent=1) + "\n"}
        members = {name: experiment.folder / name for name in ("config.yaml", "results.json")}
        members[_MODEL] = experiment.checkpoints / "best.safetensors"
        for name, text in texts.items():
            members[name] = Path(work, name)
            members[name].write_text(text, encoding="utf-8")
        about = {
            "format": FORMAT,
            "name": experiment.folder.name,
            "threshold": threshold,
            "front-end": build_frontend(experiment.config().frontend).describe(),
            "layers": inputs["layers"],
            "files": {name: _identity(members[name]) for name in _OTHERS},
        }
        with atomic_path(out) as temporary, tarfile.open(temporary, "w") as archive:
            _add(archive, _ABOUT, io.BytesIO((json.dumps(about, indent=1) + "\n").encode()))
            for name in _OTHERS:
                with open(members[name], "rb") as stream:
                    _add(archive, name, stream)


def unpack(file, folder) -> Package:
    """Check a package and write its members into a new folder.

    Args:
        file: the package.
        folder: must not exist, or be empty.

    Raises:
        AsvtkError: it is no package, or damaged; or the folder is in use. Nothing is left behind.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise AsvtkError(f"{folder}: is there already; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _extract(Path(file), folder)
        return _read(folder, file)
    except BaseException:
        shutil.rmtree(folder)
        raise


@contextlib.contextmanager
def opened(path) -> Iterator[Package]:
    """A package, whether it is a file or unpacked already.

    Raises:
        AsvtkError: it is none.
    """
    if Path(path).is_dir():
        yield _read(Path(path), path)
        return
    with tempfile.TemporaryDirectory(prefix="asvtk_model_") as work:
        folder = Path(work, "model")
        try:
            yield unpack(path, folder)
        except AsvtkError as error:  # names files of a folder that is gone when a person reads it
            raise AsvtkError(str(error).replace(f"{folder}/", f"{path}: ")) from None


def _identity(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def _add(archive: tarfile.TarFile, name: str, stream) -> None:
    member = tarfile.TarInfo(name)  # nobody's, of no time: the same experiment gives the same bytes
    member.size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    archive.addfile(member, stream)


def _extract(file: Path, folder: Path) -> None:
    """Write the members of a package into ``folder``.

    Read block by block, as tarfile would gather headers of any length in memory before it tells of them.
    """
    if not file.is_file():
        what = "is no plain file" if file.exists() else "no such package; stage 7 (asvtk pack) makes one"
        raise AsvtkError(f"{file}: {what}")
    if (needed := file.stat().st_size) > (free := shutil.disk_usage(folder).free):
        raise AsvtkError(f"{file}: has {needed} bytes, and {folder.parent} has room for {free}")
    seen = set()
    try:
        with open(file, "rb") as stream:  # not compressed: it cannot be larger than it looks
            while (block := stream.read(tarfile.BLOCKSIZE)).strip(b"\0"):
                member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
                name = member.name
                if name not in (_ABOUT, *_OTHERS) or name in seen:
                    raise AsvtkError(f"{file}: holds {name!r}, which has no place in a package of asvtk")
                if not member.isreg() or member.issparse():
                    raise AsvtkError(f"{file}: {name} is no plain file")
                if name != _MODEL and member.size > _LONGEST_TEXT:
                    raise AsvtkError(f"{file}: {name} has {member.size} bytes, which is no page of text")
                seen.add(name)
                _copy(stream, folder / name, member.size)
    except (tarfile.TarError, EOFError) as error:
        raise AsvtkError(f"{file}: is no package of asvtk, or damaged ({error})") from None


def _copy(stream, path: Path, size: int) -> None:
    """The next ``size`` bytes of a tar, and what fills up their last block.

    Raises:
        EOFError: there are fewer.
    """
    left = size
    with open(path, "xb") as out:
        while left and (part := stream.read(min(left, 1 << 20))):
            out.write(part)
            left -= len(part)
    if left or size < 0:
        raise EOFError(f"{path.name} is cut off")
    stream.read(-size % tarfile.BLOCKSIZE)


def _read(folder: Path, source) -> Package:
    """The package in a folder; ``source`` is what a person calls it."""
    if not (folder / _ABOUT).is_file():
        raise AsvtkError(f"{source}: is no package of asvtk: it holds no {_ABOUT}")
    where = f"{source}: {_ABOUT}"
    try:
        about = read_json(folder / _ABOUT)
    except AsvtkError as error:
        raise AsvtkError(str(error).replace(str(folder / _ABOUT), where)) from None
    if (form := field_of(about, "format", int, where)) != FORMAT:
        raise AsvtkError(f"{source}: has format {form!r}, expected {FORMAT}; another asvtk wrote it")
    field_of(about, "name", str, where)
    field_of(about, "threshold.threshold", float, where)
    field_of(about, "front-end", dict, where)
    files = field_of(about, "files", dict, where)
    for name in _OTHERS:
        path = folder / name
        if not isinstance(files.get(name), dict):
            raise AsvtkError(f"{where}: does not say what {name} is")
        if not path.is_file() or path.stat().st_size != files[name].get("bytes"):
            raise AsvtkError(f"{source}: {name} is missing or damaged, its size is wrong")
        if _identity(path) != files[name]:
            raise AsvtkError(f"{source}: {name} is damaged, its checksum is wrong")
    return Package(folder, about)
