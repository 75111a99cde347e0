"""A report as one HTML page that needs nothing else: no network, no scripts, pictures inside."""

from asvtk.report.charts import attack_bars, histogram
from asvtk.report.comparison import Comparison
from asvtk.report.corpora import CorpusTable
from asvtk.report.corpora_section import corpora_section, two_way_figures
from asvtk.report.det import det_chart, marker_key
from asvtk.report.document import document, footer
from asvtk.report.html_tables import breakdown_table, comparison_tables, named, summary_table
from asvtk.report.svg import Markup, element, join
from asvtk.report.values import kind_name, measured_lines, shown

__all__ = ["html_page"]

#: So many histograms fit beside the DET curves.
_FEW = 3
#: So many attacks have bars; the table has them all.
_BARS = 60
_CONVENTIONS = (
    "Higher score = bona fide, everywhere on this page.",
    "EER in the official convention of ASVspoof: no interpolation, ties count against the system. "
    "ROCCH‑EER is taken on the convex hull.",
    "min t‑DCF legacy is ASVspoof 2019's, min t‑DCF revisited is ASVspoof 2021's: never compare one with "
    "the other. Per attack, the error rates of the ASV are pooled over attacks.",
    "min DCF, act DCF and Cllr are ASVspoof 5's. act DCF and Cllr take the scores for log‑likelihood "
    "ratios: they are bad for scores that are not calibrated, however well these rank the trials.",
    "Intervals: 95 %, bootstrap within class and attack. They tell of new trials, not of new speakers.",
)


def html_page(
    sets: dict,
    comparison: Comparison | None,
    about: dict,
    facts: dict,
    seeds=None,
    across: CorpusTable | None = None,
) -> str:
    """The whole page.

    Args:
        sets: ``{set name: [System, ...]}``, in the order of the page.
        comparison: of `asvtk.report.comparison.compare`; None where there is nothing to stand beside.
        about: facts for the footer, as `asvtk.report.markdown.environment` gives them.
        facts: of `asvtk.corpora.facts.load_facts`.
        seeds: `asvtk.report.seeds.SeedGroups` of the systems' names, or None.
        across: of `asvtk.report.corpora.corpus_table`, or None.
    """
    systems = {system.name: system for of_set in sets.values() for system in of_set}
    title = ", ".join(list(systems)[:3]) + (f" and {len(systems) - 3} more" if len(systems) > 3 else "")
    body = [
        element(
            "header",
            element("p", "asvtk evaluation report", class_="overline"),
            element("h1", title),
            element(
                "p",
                "Detection of synthetic and converted speech. ",
                element("b", "Higher score = bona fide."),
            ),
            _caution(comparison) if comparison and comparison.caution else "",
            _warnings(sets),
        ),
        corpora_section(across, sets, systems) if across else "",
        *(_set_section(name, of_set, facts, seeds, several=len(sets) > 1) for name, of_set in sets.items()),
        _comparison_section(comparison, systems) if comparison else "",
        element(
            "section",
            element("h2", "How to read the numbers"),
            element("ul", *(element("li", text) for text in _CONVENTIONS), class_="prose"),
        ),
        footer(about),
    ]
    return document(f"{title}: evaluation report", *body)


def _warnings(sets: dict) -> Markup:
    """What to doubt and what to know, each sentence once; every section says itself if it is official."""
    several = len(sets) > 1
    boxes = []
    for key, word in (("warnings", "Warning"), ("notes", "Note")):
        said = {}
        for name, systems in sets.items():
            for system in systems:
                for text in system.results.get(key, ()):
                    if text == system.results.get("unofficial"):
                        continue
                    said.setdefault(text, []).append(f"{system.name} ({name})" if several else system.name)
        items = [element("li", element("b", ", ".join(names)), f": {text}") for text, names in said.items()]
        if items:
            many = "s" if len(items) > 1 else ""
            title = element("p", word + many, class_="box-title")
            boxes.append(element("div", title, element("ul", *items), class_=f"box {key}"))
    return join(boxes)


def _caution(comparison: Comparison) -> Markup:
    title = element("p", "Not comparable with published results", class_="box-title")
    return element("div", title, element("p", comparison.caution), class_="box caution")


def _set_section(name: str, systems: list, facts: dict, seeds, several: bool) -> Markup:
    named_after = any(system.results["split"] for system in systems)
    parts = [
        element("h2", f"Set: {name}" if several or named_after else "Results"),
        *(element("p", text, class_="lead") for text in _trials(systems, facts)),
        summary_table(systems, seeds),
        *(element("p", text, class_="prose") for text in (seeds.reasons if seeds else ())),
        _tests(systems),
        element("div", *_figures(systems), class_="figures"),
    ]
    if any(system.results["per_attack"] for system in systems):
        parts += [
            _attack_figure(systems),
            element(
                "details",
                element("summary", "All values per attack, kind and group"),
                breakdown_table(systems),
            ),
        ]
    parts.append(two_way_figures(systems))
    return element("section", *parts)


def _trials(systems: list, facts: dict) -> list[str]:
    """What was evaluated: one sentence, or one for each of the sets of trials that systems differ in."""
    systems_by_line = {}
    for system in systems:
        results = system.results
        whole, of_set = "" if results["official"] else "not ", results["split"]
        corpus = results.get("corpus")
        title = facts["name"]
        if corpus and not of_set:
            title, of_set = " ".join(filter(None, (corpus["title"], corpus["version"]))), corpus["set"]
            whole = whole if results["official"] or corpus["difference"] else None  # nobody counted
        official = "" if whole is None else f"{whole}the official "
        database = f", {official}{title} {of_set} set" if of_set else ""
        trials = f"{results['n_bonafide']:,} bona fide and {results['n_spoof']:,} spoof trials{database}."
        systems_by_line.setdefault(trials, []).append(system.name)
    if len(systems_by_line) == 1:
        return list(systems_by_line)
    return [f"{', '.join(names)}: {trials}" for trials, names in systems_by_line.items()] + [
        "Numbers from different trials cannot be compared."
    ]


def _tests(systems: list) -> Markup:
    """Operating points and paired tests."""
    lines = [line for system in systems for line in measured_lines(system.name, system.results)]
    return (
        element("ul", *(element("li", line) for line in lines), class_="prose tests") if lines else join([])
    )


def _figures(systems: list) -> list:
    if len(systems) <= _FEW:
        return [_det_figure(systems), _score_figure(systems)]
    # Many histograms need the whole width; beside the curves there is room for the names then.
    keys = element("ul", *(element("li", named(system)) for system in systems), class_="keys upright")
    return [_det_figure(systems), element("figure", element("h3", "Systems"), keys), _score_figure(systems)]


def _det_figure(systems: list) -> Markup:
    metrics = [
        "EER",
        *(["min t-DCF legacy"] if any(system.results["asv"] for system in systems) else []),
        "min DCF",
    ]
    caption = (
        "Normal‑deviate axes: the nearer to the lower left corner, the better. On the dotted line both error "
        "rates are equal. A mark on the border stands for a rate beyond it."
    )
    return element(
        "figure",
        element("h3", "Detection error trade‑off"),
        det_chart(systems),
        marker_key(metrics),
        element("figcaption", caption),
    )


def _score_figure(systems: list) -> Markup:
    histograms = []
    for system in systems:
        rate, threshold = (
            shown(system.results[key], n) for key, n in (("eer_percent", 3), ("threshold", None))
        )
        at = f"EER {rate} % at {threshold}"
        heading = element("h4", named(system), element("small", at.replace("at -", "at −")))
        histograms.append(element("div", heading, histogram(system)))
    caption = (
        "Share of each class per bin; heights are square roots, so that the tails, where errors are made, "
        "can be seen. The outermost bins hold all scores beyond. Dashed: the threshold of the EER; what lies "
        "right of it is accepted."
    )
    return element(
        "figure",
        element("h3", "Scores"),
        element("div", *histograms, class_="histograms"),
        element("figcaption", caption),
        class_="wide" if len(systems) > _FEW else None,
    )


def _attack_figure(systems: list) -> Markup:
    worst = {}
    for system in systems:
        for attack, row in system.results["per_attack"].items():
            worst[attack] = max(worst.get(attack, 0), row["eer_percent"])
    attacks = sorted(sorted(worst, key=worst.get, reverse=True)[:_BARS])
    which = "" if len(worst) <= _BARS else f" The {_BARS} of {len(worst):,} attacks with the highest EER."
    kinds = {
        attack: kind_name(row["kind"])
        for system in systems
        for attack, row in system.results["per_attack"].items()
        if row["kind"]
    }
    resamples = {system.results.get("bootstrap", {}).get("resamples") for system in systems} - {None}
    intervals = f" Whiskers: 95 % intervals of {max(resamples)} resamples." if resamples else ""
    keys = [element("li", named(system)) for system in systems]
    return element(
        "figure",
        element("h3", "EER per attack, %"),
        element("ul", *keys, class_="keys") if len(keys) > 1 else "",
        attack_bars(systems, attacks, kinds),
        element(
            "figcaption",
            f"Each attack against all bona fide trials; all bars on one scale.{which}{intervals}",
        ),
    )


def _comparison_section(comparison: Comparison, systems: dict) -> Markup:
    sources = list(dict.fromkeys(row.source for group in comparison.others for row in group.rows))
    ours, *apart = comparison_tables(comparison, systems, sources)
    lead = (
        "ASVspoof 2019 LA; under an attack: EER in % of the eval set. Claims of the project reports "
        "are claims to be tested, not results."
    )
    parts = [
        element("h2", "Beside published systems and the project reports"),
        element("p", lead, class_="lead"),
    ]
    parts.append(ours)
    if apart:
        parts.append(
            element(
                "div",
                element("h3", "Published results, of other trials"),
                element("p", element("b", "Not comparable. "), comparison.caution, class_="prose"),
                *apart,
                class_="apart",
            )
        )
    items = [element("li", source) for source in sources]
    parts.append(
        element("details", element("summary", "Sources"), element("ol", *items, class_="prose"), open="")
    )
    return element("section", *parts)
