"""Dataset of labelled utterances as tensors: cached features, audio, or both."""

import functools
import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from asvtk.augment.config import AugmentationConfig
from asvtk.frontends.base import FrontEnd
from asvtk.frontends.cache.store import CachedFeatures, FeatureCache, cache_name, copy_name
from asvtk.frontends.crop import draw_begin
from asvtk.io.ark import StoredMatrices
from asvtk.io.audio import read_audio
from asvtk.io.datadir import BONAFIDE, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.tables import read_table
from asvtk.models import BackEnd, Batch

__all__ = ["UtteranceDataset", "open_dataset"]

_log = logging.getLogger(__name__)


class UtteranceDataset(Dataset):
    """The utterances of a data set, each as (features | None, audio | None, bona fide?).

    Features are float32 (layers, frames, d), audio float32 (samples,). It gives both where it can,
    until ``serve`` says what the system uses. Where nothing is stored at the front-end's cut, prepared audio
    stands in the place of features, (samples,).

    In training, an epoch (``draw`` with its seed) chooses a version of each utterance, clean or augmented,
    and where the window that is heard begins. Without one everything is clean and cropped at the head, as
    for dev and eval.

    Args:
        data: the data set.
        frontend: that of the detector.
        versions: what is stored at its cut, clean first, then its augmented copies; none if nothing is.
        augmentation: of the audio; with cached copies, the one they were made with.

    Attributes:
        utterances: their ids.
        bonafide: True for bona fide, (utterances,).
        targets: the labels of a training epoch, (utterances,): ``bonafide``, or probabilities of it.
        frontend: the same.
    """

    def __init__(
        self,
        data: DataDirectory,
        frontend: FrontEnd,
        versions: list[CachedFeatures] = (),
        augmentation: AugmentationConfig | None = None,
    ):
        self.utterances = [
            utterance for utterance in data.utterances if all(utterance in v.utterances for v in versions)
        ]
        self.bonafide = torch.tensor([data.label[utterance] == BONAFIDE for utterance in self.utterances])
        self.targets = self.bonafide
        index = {utterance: number for number, utterance in enumerate(self.utterances)} | {None: -1}
        #: of vocoded spoofs, the index of what they were made of; -1 for all others, -2 for those of which
        #: that is not in the set
        self.made_of = torch.tensor([index.get(data.source.get(u), -2) for u in self.utterances])
        self._data, self._versions, self._augmentation = data, versions, augmentation
        self.frontend = frontend
        # A window of stored features begins with a frame; it may begin with any sample of the audio.
        self._step = frontend.frame_shift if versions else 1
        self._gives_features, self._gives_audio = bool(frontend.layers), True

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """The clean utterance."""
        return self.draw(index, None)

    def draw(
        self, index: int, epoch_seed: int | None, window: int | None = None, unread: bool = False
    ) -> tuple[Tensor | StoredMatrices | None, Tensor | None, Tensor]:
        """The utterance as an epoch hears it: a function of the arguments alone.

        Args:
            index: which one.
            epoch_seed: None: not in training.
            window: samples of the window that is heard, before the crop; None: as many as the crop has, and
                from the head unless the front-end's configuration says ``random_crop``.
            unread: whether features that are stored as CM2 are for the caller to read.
        """
        utterance, version, begin = self.utterances[index], 0, 0
        if window is None and self.frontend.config.random_crop:
            window = self.frontend.crop.samples
        if epoch_seed is not None:
            generator = np.random.default_rng((epoch_seed, index))
            # Audio that is not tied to cached copies is augmented anew: the epoch is the copy's number.
            version = int(generator.integers(len(self._versions))) if self._versions else epoch_seed
            if window is not None:
                begin = draw_begin(self._data.num_samples[utterance], window, self._step, generator)
        features = audio = heard = None
        if self._gives_audio or self._gives_features and not self._versions:
            heard = self._audio(utterance, version)[begin:][:window]
        if self._gives_audio:
            audio = torch.from_numpy(self.frontend.hear(heard))
        if self._gives_features:
            features = self._versions[version].find(utterance) if unread and self._versions else None
            if features is None:
                features = self._features(utterance, version, heard)
            if self._versions and window is not None:
                first = begin // self._step
                frames = self.frontend.frames(max(window, self.frontend.min_samples))
                stored = isinstance(features, StoredMatrices)
                features = features.cut(first, frames) if stored else features[:, first:][:, :frames]
        return features, audio, (self.bonafide if epoch_seed is None else self.targets)[index]

    def column(self, name: str) -> list[str]:
        """What a table of the data directories says of each utterance; see ``DataDirectory.column``."""
        table = self._data.column(name)
        return [table[utterance] for utterance in self.utterances]

    @property
    def largest(self) -> int:
        """Most numbers that features and audio of an utterance have together."""
        longest = max(range(len(self)), key=lambda index: self._data.num_samples[self.utterances[index]])
        return sum(x.numel() for x in self[longest][:2] if x is not None)

    def sample(self, count: int, among: list[int] | None = None) -> Iterator[Batch]:
        """Clean features of up to ``count`` utterances, evenly spread; each as a batch of one.

        Args:
            count: how many.
            among: numbers of the utterances to choose from, ascending; each counts as often as it stands
                there. None: all.
        """
        among = range(len(self)) if among is None else among
        places = np.unique(np.linspace(0, len(among) - 1, min(count, len(among))).astype(int))
        for utterance in (self.utterances[among[place]] for place in places):
            heard = None if self._versions else self._audio(utterance, 0)
            features = self._features(utterance, 0, heard)
            yield Batch(
                features[None], torch.tensor([features.shape[-2 if self._versions else -1]]), None, None
            )

    @functools.cached_property
    def parts(self) -> dict[str, list[int]]:
        """Numbers of the utterances of each data set that this one was made of, by its name."""
        if len(self._data.parts) == 1:
            return {self._data.name: list(range(len(self)))}
        numbers = {utterance: number for number, utterance in enumerate(self.utterances)}
        return {
            part.name: [numbers[utterance] for utterance in part.utterances if utterance in numbers]
            for part in self._data.parts
        }

    def require_both_classes(self, each: bool = False) -> None:
        """
        Args:
            each: of the data sets that this one was made of must have both.

        Raises:
            AsvtkError: there are no bona fide utterances, or no spoofed ones.
        """
        sets = [(self._data.path, self.bonafide)]
        if each:
            paths = (part.path for part in self._data.parts)
            sets = [(p, self.bonafide[n]) for p, n in zip(paths, self.parts.values(), strict=True)]
        for path, labels in sets:
            bonafide = int(labels.sum())
            if not 0 < bonafide < len(labels):
                raise AsvtkError(
                    f"{path}: {bonafide} bona fide and {len(labels) - bonafide} spoofed utterances with "
                    "features; both are needed"
                )

    def learn_from(self, targets: dict[str, float]) -> None:
        """From now on training epochs give probabilities of bona fide speech in the place of labels."""
        self.targets = torch.tensor([targets[utterance] for utterance in self.utterances])

    def serve(self, system: BackEnd) -> None:
        """From now on give what ``system`` uses and nothing else."""
        self._gives_features, self._gives_audio = system.uses_features, system.uses_audio

    def _features(self, utterance: str, version: int, heard: np.ndarray | None) -> Tensor:
        if not self._versions:
            return torch.from_numpy(self.frontend.prepare(heard))
        return torch.from_numpy(self._versions[version][utterance])

    def _audio(self, utterance: str, version: int) -> np.ndarray:
        """An utterance, whole."""
        data = self._data
        audio = read_audio(data.wav[utterance], data.num_samples[utterance], md5=data.md5[utterance])
        if version and self._augmentation is not None:
            audio = self._augmentation.apply(version, utterance, audio)
        return audio


def open_dataset(
    data: DataDirectory | list[DataDirectory],
    dump,
    frontend: FrontEnd,
    augmentation: AugmentationConfig | None = None,
) -> UtteranceDataset:
    """A data set as the detector of a front-end hears it.

    Args:
        data: the data set, or several that make one.
        dump: folder of all caches.
        frontend: that of the detector.
        augmentation: for training.

    Raises:
        AsvtkError: features are not there, and the line says to run stage 2; or they are of other audio.
    """
    parts = data if isinstance(data, list) else [data]
    data, versions = DataDirectory.union(parts), []
    if frontend.stored:
        names = [(cache_name(frontend), 0)]
        for copy in range(1, 1 + (augmentation.copies if augmentation is not None else 0)):
            names.append((cache_name(frontend, augmentation), copy))
        versions = [
            CachedFeatures.union([_open_cache(dump, name, copy, part, frontend.stored) for part in parts])
            for name, copy in names
        ]
    dataset = UtteranceDataset(data, frontend, versions, augmentation)
    if lost := len(data.utterances) - len(dataset):
        _log.warning(f"{data.path}: {lost} utterances without features are left out; stage 2 skipped them")
    return dataset


def _open_cache(dump, name: str, copy: int, data: DataDirectory, layers) -> CachedFeatures:
    cache = FeatureCache(dump, name, copy_name(data.name, copy))
    _refuse_other_audio(cache, data)
    return cache.open(data, layers)


def _refuse_other_audio(cache: FeatureCache, data: DataDirectory) -> None:
    """Utterance ids of different corpora may coincide; their audio does not."""
    path = cache.folder / "utt2md5"
    known = read_table(path) if path.exists() else {}
    for utterance, md5 in data.md5.items():
        if known.get(utterance, md5) != md5:
            raise AsvtkError(
                f"{cache.folder}: holds features of other audio: {utterance} is not the one of {data.path}; "
                "run stage 2 with another --dumpdir, and train with that"
            )
