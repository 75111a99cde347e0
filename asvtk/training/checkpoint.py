"""Checkpoint files (safetensors), and a thread that writes them beside training.

``last`` (with ``previous``, the one before it) holds all that training changes, and in its header the
progress of the run; ``best`` and ``epoch_NNN`` hold a detector alone. Progress and weights in one
file cannot disagree after a kill: each file is written whole or not at all. A disk that is slow or full
stops nothing: training goes on, and says what it needs.
"""

import json
import logging
import os
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from asvtk.inference.weights import PREFIX, prefixed, put_detector
from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError
from asvtk.io.text import parse_json
from asvtk.nn.weights import read_safetensors, require_finite
from asvtk.training import distributed

__all__ = [
    "CheckpointWriter",
    "copies",
    "detector_tensors",
    "load_detector",
    "read_tensors",
    "read_training",
    "save_detector",
    "write_tensors",
]

_log = logging.getLogger(__name__)


def save_detector(path, detector: nn.Module, progress: dict) -> None:
    """Write the detector's weights and, in the header, ``progress``."""
    write_tensors(path, detector_tensors(detector), progress)


def load_detector(path, detector: nn.Module) -> dict:
    """Load weights to score with into ``detector``, and return the progress they were saved with.

    Raises:
        AsvtkError: the file is missing or damaged, of another detector, or has weights that are not finite.
    """
    tensors, progress = read_tensors(path)
    require_finite(path, tensors)
    put_detector(path, detector, tensors)
    return progress


def read_training(folder) -> tuple[Path, dict[str, Tensor], dict] | None:
    """The last checkpoint that is sound.

    Returns:
        Where it is, its tensors and its progress; None where training has to begin.

    Raises:
        AsvtkError: there are checkpoints, but none of them can be read.
    """
    faults = []
    for name in ("last", "previous"):
        path = Path(folder) / f"{name}.safetensors"
        if not path.exists():
            continue
        try:
            checkpoint = read_tensors(path)
        except AsvtkError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            _log.warning(f"{fault}; going on from {path}")
        return path, *checkpoint
    if faults:
        raise AsvtkError("; ".join(faults) + "; give --force to train anew")
    return None


def write_tensors(path, tensors: dict[str, Tensor], progress: dict, replaced=None) -> None:
    """Write a checkpoint.

    Args:
        path: its final name.
        tensors: any that are not shared with each other.
        progress: anything JSON can hold.
        replaced: what an older file of that name becomes; None: it is gone.

    Raises:
        AsvtkError: it cannot be written; an older file is untouched.
    """
    path = Path(path)
    with atomic_path(path) as temporary:
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(on_cpu, temporary, metadata={"progress": json.dumps(progress)})
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(str(error)) from error
        if replaced is not None and path.exists():
            os.replace(path, replaced)


def read_tensors(path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and progress of a checkpoint.

    Raises:
        AsvtkError: the file is missing or damaged.
    """
    _require_checkpoint(path)
    tensors, metadata = read_safetensors(path)
    if "progress" not in metadata:
        raise AsvtkError(f"{path}: is no checkpoint of asvtk: its header holds no progress")
    return tensors, parse_json(metadata["progress"], f"{path}, progress", finite=False)


def detector_tensors(detector: nn.Module) -> dict[str, Tensor]:
    """A detector as checkpoints hold it."""
    return prefixed(PREFIX, detector.state_dict())


def _require_checkpoint(path) -> None:
    if not Path(path).exists():
        raise AsvtkError(f"{path}: no such checkpoint; run stage 3 first: ./run.sh --stage 3 --stop-stage 3")


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, and of their own: what is trained meanwhile does not change them."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


_SPARE = 1 << 20  # bytes: of the file system's own, and the small files beside checkpoints
_RETRY_S = 30.0
_PATIENCE_S = 3600.0  # at the end of training


class CheckpointWriter:
    """Writes what it is given as soon as there is room for it, in a thread beside training.

    What belongs together stays together: ``last``, which knows of the others, is written after them.

    Args:
        folder: of the checkpoints.

    Attributes:
        folder: the same.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self._pending: dict[str, tuple[dict[str, Tensor], dict]] = {}
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._writing: Future | None = None
        self._tried = time.monotonic()
        for leftover in self.folder.glob(".*.tmp") if distributed.is_writer() else ():
            leftover.unlink()  # of a writer that was killed

    def enqueue(self, name: str, tensors: dict[str, Tensor], progress: dict) -> None:
        """Take a checkpoint to write; an older one of that name, not yet written, is dropped.

        Args:
            tensors: on the CPU, and not changed any more.
        """
        if distributed.is_writer():
            self._pending[name] = tensors, progress

    def begin(self) -> None:
        """Begin to write all that is pending. Only if the last such writing has not ended, wait for that."""
        self._settle()
        self._tried = time.monotonic()
        if self._pending:
            self._writing = self._thread.submit(self._write, self._pending)
            self._pending = {}

    def flush(self) -> bool:
        """Write all that is pending; whether that succeeded."""
        self.begin()
        self._settle()
        return not self._pending

    def retry(self) -> None:
        """``begin``, if something found no room and the last time was a while ago."""
        if self._writing is not None and self._writing.done():
            self._settle()
        if self._pending and time.monotonic() - self._tried > _RETRY_S:
            self.begin()

    def finish(self) -> None:
        """Write what is pending, waiting for room as long as that makes sense.

        Raises:
            AsvtkError: there was none in an hour.
        """
        begun = time.monotonic()
        while not self.flush():
            if time.monotonic() - begun > _PATIENCE_S:
                raise AsvtkError(
                    f"{self.folder}: training is over, but its last checkpoint found no room in "
                    f"{_PATIENCE_S / 60:.0f} minutes; make room and run the same command again"
                )
            time.sleep(min(5.0, _RETRY_S))

    def close(self) -> None:
        """Wait for the thread, whatever ended training: the folder is somebody else's afterwards."""
        self._thread.shutdown()
        if self._writing is not None and (fault := self._writing.exception()):
            _log.warning(f"{self.folder}: a checkpoint was not written: {fault!r}")

    def _settle(self) -> None:
        """Wait for the thread; what found no room is pending again, unless a newer one is."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._pending = writing.result() | self._pending

    def _write(self, checkpoints: dict[str, tuple[dict[str, Tensor], dict]]) -> dict:
        """Write checkpoints, ``last`` after the others; says what is missing, and returns those left over."""
        left = dict(checkpoints)
        for name in sorted(checkpoints, key=lambda name: name == "last"):
            tensors, progress = checkpoints[name]
            path = self.folder / f"{name}.safetensors"
            try:
                self._require_room(path, sum(tensor.nbytes for tensor in tensors.values()) + _SPARE)
                write_tensors(path, tensors, progress, self._replaced(name))
            except AsvtkError as error:
                _log.warning(f"{error} Training goes on, and tries again.")
                break
            del left[name]
            if name == "last":
                self._delete_others({name for *_, name in progress["top"]})
        return left

    def _require_room(self, path: Path, needed: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise AsvtkError(
                f"{path}: needs {needed / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free; make room for "
                f"{(needed - free) / 1e6:.1f} MB more."
            )

    def _replaced(self, name: str) -> Path | None:
        return self.folder / "previous.safetensors" if name == "last" else None

    def _delete_others(self, top: set[str]) -> None:
        """Delete what was among the best once."""
        for path in self.folder.glob("epoch_*.safetensors"):
            if path.stem not in top:
                path.unlink()
