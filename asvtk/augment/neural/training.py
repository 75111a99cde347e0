"""Training of a neural vocoder on recordings."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from asvtk.augment.neural.config import VocoderConfig
from asvtk.augment.neural.discriminators import Discriminators
from asvtk.augment.neural.generators import GENERATORS
from asvtk.augment.neural.spectra import HOP, log_mel, spectral_distance
from asvtk.io.errors import AsvtkError

__all__ = ["LEVEL", "train_vocoder"]

#: RMS of what vocoders hear and make; in training 6 dB more or less
LEVEL = 0.05
_SEGMENT = 40 * HOP  # 0.5 s
_SPECTRAL_WEIGHT = 15.0  # of the distances of spectra, against the discriminators' losses
_ALONE = 0.12  # share of the steps before the discriminators begin


def train_vocoder(
    name: str, recordings: Sequence[np.ndarray], config: VocoderConfig, device: str
) -> tuple[nn.Module, float]:
    """Train one vocoder: first on spectra alone, then against discriminators too.

    Args:
        name: of :data:`GENERATORS`.
        recordings: speech, float32 (samples,) each.
        config: how.
        device: ``cpu`` or ``cuda``; on a CPU a step takes a second or more.

    Returns:
        the generator, on the CPU, and its last distance of log-mel spectra (natural logarithm).

    Raises:
        AsvtkError: training went astray: nothing of it is of use.
    """
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # all steps have the same shapes
    rng = np.random.default_rng(config.seed)
    generator, discriminators = GENERATORS[name]().to(device), Discriminators().to(device)
    step = _Step(generator, discriminators, config, device)
    speech = [_at_level(recording) for recording in recordings]
    bar = tqdm(range(config.steps), desc=f"vocoder {name}", unit="step", disable=None)
    for number in bar:
        done = number / config.steps
        step.set_rate(max(0.05, (1 + math.cos(math.pi * done)) / 2))
        distance = step(_draw(speech, config.batch_size, rng), judged=done >= _ALONE)
        if number % 50 == 0:
            bar.set_postfix(mel=f"{distance.item():.2f}")
    if not all(torch.isfinite(parameter).all() for parameter in generator.parameters()):
        raise AsvtkError(
            f"vocoder {name}: its weights are not finite after {config.steps} steps; lower "
            f"resynthesis.vocoders.lr ({config.lr}), or look for broken recordings"
        )
    return generator.cpu().eval(), distance.item()


class _Step:
    """One step of training, which on a GPU is a recording of the third of its kind.

    A step is some three thousand kernels, of which Python starts ten in the time that one takes.
    """

    _UNRECORDED = 3  # of each kind: what is allocated and tuned at a first call must not be recorded

    def __init__(
        self, generator: nn.Module, discriminators: Discriminators, config: VocoderConfig, device: str
    ):
        self._generator, self._discriminators, self._device = generator, discriminators, device
        self._rates = [torch.tensor(rate, device=device) for rate in (config.lr, config.lr / 2)]
        self._first_rates = (config.lr, config.lr / 2)
        self._optimisers = [
            torch.optim.AdamW(part.parameters(), rate, betas=(0.8, 0.99), capturable=device != "cpu")
            for part, rate in zip((generator, discriminators), self._rates, strict=True)
        ]
        self._real = torch.zeros(config.batch_size, _SEGMENT, device=device)
        self._distance = torch.zeros((), device=device)
        self._calls, self._graphs = {True: 0, False: 0}, {}

    def set_rate(self, share: float) -> None:
        """Set the learning rates to a share of their first values."""
        for rate, first in zip(self._rates, self._first_rates, strict=True):
            rate.fill_(share * first)

    def __call__(self, real: np.ndarray, judged: bool) -> Tensor:
        """Train on segments, with the discriminators or on spectra alone; the log-mel distance, ()."""
        self._real.copy_(torch.from_numpy(real))
        self._calls[judged] += 1
        if self._device == "cpu":
            self._compute(judged)
        elif self._calls[judged] <= self._UNRECORDED:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._compute(judged)
            torch.cuda.current_stream().wait_stream(side)
        else:
            if judged not in self._graphs:
                self._graphs[judged] = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graphs[judged], capture_error_mode="thread_local"):
                    self._compute(judged)
            self._graphs[judged].replay()
        return self._distance

    def _compute(self, judged: bool) -> None:
        real, (optimiser, judges) = self._real, self._optimisers
        mel = log_mel(real)
        with self._half():
            made = self._generator(mel)
        made = made.float()
        distance = (log_mel(made) - mel).abs().mean()
        loss = _SPECTRAL_WEIGHT * (spectral_distance(made, real) + distance)
        if judged:
            with self._half():
                judgement = self._discriminators.loss(made, real)
            self._update(judges, self._discriminators, judgement)
            self._discriminators.requires_grad_(False)
            with self._half():
                loss = loss + self._discriminators.generator_loss(made, real)
        self._update(optimiser, self._generator, loss)
        self._discriminators.requires_grad_(True)
        self._distance.copy_(distance.detach())

    def _half(self):
        # Weights that autocast remembers as bfloat16 would be missing from a recording.
        return torch.autocast(self._device, torch.bfloat16, cache_enabled=False)

    def _update(self, optimiser: torch.optim.Optimizer, part: nn.Module, loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(part.parameters(), 10.0)
        optimiser.step()


def _at_level(recording: np.ndarray) -> np.ndarray:
    """At ``LEVEL``, and repeated where it is shorter than a segment."""
    recording = np.resize(recording, max(len(recording), _SEGMENT))
    rms = np.sqrt(np.square(recording, dtype=np.float64).mean())
    return (recording * (LEVEL / max(rms, 1e-6))).astype(np.float32)


def _draw(speech: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Segments from anywhere: (count, _SEGMENT)."""
    segments = []
    for index in rng.integers(len(speech), size=count):
        begin = rng.integers(len(speech[index]) - _SEGMENT + 1)
        segments.append(speech[index][begin : begin + _SEGMENT])
    gains = 10 ** (rng.uniform(-6, 6, (count, 1)) / 20)
    return np.stack(segments) * gains.astype(np.float32)
