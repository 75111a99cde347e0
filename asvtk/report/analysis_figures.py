"""The pictures of an analysis, by matplotlib. Each function returns a figure; `save` writes it as PNG."""

import io
from pathlib import Path

import numpy as np

from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError
from asvtk.report.analysis import BONAFIDE_GROUP, Groups, principal_axes

__all__ = ["DPI", "by_group", "embeddings", "experts", "layers", "require_matplotlib", "save"]

DPI = 150
_KINDS = {"TTS_VC": "hybrid"}
_INK, _SOFT, _ACCENT, _SPOOF = "#1c1f26", "#5b606b", "#0067ad", "#c24a00"
_MARKERS = "ov^sDP"  # one per kind
_MOST_POINTS, _MOST_PER_GROUP, _FEWEST = 2000, 150, 10


def require_matplotlib() -> None:
    """
    Raises:
        AsvtkError: it is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise AsvtkError("pictures need matplotlib: pip install 'asvtk[report]'") from None


def save(figure, path) -> bytes:
    """Write a figure as PNG, the same bytes every time; returns them."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def layers(weights: np.ndarray, numbers: list[int]):
    """Weights (layers,) of a learned sum of the front-end's layers ``numbers``."""
    figure = _figure(max(4.5, 2 + 0.28 * len(weights)), 3.2)
    axes = figure.subplots()
    places = np.arange(len(weights))
    axes.bar(places, weights, color=_ACCENT, width=0.75)
    axes.axhline(1 / len(weights), color=_SPOOF, linestyle="--", linewidth=1)
    axes.annotate(
        "at the start",
        (1, 1 / len(weights)),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=_SPOOF,
        fontsize=9,
    )
    axes.set_xticks(places, [str(number) for number in numbers])
    axes.set_xlim(-0.6, len(weights) - 0.4)
    axes.set_ylim(0, 1.1 * max(weights))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("layer of the front-end")
    axes.set_ylabel("weight")
    return figure


def experts(routing: dict, groups: dict):
    """Heat maps of the load, one for each layer of experts.

    The scale is the same whatever was found: full colour is an expert that gets all it can from a group
    and nothing from others. Routing that hardly depends on the attack looks pale.

    Args:
        routing: of `asvtk.report.analysis.look_into`.
        groups: of the same.
    """
    names = list(groups)
    rows, per_row = _shape(len(routing))
    widest = max(of["experts"] for of in routing.values())
    figure = _figure(1.6 + per_row * (1.5 + 0.55 * widest), rows * (1.9 + 0.27 * len(names)))
    grid = figure.subplots(rows, per_row, squeeze=False)
    image = None
    for place, axes in enumerate(grid.flat):
        if place >= len(routing):
            axes.set_axis_off()
            continue
        layer = list(routing)[place]
        image = _heat_map(axes, layer, routing[layer], names)
        for row in range(1, len(names)):
            if groups[names[row]]["kind"] != groups[names[row - 1]]["kind"]:
                axes.axhline(row + 0.5, color="white", linewidth=4)
        if place % per_row == 0:
            axes.set_yticks(range(len(names) + 1), ["all", *(_label(name, groups) for name in names)])
        else:
            axes.set_yticks([])
    bar = figure.colorbar(image, ax=grid, shrink=0.7, aspect=30, pad=0.02, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["never", "as for all", "as often\nas can be"], fontsize=9)
    bar.outline.set_visible(False)
    return figure


def _heat_map(axes, layer: str, routing: dict, names: list[str]):
    load = np.array([routing["load"], *(routing["by_group"][name]["load"] for name in names)])
    pooled = load[0]
    # From no frame at all to one choice of every frame, with the load of all utterances in the middle.
    room = np.where(load > pooled, 1 / routing["top_k"] - pooled, pooled)
    shade = (load - pooled) / np.maximum(room, 1e-9)
    image = axes.imshow(shade, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(load):
        ink = "white" if abs(shade[row, column]) > 0.65 else _INK
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=9, color=ink)
    axes.axhline(0.5, color="white", linewidth=4)
    for row, name in enumerate(names, 1):
        of = routing["by_group"][name]
        beyond = of["distance"] > of["distance_95_by_chance"]
        axes.text(
            load.shape[1] - 0.4,
            row,
            f"{100 * of['distance']:.0f}",
            va="center",
            fontsize=9,
            color=_INK if beyond else _SOFT,
            weight="bold" if beyond else "normal",
        )
    axes.text(load.shape[1] - 0.4, 0, "off by", va="center", fontsize=9, color=_SOFT)
    axes.set_xticks(range(load.shape[1]))
    axes.tick_params(length=0)
    axes.set_xlabel("expert (load in %)")
    axes.set_title(f"{layer}\n{_explained(routing['dependence'])}", fontsize=9, loc="left", color=_INK)
    axes.spines[:].set_visible(False)
    return image


def _explained(dependence: dict) -> str:
    attack = dependence["attack"]
    if attack is None:
        return ""
    return f"explained by attack: {attack['information']:.1%} (chance: up to {attack['chance_95']:.1%})"


def by_group(quantities: dict, groups: dict, label: str):
    """A dot and a bar for each group on an axis from 0 to 1, one panel for each quantity.

    Args:
        quantities: ``{title of the panel: {mean, by_group: {group: {mean, low, high}}}}``.
        groups: of `asvtk.report.analysis.look_into`.
        label: of the axes.
    """
    names = list(groups)
    rows, per_row = _shape(len(quantities))
    figure = _figure(1.6 + 2.8 * per_row, rows * (1.3 + 0.25 * len(names)))
    grid = figure.subplots(rows, per_row, squeeze=False, sharey=True)
    for axes in grid.flat[len(quantities) :]:
        axes.set_axis_off()
    for axes, (title, of) in zip(grid.flat, quantities.items(), strict=False):
        places = np.arange(len(names))
        mean, *ends = (
            np.array([of["by_group"][group][key] for group in names]) for key in ("mean", "low", "high")
        )
        colours = [_ACCENT if group == BONAFIDE_GROUP else _SPOOF for group in names]
        axes.axvline(of["mean"], color=_SOFT, linewidth=1, linestyle="--")
        axes.hlines(places, *ends, color=colours, linewidth=2, alpha=0.45)
        axes.scatter(mean, places, color=colours, s=26, zorder=3)
        axes.set_yticks(places, [_label(group, groups) for group in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.set_title(title, fontsize=9, loc="left", color=_INK)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="#ebe8e1")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _shape(panels: int) -> tuple[int, int]:
    """Rows, and panels in each, of at most three."""
    rows = -(-panels // 3)
    return rows, -(-panels // rows)


def embeddings(vectors: np.ndarray, groups: Groups, seed: int = 0):
    """Maps of embeddings (utterances, d): principal axes, and t-SNE where scikit-learn is installed."""
    shown = _sample(groups, seed)
    flat = principal_axes(vectors)
    share = flat.explained
    maps = {f"principal axes ({share[0]:.0%} and {share[1]:.0%} of the variance)": flat.places[shown]}
    if (neighbours := _tsne(vectors[shown], seed)) is not None:
        maps["t-SNE (only neighbourhoods mean something)"] = neighbours
    figure = _figure(1.9 + 4.6 * len(maps), 4.9)
    grid = figure.subplots(1, len(maps), squeeze=False)[0]
    kinds = list(dict.fromkeys(groups.kinds))
    for axes, (title, places) in zip(grid, maps.items(), strict=True):
        for number, name in enumerate(groups.names):
            chosen = groups.index[shown] == number
            real = name == BONAFIDE_GROUP
            axes.scatter(
                *places[chosen].T,
                s=26 if real else 18,
                marker="x" if real else _MARKERS[kinds.index(groups.kinds[number]) % len(_MARKERS)],
                color=_INK if real else _colour(number, len(groups.names)),
                linewidths=1 if real else 0,
                alpha=0.8,
                label=_label(name, {name: {"kind": groups.kinds[number]}}),
            )
        axes.set_title(title, fontsize=9, loc="left", color=_INK)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    return figure


def _sample(groups: Groups, seed: int) -> np.ndarray:
    """So many utterances as a picture can show, of every group."""
    rng = np.random.default_rng(seed)
    most = min(_MOST_PER_GROUP, max(_MOST_POINTS // len(groups.names), _FEWEST))
    of_each = (rng.permutation(np.flatnonzero(groups.index == i))[:most] for i in range(len(groups.names)))
    return np.sort(np.concatenate(list(of_each)))


def _tsne(vectors: np.ndarray, seed: int) -> np.ndarray | None:
    """None without scikit-learn, or where there are too few utterances to have neighbours."""
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        return None
    if len(vectors) < 3 * _FEWEST:
        return None
    perplexity = min(30, len(vectors) / 4)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)


def _label(name: str, groups: dict) -> str:
    kind = groups[name]["kind"]
    return "bona fide" if name == BONAFIDE_GROUP else f"{name} {_KINDS.get(kind, kind)}" if kind else name


def _colour(number: int, count: int):
    import matplotlib

    return matplotlib.colormaps["turbo"](number / max(count - 1, 1))


def _figure(width: float, height: float):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure
