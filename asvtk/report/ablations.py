"""Ablations: a list of cells, each a configuration and what it changes, and the table of their results.

A list is YAML, one section for each base configuration; its first cell is what the others are compared
with:

    S3, MoE-Mamba:
      config: lfcc_moe_mamba.yaml       # in the folder above the list's
      changes: {training.epochs: 8}     # of all cells; may be left out
      cells:
        S3: {}
        S3_gate: {model.combine: gate}
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import yaml

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

__all__ = ["Cell", "ablation_table", "count_parameters", "read_list", "write_config"]


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    name: str  # also the tag of its experiments
    group: str  # title of its section
    config: Path
    common: dict  # dotted key -> value: what all of the section change
    changes: dict  # what it alone changes, on top of that


def read_list(path) -> list[Cell]:
    """Read a list of cells.

    Raises:
        AsvtkError: it is not of the form above, or a name is used twice or cannot be a folder's.
    """
    path, cells = Path(path), []
    for title, section in load_yaml(path).items():
        where = f"{path}: {title}"
        if not isinstance(section, dict) or set(section) - {"changes"} != {"config", "cells"}:
            raise AsvtkError(f"{where}: expected the keys config, cells and, if need be, changes")
        common = section.get("changes", {})
        for name, changes in section["cells"].items():
            if not isinstance(changes, dict):
                raise AsvtkError(f"{where}: {name}: expected {{section.key: value, ...}}, found {changes!r}")
            # The launchers replace JOB and SEED in tags.
            if not re.fullmatch(r"[\w.-]+", str(name)) or "JOB" in name or "SEED" in name:
                raise AsvtkError(f"{where}: {name}: a cell's name is made of letters, digits, _ . and -")
            cells.append(Cell(name, title, path.parent.parent / section["config"], common, changes))
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
        refused, found = zip(*(_results(cell, seeds, folder) for cell in of_group), strict=True)
        kinds = sorted({kind for of in found for one in of for kind in one["eval"]["per_kind"]})
        header = ["Cell", "dev EER %", "eval EER %", "vs. first"]
        header += [f"{kind_name(kind)} EER %" for kind in kinds] + ["parameters", "s/epoch"]
        rows = [
            _row(cell, of, found[0], kinds) if of else _empty_row(cell, why, len(header))
            for cell, why, of in zip(of_group, refused, found, strict=True)
        ]
        first = of_group[0]
        common = f" with {config_values(first.common)}" if first.common else ""
        parts += [f"## {group}", f"`{first.config.name}`{common}", table(header, rows)]
    return "\n\n".join(parts) + "\n"


def _results(cell: Cell, seeds: list[int], folder: Path) -> tuple[str, list[dict]]:
    """Why a cell has no numbers, or objects of results.json, one for each seed, with what training says."""
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
    results = read_results(experiment.folder / "results.json", ("dev", "eval"))
    results["eval"].setdefault("per_kind", {})
    seconds = {}
    for number, record in enumerate(read_json_lines(experiment.log), 1):  # an epoch may have several
        epoch, took = record.get("epoch"), record.get("seconds")
        if not isinstance(epoch, int) or not isinstance(took, (int, float)):
            raise AsvtkError(f"{experiment.log}:{number}: expected epoch and seconds, as stage 3 writes them")
        seconds[epoch] = seconds.get(epoch, 0) + took
    if not seconds:
        raise AsvtkError(f"{experiment.log}: is empty; run stage 3 again")
    return {**results, "parameters": count_parameters(experiment), "seconds": list(seconds.values())}


def count_parameters(experiment: Experiment) -> int:
    """Number of parameters of back-end and loss head; a checkpoint also holds what is not trained."""
    return sum(parameter.numel() for parameter in build_detector(experiment.config()).parameters())


def _empty_row(cell: Cell, why: str, width: int) -> list[str]:
    return [_title(cell), why, *["–"] * (width - 2)]


def _row(cell: Cell, results: list[dict], first: list[dict], kinds: list[str]) -> list[str]:
    difference = "–"
    if first and first is not results:
        difference = f"{mean(map(_eer, results)) - mean(map(_eer, first)):+.2f}"
    of_kinds = [[x["eval"]["per_kind"].get(kind, {}).get("eer_percent") for x in results] for kind in kinds]
    return [
        _title(cell),
        mean_sd([result["dev"]["eer_percent"] for result in results]),
        mean_sd([_eer(result) for result in results]),
        difference,
        *map(mean_sd, of_kinds),
        f"{results[0]['parameters']:,}",
        f"{median(seconds for result in results for seconds in result['seconds']):.1f}",
    ]


def _title(cell: Cell) -> str:
    return f"{cell.name}: {config_values(cell.changes)}" if cell.changes else cell.name


def _eer(results: dict) -> float:
    return results["eval"]["eer_percent"]
