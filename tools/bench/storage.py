#!/usr/bin/env python3
"""What storing features in 16 or 8 bits does to the scores of a trained head.

  tools/bench/storage.py --exp exp/TAG --dump dump --data data/dev data/eval

The experiment's features must be cached as FM (float32). They are stored again as CM2 and CM in a
scratch folder and scored with the same weights. Prints bytes an utterance, the largest change of any
score beside the spread of all scores, and EERs.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from asvtk.frontends.cache.store import CachedFeatures
from asvtk.io.ark import ArkWriter, read_scp
from asvtk.io.datadir import DataDirectory
from asvtk.metrics.eer import compute_eer
from asvtk.training.dataset import UtteranceDataset
from asvtk.training.experiment import Experiment
from asvtk.training.scoring import score_dataset
from asvtk.training.trained import TrainedDetector


def store(dataset: UtteranceDataset, kind: str, folder: Path) -> tuple[CachedFeatures, int]:
    """The features of ``dataset`` in arks of their own, a layer each, and the bytes of these."""
    paths = [folder / f"{kind}.{layer}" for layer in dataset.frontend.stored]
    writers = [ArkWriter(path.with_suffix(f"{path.suffix}.ark"), path) for path in paths]
    for index, utterance in enumerate(dataset.utterances):
        for writer, matrix in zip(writers, dataset[index][0].numpy(), strict=True):
            writer.write(utterance, matrix, kind)
    for writer in writers:
        writer.close()
    return CachedFeatures([read_scp(path) for path in paths]), sum(w.ark.stat().st_size for w in writers)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exp", required=True)
    parser.add_argument("--dump", required=True)
    parser.add_argument("--data", required=True, nargs="+")
    args = parser.parse_args()
    system = TrainedDetector(Experiment(args.exp), args.dump)
    for path in args.data:
        data = DataDirectory.read(path)
        exact, detector = system.open(data), system.detector()
        reference = None
        for kind in ("FM", "CM2", "CM"):
            with tempfile.TemporaryDirectory() as scratch:
                features, size = store(exact, kind, Path(scratch))
                dataset = UtteranceDataset(data, system.frontend, [features])
                size_of_batch = system.config.training.batch_size
                scores = np.array(score_dataset(detector, dataset, size_of_batch, "cpu"))
            reference = scores if reference is None else reference
            bonafide = dataset.bonafide.numpy()
            eer = compute_eer(scores[bonafide], scores[~bonafide])[0]
            change = np.abs(scores - reference).max()
            print(f"{data.name:6} {kind:4} {size / len(scores):12,.0f} bytes an utterance   ", end="")
            print(f"largest change {change:.2e} (spread {reference.std():.3f})   EER {100 * eer:.3f} %")


if __name__ == "__main__":
    main()
