"""Folds of cross-validation on a data set, grouped by a column and stratified by class."""

import warnings

import numpy as np

from asvtk.io.datadir import BONAFIDE, DataDirectory
from asvtk.io.errors import AsvtkError

__all__ = ["grouped_folds"]


def grouped_folds(data: DataDirectory, count: int, column: str, seed: int = 0) -> list[list[str]]:
    """Divide the utterances into ``count`` folds, each with both classes.

    Args:
        data: the data set.
        count: how many folds.
        column: ``speaker``, or any NAME of a file ``utt2NAME``; no two folds share a value of it.
        seed: of the order of the values.

    Raises:
        AsvtkError: there is no such column, or a fold would lack a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    utterances = np.array(data.utterances)
    bonafide = np.array([data.label[utterance] == BONAFIDE for utterance in utterances])
    groups = np.array(list(data.column(column).values()))
    folds = []
    if len(set(groups.tolist())) >= count <= min(bonafide.sum(), (~bonafide).sum()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes with few groups, which is told below
            splits = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(
                bonafide, bonafide, groups
            )
            folds = [held for _, held in splits]
    if not folds or any(bonafide[held].all() or not bonafide[held].any() for held in folds):
        raise AsvtkError(
            f"{data.path}: cannot be divided by {column} into {count} folds with both classes in each; "
            "ask for fewer, or name another column"
        )
    return [utterances[held].tolist() for held in folds]
