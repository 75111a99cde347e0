"""A front-end that costs nothing, and finished caches of it."""

from asvtk.frontends.base import Crop, FrontEnd
from asvtk.frontends.cache import FeatureCache, cache_name, description
from asvtk.frontends.extraction import Source, extract_missing


class Ramp(FrontEnd):
    """Layer n: the utterance times n + 1, cut into rows of 4. All layers have the same number of frames."""

    label, crop, uses_gpu, batch_size = "ramp", Crop(9000, repeat=False), False, 4

    def __init__(self, *layers, storage="FM", shift=100):
        self.layers, self.storage, self.shift = layers, storage, shift

    def describe(self):
        return {"front-end": "ramp", "stored as": self.storage}  # not the shift: tests want to cheat

    def prepare(self, audio):
        return self.crop(audio)

    def shape(self, samples):
        return self.crop.length(samples) // self.shift, 4

    def start(self, batch, layers):
        features = [{layer: self._compute(audio) * (layer + 1) for layer in layers} for audio in batch]
        return lambda: features

    def _compute(self, audio):
        frames, width = self.shape(len(audio))
        return audio[: frames * width].reshape(frames, width)


def source_of(dump, data, frontend) -> Source:
    return Source(data, FeatureCache(dump, cache_name(frontend), data.name))


def fill(dump, data, frontend, jobs=1) -> FeatureCache:
    """Run all of stage 2."""
    source = source_of(dump, data, frontend)
    source.cache.claim(data, description(frontend))
    for job in range(1, jobs + 1):
        assert extract_missing(source, frontend, job, jobs)[1] == {}
    source.cache.join(data, frontend.layers)
    return source.cache
