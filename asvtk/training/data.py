"""Cached features as batches of tensors."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from asvtk.frontends.cache import CachedFeatures, FeatureCache
from asvtk.io.datadir import BONAFIDE, DataDirectory

__all__ = ["FeatureDataset", "draw_order", "load_batches", "open_dataset"]


class FeatureDataset(Dataset):
    """The utterances of a data set: (features (layers, frames, d) float32, bona fide?)."""

    def __init__(self, data: DataDirectory, features: CachedFeatures):
        self.utterances = data.utterances
        self.bonafide = torch.tensor([data.label[utterance] == BONAFIDE for utterance in self.utterances])
        self._features = features

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self._features[self.utterances[index]]), self.bonafide[index]


def open_dataset(data: DataDirectory, dump, cache: str, layers) -> FeatureDataset:
    """The cached features of one data set.

    Args:
        data: the data set.
        dump: folder of all caches.
        cache: the front-end's folder in it.
        layers: which layers.

    Raises:
        AsvtkError: they are not there; the line says to run stage 2.
    """
    return FeatureDataset(data, FeatureCache(dump, cache, data.name).open(data, layers))


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
    dataset: FeatureDataset, order: list[int], batch_size: int, device: str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of features (batch, layers, frames, d), lengths (batch,) and labels (batch,), on ``device``.

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
    for batch in loader:
        yield tuple(tensor.to(device, non_blocking=True) for tensor in batch)


def _collate(items) -> tuple[Tensor, Tensor, Tensor]:
    features, bonafide = zip(*items, strict=True)
    lengths = torch.tensor([matrix.shape[1] for matrix in features])
    frames_first = [matrix.transpose(0, 1) for matrix in features]
    padded = pad_sequence(frames_first, batch_first=True).transpose(1, 2)
    return padded, lengths, torch.stack(bonafide)
