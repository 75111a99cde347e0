"""Ablations: a list of cells, each a configuration and what it changes, and the table of their results.

A list is YAML, one section for each base configuration; its first cell is what the others are compared
with:

    S3, MoE-Mamba:
      config: lfcc_moe_mamba.yaml       # in the folder above the list's
      changes: {training.epochs: 8}     # of all cells; may be left out
      attacks: [A17, A18]               # that have columns of their own; may be left out
      cells:
        S3: {}
        S3_gate: {model.combine: gate}

A list of systems to compare (`asvtk.report.systems`) has the same form, but that each cell may name a
configuration of its own: ``aasist: {config: lfcc_aasist.yaml, training.epochs: 20}``.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import yaml

from asvtk.inference.experiment import dev_sets
from asvtk.io.atomic import write_text
from asvtk.io.config import apply_overrides, load_yaml, to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.io.stamps import digest
from asvtk.io.text import read_json_lines
from asvtk.metrics.results import read_results
from asvtk.models import build_detector
from asvtk.report.markdown import table
from asvtk.report.seeds import seed_groups
from asvtk.report.values import config_values, kind_name, mean_sd
from asvtk.training.config import load_config
from asvtk.training.experiment import Experiment

__all__ = [
    "Cell",
    "ablation_table",
    "cell_results",
    "cost",
    "count_parameters",
    "dev_eer",
    "read_list",
    "test_sets",
    "write_config",
]


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    name: str  # also the tag of its experiments
    group: str  # title of its section
    config: Path
    common: dict  # dotted key -> value: what all of the section change
    changes: dict  # what it alone changes, on top of that
    attacks: tuple = ()  # with a column in the table


def read_list(path) -> list[Cell]:
    """Read a list of cells.

    Raises:
        AsvtkError: it is not of the form above, or a name is used twice or cannot be a folder's.
    """
    path, cells = Path(path), []
    for title, section in load_yaml(path).items():
        where = f"{path}: {title}"
        if not isinstance(section, dict) or set(section) - {"changes", "config", "attacks"} != {"cells"}:
            raise AsvtkError(f"{where}: expected the keys config, cells and, if need be, changes and attacks")
        common, attacks = section.get("changes", {}), section.get("attacks", [])
        if not isinstance(attacks, list):
            raise AsvtkError(f"{where}: attacks: expected [NAME, ...], found {attacks!r}")
        for name, changes in section["cells"].items():
            if not isinstance(changes, dict):
                raise AsvtkError(f"{where}: {name}: expected {{section.key: value, ...}}, found {changes!r}")
            changes = dict(changes)
            config = changes.pop("config", section.get("config"))
            if not isinstance(config, str):
                raise AsvtkError(f"{where}: {name}: names no config, nor does its section")
            # The launchers replace JOB and SEED in tags.
            if not re.fullmatch(r"[\w.-]+", str(name)) or "JOB" in name or "SEED" in name:
                raise AsvtkError(f"{where}: {name}: a cell's name is made of letters, digits, _ . and -")
            cells.append(Cell(name, title, path.parent.parent / config, common, changes, tuple(attacks)))
    if twice := [cell.name for cell in cells if sum(other.name == cell.name for other in cells) > 1]:
        raise AsvtkError(f"{path}: two cells are named {twice[0]}")
    return cells


def write_config(cell: Cell, folder) -> str:
    """Write ``folder/NAME.yaml``, the configuration of a cell, and check it.

    Returns:
        what tells its features from others': cells that agree in it share their caches.

    Raises:
        AsvtkError: there is no such configuration, or the changes do not fit it.
    """
    words = [f"{key}={json.dumps(value)}" for key, value in {**cell.common, **cell.changes}.items()]
    path = Path(folder) / f"{cell.name}.yaml"
    write_text(path, yaml.safe_dump(apply_overrides(load_yaml(cell.config), words), sort_keys=False))
    resolved = to_mapping(load_config(path))
    return digest([resolved["frontend"], resolved["augmentation"], resolved["vocoded"]])[:12]


def ablation_table(cells: list[Cell], seeds: list[int], folder) -> str:
    """Markdown: a table of each section.

    Args:
        cells: of `read_list`.
        seeds: that were trained.
        folder: of the experiments, CELL_seedN, and of ``done/CELL`` for each cell that came to its end.
    """
    folder, parts = Path(folder), []
    for group in dict.fromkeys(cell.group for cell in cells):
        of_group = [cell for cell in cells if cell.group == group]
        refused, found = zip(*(cell_results(cell, seeds, folder) for cell in of_group), strict=True)
        columns, first = _columns(found, of_group[0].attacks), of_group[0]
        header = [*(title for title, _ in columns), "parameters", "s/epoch"]
        header.insert(2, "vs. first")
        rows = [
            _row(cell, of, found[0], columns) if of else _empty_row(cell, why, len(header))
            for cell, why, of in zip(of_group, refused, found, strict=True)
        ]
        header.insert(0, "Cell")
        common = f" with {config_values(first.common)}" if first.common else ""
        parts += [f"## {group}", f"`{first.config.name}`{common}", table(header, rows)]
    return "\n\n".join(parts) + "\n"


def cell_results(cell: Cell, seeds: list[int], folder: Path) -> tuple[str, list[dict]]:
    """Results of a cell's experiments, or why it has none.

    Args:
        cell: of `read_list`.
        seeds, folder: as `ablation_table` takes them.

    Returns:
        a reason, empty where there are results, and for each seed ``sets``, the object of ``results.json``;
        ``dev``, the names of the dev sets; ``parameters``; and ``seconds``, a number for each epoch.
    """
    if not (folder / "done" / cell.name).exists():
        log = folder / "log" / f"{cell.name}.log"
        return f"failed: {log}" if log.exists() else "not run", []
    folders = {f"{cell.name}_seed{seed}": folder / f"{cell.name}_seed{seed}" for seed in seeds}
    try:
        found = [_result(Experiment(path)) for path in folders.values()]
    except AsvtkError as error:
        return f"failed: {error}", []
    of_seeds = seed_groups(folders)
    return ("; ".join(of_seeds.reasons), []) if of_seeds.reasons else ("", found)


def _result(experiment: Experiment) -> dict:
    dev = dev_sets(experiment.folder)
    results = read_results(experiment.folder / "results.json", dev)
    seconds = {}
    for number, record in enumerate(read_json_lines(experiment.log), 1):  # an epoch may have several
        epoch, took = record.get("epoch"), record.get("seconds")
        if not isinstance(epoch, int) or not isinstance(took, (int, float)):
            raise AsvtkError(f"{experiment.log}:{number}: expected epoch and seconds, as stage 3 writes them")
        seconds[epoch] = seconds.get(epoch, 0) + took
    if not seconds:
        raise AsvtkError(f"{experiment.log}: is empty; run stage 3 again")
    parameters = count_parameters(experiment)
    return {"sets": results, "dev": dev, "parameters": parameters, "seconds": list(seconds.values())}


def count_parameters(experiment: Experiment) -> int:
    """Number of parameters of back-end and loss head; a checkpoint also holds what is not trained."""
    return sum(parameter.numel() for parameter in build_detector(experiment.config()).parameters())


def test_sets(results: list[dict]) -> list[str]:
    """Names of the sets that were scored and are none of dev, of what `cell_results` gave."""
    return list(dict.fromkeys(name for one in results for name in one["sets"] if name not in one["dev"]))


def dev_eer(result: dict) -> float:
    """Mean EER in percent of the dev sets, of one of what `cell_results` gave."""
    return mean(result["sets"][name]["eer_percent"] for name in result["dev"])


def _columns(found: list[list[dict]], attacks: tuple) -> list[tuple[str, Callable]]:
    """Titles, and what each takes from a result: dev, then each test set with its kinds and attacks."""
    columns = [("dev EER %", dev_eer)]
    for name in test_sets([one for of_cell in found for one in of_cell]):
        rows = [one["sets"].get(name, {}) for of_cell in found for one in of_cell]
        columns.append((f"{name} EER %", _eer(name)))
        kinds = sorted({kind for row in rows for kind in row.get("per_kind", {})})
        columns += [(f"{kind_name(kind)} EER %", _eer(name, "per_kind", kind)) for kind in kinds]
        columns += [(f"{attack} EER %", _eer(name, "per_attack", attack)) for attack in attacks]
    return columns


def _eer(name: str, *place: str) -> Callable[[dict], float | None]:
    def take(result: dict) -> float | None:
        row = result["sets"].get(name, {})
        for key in place:
            row = row.get(key, {})
        return row.get("eer_percent")

    return take


def _empty_row(cell: Cell, why: str, width: int) -> list[str]:
    return [_title(cell), why, *["–"] * (width - 1)]


def _row(cell: Cell, results: list[dict], first: list[dict], columns: list) -> list[str]:
    values = [[take(result) for result in results] for _, take in columns]
    cells = [mean_sd(of_seeds) for of_seeds in values]
    difference = "–"
    if first and first is not results and len(columns) > 1:
        before = [columns[1][1](result) for result in first]
        if None not in (*before, *values[1]):
            difference = f"{mean(values[1]) - mean(before):+.2f}"
    cells.insert(2, difference)
    return [_title(cell), *cells, *cost(results)]


def cost(results: list[dict]) -> list[str]:
    """Parameters, and the median seconds of an epoch, of what `cell_results` gave."""
    seconds = median(seconds for result in results for seconds in result["seconds"])
    return [f"{results[0]['parameters']:,}", f"{seconds:.1f}"]


def _title(cell: Cell) -> str:
    return f"{cell.name}: {config_values(cell.changes)}" if cell.changes else cell.name
