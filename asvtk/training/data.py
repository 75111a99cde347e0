"""A data set as batches of tensors: cached features, audio, or both."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from asvtk.frontends.base import Crop
from asvtk.frontends.cache import CachedFeatures, FeatureCache
from asvtk.io.audio import read_audio
from asvtk.io.datadir import BONAFIDE, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.models import Inputs, System

__all__ = ["UtteranceDataset", "draw_order", "load_batches", "open_dataset"]


class UtteranceDataset(Dataset):
    """The utterances of a data set, each as (features | None, audio | None, bona fide?).

    Features are float32 (layers, frames, d), audio float32 (samples,). It gives both where it can,
    until ``serve`` says what the system uses.

    Args:
        data: the data set.
        features: its cached features, if the front-end has any.
        crop: how much of the audio is heard; for systems that use both, what the front-end heard.
        random_crop: whether epochs (``epoch_seed``) choose where to crop the audio.
    """

    def __init__(
        self, data: DataDirectory, features: CachedFeatures | None, crop: Crop, random_crop: bool = False
    ):
        self.utterances = data.utterances
        self.bonafide = torch.tensor([data.label[utterance] == BONAFIDE for utterance in self.utterances])
        self.epoch_seed: int | None = None  # None: crop from the head, as for dev and eval
        self._data, self._features = data, features
        self._crop, self._random_crop = crop, random_crop
        self._gives_features, self._gives_audio = features is not None, True

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> tuple[Tensor | None, Tensor | None, Tensor]:
        features = torch.from_numpy(self.features(index)) if self._gives_features else None
        audio = torch.from_numpy(self._audio(index)) if self._gives_audio else None
        return features, audio, self.bonafide[index]

    @property
    def feature_shape(self) -> tuple[int, int]:
        """Layers, and numbers a frame; (0, 0) without features."""
        if self._features is None:
            return 0, 0
        layers, _, d = self.features(0).shape
        return layers, d

    def features(self, index: int) -> np.ndarray:
        return self._features[self.utterances[index]]

    def serve(self, system: System) -> None:
        """From now on give what ``system`` uses and nothing else.

        Raises:
            AsvtkError: it uses features, and the front-end has none.
        """
        if system.uses_features and self._features is None:
            raise AsvtkError(
                f"model {system.config.name}: needs the features of a front-end, and frontend: waveform has "
                "none; choose another front-end in the configuration"
            )
        self._gives_features, self._gives_audio = system.uses_features, system.uses_audio

    def _audio(self, index: int) -> np.ndarray:
        utterance = self.utterances[index]
        audio = read_audio(self._data.wav[utterance], self._data.num_samples[utterance])
        chooses = self._random_crop and self.epoch_seed is not None
        return self._crop(audio, np.random.default_rng((self.epoch_seed, index)) if chooses else None)


def open_dataset(data: DataDirectory, dump, cache: str, layers, frontend_config) -> UtteranceDataset:
    """A data set with the cached features of a front-end.

    Args:
        data: the data set.
        dump: folder of all caches.
        cache: the front-end's folder in it.
        layers: which layers; none for a front-end without features.
        frontend_config: its configuration.

    Raises:
        AsvtkError: they are not there; the line says to run stage 2.
    """
    features = FeatureCache(dump, cache, data.name).open(data, layers) if layers else None
    random_crop = getattr(frontend_config, "random_crop", False)
    return UtteranceDataset(data, features, frontend_config.crop, random_crop)


def draw_order(bonafide: Tensor, epoch_seed: int, balance: bool) -> list[int]:
    """The order of an epoch, a function of its seed alone, so that a resumed run draws the same.

    Args:
        bonafide: True for bona fide utterances, shape (utterances,).
        epoch_seed: seed of the epoch.
        balance: draw the rarer class again and again until both are equally frequent.
    """
    generator = torch.Generator().manual_seed(epoch_seed)
    if not balance:
        return torch.randperm(len(bonafide), generator=generator).tolist()
    classes = [bonafide.nonzero().squeeze(1), (~bonafide).nonzero().squeeze(1)]
    size = max(map(len, classes))
    drawn = []
    for members in classes:
        rounds = [
            members[torch.randperm(len(members), generator=generator)]
            for _ in range(-(-size // len(members)))
        ]
        drawn.append(torch.cat(rounds)[:size])
    order = torch.cat(drawn)
    return order[torch.randperm(len(order), generator=generator)].tolist()


def load_batches(
    dataset: UtteranceDataset, order: list[int], batch_size: int, device: str
) -> Iterator[tuple[Inputs, Tensor]]:
    """Batches of inputs and labels (batch,), on ``device``.

    Reading runs ahead in worker processes where a GPU would wait for it; on a CPU they would only
    take the cores away from training.
    """
    on_gpu = device != "cpu"
    loader = DataLoader(
        dataset,
        batch_sampler=[order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)],
        collate_fn=_collate,
        num_workers=4 if on_gpu else 0,
        pin_memory=on_gpu,
    )
    for inputs, bonafide in loader:
        yield inputs.to(device), bonafide.to(device, non_blocking=True)


def _collate(items) -> tuple[Inputs, Tensor]:
    features, audio, bonafide = zip(*items, strict=True)
    inputs = Inputs(None, None, None, None)
    if features[0] is not None:
        frames_first = [matrix.transpose(0, 1) for matrix in features]
        inputs = inputs._replace(
            features=pad_sequence(frames_first, batch_first=True).transpose(1, 2),
            lengths=torch.tensor([matrix.shape[1] for matrix in features]),
        )
    if audio[0] is not None:
        inputs = inputs._replace(
            audio=pad_sequence(audio, batch_first=True),
            samples=torch.tensor([len(samples) for samples in audio]),
        )
    return inputs, torch.stack(bonafide)
