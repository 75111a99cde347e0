"""A packed system on new audio: features are computed on the way, and kept no longer than needed."""

import dataclasses
import math
import tempfile
from typing import NamedTuple

from asvtk.frontends import FrontEnd, build_frontend
from asvtk.frontends.cache import cache_name, description
from asvtk.frontends.cache_tools import bytes_needed, require_space
from asvtk.frontends.extraction import extract_missing, find_sources
from asvtk.io.config import differences
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.training.assembly import trained_detector
from asvtk.training.data import open_dataset
from asvtk.training.experiment import ExperimentConfig
from asvtk.training.package import Package
from asvtk.training.scoring import score_dataset, undecodable

__all__ = ["Scored", "score_data"]

#: utterances whose features lie on the disk at a time, at least
_AT_A_TIME = 256


class Scored(NamedTuple):
    scores: dict[str, float]  # utterance -> score, higher = bona fide
    faults: dict[str, str]  # utterance -> why it has none


def score_data(package: Package, data: DataDirectory, device: str, ssl_model=None) -> Scored:
    """Score a data set with a package: what stages 2 and 4 do, without a feature cache to keep.

    Batches are those of the stages, so that scores are, too: to the last bit on a CPU. (Where an SSL
    front-end hears whole utterances their company, and with it rounding, may differ.)

    Args:
        package: an open one.
        data: what to score.
        device: ``cpu`` or ``cuda``.
        ssl_model: directory of the front-end's model, where it is not where it was in training.

    Raises:
        AsvtkError: the front-end is not the one of the training, the weights are damaged or of another
            system, or the disk is full.
    """
    config, frontend = _front_end(package, device, ssl_model)
    prepare = frontend.prepare if frontend.mode == "live" else None
    detector, found = None, Scored({}, {})
    for part in _parts(data, math.lcm(frontend.batch_size, config.training.batch_size)):
        with tempfile.TemporaryDirectory(prefix="asvtk_features_") as dump:
            faults = _extract(part, dump, frontend) if frontend.layers else undecodable(part)
            found.faults.update(faults)
            part = part.subset(u for u in part.utterances if u not in faults)
            if not part.utterances:
                continue
            dataset = open_dataset(
                part, dump, config.frontend, cache_name(frontend), frontend.layers, prepare=prepare
            )
            if detector is None:
                detector = trained_detector(package.weights, config, dataset, frontend).to(device)
            scores = score_dataset(detector, dataset, config.training.batch_size, device)
            for utterance, score in zip(dataset.utterances, scores, strict=True):
                if math.isfinite(score):
                    found.scores[utterance] = score
                else:
                    found.faults[utterance] = f"{data.wav[utterance]}: the score is not finite ({score})"
    return found


def _front_end(package: Package, device: str, ssl_model) -> tuple[ExperimentConfig, FrontEnd]:
    config = package.config()
    if ssl_model is not None:
        if not hasattr(config.frontend, "model"):
            raise AsvtkError(f"--ssl-model: the front-end {config.frontend.name} has no model")
        config = dataclasses.replace(
            config, frontend=dataclasses.replace(config.frontend, model=str(ssl_model))
        )
    try:
        frontend = build_frontend(config.frontend, device)
    except AsvtkError as error:
        if ssl_model is None and hasattr(config.frontend, "model"):
            raise AsvtkError(f"{error}; --ssl-model DIR says where the front-end's model is here") from None
        raise
    # Older packages also say what the model's directory was called.
    ours, theirs = frontend.describe(), {**package.about["front-end"]}
    theirs.pop("model", None)
    if changes := differences(theirs, ours):
        raise AsvtkError(
            f"{package.folder}/config.yaml: the front-end here is not the one of the training:\n  "
            + "\n  ".join(changes)
        )
    return config, frontend


def _parts(data: DataDirectory, multiple: int):
    """The data set in pieces of whole batches."""
    size = multiple * math.ceil(_AT_A_TIME / multiple)
    for begin in range(0, len(data.utterances), size):
        yield data.subset(data.utterances[begin : begin + size])


def _extract(data: DataDirectory, dump: str, frontend: FrontEnd) -> dict[str, str]:
    (source,) = find_sources(data, dump, frontend)
    source.cache.claim(data, description(frontend))
    require_space(dump, bytes_needed(source, frontend))
    _, faults = extract_missing(source, frontend, 1, 1)
    source.cache.skip(faults)
    source.cache.join(data, frontend.layers)
    return faults
