"""Linear-frequency cepstral coefficients (LFCC), the baseline features of the ASVspoof challenges.

20 ms Hamming windows every 10 ms, a 512-point spectrum, 20 triangular filters spaced evenly on the
linear frequency axis up to 8 kHz, log10 filter energies, a DCT to 20 coefficients (the 0th
included), and their first and second differences: 60 numbers a frame. Source: Sahidullah, Kinnunen
and Hanilçi, "A comparison of features for synthetic speech detection", Interspeech 2015.
"""

import numpy as np
import torch
from torch import Tensor

from asvtk.frontends.base import Conditioning, Extension, FrontEnd
from asvtk.frontends.config import LfccConfig
from asvtk.frontends.spec import LfccSpec
from asvtk.nn.cepstra import LinearCepstra

__all__ = ["Lfcc", "LfccConfig"]


class Lfcc(LfccSpec, FrontEnd):
    """LFCC with first and second differences."""

    def __init__(self, config: LfccConfig):
        super().__init__(config)
        self.cepstra = LinearCepstra(
            config.coefficients, config.filters, config.window, config.shift, config.fft, config.preemphasis
        )

    def lower(self, audio: Tensor, samples: Tensor | None) -> dict[int, Tensor]:
        return {0: self.cepstra(audio, None if samples is None else self.frames(samples))}

    def extension(self, samples: int) -> Extension | None:
        # A level, a filter or a repetition is of the whole window.
        as_it_is = self.conditioning == Conditioning() and samples == self.crop.length(samples)
        return _Extension(self.cepstra) if as_it_is and samples >= self.min_samples else None


class _Extension:
    """LFCC of windows that overlap: a static frame that the window before had is not computed again.

    A window's own are its first frame, whose first sample has none before it, and the differences.
    """

    def __init__(self, cepstra: LinearCepstra):
        self._cepstra, self._start, self._static = cepstra, 0, torch.zeros(0, 0)

    @torch.inference_mode()
    def __call__(self, start: int, audio: np.ndarray) -> Tensor:
        samples, bank = torch.from_numpy(audio), self._cepstra.filterbank
        new, between = divmod(start - self._start, bank.shift)
        known = self._static[max(new, 0) + 1 :]
        if between or new < 1 or not len(known):
            static = self._compute(samples)
        else:
            # One product for both: the first frame; those that hear its end; one that hears a joint; the new.
            lead = -(-bank.length // bank.shift)
            joined = [samples[: lead * bank.shift], samples[len(known) * bank.shift :]]
            computed = self._compute(torch.cat(joined))
            static = torch.cat([computed[:1], known, computed[lead + 1 :]])
        self._start, self._static = start, static
        return self._cepstra.with_differences(static.unsqueeze(0))

    def _compute(self, samples: Tensor) -> Tensor:
        return self._cepstra.static(samples.unsqueeze(0)).squeeze(0)
