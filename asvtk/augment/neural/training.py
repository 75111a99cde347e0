"""Training of a neural vocoder on recordings."""

import copy
import math
from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from asvtk.augment.neural.config import VocoderConfig
from asvtk.augment.neural.discriminators import Discriminators
from asvtk.augment.neural.flow import FlowGenerator
from asvtk.augment.neural.generators import GENERATORS
from asvtk.augment.neural.recorded import Recorded, half
from asvtk.augment.neural.spectra import HOP, log_mel, spectral_distance
from asvtk.io.errors import AsvtkError

__all__ = ["LEVEL", "train_vocoder"]

#: RMS of what vocoders hear and make; in training 6 dB more or less
LEVEL = 0.05
_SEGMENT = 40 * HOP  # 0.5 s
_SPECTRAL_WEIGHT = 15.0  # of the distances of spectra, against the discriminators' losses
_ALONE = 0.12  # share of the steps before the discriminators begin


def train_vocoder(
    name: str,
    recordings: Sequence[np.ndarray],
    config: VocoderConfig,
    device: str,
    keep: Collection[int] = (),
) -> tuple[dict[int | None, nn.Module], float]:
    """Train one vocoder.

    Args:
        name: of :data:`GENERATORS`.
        recordings: speech, float32 (samples,) each.
        config: how.
        device: ``cpu`` or ``cuda``; on a CPU a step takes a second or more.
        keep: numbers of steps after which it is kept, too: what a young one makes has other traces.

    Returns:
        the generator at the end of its training (None) and at each of ``keep``, on the CPU; and the last
        value of its ``MEASURE``: the distance of log-mel spectra (natural logarithm), or the loss of flow
        matching.

    Raises:
        AsvtkError: training went astray: nothing of it is of use.
    """
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = True  # all steps have the same shapes
    rng = np.random.default_rng(config.seed)
    generator = GENERATORS[name]().to(device)
    kind = _FlowStep if isinstance(generator, FlowGenerator) else _AdversarialStep
    step = kind(generator, config, device)
    speech = [_at_level(recording) for recording in recordings]
    steps = config.steps * generator.STEPS_PER_STEP
    kept = {}
    bar = tqdm(range(steps), desc=f"vocoder {name}", unit="step", disable=None)
    for number in bar:
        done = number / steps
        step.set_rate(max(0.05, (1 + math.cos(math.pi * done)) / 2))
        measure = step(_draw(speech, config.batch_size, rng), done)
        if number % 50 == 0:
            bar.set_postfix_str(f"{generator.MEASURE} {measure.item():.2f}")
        age, rest = divmod(number + 1, generator.STEPS_PER_STEP)
        if not rest and age in keep:
            kept[age] = copy.deepcopy(generator).cpu().eval()  # a new one would draw its first weights
    if not all(torch.isfinite(parameter).all() for parameter in generator.parameters()):
        raise AsvtkError(
            f"vocoder {name}: its weights are not finite after {steps} steps; lower "
            f"resynthesis.vocoders.lr ({config.lr}), or look for broken recordings"
        )
    return kept | {None: generator.cpu().eval()}, measure.item()


class _Step:
    """One step of training of some parts, each at a rate of its own."""

    betas: tuple[float, float]
    clip: float  # largest norm of a part's gradient

    def __init__(self, rates: dict[nn.Module, float], config: VocoderConfig, device: str):
        self._device, self._first_rates = device, list(rates.values())
        self._rates = [torch.tensor(rate, device=device) for rate in self._first_rates]
        self._optimisers = {
            part: torch.optim.AdamW(part.parameters(), rate, betas=self.betas, capturable=device != "cpu")
            for part, rate in zip(rates, self._rates, strict=True)
        }
        self._real = torch.zeros(config.batch_size, _SEGMENT, device=device)
        self._measure = torch.zeros((), device=device)
        self._run = Recorded(self._compute, device)

    def set_rate(self, share: float) -> None:
        """Set the learning rates to a share of their first values."""
        for rate, first in zip(self._rates, self._first_rates, strict=True):
            rate.fill_(share * first)

    def __call__(self, real: np.ndarray, done: float) -> Tensor:
        """Train on segments, when that share of the training is done; the generator's measure, ()."""
        self._real.copy_(torch.from_numpy(real))
        self._run(self._kind(done))
        return self._measure

    def _update(self, part: nn.Module, loss: Tensor) -> None:
        optimiser = self._optimisers[part]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(part.parameters(), self.clip)
        optimiser.step()


class _AdversarialStep(_Step):
    """On spectra alone first, then against discriminators too."""

    betas, clip = (0.8, 0.99), 10.0

    def __init__(self, generator: nn.Module, config: VocoderConfig, device: str):
        self._generator, self._discriminators = generator, Discriminators().to(device)
        super().__init__({generator: config.lr, self._discriminators: config.lr / 2}, config, device)

    def _kind(self, done: float) -> bool:
        return done >= _ALONE

    def _compute(self, judged: bool) -> None:
        real, mel = self._real, log_mel(self._real)
        with half(self._device):
            made = self._generator.render(mel, real)
        made = made.float()
        distance = (log_mel(made) - mel).abs().mean()
        loss = _SPECTRAL_WEIGHT * (spectral_distance(made, real) + distance)
        if judged:
            with half(self._device):
                judgement = self._discriminators.loss(made, real)
            self._update(self._discriminators, judgement)
            self._discriminators.requires_grad_(False)
            with half(self._device):
                loss = loss + self._discriminators.generator_loss(made, real)
        self._update(self._generator, loss)
        self._discriminators.requires_grad_(True)
        self._measure.copy_(distance.detach())


class _FlowStep(_Step):
    """On the generator's own loss."""

    betas, clip = (0.9, 0.99), 1.0

    def __init__(self, generator: FlowGenerator, config: VocoderConfig, device: str):
        self._generator = generator
        super().__init__({generator: config.lr}, config, device)

    def _kind(self, done: float) -> None:
        return None  # all steps are alike

    def _compute(self, kind: None) -> None:
        loss = self._generator.loss(self._real)
        self._update(self._generator, loss)
        self._measure.copy_(loss.detach())


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
