"""Detectors that ``asvtk export`` wrote as ONNX files: NumPy and ONNX Runtime, without torch.

The graph takes windows of the waveform, ``audio`` float32 (batch, window), and gives ``score`` (batch,) and
``embedding`` (batch, d_embedding). Where the front-end normalises utterances, ``samples`` int64 (batch,) says
how much of each window is no repetition.
"""

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asvtk.frontends.crop import Conditioning, Crop, hear
from asvtk.inference.calibration import DetectorCalibration
from asvtk.inference.detector import RecordingDetector
from asvtk.inference.onnx_session import open_session
from asvtk.inference.windows import MOST_WORKERS, Workers
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.config import build
from asvtk.io.errors import AsvtkError
from asvtk.io.onnx_file import read_metadata
from asvtk.io.recording import to_mono_16k
from asvtk.io.stamps import file_digest
from asvtk.io.text import parse_json

__all__ = ["ABOUT", "CALIBRATION", "FORMAT", "OnnxAbout", "OnnxDetector"]

FORMAT = 1
#: keys of the file's metadata: `OnnxAbout` and `DetectorCalibration`, as JSON
ABOUT, CALIBRATION = "asvtk", "asvtk.calibration"
BATCH_SIZE = 8  #: recordings that ``score_batch`` computes at once
_LARGEST = 2**31  # bytes, of any file of Protocol Buffers


@dataclass(frozen=True, kw_only=True)
class OnnxAbout:
    """What an exported file says of its detector.

    Attributes:
        format: of this description.
        name, threshold: as `RecordingDetector` has them.
        weights_sha256: SHA-256 of the weights that it was made of.
        window: samples that the graph takes.
        repeated: whether training repeated shorter utterances until they were as long, too.
        conditioning: of the waveform, before the graph.
        precision: of its weights, ``float32`` or ``int8``.
        asvtk: version that wrote it.
        parity: largest difference from torch's scores, in standard deviations of the scores.
    """

    format: int
    name: str
    threshold: float | None
    weights_sha256: str
    window: int
    repeated: bool
    conditioning: Conditioning = field(default_factory=Conditioning)
    precision: str
    asvtk: str
    parity: float


class OnnxDetector(RecordingDetector):
    """Trained detector that ONNX Runtime computes; its scores are NumPy arrays.

    Args:
        content: of the file.
        where: names it in messages.

    Raises:
        AsvtkError: it is none that ``asvtk export`` wrote, is damaged, or onnxruntime is not installed.
    """

    def __init__(self, content: bytes, where):
        metadata = read_metadata(content, where)
        if ABOUT not in metadata:
            raise AsvtkError(
                f"{where}: is an ONNX file that asvtk export did not write: it says nothing of asvtk"
            )
        said = parse_json(metadata[ABOUT], f"{where}: metadata")
        form = said.get("format") if isinstance(said, dict) else None
        if form != FORMAT:
            raise AsvtkError(f"{where}: has format {form!r}, expected {FORMAT}; another asvtk wrote it")
        self.about = about = build(OnnxAbout, said, f"{where}: metadata")
        if about.window < 1:
            raise AsvtkError(f"{where}: metadata: window {about.window}: expected a number of samples")
        if CALIBRATION in metadata:
            self.calibration = DetectorCalibration.parse(metadata[CALIBRATION], f"{where}: metadata")
        self.name, self.threshold = about.name, about.threshold
        self._content, self._where = content, where
        self.use_threads(_threads())

    @classmethod
    def load(cls, path) -> "OnnxDetector":
        """Read a file; see the class for what is raised."""
        path = Path(path)
        if not path.is_file():
            raise AsvtkError(f"{path}: {'is no plain file' if path.exists() else 'no such file'}")
        if path.stat().st_size > _LARGEST:
            raise AsvtkError(f"{path}: is larger than any ONNX file, 2 GiB")
        detector = cls(path.read_bytes(), path)
        detector.sha256 = file_digest(path)
        return detector

    @property
    def crop(self) -> Crop:
        return Crop(self.about.window)

    def use_threads(self, count: int) -> None:
        self._threads = count
        try:
            self._session = open_session(self._content, max(1, count // MOST_WORKERS))
        except AsvtkError as error:
            raise AsvtkError(f"{self._where}: {error}") from None
        shapes = {x.name: x.shape[1:] for x in self._session.get_inputs()}
        outputs = [x.name for x in self._session.get_outputs()]
        self._by_real_samples = shapes.pop("samples", None) is not None
        if shapes != {"audio": [self.about.window]} or outputs != ["score", "embedding"]:
            raise AsvtkError(
                f"{self._where}: its graph is not the one that its metadata tells of; export it again"
            )

    def workers(self, most: int) -> Workers:
        return Workers(min(self._threads, most))

    def score(self, audio, sample_rate: int = SAMPLE_RATE) -> float:
        return float(self.score_batch([audio], sample_rate)[0])

    def score_batch(self, audios: Iterable, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
        audios, scores = iter(audios), [np.zeros(0, np.float32)]
        while batch := [to_mono_16k(x, sample_rate) for x in itertools.islice(audios, BATCH_SIZE)]:
            scores.append(self._run(batch)[0])
        return np.concatenate(scores)

    def score_windows(self, windows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        scores, embeddings = self._run(windows)
        if not np.isfinite(scores).all():
            raise AsvtkError("a score is not finite; look at the recording, and at the detector's weights")
        return scores.astype(np.float64), embeddings

    def _run(self, audios: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        crop = self.crop
        heard = {"audio": np.stack([hear(x, crop, self.about.conditioning) for x in audios])}
        if self._by_real_samples:
            heard["samples"] = np.array([min(len(x), crop.samples) for x in audios])
        return tuple(self._session.run(["score", "embedding"], heard))

    def _warnings(self, heard, config, llr, threshold):
        yield from super()._warnings(heard, config, llr, threshold)
        if not self.about.repeated and 0 < heard.samples < self.about.window:
            yield (
                f"shorter than the {self.about.window / SAMPLE_RATE:.2f} s that the exported graph takes, "
                "and repeated; the model itself hears short recordings as they are"
            )


def _threads() -> int:
    """CPUs of this process, or as many as OMP_NUM_THREADS says, as torch has it."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    cpus = len(os.sched_getaffinity(0))
    return min(int(given), cpus) if given.isdigit() and int(given) > 0 else cpus
