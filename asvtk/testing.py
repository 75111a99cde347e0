"""Contract tests for front-ends and back-ends, also those outside the package.

In a test of yours::

    from asvtk.testing import check_back_end, check_front_end

    def test_my_back_end():
        check_back_end(MyBackEnd, MyBackEndConfig(d_model=16))

    def test_my_front_end():
        check_front_end(MyFrontEnd)

Each raises an AssertionError that says what does not hold.
"""

import json

import numpy as np
import torch
from torch import Tensor

from asvtk.frontends.base import FrontEnd, FrontEndConfig
from asvtk.io.config import build, to_mapping
from asvtk.models import Batch, Detector, assemble
from asvtk.nn.losses import OcSoftmax, OcSoftmaxConfig
from asvtk.nn.pooling import GlobalMvn

__all__ = ["GivenFeatures", "check_back_end", "check_front_end", "detector_for"]


class GivenFeatures(FrontEnd):
    """A front-end of features that a test makes up; it computes none.

    Args:
        layers: how many; 0: the back-end hears audio alone.
        width: numbers a frame.
    """

    label = "given"

    def __init__(self, layers: int, width: int):
        super().__init__(FrontEndConfig())
        self.layers, self.width = tuple(range(layers)), width

    def details(self) -> dict:
        return {"front-end": "given"}

    def frames(self, samples):
        return samples

    def lower(self, audio: Tensor, samples: Tensor | None) -> dict[int, Tensor]:
        raise NotImplementedError("features are given")


def detector_for(model_config, loss_config=None, layers: int = 3, width: int = 10) -> Detector:
    """A fresh detector for features that are given: (batch, layers, frames, width); 0 layers: audio alone."""
    return assemble(GivenFeatures(layers, width), model_config, loss_config or OcSoftmaxConfig())


def random_batch(layers: int, width: int, samples=(9600, 9555, 4300, 7000), seed: int = 0):
    """Random utterances with frames of 400 samples every 320, and their labels: (Batch, bool (batch,))."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.tensor(samples)
    lengths = (samples - 80) // 320
    features = torch.randn(len(samples), layers, int(lengths.max()), width, generator=generator)
    audio = 0.1 * torch.randn(len(samples), int(samples.max()), generator=generator)
    audio = audio * (torch.arange(audio.shape[1]) < samples.unsqueeze(1))
    return Batch(features, lengths, audio, samples), torch.arange(len(samples)) % 2 == 0


def used(detector: Detector, batch: Batch) -> Batch:
    """What the back-end says that it uses, and nothing else."""
    features = batch[:2] if detector.model.uses_features else (None, None)
    audio = batch[2:] if detector.model.uses_audio else (None, None)
    return Batch(*features, *audio)


def check_back_end(cls: type, config=None, layers: int = 3, width: int = 10) -> None:
    """What training and scoring rely on in a back-end.

    Every parameter gets a gradient; scores depend neither on the batch's composition nor on padding; the
    shortest utterances are scored; embeddings are as wide as they are said to be.

    Args:
        cls: the back-end.
        config: of it; None: its defaults.
        layers, width: of the features that it is given; 0 layers: it hears audio alone.
    """
    torch.manual_seed(0)
    model = cls(cls.Config() if config is None else config, layers, width)
    loss = OcSoftmax(OcSoftmaxConfig(), model.d_embedding)
    detector = Detector(GivenFeatures(layers, width), model, loss)
    assert isinstance(getattr(model, "mvn", None), GlobalMvn) or not model.uses_features, (
        "it uses features and has no mvn = GlobalMvn(layers, width), which training fits first"
    )
    short, bonafide = random_batch(layers, width, samples=(400, 401))  # a frame each
    detector(used(detector, short), bonafide).backward()
    for name, parameter in detector.named_parameters():
        gradient = parameter.grad
        assert gradient is None or gradient.isfinite().all(), f"{name}: one frame has no finite gradient"
    detector.zero_grad()
    batch, bonafide = random_batch(layers, width)
    detector(used(detector, batch), bonafide).backward()
    for name, parameter in detector.named_parameters():
        gradient = parameter.grad
        assert gradient is not None and gradient.abs().max() > 1e-7, f"{name}: gets no gradient"
    detector.eval()
    with torch.inference_mode():
        embedding = detector.embed(used(detector, batch)).embedding
        assert embedding.shape == (4, detector.model.d_embedding), "the embedding is not (batch, d_embedding)"
        _check_independence(detector, batch)
        scores = detector.score_prepared(used(detector, short))
        assert scores.shape == (2,) and scores.isfinite().all(), "one frame has no finite score"


def _check_independence(detector: Detector, batch: Batch) -> None:
    together = detector.score_prepared(used(detector, batch))
    for row, (frames, samples) in enumerate(zip(batch.lengths, batch.samples, strict=True)):
        one = slice(row, row + 1)
        features, audio = batch.features[one, :, :frames], batch.audio[one, :samples]
        alone = used(detector, Batch(features, batch.lengths[one], audio, batch.samples[one]))
        _near(detector.score_prepared(alone), together[one], "a score depends on the rest of its batch")
    layers, width = batch.features.shape[1], batch.features.shape[3]
    noise = 1e3 * torch.randn(len(batch.features), layers, 9, width)
    padded = batch._replace(
        features=torch.cat([batch.features, noise], dim=2),
        audio=torch.cat([batch.audio, torch.zeros(len(batch.audio), 1234)], dim=1),
    )
    _near(detector.score_prepared(used(detector, padded)), together, "a score depends on padding")


def check_front_end(cls: type, config=None) -> None:
    """What stage 2, training and scoring rely on in a front-end.

    Its description is JSON, and the same twice; features have the shapes that it foretells; they depend
    neither on the batch's composition nor on padding, and are the same whether they were stored or not; its
    configuration comes back from YAML.

    Args:
        cls: the front-end.
        config: of it; None: its defaults. With ``crop=Crop(samples=None)`` ragged batches are tried, too.
    """
    config = cls.Config() if config is None else config
    frontend = cls(config).load().eval()
    assert isinstance(frontend.label, str) and frontend.label, "label names the cache's folder"
    described = frontend.describe()
    assert json.loads(json.dumps(described)) == json.loads(json.dumps(cls(config).describe()))
    mapping = {key: value for key, value in to_mapping(config).items() if key != "name"}
    assert build(type(config), mapping, "config") == config, "the configuration does not come back from YAML"
    generator = np.random.default_rng(0)
    audios = [(0.1 * generator.normal(size=n)).astype(np.float32) for n in (16_000, 9_000, 30)]
    prepared = [torch.from_numpy(frontend.prepare(audio)) for audio in audios]
    lengths = torch.tensor([len(audio) for audio in prepared])
    padded = torch.nn.utils.rnn.pad_sequence(prepared, batch_first=True)
    with torch.inference_mode():
        x, frames = frontend(padded, lengths)
        assert x.shape[:2] == (3, len(frontend.layers)) and x.dtype == torch.float32, "not (batch, layers, …)"
        for row, audio in enumerate(audios):
            shape = (int(frames[row]), x.shape[3])
            assert frontend.shape(len(audio)) == shape, (
                f"shape() foretells {frontend.shape(len(audio))}: {shape}"
            )
            alone, _ = frontend(prepared[row][None], lengths[row : row + 1])
            _near(
                x[row, :, : shape[0]],
                alone[0],
                "features depend on the batch or on padding, or frames() is wrong",
            )
        stored = frontend.lower(padded, None if frontend.crop.is_fixed else lengths)
        stacked = torch.stack([stored[layer] for layer in frontend.cut], dim=1)
        _near(frontend.from_cut(stacked, frames).x, x, "stored features give others than computed ones")


def _near(found: Tensor, expected: Tensor, message: str) -> None:
    torch.testing.assert_close(
        found, expected, rtol=1e-3, atol=1e-4, msg=lambda reason: f"{message}: {reason}"
    )
