"""Systems by what they were trained on, for ``local/compare.sh``, and which of them dev would choose."""

from pathlib import Path
from statistics import mean, stdev

from asvtk.io.errors import listing
from asvtk.report.ablations import Cell, cell_results, cost, dev_eer, test_sets
from asvtk.report.markdown import plain_text, table
from asvtk.report.values import mean_sd

__all__ = ["systems_tables"]


def systems_tables(cells: list[Cell], seeds: list[int], folders: dict[str, Path]) -> str:
    """Markdown: for each training condition a table of systems by test sets, and the choice of dev.

    Args:
        cells: of `asvtk.report.ablations.read_list`; their sections are the front-ends.
        seeds: that were trained.
        folders: ``{what was trained on: folder of the experiments}``.
    """
    parts = []
    for title, folder in folders.items():
        reasons, found = zip(*(cell_results(cell, seeds, Path(folder)) for cell in cells), strict=True)
        # Of sets that not all have, no two systems can be compared.
        results = [result for of_cell in found for result in of_cell]
        sets = [name for name in test_sets(results) if all(name in result["sets"] for result in results)]
        header = ["System", "front-end", "parameters", "s/epoch", "dev EER %", *(f"{x} EER %" for x in sets)]
        header += ["mean of the tests"] if len(sets) > 1 else []
        rows = [
            [cell.name, cell.group, *(_numbers(of, sets) if of else [why, *["–"] * (len(header) - 3)])]
            for cell, why, of in zip(cells, reasons, found, strict=True)
        ]
        trained = {cell.name: of for cell, of in zip(cells, found, strict=True) if of}
        parts += [f"## Trained on {plain_text(title)}", table(header, rows)]
        parts += [_choice(trained, sets)] if len(trained) > 1 else []
    return "\n\n".join(parts) + "\n"


def _numbers(results: list[dict], sets: list[str]) -> list[str]:
    columns = [_eers(results, name) for name in sets]
    cells = [*cost(results), mean_sd(list(map(dev_eer, results))), *map(mean_sd, columns)]
    if len(sets) > 1:
        cells.append(mean_sd(list(map(mean, zip(*columns, strict=True)))))
    return cells


def _choice(trained: dict[str, list[dict]], sets: list[str]) -> str:
    """What somebody who sees dev alone would take, and how sure that is."""
    dev = {name: list(map(dev_eer, of)) for name, of in trained.items()}
    chosen = min(dev, key=lambda name: mean(dev[name]))
    tests = ", ".join(f"{name} {mean(_eers(trained[chosen], name)):.2f} %" for name in sets)
    words = f"**Dev chooses {chosen}**: {mean(dev[chosen]):.2f} % on dev; {tests}."
    if len(dev[chosen]) > 1:
        # The difference of two means, by the spread of both over seeds.
        near = [name for name in dev if name != chosen and not _is_apart(dev[chosen], dev[name])]
        words += f" Within twice the standard error of the difference: {listing(near)}." if near else ""
    best = [
        f"{name}: {of} {mean(_eers(trained[of], name)):.2f} %"
        for name in sets
        for of in [min(trained, key=lambda system: mean(_eers(trained[system], name)))]
        if of != chosen
    ]
    if best:
        words += f" Lowest in hindsight, which is no choice: {'; '.join(best)}."
    return words


def _is_apart(one: list[float], other: list[float]) -> bool:
    error = (stdev(one) ** 2 / len(one) + stdev(other) ** 2 / len(other)) ** 0.5
    return abs(mean(one) - mean(other)) > 2 * error


def _eers(results: list[dict], name: str) -> list[float]:
    return [result["sets"][name]["eer_percent"] for result in results]
