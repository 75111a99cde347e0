"""Vocoders that keep (part of) the short-time spectrum and invent its phases or its fine structure."""

import numpy as np
import scipy

from asvtk.vocoding.dsp import (
    TINY,
    excitation,
    frames,
    grid,
    guarded,
    hann,
    istft,
    mel_matrix,
    overlap_add,
    stft,
    track_f0,
)

__all__ = [
    "channel_noise",
    "channel_pulse",
    "griffin_lim",
    "harmonic",
    "random_phase",
    "sinusoidal",
    "zero_phase",
]


@guarded
def griffin_lim(audio, sample_rate, rng, *, mels: int = 80, iterations: int = 32):
    """A mel spectrogram turned back into a waveform, as in text-to-speech without a neural vocoder.

    Griffin & Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 32(2),
    1984, with the momentum of Perraudin, Balazs & Soendergaard, "A fast Griffin-Lim algorithm",
    WASPAA 2013. The mel bands are spread over the bins by non-negative least squares (the
    multiplicative updates of Lee & Seung, NIPS 2000).

    Args:
        mels: mel bands between 0 Hz and Nyquist; fewer lose more of the harmonics.
        iterations: rounds of phase estimation; fewer leave more of the metallic echo.
    """
    size, hop = grid(sample_rate, 0.064)
    audio = audio.astype(np.float32)  # twice as fast, and the phases are estimates anyway
    bands = mel_matrix(mels, size, sample_rate).astype(np.float32)
    seen = np.abs(stft(audio, size, hop)) @ bands.T
    numerator, overlap = seen @ bands, bands.T @ bands
    magnitude = numerator + TINY
    for _ in range(20):
        magnitude *= numerator / (magnitude @ overlap + TINY)
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape, np.float32)).astype(np.complex64)
    previous = np.zeros_like(phase)
    for _ in range(iterations):
        rebuilt = stft(istft(magnitude * phase, size, hop, len(audio)), size, hop)
        phase = rebuilt - 0.5 * previous  # 0.99 / (1 + 0.99), the paper's momentum
        phase /= np.abs(phase) + TINY
        previous = rebuilt
    return istft(magnitude * phase, size, hop, len(audio))


@guarded
def random_phase(audio, sample_rate, rng, *, spread: float = 1.0):
    """True magnitudes; every phase is moved at random by up to ``spread`` half turns either way."""
    size, hop = grid(sample_rate)
    spectra = stft(audio, size, hop)
    turned = spectra * np.exp(1j * np.pi * spread * rng.uniform(-1, 1, spectra.shape))
    return istft(turned, size, hop, len(audio))


@guarded
def zero_phase(audio, sample_rate, rng):
    """True magnitudes; every frame is symmetric about its centre, which gives a monotone robot's voice."""
    size, hop = grid(sample_rate)
    blocks = np.roll(scipy.fft.irfft(np.abs(stft(audio, size, hop)), size), size // 2, axis=1)
    return overlap_add(blocks * hann(size), hop, len(audio))


@guarded
def channel_noise(audio, sample_rate, rng, *, bands: int = 24):
    """Channel vocoder excited by noise only: a whisper through ``bands`` mel bands."""
    return _channels(audio, rng.standard_normal(len(audio)), sample_rate, bands)


@guarded
def channel_pulse(audio, sample_rate, rng, *, bands: int = 24):
    """Channel vocoder with ``bands`` mel bands, excited by pulses in voiced speech and noise elsewhere."""
    _, hop = grid(sample_rate)
    source = excitation(track_f0(audio, sample_rate, hop), hop, len(audio), sample_rate, rng)
    return _channels(audio, source, sample_rate, bands)


def _channels(audio, source, sample_rate, bands):
    """Give ``source`` the band energies of ``audio`` (Dudley, "Remaking speech", JASA 11, 1939)."""
    size, hop = grid(sample_rate)
    matrix = mel_matrix(bands, size, sample_rate)
    spectra = stft(source, size, hop)
    wanted, present = ((np.abs(x) ** 2 @ matrix.T) for x in (stft(audio, size, hop), spectra))
    # Frames before the signal, and those between two slow pulses, hold no source to amplify.
    gains = np.sqrt(wanted / (present + 1e-3 * present.mean(axis=0)))
    return istft(spectra * (gains @ (matrix / (matrix.sum(axis=0) + TINY))), size, hop, len(audio))


@guarded
def sinusoidal(audio, sample_rate, rng, *, peaks: int = 80):
    """The ``peaks`` strongest spectral peaks of each frame, one steady sinusoid each.

    McAulay & Quatieri, "Speech analysis/synthesis based on a sinusoidal representation", IEEE TASSP
    34(4), 1986; overlap-add takes the place of their tracks from frame to frame.
    """
    size, hop = grid(sample_rate)
    padded = 4 * size
    spectra = scipy.fft.rfft(frames(audio, size, hop) * hann(size), padded)
    level = np.log(np.abs(spectra) + TINY)
    inner = level[:, 1:-1]
    height = np.where((inner >= level[:, :-2]) & (inner > level[:, 2:]), inner, -np.inf)
    best = np.argpartition(-height, peaks, axis=1)[:, :peaks]
    height = np.take_along_axis(height, best, axis=1)
    best += 1
    left, right = (np.take_along_axis(level, best + step, axis=1) for step in (-1, 1))
    top = np.where(np.isfinite(height), height, 0.0)
    offset = np.clip(0.5 * (left - right) / np.minimum(left - 2 * top + right, -1e-9), -0.5, 0.5)
    # The window is symmetric, so a peak's phase at the frame's centre is that of its bin.
    phase = np.angle(np.take_along_axis(spectra, best, axis=1)) + np.pi * best * size / padded
    blocks = _cosines(2 * np.pi * (best + offset) / padded, np.exp(height), phase, size)
    return overlap_add(blocks * hann(size), hop, len(audio))


@guarded
def harmonic(audio, sample_rate, rng):
    """Harmonics of F0 only, with phases that follow from F0; in unvoiced speech, 100 Hz apart and at random.

    The harmonic coding of McAulay & Quatieri's sinusoidal model ("Sinusoidal coding", in Speech
    Coding and Synthesis, Elsevier, 1995): amplitudes and F0 are sent, phases are not.
    """
    size, hop = grid(sample_rate)
    magnitude = np.abs(stft(audio, size, hop))
    f0 = track_f0(audio, sample_rate, hop)
    voiced = f0[:, None] > 0
    f0 = np.where(f0 > 0, f0, 100.0)
    number = np.arange(1, int(sample_rate / 2 / f0.min()) + 1)
    frequency = f0[:, None] * number
    heard = frequency < sample_rate / 2
    bins = np.where(heard, np.rint(frequency * size / sample_rate), 0).astype(int)
    amplitude = np.take_along_axis(magnitude, bins, axis=1) * heard
    turn = 2 * np.pi * np.cumsum(f0) * hop / sample_rate
    phase = np.where(voiced, turn[:, None] * number, rng.uniform(0, 2 * np.pi, frequency.shape))
    blocks = _cosines(2 * np.pi * frequency / sample_rate, amplitude, phase, size)
    return overlap_add(blocks * hann(size), hop, len(audio))


def _cosines(omega, amplitude, phase, size):
    """Cosines summed in each frame: three (frames, cosines) -> (frames, size). Phases are at the centre."""
    time = np.arange(size, dtype=np.float32) - size // 2
    omega, amplitude, phase = (x.astype(np.float32) for x in (omega, amplitude, np.mod(phase, 2 * np.pi)))
    blocks = np.zeros((len(omega), size), np.float32)
    for k in range(omega.shape[1]):  # one sinusoid at a time, not to hold frames x sinusoids x size numbers
        blocks += amplitude[:, k, None] * np.cos(omega[:, k, None] * time + phase[:, k, None])
    return blocks.astype(np.float64)
