"""The picture of a training's course."""

import math

import pytest

from asvtk.report import curves

pytest.importorskip("matplotlib")


def record(epoch, **more):
    return {"epoch": epoch, "loss": 1 / epoch, "best_epoch": 1, "lr": 1e-4, "seconds": 1.0} | more


def full(epoch, **more):
    load = {"load": [0.4, 0.3, 0.2, 0.1], "entropy": 1.2}
    dev = {"dev_loss": 2 / epoch, "dev_eer_percent": 5 / epoch, "routing": {"a": load, "b": load}}
    return record(epoch, **dev, **more)


@pytest.mark.parametrize(
    "records",
    [
        [full(1)],
        [full(n) for n in range(1, 6)],
        [record(1), full(2), record(3)],
        [full(1, epochs=0.5, step=3), full(1), full(2, rate_scale=0.5, skipped_steps=3)],
        [record(1) | {"loss": None}],
        [full(1) | {"loss": -0.5}, full(2, eval_eer_percent=3.0)],
    ],
    ids=["one epoch", "usual", "seldom evaluated", "within epochs", "no good step", "negative loss"],
)
def test_any_course_is_drawn(records, tmp_path):
    assert curves.draw_curves(records, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_what_is_drawn_is_what_was_recorded(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    curves.draw_curves([full(n) for n in (1, 2, 4)], tmp_path / "curves.png")
    losses, rates, lr, *loads = figures[0].axes
    assert losses.lines[0].get_xydata().tolist() == [[1, 1], [2, 0.5], [4, 0.25]]
    assert rates.lines[0].get_ydata().tolist() == [5, 2.5, 1.25]
    assert math.isclose(lr.lines[0].get_ydata()[0], 1e-4)
    assert [line.get_ydata()[0] for line in loads[0].lines[:4]] == pytest.approx([40, 30, 20, 10])
    assert loads[0].lines[4].get_ydata()[0] == 2.5  # below it an expert starves


def test_without_matplotlib_there_is_no_picture(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not curves.draw_curves([full(1)], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
