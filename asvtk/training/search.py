"""Hyper-parameter search: an Optuna study in an SQLite file, which a killed search goes on with.

Optuna proposes points of a search space and learns from the results (tree-structured Parzen estimator:
J. Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011). A trial without a result stays
open in the study, whether its search was killed or its training failed: it is taken up again at the same
point. There is no pruning: before their cosines end, trials of two rates or lengths cannot be compared.
"""

import json
import logging
import math
import random
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

from asvtk.io.config import differences
from asvtk.io.errors import AsvtkError, listing
from asvtk.training.search_space import Choices

__all__ = ["Outcome", "Search", "grid_points", "require_optuna"]

_FILE = "study.db"
_LARGEST_GRID = 10_000


@dataclass(frozen=True)
class Outcome:
    """A trial of a study."""

    number: int
    values: dict  # dotted key -> value
    eers: list[float] | None  # dev EER of each seed, in percent; None: no result yet
    failed: str = ""  # why there is none
    seconds: float = 0.0

    @property
    def eer(self) -> float | None:
        """Mean over the seeds, which the search makes small."""
        return None if self.eers is None else fmean(self.eers)


class Search:
    """A study of Optuna: ``folder/study.db``.

    Args:
        folder: one process at a time works there; the caller sees to that.
        space: of `asvtk.training.search_space.read_space`.
        basis: what results depend on: configuration, space, data, seeds ... as JSON can hold it.
        sampler: ``tpe``, ``random`` or ``grid``.
        seed: of the sampler. What is proposed depends on it, the trial's number and the results so far, so
            that a search that was killed goes on as if it had not been.
        start: point of the first trial, of `configured_point`; None: the sampler's.

    Raises:
        AsvtkError: Optuna is not installed; the study is damaged or was made on another basis; a grid is
            asked for over a range without steps.
    """

    def __init__(self, folder, space: dict, basis: dict, sampler="tpe", seed=1, start: dict | None = None):
        optuna = require_optuna()
        self._space, self._sampler_name, self._seed, self._start = space, sampler, seed, start
        self._grid = grid_points(space, seed) if sampler == "grid" else None
        self._trials = {}  # number -> optuna.trial.Trial, of those that this process works at
        basis = json.loads(json.dumps({**basis, "sampler": sampler, "sampler's seed": seed}))
        path = Path(folder) / _FILE
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")
            self._study = optuna.create_study(storage=storage, study_name="asvtk", load_if_exists=True)
            before = self._study.user_attrs.get("basis")
            if before is None:
                self._study.set_user_attr("basis", basis)
        except Exception as error:  # of Optuna, SQLAlchemy, Alembic or SQLite
            raise AsvtkError(
                f"{path}: is no study that this Optuna reads ({str(error).splitlines()[0]}); name another "
                "--expdir, or begin anew by --force true"
            ) from None
        if before not in (None, basis):
            raise AsvtkError(
                f"{path}: is of another search: {listing(differences(before, basis), 3)}; name another "
                "--expdir, or begin anew by --force true"
            )

    @property
    def size(self) -> float:
        """How many points there are at most: those of the grid."""
        return math.inf if self._grid is None else len(self._grid)

    def outcomes(self) -> list[Outcome]:
        """All trials, in order."""
        return [self._outcome(trial) for trial in self._study.get_trials(deepcopy=False) if _begun(trial)]

    def unfinished(self) -> list[Outcome]:
        """Trials without a result, taken up again: of a search that was killed, or failed ones."""
        optuna = require_optuna()
        taken_up = []
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.RUNNING and trial.number not in self._trials:
                self._study.sampler = self._sampler(trial.number)
                # As `ask` makes it. One killed while it was asked for lacks some values, which are drawn now.
                taken_up.append(self._take(optuna.trial.Trial(self._study, trial._trial_id)))
        return taken_up

    def ask(self) -> Outcome:
        """A new trial; of a grid no more than `size`."""
        optuna = require_optuna()
        number = sum(map(_begun, self._study.get_trials(deepcopy=False)))
        fixed = self._grid[number] if self._grid is not None else self._start if number == 0 else None
        if fixed is not None and not self._study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
            self._study.enqueue_trial(fixed)
        self._study.sampler = self._sampler(number)
        return self._take(self._study.ask())

    def tell(self, number: int, eers: list[float], seconds: float) -> None:
        """The result of a trial: dev EER of each seed, in percent."""
        trial = self._trials.pop(number)
        trial.set_user_attr("eers", eers)
        trial.set_user_attr("seconds", seconds)
        self._study.tell(trial, fmean(eers))

    def fail(self, number: int, reason: str) -> None:
        """Keep a trial open, with the reason; TPE takes open trials for bad ones."""
        self._trials.pop(number).set_user_attr("failed", reason)

    def importances(self) -> dict[str, float]:
        """Key -> share of the variance of the dev EER that it explains alone.

        By fANOVA (F. Hutter et al., "An efficient approach for assessing hyperparameter importance", ICML
        2014). Empty where fewer than ten trials, or equal results, say nothing.
        """
        from optuna.importance import FanovaImportanceEvaluator

        rates = {of.eer for of in self.outcomes() if of.eer is not None}
        if len(rates) < 10:
            return {}
        return FanovaImportanceEvaluator(seed=self._seed).evaluate(self._study)

    def _take(self, trial) -> Outcome:
        for key, of in self._space.items():
            _suggest(trial, key, of)
        trial.set_user_attr("failed", "")
        self._trials[trial.number] = trial
        return Outcome(trial.number, self._values(trial.params), None)

    def _values(self, params: dict) -> dict:
        """Dotted key -> value, in the order of the space."""
        return {
            key: of.value(params[key]) if isinstance(of, Choices) else params[key]
            for key, of in self._space.items()
            if key in params
        }

    def _outcome(self, trial) -> Outcome:
        attributes = trial.user_attrs
        return Outcome(
            trial.number,
            self._values(trial.params),
            attributes.get("eers") if trial.state.is_finished() else None,
            attributes.get("failed", ""),
            attributes.get("seconds", 0.0),
        )

    def _sampler(self, number: int):
        samplers = require_optuna().samplers
        # A seed for each trial: with one for all, a search that goes on would repeat its first draws.
        seed = random.Random(f"{self._seed} {number}").getrandbits(32)
        if self._sampler_name == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=True)
        return samplers.RandomSampler(seed=seed)


def require_optuna():
    """Optuna, quiet.

    Raises:
        AsvtkError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise AsvtkError("a search needs Optuna: pip install 'asvtk[tune]'") from None
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna


def _begun(trial) -> bool:
    return trial.state.name != "WAITING"


def _suggest(trial, key: str, of) -> None:
    if isinstance(of, Choices):
        trial.suggest_categorical(key, of.labels)
    elif of.whole:
        trial.suggest_int(key, of.low, of.high, log=of.log, step=of.step or 1)
    else:
        trial.suggest_float(key, of.low, of.high, log=of.log, step=of.step)


def grid_points(space: dict, seed: int) -> list[dict]:
    """All points of a space, as labels, in random order.

    Raises:
        AsvtkError: a range has no steps, or there are more than 10,000 points.
    """
    axes = {}
    for key, of in space.items():
        axes[key] = of.labels if isinstance(of, Choices) else of.grid()
        if axes[key] is None:
            raise AsvtkError(f"{key}: a grid needs choices, or a range with a step and without log")
    if (count := math.prod(map(len, axes.values()))) > _LARGEST_GRID:
        raise AsvtkError(f"a grid of {count:,} points is too large; at most {_LARGEST_GRID:,}")
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    random.Random(seed).shuffle(points)
    return points
