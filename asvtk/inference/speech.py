"""Voice activity detection by Silero VAD (package silero-vad, which brings its weights).

By torch where a program uses it; else by ONNX Runtime, as the package itself imports torch.
"""

import contextlib
import functools
import importlib.util
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError

__all__ = [
    "CONTEXT",
    "FRAME",
    "MIN_SPEECH",
    "has_speech",
    "hear_rows",
    "require_detector",
    "speech_probabilities",
    "speech_seconds",
]

#: seconds of speech below which nothing can be said of its origin
MIN_SPEECH = 1.0
FRAME = 512  #: samples of a frame of the detector: 32 ms
#: Frames of a row, 2 s, and those before it that it warms up with. The detector has a memory: rows are heard
#: side by side, many times faster than one after the other; 1 % of the frames are judged otherwise.
_ROW, CONTEXT = 62, 16
_LEVEL = 0.1  # RMS that the detector is given: it takes faint speech for none
#: Silero's settings: probabilities from which somebody speaks, and below which nobody does any more; samples
#: of a pause that ends a stretch of speech, of a burst that is none, and of the margin around a stretch
_SPEECH, _NO_SPEECH, _GAP, _BURST, _MARGIN = 0.5, 0.35, 1600, 4000, 480
_SILENCE = 2.0**-13  # four steps of 16 bits: nothing louder is digital silence, with or without dither


def has_speech(samples: np.ndarray, least: float = MIN_SPEECH) -> bool:
    """Whether a recording holds so many seconds of speech.

    Args:
        samples: float at 16 kHz, full scale at 1, shape (samples,).
        least: seconds.
    """
    if len(samples) < least * SAMPLE_RATE:
        return False
    return speech_seconds(speech_probabilities(samples)) >= least


def speech_probabilities(
    samples: np.ndarray, before: int = 0, hear: Callable[[list[np.ndarray]], list[np.ndarray]] | None = None
) -> np.ndarray:
    """Probability of speech in each frame: float32 (ceil((samples - before) / FRAME),).

    Args:
        samples: float at 16 kHz, full scale at 1, shape (samples,).
        before: so many of them, a multiple of ``FRAME``, come first and are only heard as context.
        hear: ``hear_rows``, or what has it hear rows of several callers at once.
    """
    first = before // FRAME
    frames = np.pad(samples, (0, -len(samples) % FRAME)).astype(np.float32).reshape(-1, FRAME)
    count = len(frames) - first
    if count <= 0:
        return np.zeros(0, np.float32)
    rows = -(-count // _ROW)
    # Row k hears frames first + k * _ROW - CONTEXT and so on; before the beginning there is silence.
    lead = max(0, CONTEXT - first)
    end = first + rows * _ROW - len(frames)
    frames = np.concatenate([np.zeros((lead, FRAME), np.float32), frames, np.zeros((end, FRAME), np.float32)])
    start = first + lead - CONTEXT
    heard = [_levelled(frames[start + k * _ROW :][: CONTEXT + _ROW]) for k in range(rows)]
    found = (hear or hear_rows)([row[: CONTEXT + min(_ROW, count)] for row in heard])
    return np.concatenate([row[CONTEXT:] for row in found])[:count]


def hear_rows(rows: list[np.ndarray]) -> list[np.ndarray]:
    """Probabilities of speech in rows of frames, side by side: (frames, FRAME) each -> float32 (frames,)."""
    longest = max(map(len, rows))
    found = _network()(np.stack([np.pad(row, ((0, longest - len(row)), (0, 0))) for row in rows]))
    return [probabilities[: len(row)] for probabilities, row in zip(found, rows, strict=True)]


def speech_seconds(probabilities: np.ndarray) -> float:
    """Seconds of speech, short gaps filled and short bursts left out, as Silero's own settings have it.

    What ``silero_vad.get_speech_timestamps_from_probs`` finds by its defaults, which imports torch.
    """
    values = np.asarray(probabilities)
    changes = np.flatnonzero((values >= _SPEECH) | (values < _NO_SPEECH))  # between them, all stays as it was
    states = values[changes] >= _SPEECH
    stretches, begin, silence = [], None, None
    for frame, speech in zip(changes.tolist(), states.tolist(), strict=True):
        if speech:
            begin, silence = frame if begin is None else begin, None
        elif begin is not None:
            silence = frame if silence is None else silence
            if (frame - silence) * FRAME >= _GAP:
                stretches.append((begin * FRAME, silence * FRAME))
                begin = silence = None
    end = len(values) * FRAME
    if begin is not None:
        stretches.append((begin * FRAME, end))
    stretches = [(start, stop) for start, stop in stretches if stop - start > _BURST]
    # Gaps are longer than twice the margin: stretches never meet.
    return sum(min(end, stop + _MARGIN) - max(0, start - _MARGIN) for start, stop in stretches) / SAMPLE_RATE


def require_detector() -> None:
    """
    Raises:
        AsvtkError: the package is not installed.
    """
    try:
        _network()
    except ImportError as error:
        raise AsvtkError(f"speech cannot be told from noise ({error}): pip install silero-vad") from None


def _levelled(frames: np.ndarray) -> np.ndarray:
    """Frames (frames, FRAME) at the level that the detector likes; silence where there is nothing else."""
    frames = frames - frames.mean(dtype=np.float64).astype(np.float32)
    peak = np.abs(frames).max()
    if peak < _SILENCE:
        return np.zeros_like(frames)
    return frames * np.float32(min(_LEVEL / np.sqrt(np.mean(np.square(frames, dtype=np.float64))), 1 / peak))


def _network():
    """Rows (rows, frames, FRAME) -> probabilities (rows, frames), for any number of threads."""
    return _torch_network() if "torch" in sys.modules else _onnx_network()


@functools.cache
def _onnx_network():
    from asvtk.inference.onnx_session import open_session

    package = importlib.util.find_spec("silero_vad")
    if package is None:
        raise ImportError("No module named 'silero_vad'")
    session = open_session((Path(package.origin).parent / "data" / "silero_vad.onnx").read_bytes(), threads=1)
    rate = np.array(SAMPLE_RATE)

    def hear(rows: np.ndarray) -> np.ndarray:
        probabilities = np.empty(rows.shape[:2], np.float32)
        state, before = np.zeros((2, len(rows), 128), np.float32), np.zeros((len(rows), 64), np.float32)
        for frame in range(rows.shape[1]):
            heard = {"input": np.concatenate([before, rows[:, frame]], axis=1), "state": state, "sr": rate}
            found, state = session.run(["output", "stateN"], heard)
            probabilities[:, frame] = found[:, 0]
            before = rows[:, frame, -64:]
        return probabilities

    return hear


@functools.cache
def _torch_network():
    import torch

    model = _model()

    def hear(rows: np.ndarray) -> np.ndarray:
        with _one_thread(), torch.inference_mode():
            return model(torch.from_numpy(rows)).numpy()

    return hear


@contextlib.contextmanager
def _one_thread():
    """So small are the products of this model that several threads only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _package():
    with _one_thread():
        import silero_vad  # sets the number of threads of the whole process

    return silero_vad


@functools.cache
def _model():
    """Rows (rows, frames, FRAME) -> probabilities (rows, frames), for any number of threads."""
    import torch

    package = _package().load_silero_vad()
    frame_by_frame = _FrameByFrame(package)
    probe = torch.randn(2, 5, FRAME, generator=torch.Generator().manual_seed(0)) * _LEVEL
    with _one_thread(), torch.inference_mode(), contextlib.suppress(AttributeError, KeyError, RuntimeError):
        whole_rows = _WholeRows(package._model)
        if torch.allclose(whole_rows(probe), frame_by_frame(probe), atol=1e-4):
            return whole_rows
    return frame_by_frame  # of a release that is built otherwise


class _FrameByFrame:
    """The package's own model: it keeps a state, and two threads at once end the process."""

    def __init__(self, package):
        self._package, self._lock = package, threading.Lock()

    def __call__(self, rows):
        import torch

        with self._lock:
            self._package.reset_states()
            frames = [self._package(rows[:, i].contiguous(), SAMPLE_RATE) for i in range(rows.shape[1])]
        return torch.cat(frames, dim=1)


class _WholeRows:
    """The package's network on all frames of all rows at once, six times as fast; it keeps no state."""

    def __init__(self, network):
        import torch

        self._network, self._context = network, network.context_size_samples
        weights = {f"{name}_l0": value for name, value in network.decoder.rnn.named_parameters()}
        width = weights["weight_hh_l0"].shape[1]
        self._lstm = torch.nn.LSTM(width, width, batch_first=True)
        self._lstm.load_state_dict(weights)

    def __call__(self, rows):
        import torch

        count, frames, _ = rows.shape
        # Each frame is heard with the last samples of the one before.
        before = torch.zeros_like(rows[:, :, -self._context :])
        before[:, 1:] = rows[:, :-1, -self._context :]
        flat = torch.cat([before, rows], dim=2).flatten(0, 1)
        encoded = self._network.encoder(self._network.run_extractors(flat))
        states, _ = self._lstm(encoded.reshape(count, frames, -1))
        return self._network.decoder.decoder(states.flatten(0, 1)[..., None]).reshape(count, frames)
