"""What scoring has to know of an experiment's folder: its dev sets and their scores, and its speech model."""

import os
from pathlib import Path

import numpy as np

from asvtk.io.config import load_yaml
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.scores import ScoreTable, read_scores
from asvtk.io.stamps import read_stamp

__all__ = ["CALIBRATED", "DEV", "dev_sets", "local_model", "pooled_scores"]

#: stamp of stage 5: which scores the calibration is of
CALIBRATED = ".calibration.done"
#: the name of the dev set, where nothing else is said
DEV = "dev"


def dev_sets(folder: Path) -> list[str]:
    """Names of the dev sets by which stage 5 calibrated; ``dev`` where it did not yet.

    Raises:
        AsvtkError: the stamp is damaged.
    """
    stamp = read_stamp(folder / CALIBRATED) or {}
    names = field_of({"dev": [DEV], **stamp}, "dev", list, str(folder / CALIBRATED))
    if not names or not all(isinstance(name, str) for name in names):
        raise AsvtkError(f"{folder / CALIBRATED}: 'dev' holds {names!r}, expected names; run stage 5 again")
    return names


def pooled_scores(folder: Path, sets) -> ScoreTable:
    """Scores of stage 4 of one data set or of several as one, in the order of the sets.

    Args:
        folder: of the experiment.
        sets: data directories, or their names.

    Raises:
        AsvtkError: scores are missing or damaged, or hold no keys where several are pooled.
    """
    tables = [read_scores(folder / "scores" / f"{getattr(of, 'name', of)}.txt") for of in sets]
    if len(tables) == 1:
        return tables[0]
    for table in tables:
        if table.bonafide is None:
            raise AsvtkError(f"{table.source}: holds no keys; run stage 4 again")
    return ScoreTable(
        utterances=np.concatenate([table.utterances for table in tables]),
        bonafide=np.concatenate([table.bonafide for table in tables]),
        scores=np.concatenate([table.scores for table in tables]),
        source=", ".join(table.source for table in tables),
    )


def local_model(folder: Path) -> str | None:
    """Directory of the front-end's model, where the configuration names it by a relative path.

    Such a path begins in the folder that the recipe ran in, which is above the experiment. Who scores with it
    elsewhere finds the model there. None: there is nothing like that.

    Raises:
        AsvtkError: the configuration was damaged.
    """
    path = folder / "config.yaml"
    section = load_yaml(path).get("frontend") if path.exists() else None
    model = section.get("model") if isinstance(section, dict) else None
    if not isinstance(model, str) or os.path.isabs(model):
        return None
    above = [*Path(os.path.abspath(folder)).parents, *folder.resolve().parents]
    here = Path.cwd()
    candidates = [here, *above] if here in above else above
    return next((str(folder / model) for folder in candidates if (folder / model).is_dir()), None)
