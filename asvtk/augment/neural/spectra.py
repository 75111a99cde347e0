"""Spectra of training audio, on the device: what vocoders are given, and what they are judged by."""

import torch
from torch import Tensor
from torch.nn import functional as F

from asvtk.augment.vocoders.parts import mel_matrix
from asvtk.io.audio import SAMPLE_RATE

__all__ = ["FFT", "HOP", "MELS", "istft", "log_mel", "magnitudes", "spectral_distance", "stft"]

HOP = 200  # samples between frames: 12.5 ms
FFT = 1024
MELS = 80
_WINDOW = 800
_FLOOR = 1e-5


def stft(audio: Tensor, fft: int, hop: int, window: int) -> Tensor:
    """(batch, samples) -> complex (batch, fft // 2 + 1, samples // hop).

    Frames are centred on whole hops and a half; Hann windows of ``window`` samples.
    """
    sides = (fft - hop) // 2, (fft - hop + 1) // 2
    padded = F.pad(audio.unsqueeze(1), sides, "reflect").squeeze(1)
    shape = torch.hann_window(window, device=audio.device)
    return torch.stft(padded, fft, hop, window, shape, center=False, return_complex=True)


def istft(spectra: Tensor, hop: int) -> Tensor:
    """The way back from :func:`stft`, windows of ``fft``: (batch, bins, frames) -> (batch, frames * hop)."""
    fft = 2 * (spectra.shape[1] - 1)
    window = torch.hann_window(fft, device=spectra.device).unsqueeze(-1)
    frames = torch.fft.irfft(spectra, fft, dim=1) * window
    whole = (1, (frames.shape[-1] - 1) * hop + fft)
    place = {"output_size": whole, "kernel_size": (1, fft), "stride": (1, hop)}
    total = F.fold(frames, **place)
    weight = F.fold(window.square().expand(1, -1, frames.shape[-1]), **place)
    begin = (fft - hop) // 2
    return (total / weight.clamp_min(1e-3))[:, 0, 0, begin : begin + frames.shape[-1] * hop]


def magnitudes(audio: Tensor, fft: int, hop: int, window: int) -> Tensor:
    """Of the spectra that :func:`stft` gives, 1e-5 at least."""
    # Not abs(): its gradient at 0 is not finite.
    parts = torch.view_as_real(stft(audio, fft, hop, window))
    return parts.square().sum(-1).clamp_min(_FLOOR**2).sqrt()


_MEL = {}


def log_mel(audio: Tensor) -> Tensor:
    """(batch, samples), whole hops -> (batch, MELS, samples // HOP)."""
    if audio.device not in _MEL:
        with torch.inference_mode(False):  # kept from a call of inference, training could not use it
            matrix = torch.from_numpy(mel_matrix(MELS, FFT, SAMPLE_RATE)).float()
            _MEL[audio.device] = matrix.to(audio.device)
    return (_MEL[audio.device] @ magnitudes(audio, FFT, HOP, _WINDOW)).clamp_min(_FLOOR).log()


def spectral_distance(made: Tensor, real: Tensor) -> Tensor:
    """Multi-resolution distance of spectra: log magnitudes, and relative magnitudes.

    Source: Yamamoto, Song and Kim, "Parallel WaveGAN: a fast waveform generation model based on
    generative adversarial networks with multi-resolution spectrogram", ICASSP 2020, equations 4 to 6.
    """
    total = 0
    for fft in (2048, 1024, 512, 256):
        a, b = (magnitudes(x, fft, fft // 4, fft) for x in (made, real))
        total = total + (a.log() - b.log()).abs().mean() + (a - b).norm() / b.norm()
    return total / 4
