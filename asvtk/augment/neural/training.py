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
    optimisers = [
        torch.optim.AdamW(part.parameters(), rate, betas=(0.8, 0.99))
        for part, rate in ((generator, config.lr), (discriminators, config.lr / 2))
    ]
    speech = [_at_level(recording) for recording in recordings]
    bar = tqdm(range(config.steps), desc=f"vocoder {name}", unit="step", disable=None)
    for step in bar:
        done = step / config.steps
        for optimiser, rate in zip(optimisers, (config.lr, config.lr / 2), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * max(0.05, (1 + math.cos(math.pi * done)) / 2)
        real = torch.from_numpy(_draw(speech, config.batch_size, rng)).to(device)
        mel = log_mel(real)
        with _half(device):
            made = generator(mel)
        made = made.float()
        mel_distance = (log_mel(made) - mel).abs().mean()
        loss = _SPECTRAL_WEIGHT * (spectral_distance(made, real) + mel_distance)
        if done >= _ALONE:
            with _half(device):
                judged = discriminators.loss(made, real)
            _update(optimisers[1], discriminators, judged)
            with _half(device):
                loss = loss + discriminators.generator_loss(made, real)
        _update(optimisers[0], generator, loss)
        if step % 50 == 0:
            bar.set_postfix(mel=f"{mel_distance.item():.2f}")
    if not all(torch.isfinite(parameter).all() for parameter in generator.parameters()):
        raise AsvtkError(
            f"vocoder {name}: its weights are not finite after {config.steps} steps; lower "
            f"resynthesis.vocoders.lr ({config.lr}), or look for broken recordings"
        )
    return generator.cpu().eval(), mel_distance.item()


def _half(device: str):
    return torch.autocast(device, torch.bfloat16)


def _update(optimiser: torch.optim.Optimizer, part: nn.Module, loss: Tensor) -> None:
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
