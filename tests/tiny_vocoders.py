"""Vocoders that train in no time: narrow networks, short segments, one discriminator."""

from functools import partial

from asvtk.augment.neural import training
from asvtk.augment.neural.discriminators import Discriminators
from asvtk.augment.neural.generators import GENERATORS
from asvtk.augment.neural.spectra import HOP


class OneDiscriminator(Discriminators):
    def __init__(self):
        super().__init__()
        del self[1:]


def shrink_vocoders(patch) -> None:
    """Until the monkeypatch ``patch`` is undone."""
    patch.setattr(training, "_SEGMENT", 12 * HOP)
    patch.setattr(training, "Discriminators", OneDiscriminator)
    patch.setitem(GENERATORS, "spectral", partial(GENERATORS["spectral"], width=48, blocks=1))
