"""The table and page of a hyper-parameter search."""

from pathlib import Path

from asvtk.io.atomic import write_text
from asvtk.report.charts import rate_axis
from asvtk.report.document import document, footer
from asvtk.report.html_tables import html_table
from asvtk.report.markdown import code, environment, table, table_page
from asvtk.report.svg import Markup, element, linear_ticks
from asvtk.report.values import config_value, config_values, mean_sd

__all__ = ["best_of", "write_search"]

_SHOWN = 10  # best trials in the table


def best_of(outcomes: list):
    """The trial with the least EER, the earliest of equal ones; None where none has a result."""
    done = [of for of in outcomes if of.eers is not None]
    return min(done, key=lambda of: of.eer, default=None)


def write_search(folder, outcomes: list, importances: dict, about: dict) -> None:
    """Write ``RESULTS.md`` and ``tune.html``.

    Args:
        folder: of the search.
        outcomes: `asvtk.training.search.Outcome` of each trial.
        importances: key -> share of the variance that it explains; may be empty.
        about: ``config``, ``space``, ``sampler``, ``judged on``, ``seeds``; ``configured``: whether the first
            trial is the configuration as it is.
    """
    legend, best = _legend(outcomes, about), best_of(outcomes)
    parts = []
    if best is not None:
        parts += [f"Best: trial {best.number}, in `best.yaml`.", table(*_best_table(outcomes))]
    if importances:
        shares = ", ".join(f"{key} {100 * share:.0f} %" for key, share in importances.items())
        parts.append(f"Share of the variance of the EER that a key explains alone (fANOVA): {code(shares)}.")
    if unfinished := [of for of in outcomes if of.eers is None]:
        parts.append(table(*_open_table(unfinished)))
    page = table_page("Hyper-parameter search", legend, "\n\n".join(parts))
    write_text(Path(folder) / "RESULTS.md", page)
    write_text(Path(folder) / "tune.html", _page(outcomes, importances, legend))


def _legend(outcomes: list, about: dict) -> str:
    done = sum(of.eers is not None for of in outcomes)
    seeds = about["seeds"]
    spread = (
        f"mean ± standard deviation over {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]} alone"
    )
    first = " Trial 0 is the configuration as it is." if about["configured"] else ""
    trials = f"{done} trial{'s' * (done != 1)}"
    return (
        f"{about['config']}, searched over {about['space']} ({about['sampler']}).{first} EER in percent on "
        f"{about['judged on']}, {spread}. {trials} looked at it, and the best was chosen by it: its EER is "
        "optimistic, the more so the more trials there are and the fewer utterances it is measured on. "
        "Train best.yaml with other seeds, and score a test set once, to know what it is worth."
    )


def _best_table(outcomes: list) -> tuple[list, list]:
    """Header and rows of the best trials."""
    done = sorted((of for of in outcomes if of.eers is not None), key=lambda of: (of.eer, of.number))
    keys = list(done[0].values)
    rows = [
        [of.number, mean_sd(of.eers), *(config_value(of.values[key]) for key in keys), f"{of.seconds:.0f}"]
        for of in done[:_SHOWN]
    ]
    return ["Trial", "EER %", *keys, "seconds"], rows


def _open_table(outcomes: list) -> tuple[list, list]:
    rows = [[of.number, of.failed or "not finished", config_values(of.values)] for of in outcomes]
    return ["Without a result", "why", "values"], rows


def _page(outcomes: list, importances: dict, legend: str) -> str:
    best = best_of(outcomes)
    body = [
        element(
            "header",
            element("p", "asvtk tune", class_="overline"),
            element("h1", "Hyper-parameter search"),
            element("p", legend, class_="lead"),
        )
    ]
    if best is not None:
        body.append(element("section", element("h2", "Trials"), _history(outcomes)))
    if importances:
        body.append(element("section", element("h2", "Which keys matter"), *_importances(importances)))
    if best is not None:
        body.append(element("section", element("h2", "The best trials"), _html(*_best_table(outcomes))))
    if unfinished := [of for of in outcomes if of.eers is None]:
        body.append(element("section", element("h2", "Without a result"), _html(*_open_table(unfinished))))
    return document("Hyper-parameter search", *body, footer(environment()), style="robustness.css")


def _history(outcomes: list) -> Markup:
    """EER of each trial, and the least so far."""
    done = [of for of in outcomes if of.eers is not None]
    top, last = max(1.0, 1.05 * max(of.eer for of in done)), max(1, outcomes[-1].number)

    def along(number: float) -> str:
        return f"{100 * (0.03 + 0.94 * number / last):.2f}%"

    def up(rate: float) -> str:
        return f"{100 * (1 - rate / top):.2f}%"

    parts = rate_axis(up, top, "EER, %; the line: the least so far")
    for tick in linear_ticks(0, last, 10):
        if tick == int(tick):
            parts.append(element("text", int(tick), x=along(tick), y="100%", dy=20, class_="tick middle"))
    least = done[0]
    for of, after in zip(done, [*done[1:], None], strict=True):
        least = min(least, of, key=lambda one: one.eer)
        end = along(after.number if after else last)
        y = up(least.eer)
        parts.append(element("line", x1=along(of.number), x2=end, y1=y, y2=y, class_="curve line0"))
    for of in done:
        title = element("title", f"trial {of.number}: EER {mean_sd(of.eers)} %, {config_values(of.values)}")
        parts.append(element("circle", title, cx=along(of.number), cy=up(of.eer), r=5, class_="mark c1"))
    parts.append(element("text", "trial", x="50%", y="100%", dy=42, class_="axis middle"))
    return element("svg", *parts, class_="plot degradation", role="img", aria_label="EER by trial")


def _importances(importances: dict) -> list[Markup]:
    rows = []
    for key, share in importances.items():
        bar = element("div", style=f"background: var(--c0); height: 12px; width: {100 * share:.1f}%")
        cells = element("td", f"{100 * share:.0f} %"), element("td", bar, style="width: 60%")
        rows.append(element("tr", element("th", key, scope="row"), *cells))
    lead = (
        "Share of the variance of the EER over the space that a key explains alone, as a random forest on "
        "the trials has it (fANOVA). Of few trials it is a guess."
    )
    return [element("p", lead, class_="lead"), html_table(["key", "share", ""], [element("tbody", *rows)])]


def _html(header: list, rows: list) -> Markup:
    rows = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in others))
        for first, *others in rows
    ]
    return html_table(header, [element("tbody", *rows)])
