"""Seed groups: which experiments are one system trained with several seeds."""

from pathlib import Path
from typing import NamedTuple

from asvtk.io.config import differences, load_yaml
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.stamps import digest
from asvtk.io.text import read_json

__all__ = ["SeedGroups", "seed_groups"]


class SeedGroups(NamedTuple):
    """Experiments by name.

    Attributes:
        groups: lists of two or more names; those of one list differ in their seed alone.
        alone: names that belong to no list.
        reasons: sentences that say why not all are of one list.
    """

    groups: list[list[str]]
    alone: list[str]
    reasons: list[str]

    def renamed(self, names: dict) -> "SeedGroups":
        """The same with other names, ``{name: new one}``."""
        return SeedGroups(
            [[names[name] for name in group] for group in self.groups],
            [names[name] for name in self.alone],
            self.reasons,
        )

    def together(self) -> list[list[str]]:
        """All experiments: each list, then each of those that belong to none by itself."""
        return [*self.groups, *([name] for name in self.alone)]


class _Run(NamedTuple):
    settings: dict  # all but the seed
    seed: int
    inputs: dict
    trials: dict


def seed_groups(folders: dict, results: dict | None = None) -> SeedGroups:
    """Sort experiments into systems, by the resolved ``config.yaml`` and ``inputs.json`` of each.

    Args:
        folders: ``{name: folder of an experiment}``; None where there is none, as of a mere score file.
        results: ``{name: {set: object of results.json}}``, whose counts of trials must agree too.
    """
    if len(folders) < 2:
        return SeedGroups([], list(folders), [])
    runs, reasons = {}, []
    for name, folder in folders.items():
        try:
            runs[name] = _read(name, folder, (results or {}).get(name, {}))
        except AsvtkError as error:
            reasons.append(f"{name} is not averaged: {error}.")
    systems = {}
    for name, run in runs.items():
        systems.setdefault(digest([run.settings, run.inputs, run.trials]), []).append(name)
    groups, alone = [], [name for name in folders if name not in runs]
    for members in systems.values():
        seeds = [runs[name].seed for name in members]
        if twice := [name for name in members if seeds.count(runs[name].seed) > 1]:
            reasons.append(f"{listing(twice)} are not averaged: they have one seed, {runs[twice[0]].seed}.")
        if len(members) > 1 and not twice:
            groups.append(members)
        else:
            alone += members
    first, *others = [members[0] for members in systems.values()] or [None]
    for other in others:
        changed = _differences(runs[first], runs[other])
        reasons.append(f"{first} and {other} are not averaged: they differ in {listing(changed, 3)}.")
    return SeedGroups(groups, sorted(alone, key=list(folders).index), reasons)


def _read(name: str, folder, results: dict) -> _Run:
    if folder is None:
        raise AsvtkError("it is of no experiment, so its configuration is not known")
    folder = Path(folder)
    settings = load_yaml(folder / "config.yaml")
    seed = settings.pop("seed", None)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise AsvtkError(f"{folder}/config.yaml: names no seed")
    inputs = read_json(folder / "inputs.json") if (folder / "inputs.json").exists() else {}
    trials = {of_set: [row["n_bonafide"], row["n_spoof"]] for of_set, row in results.items()}
    try:
        digest([settings, inputs])
    except (TypeError, ValueError):
        raise AsvtkError(f"{folder}/config.yaml: holds values that no configuration has") from None
    return _Run(settings, seed, inputs, trials)


def _differences(one: _Run, other: _Run) -> list[str]:
    lines = differences(one.settings, other.settings)
    lines += differences(one.inputs, other.inputs)
    changed = [line.partition(":")[0] for line in lines]
    if one.trials != other.trials:
        changed.append("the trials that were scored")
    return changed
