"""Write an analysis: pictures, ``analysis.json``, and one page of both."""

import json
import struct
from pathlib import Path

import numpy as np

from asvtk.io.atomic import write_text
from asvtk.report import analysis_figures as figures
from asvtk.report.analysis import Groups, sentences
from asvtk.report.document import document, footer, picture
from asvtk.report.markdown import environment
from asvtk.report.svg import Markup, element

__all__ = ["write_analysis"]

_CAPTIONS = {
    "layers": (
        "Layer weights",
        "Softmax weights of the learned sum over the front-end's layers. Layers are normalised before, "
        "number by number, so that weights can be compared. They say what the sum is made of, not what the "
        "score would lose without a layer.",
    ),
    "experts": (
        "Experts by attack",
        "Share of the choices that fall on each expert. Full colour is an expert that gets all it can of a "
        "group, or nothing; groups that are routed like all others are pale, whatever the share. Numbers at "
        "the right: total variation from the load of all utterances, in points; bold is more than 95 of 100 "
        "random groups of that size have. An expert that handles one kind of attack would have a row pattern "
        "that changes from kind to kind.",
    ),
    "routers": (
        "How decided the routers are",
        "Entropy of the router's probabilities per frame, as a part of log(experts): 1 is undecided, 0 is "
        "certain. Dots are means, bars hold the middle 90 % of the utterances, the dashed line is the mean "
        "of all.",
    ),
    "gates": (
        "Gates",
        "Dots are means over frames, numbers and utterances; bars reach one standard deviation within an "
        "utterance to both sides. A gate without a bar is a constant; dots in one line do not distinguish "
        "attacks in the mean.",
    ),
    "embeddings": (
        "Embeddings",
        "Each point is an utterance, drawn as many of each group as can be seen. What the classifier "
        "separates need not be apart in two dimensions.",
    ),
}


def write_analysis(
    folder, name: str, weights: dict, layers: list[int], sets: dict[str, tuple[dict, np.ndarray, Groups]]
) -> Path:
    """Write ``analysis.json``, ``analysis.html`` and the pictures.

    Args:
        folder: created when missing.
        name: of the experiment.
        weights: of `asvtk.report.analysis_probe.layer_weights`.
        layers: numbers of the front-end's layers that they belong to.
        sets: ``{data set: (object of asvtk.report.analysis.look_into, embeddings, groups)}``.

    Returns:
        the page.

    Raises:
        AsvtkError: the files cannot be written, or matplotlib is not installed.
    """
    figures.require_matplotlib()
    folder = Path(folder)
    of_model = {
        part: {"layers": layers, "weights": of.tolist(), "effective_layers": _effective(of)}
        for part, of in weights.items()
    }
    content = {"experiment": name, "layer_weights": of_model, "sets": {of: s[0] for of, s in sets.items()}}
    write_text(folder / "analysis.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    sections = []
    for part, of in weights.items():
        file = f"layers{_suffix(part, weights)}.png"
        sections.append(_figure("layers", figures.layers(of, layers), folder / file))
    body = [_header(name, sets), element("section", *sections) if sections else ""]
    for of, (analysis, embedding, groups) in sets.items():
        body.append(_set_section(folder, of, analysis, embedding, groups))
    page = folder / "analysis.html"
    write_text(page, document(f"{name}: analysis", *body, footer(environment())))
    return page


def _header(name: str, sets: dict) -> Markup:
    lines = [line for of, (analysis, *_) in sets.items() for line in sentences(of, analysis)]
    parts = [
        element("p", "asvtk analysis", class_="overline"),
        element("h1", name),
        element("p", "What the trained system listens to, and how it routes each attack.", class_="lead"),
    ]
    if lines:
        about = (
            "How much a label of the utterance tells of the expert chosen: normalised mutual information, 0 "
            "to 1, beside what chance gives for groups of these sizes. Attack and kind: of spoofed "
            "utterances alone; for the kind, chance is another division of the same attacks."
        )
        parts.append(element("p", about, class_="prose"))
        parts.append(element("ul", *(element("li", line) for line in lines), class_="prose"))
    return element("header", *parts)


def _set_section(folder: Path, name: str, analysis: dict, embedding: np.ndarray, groups: Groups) -> Markup:
    of_groups = analysis["groups"]
    made = {}
    if analysis["routing"]:
        made["experts"] = figures.experts(analysis["routing"], of_groups)
        entropies = {layer: of["entropy"] for layer, of in analysis["routing"].items()}
        made["routers"] = figures.by_group(entropies, of_groups, "entropy / log(experts)")
    if analysis["gates"]:
        titled = {f"{part}\n1 = {of['share_of']}": _with_ends(of) for part, of in analysis["gates"].items()}
        made["gates"] = figures.by_group(titled, of_groups, "gate")
    made["embeddings"] = figures.embeddings(embedding, groups)
    count = f"{analysis['utterances']:,} utterances"
    shown = [_figure(what, figure, folder / f"{name}_{what}.png") for what, figure in made.items()]
    return element("section", element("h2", f"Set: {name}"), element("p", count, class_="lead"), *shown)


def _figure(what: str, figure, path: Path) -> Markup:
    title, caption = _CAPTIONS[what]
    png = figures.save(figure, path)
    (width,) = struct.unpack(">I", png[16:20])  # pixels, of the header
    return element(
        "figure",
        element("h3", title),
        picture(png, f"{title}: {path.name}", width * 96 // figures.DPI),
        element("figcaption", caption),
        class_="wide",
    )


def _with_ends(gate: dict) -> dict:
    by_group = {
        group: {"mean": of["mean"], "low": of["mean"] - of["spread"], "high": of["mean"] + of["spread"]}
        for group, of in gate["by_group"].items()
    }
    return {"mean": gate["mean"], "by_group": by_group}


def _suffix(part: str, weights: dict) -> str:
    return "" if len(weights) == 1 else f"_{part}"


def _effective(weights: np.ndarray) -> float:
    """exp(entropy): so many layers with even weights would be as spread out."""
    return float(np.exp(-(weights * np.log(np.maximum(weights, 1e-30))).sum()))
