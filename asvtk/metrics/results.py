"""``results.json`` as a file: what `asvtk.metrics.evaluate` said of each set, with types checked."""

import json
import math

from asvtk.io.errors import AsvtkError
from asvtk.io.text import read_json

__all__ = ["check_results", "read_results", "write_results"]

_RATES = ("eer_percent", "min_tdcf", "min_tdcf_revisited")
_NUMBERS = (*_RATES, "eer_rocch_percent", "auc", "min_dcf", "act_dcf", "cllr", "threshold")
_OF_ONE_SCORE = ("a_dcf", "a_dcf_threshold", "sasv_eer_percent", "sv_eer_percent", "spf_eer_percent")
_CELL = ("eer_percent", "min_tdcf_revisited")
_CALIBRATED = ("act_dcf", "cllr", "frr", "far")
_COUNTS = ("n", "n_bonafide", "n_spoof")
#: what every asvtk so far has written
WRITTEN = ("eer_percent", "n_bonafide", "n_spoof", "per_attack", "per_kind", "warnings")


def write_results(path, results: dict) -> None:
    """Write ``results.json`` in one step, numbers in full precision."""
    from asvtk.io.atomic import write_text  # brings tempfile along, which readers need not wait for

    write_text(path, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_results(path, sets=(), needs=("eer_percent",)) -> dict:
    """The object of ``results.json``: ``{set: what was measured}``.

    Args:
        path: the file.
        sets: that must be there.
        needs: keys that each set must have; `WRITTEN` for all that tables need.

    Raises:
        AsvtkError: it cannot be read, or a value is missing or of another type than asvtk writes.
    """
    return check_results(read_json(path), path, sets, needs)


def check_results(results: dict, where, sets=(), needs=("eer_percent",)) -> dict:
    """The same of what was read already; ``where`` names it in messages."""
    faults = [f"no set {name}" for name in sets if name not in results]
    faults += [f"{name}: {fault}" for name, of_set in results.items() for fault in _faults(of_set, needs)]
    if not results:
        faults = ["it is empty"]
    if faults:
        raise AsvtkError(
            f"{where}: holds no results of this asvtk ({faults[0]}); run stage 5 (asvtk evaluate) again"
        )
    return results


def _faults(of_set, needs):
    if not isinstance(of_set, dict):
        yield "expected an object {...}"
        return
    yield from (f"{key} is missing" for key in needs if key not in of_set)
    if of_set.get("eer_percent", 0) is None:
        yield "eer_percent is null"
    yield from _row_faults(of_set)
    for key, rows in of_set.items():
        if key.startswith("per_"):
            if not isinstance(rows, dict):
                yield f"{key}: expected an object {{...}}"
                continue
            for name, row in rows.items():
                faults = _row_faults(row) if isinstance(row, dict) else ["expected an object {...}"]
                yield from (f"{key}: {name[:40]}: {fault}" for fault in faults)
    for key in ("warnings", "notes"):
        texts = of_set.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            yield f"{key}: expected a list of texts"
    points = of_set.get("operating_points", {})
    if not isinstance(points, dict) or not all(
        isinstance(at, dict) and all(_is_number(at.get(key)) for key in ("threshold", "frr", "far"))
        for at in points.values()
    ):
        yield "operating_points: expected threshold, frr and far of each"
    if not _are_ends(of_set.get("auc_interval", [0, 1])):
        yield "auc_interval: expected two numbers"
    resampled = of_set.get("bootstrap", {})
    if not isinstance(resampled, dict) or not isinstance(resampled.get("by"), (str, type(None))):
        yield "bootstrap: expected an object {...}"
    elif resampled.get("by") and not {"resamples", "groups"} <= resampled.keys():
        yield "bootstrap: expected resamples and groups"
    yield from _sasv_faults(of_set.get("sasv"))
    if not _are_tables(of_set.get("tables", {})):
        yield "tables: expected rows of cells with eer_percent and min_tdcf_revisited"
    calibrated = of_set.get("calibrated", dict.fromkeys(_CALIBRATED, 0))
    if not isinstance(calibrated, dict) or not all(
        _is_number(calibrated.get(key)) or (key == "cllr" and calibrated.get(key, 0) is None)
        for key in _CALIBRATED
    ):
        yield f"calibrated: expected {', '.join(_CALIBRATED)}"


def _sasv_faults(sasv):
    if sasv is None:
        return
    tandem, of_scores = {}, [None]
    if isinstance(sasv, dict):
        of_scores = [sasv.get("score"), *([sasv["asv_score"]] if "asv_score" in sasv else [])]
        if "t_eer_percent" in sasv:
            tandem = sasv.get("t_eer_thresholds")
            tandem = {**tandem, "": sasv["t_eer_percent"]} if isinstance(tandem, dict) else {"": None}
            tandem = {"score": None, "asv_score": None, **tandem}
            tandem |= {key: sasv.get(key) for key in ("n_target", "n_nontarget", "n_spoof")}
    if not all(map(_is_number, tandem.values())) or not all(
        isinstance(of, dict) and all(_is_number(of.get(key)) for key in _OF_ONE_SCORE) for of in of_scores
    ):
        yield f"sasv: expected {', '.join(_OF_ONE_SCORE)} of each score"


def _are_tables(tables) -> bool:
    if not isinstance(tables, dict) or not all(axes.count(",") == 1 for axes in tables):
        return False
    for rows in tables.values():
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()) or not rows:
            return False
        header = list(next(iter(rows.values())))
        for row in rows.values():
            if list(row) != header or not all(map(_is_cell, row.values())):
                return False
    return True


def _is_cell(cell) -> bool:
    return isinstance(cell, dict) and all(
        key in cell and (cell[key] is None or _is_number(cell[key])) for key in _CELL
    )


def _row_faults(row: dict):
    for key in _NUMBERS:
        if row.get(key) is not None and not _is_number(row[key]):
            yield f"{key}: expected a number"
    for key in _COUNTS:
        if key in row and not (isinstance(row[key], int) and not isinstance(row[key], bool)):
            yield f"{key}: expected a whole number"
    if not isinstance(row.get("kind", ""), (str, type(None))):
        yield "kind: expected a text"
    intervals = row.get("intervals", {})
    pairs = intervals.values() if isinstance(intervals, dict) else [None]
    if not all(map(_are_ends, pairs)):
        yield "intervals: expected two numbers of each"


def _are_ends(ends) -> bool:
    return isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
