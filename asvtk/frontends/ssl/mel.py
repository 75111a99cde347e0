"""Log-mel spectrograms that Whisper and w2v-BERT 2.0 were trained on, batched, of real samples only."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.io.audio import SAMPLE_RATE
from asvtk.nn.exporting import is_exporting
from asvtk.nn.frames import cut_frames, frame_mask, power_by_products

__all__ = ["KaldiLogMel", "WhisperLogMel", "kaldi_filters", "slaney_filters"]

WINDOW, SHIFT = 400, 160  # samples: 25 and 10 ms


class WhisperLogMel(nn.Module):
    """Whisper's log-mel spectrogram: decadic logarithm, the 80 dB below the utterance's loudest band.

    Audio is mirrored at its real ends. Whisper itself pads to 30 s with zeros before that; speech features of
    4 s would be mostly of silence.

    Source: Radford et al., "Robust speech recognition via large-scale weak supervision", ICML 2023, section
    2.2, and its published code.

    Args:
        mels: bands; 80, or 128 from large-v3 on.
    """

    def __init__(self, mels: int):
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("filters", torch.from_numpy(slaney_filters(mels)).float(), persistent=False)

    def forward(self, audio: Tensor, samples: Tensor | None) -> Tensor:
        """float32 (batch, samples) -> (batch, frames, mels); zeros behind real frames."""
        half, frames = WINDOW // 2, audio.shape[1] // SHIFT
        if samples is None:
            audio = F.pad(audio, (half, half), mode="reflect")
        else:
            last = samples.unsqueeze(1) - 1
            places = torch.arange(-half, audio.shape[1] + half, device=audio.device)
            # Far behind its end, an utterance has nothing to mirror, and nobody looks.
            mirrored = (last - (places.abs() - last).abs()).clamp_min(0)
            audio = audio.gather(1, mirrored)
        x = cut_frames(audio, WINDOW, SHIFT)[:, :frames] * self.window
        x = _power(x, WINDOW) @ self.filters
        x = x.clamp_min(1e-10).log10()
        if samples is None:
            return (torch.maximum(x, x.amax((1, 2), keepdim=True) - 8) + 4) / 4
        real = frame_mask(samples // SHIFT, frames).unsqueeze(-1)
        loudest = x.masked_fill(~real, -torch.inf).amax((1, 2), keepdim=True)
        return (torch.maximum(x, loudest - 8) + 4) / 4 * real


class KaldiLogMel(nn.Module):
    """Kaldi's log-mel filterbank of 16-bit samples; each band with zero mean and unit variance in time.

    Computed in double precision, as transformers does: bands without sound are small differences of large
    numbers.

    Source: Povey et al., "The Kaldi speech recognition toolkit", ASRU 2011 (``compute-fbank-feats``); the
    normalisation is that of Seamless Communication, "Seamless: Multilingual expressive and streaming speech
    translation", 2023.

    Args:
        mels: bands.
    """

    FFT = 512

    def __init__(self, mels: int):
        super().__init__()
        window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64) ** 0.85
        self.register_buffer("window", window, persistent=False)
        filters = torch.from_numpy(kaldi_filters(mels, self.FFT))
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: Tensor, samples: Tensor | None) -> Tensor:
        """float32 (batch, samples) -> float32 (batch, frames, mels); zeros behind real frames."""
        x = cut_frames(audio.double(), WINDOW, SHIFT) * 2**15
        x = x - x.mean(-1, keepdim=True)
        before = F.pad(x[..., :-1], (1, 0))
        before[..., 0] = x[..., 0]
        x = _power((x - 0.97 * before) * self.window, self.FFT) @ self.filters
        x = x.clamp_min(2.0**-23).log()
        if samples is None:
            variance, mean = torch.var_mean(x, 1, keepdim=True)
            return ((x - mean) * (variance + 1e-7).rsqrt()).float()
        lengths = (samples - WINDOW) // SHIFT + 1
        real, count = frame_mask(lengths, x.shape[1]).unsqueeze(-1), lengths.view(-1, 1, 1)
        centred = (x - (x * real).sum(1, keepdim=True) / count) * real
        variance = centred.square().sum(1, keepdim=True) / (count - 1)
        return (centred * (variance + 1e-7).rsqrt()).float()


def _power(frames: Tensor, fft: int) -> Tensor:
    if is_exporting():
        return power_by_products(frames, fft)
    return torch.fft.rfft(frames, fft).abs().square()


def slaney_filters(count: int, fft: int = WINDOW) -> np.ndarray:
    """Triangular filters of unit area on Slaney's mel scale: linear up to 1 kHz, then logarithmic.

    Source: Slaney, "Auditory toolbox", version 2, Interval Research technical report 1998-010.

    Returns:
        weights of the bins, float64 (fft // 2 + 1, count).
    """
    top = 15 + 27 * np.log(SAMPLE_RATE / 2000) / np.log(6.4)
    mels = np.linspace(0, top, count + 2)
    peaks = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    bins = np.arange(fft // 2 + 1) * SAMPLE_RATE / fft
    return _triangles(bins, peaks) * 2 / (peaks[2:] - peaks[:-2])


def kaldi_filters(count: int, fft: int) -> np.ndarray:
    """Filters from 20 Hz on that are triangular, and evenly spaced, on the mel scale 1127 ln(1 + f / 700).

    Returns:
        weights of the bins, float64 (fft // 2 + 1, count).
    """

    def mel(hertz):
        return 1127 * np.log1p(hertz / 700)

    peaks = np.linspace(mel(20), mel(SAMPLE_RATE / 2), count + 2)
    return _triangles(mel(np.arange(fft // 2 + 1) * SAMPLE_RATE / fft), peaks)


def _triangles(bins: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    bins = bins[:, None]
    rising = (bins - peaks[:-2]) / (peaks[1:-1] - peaks[:-2])
    falling = (peaks[2:] - bins) / (peaks[2:] - peaks[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
