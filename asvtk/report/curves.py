"""Training curves: losses, EER, learning rate, load of the experts."""

import math

from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError

__all__ = ["draw_curves"]

_TRAIN, _DEV, _EVAL = "#4477aa", "#ee6677", "#228833"  # Paul Tol's "bright", told apart by the colour-blind
_EXPERTS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000")


def draw_curves(records: list[dict], path) -> bool:
    """Draw ``train.jsonl`` as a PNG file.

    Args:
        records: its lines; at least one.
        path: of the picture.

    Returns:
        whether it was drawn: not where matplotlib is not installed, or the disk is full, which is said.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    layers = list(dict.fromkeys(layer for record in records for layer in record.get("routing", {})))
    panels = 3 + len(layers)
    figure = Figure(figsize=(10, 2.9 * math.ceil(panels / 2)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(math.ceil(panels / 2), 2, squeeze=False).flatten()
    at = [record.get("epochs", record["epoch"]) for record in records]
    _draw_losses(axes[0], at, records)
    _draw_rates(axes[1], at, records)
    _draw_learning_rate(axes[2], at, records)
    for axis, layer in zip(axes[3:], layers, strict=False):
        _draw_load(axis, layer, at, records)
    for axis in axes[:panels]:
        axis.set_xlabel("epochs")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(0, max(at) * 1.02)
    for axis in axes[panels:]:
        axis.set_visible(False)
    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110)
    except AsvtkError as error:
        print(f"warning: {error}", flush=True)
        return False
    return True


def _series(at, records, name):
    points = [
        (x, record[name]) for x, record in zip(at, records, strict=True) if record.get(name) is not None
    ]
    return zip(*points, strict=True) if points else ((), ())


def _plot(axis, at, records, name, colour, label) -> None:
    x, y = _series(at, records, name)
    if x:
        axis.plot(x, y, color=colour, label=label, marker="o", markersize=2.5, linewidth=1.2)


def _draw_losses(axis, at, records) -> None:
    _plot(axis, at, records, "loss", _TRAIN, "training")
    _plot(axis, at, records, "dev_loss", _DEV, "dev")
    axis.set_title("loss")
    if all(y > 0 for name in ("loss", "dev_loss") for y in list(_series(at, records, name))[1]):
        axis.set_yscale("log")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False)


def _draw_rates(axis, at, records) -> None:
    _plot(axis, at, records, "dev_eer_percent", _DEV, "dev")
    _plot(axis, at, records, "eval_eer_percent", _EVAL, "eval, at each best")
    best = records[-1].get("best_epoch")
    chosen = [
        (x, r) for x, r in zip(at, records, strict=True) if r["epoch"] == best and "dev_eer_percent" in r
    ]
    if chosen:
        x, record = min(chosen, key=lambda pair: pair[1]["dev_eer_percent"])
        axis.plot(x, record["dev_eer_percent"], "*", color=_DEV, markersize=11)
        axis.annotate(
            f"best {record['dev_eer_percent']:.3f} %",
            (x, record["dev_eer_percent"]),
            xytext=(0, 9),
            textcoords="offset points",
            ha="right" if x > at[-1] / 2 else "left",
        )
    axis.set_title("EER (%)")
    axis.set_ylim(bottom=0)
    axis.margins(y=0.2)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False)


def _draw_learning_rate(axis, at, records) -> None:
    _plot(axis, at, records, "lr", _TRAIN, None)
    axis.set_title("learning rate")
    axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    scales = [record.get("rate_scale", 1.0) for record in records]
    for x, before, after in zip(at[1:], scales, scales[1:], strict=False):
        if after < before:
            axis.axvline(x, color=_DEV, linestyle="--", linewidth=1)
            axis.annotate("rolled back", (x, 1), xycoords=("data", "axes fraction"), va="top", color=_DEV)


def _draw_load(axis, layer: str, at, records) -> None:
    """Below the line an expert starves: a tenth of an even share, where training warns."""
    points = [(x, r["routing"][layer]["load"]) for x, r in zip(at, records, strict=True) if "routing" in r]
    x, loads = zip(*points, strict=True)
    experts = len(loads[0])
    for number, load in enumerate(zip(*loads, strict=True)):
        colour = _EXPERTS[number % len(_EXPERTS)]
        axis.plot(
            x,
            [100 * y for y in load],
            color=colour,
            label=str(number),
            marker="o",
            markersize=2.5,
            linewidth=1.2,
        )
    axis.axhline(10 / experts, color="0.5", linestyle=":", linewidth=1)
    starved = [str(number) for number, load in enumerate(loads[-1]) if load < 0.1 / experts]
    if starved:
        axis.set_title(f"{layer}: expert {', '.join(starved)} starves, routing collapses", color=_DEV)
    else:
        axis.set_title(f"load of the experts of {layer} (%)")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, ncols=min(experts, 8), fontsize="small")
