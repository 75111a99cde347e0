"""Two-way tables: EER and min t-DCF by two columns of the trials, as ASVspoof 2021 printed its results.

X. Liu et al., "ASVspoof 2021: towards spoofed and deepfake speech detection in the wild", IEEE/ACM TASLP
2023: attack by codec (LA), vocoder by compression (DF), places of the speaker by those of the attacker (PA).
"""

import re
from dataclasses import dataclass

import numpy as np

from asvtk.io.asv_scores import AsvScores
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.scores import ScoreTable
from asvtk.metrics.breakdown import factorize, tells_of_spoofs_only
from asvtk.metrics.eer import det_curve, eer
from asvtk.metrics.tdcf import Weights, asv_error_rates, min_tdcf, revisited_weights

__all__ = ["LABELS", "OFFICIAL", "POOLED", "two_way_table", "two_way_tables"]

POOLED = "Pooled"  #: name of both margins
OFFICIAL = "official"  #: stands for the layout of the key's own corpus
#: Column -> word of the key -> its name in the printed tables, in their order.
LABELS = {
    "codec": dict(none="C1", alaw="C2", pstn="C3", g722="C4", ulaw="C5", gsm="C6", opus="C7"),
    "compression": dict(
        nocodec="C1",
        low_mp3="C2",
        high_mp3="C3",
        low_m4a="C4",
        high_m4a="C5",
        low_ogg="C6",
        high_ogg="C7",
        mp3m4a="C8",
        oggm4a="C9",
    ),  # fmt: skip
    "vocoder": {
        "traditional_vocoder": "Traditional",
        "waveform_concatenation": "Wav.Concat.",
        "neural_vocoder_autoregressive": "Neural AR",
        "neural_vocoder_nonautoregressive": "Neural non-AR",
        "unknown": "Unknown",
    },
}
#: Columns that a key has -> rows and columns of the printed table.
_LAYOUTS = (
    ({"codec", "transmission"}, "attack", "codec"),
    ({"compression", "vocoder"}, "vocoder", "compression"),
    (
        {"asv_room", "attacker_room"},
        "asv_room+asv_mic+distance_to_asv@bonafide",
        "attacker_room+attacker_mic+attacker_to_speaker+attacker_device+distance_to_asv",
    ),
    ({"codec", "codec_q"}, "attack", "codec"),
)
_MOST_CELLS = 20_000


@dataclass(frozen=True)
class _Line:
    """A row or a column: which trials it takes of each class; None = all.

    ``of_bonafide`` and ``of_spoof`` are bool (n,) over the trials of the table, ``restriction`` says the
    same in words: (column, value, restricts bona fide speech?, restricts spoofs?).
    """

    label: str
    of_bonafide: np.ndarray | None = None
    of_spoof: np.ndarray | None = None
    restriction: tuple | None = None


def two_way_table(table: ScoreTable, rows: str, columns: str, asv: AsvScores | None = None) -> dict:
    """EER and min t-DCF (revisited) of each pair of values of two columns, with both margins.

    A property of spoofs only, as their attack, takes the spoofs that have it and all bona fide trials; a
    column that both classes share, as a codec, restricts both. The t-DCF of a cell uses the error rates of
    the ASV on the cell's own trials, at the threshold of its EER on all trials given.

    Args:
        table: labelled trials; sorted scores save time.
        rows, columns: ``attack`` or names of ``table.columns``, several joined by ``+`` one below the other;
            ``COLUMN@bonafide`` takes the values of bona fide trials, and restricts these only.
        asv: ASV scores with columns of the same names, or None.

    Returns:
        ``{row: {column: {"eer_percent", "min_tdcf_revisited", "n", "n_bonafide"}}}``, the margins named
        `POOLED`. None where a class has no trial, or the ASV none of one of its three kinds.

    Raises:
        AsvtkError: no such column, the same value in two joined columns, or more than 20,000 cells.
    """
    across = _lines(table, columns)
    down = _lines(table, rows)
    if len(across) * len(down) > _MOST_CELLS:
        raise AsvtkError(
            f"{table.source}: a table of {len(down)} rows ({rows}) and {len(across)} columns ({columns}); "
            f"expected at most {_MOST_CELLS:,} cells"
        )
    bonafide, spoof = table.scores[table.bonafide], table.scores[~table.bonafide]
    rates = None if asv is None else _AsvRates(asv)
    cells = {}
    for row in down:
        cells[row.label] = {}
        for column in across:
            of_bonafide = _chosen(bonafide, row.of_bonafide, column.of_bonafide)
            of_spoof = _chosen(spoof, row.of_spoof, column.of_spoof)
            cell = {"eer_percent": None, "min_tdcf_revisited": None}
            if of_bonafide.size and of_spoof.size:
                curve = det_curve(of_bonafide, of_spoof)
                cell["eer_percent"] = 100 * eer(curve.frr, curve.far)[0]
                weights = None if rates is None else rates.weights(row.restriction, column.restriction)
                if weights is not None:
                    cell["min_tdcf_revisited"] = min_tdcf(curve.frr, curve.far, weights)
            cells[row.label][column.label] = cell | {"n": of_spoof.size, "n_bonafide": of_bonafide.size}
    return cells


def two_way_tables(table: ScoreTable, wanted, asv: AsvScores | None = None) -> dict:
    """`two_way_table` of each ``(rows, columns)``, as ``{"rows,columns": cells}``.

    ``(OFFICIAL, "")`` is the layout in which the results of the key's corpus were printed.

    Raises:
        AsvtkError: as `two_way_table`, or no layout is known of such columns.
    """
    pairs = [_official(table) if rows == OFFICIAL else (rows, columns) for rows, columns in wanted]
    return {f"{rows},{columns}": two_way_table(table, rows, columns, asv) for rows, columns in pairs}


def _official(table: ScoreTable):
    for needed, rows, columns in _LAYOUTS:
        if needed <= table.columns.keys():
            return rows, columns
    raise AsvtkError(
        f"{table.source}: no printed layout is known of trials with the columns "
        f"{listing(table.columns) or '(none)'}; name rows and columns: --table attack,codec"
    )


def _chosen(scores: np.ndarray, *masks) -> np.ndarray:
    for_all = [mask for mask in masks if mask is not None]
    return scores[np.logical_and.reduce(for_all)] if for_all else scores


def _lines(table: ScoreTable, spec: str) -> list:
    """The rows or columns of a table, the pooled one last."""
    lines = []
    for part in spec.split("+"):
        lines += _lines_of(table, part)
    labels = [line.label for line in lines]
    if twice := [label for label in labels if labels.count(label) > 1 or label == POOLED]:
        raise AsvtkError(
            f"{table.source}: {spec} has the value {listing(sorted(set(twice)))} in two columns; show them "
            "in two tables"
        )
    return [*lines, _Line(POOLED)]


def _lines_of(table: ScoreTable, part: str) -> list:
    column, _, side = part.partition("@")
    values = table.attacks if column == "attack" else table.columns.get(column)
    if values is None or side not in ("", "bonafide"):
        there = [*(["attack"] if table.attacks is not None else []), *table.columns]
        raise AsvtkError(
            f"{table.source}: no column {part!r} to make a table of; there are: "
            f"{listing(there) or 'none; columns come from the protocol'}"
        )
    names, codes = factorize(values)
    genuine, spoofed = codes[table.bonafide], codes[~table.bonafide]
    counts = [np.bincount(of_class, minlength=len(names)) for of_class in (genuine, spoofed)]
    of_spoof_only = column == "attack" or tells_of_spoofs_only(names, *counts)
    restricts = (True, False) if side else (False, True) if of_spoof_only else (True, True)
    there = np.logical_or.reduce([count > 0 for count, of in zip(counts, restricts, strict=True) if of])
    shown = {name: code for code, name in enumerate(names) if there[code]}
    if restricts == (False, True):
        shown.pop("-", None)
    return [
        _Line(
            label=label,
            of_bonafide=genuine == shown[name] if restricts[0] else None,
            of_spoof=spoofed == shown[name] if restricts[1] else None,
            restriction=(column, name, *restricts),
        )
        for name, label in _labels(column, list(shown)).items()
    ]


def _labels(column: str, names: list) -> dict:
    """``{value: what it is called}`` in the order of the printed tables where these know all values."""
    printed = LABELS.get(column, {})
    if {*names} <= printed.keys():
        return {name: label for name, label in printed.items() if name in names}
    return {name: name for name in sorted(names, key=_natural)}


def _natural(name: str) -> list:
    """Sorts C9 before C10."""
    parts = re.split("([0-9]+)", name)  # the numbers stand at odd places
    return [(int(part[:18]) if place % 2 else -1, part) for place, part in enumerate(parts)]


class _AsvRates:
    """Error rates of the ASV on some of its trials, at the threshold of its EER on all of them."""

    def __init__(self, asv: AsvScores):
        self._asv = asv
        self._whole = asv_error_rates(asv.target, asv.nontarget, asv.spoof)
        self._accepted = {
            kind: getattr(asv, kind) >= self._whole.threshold for kind in ("target", "nontarget", "spoof")
        }
        self._columns = {}

    def weights(self, *restrictions) -> Weights | None:
        """t-DCF weights of the trials that all restrictions leave; None where they leave none of a kind."""
        shares = {}
        for kind, accepted in self._accepted.items():
            masks = []
            for column, name, *of_class in filter(None, restrictions):
                if of_class[kind == "spoof"]:
                    if column not in self._asv.columns:
                        return None
                    masks.append(self._mask(column, kind, name))
            chosen = _chosen(accepted, *masks)
            if not chosen.size:
                return None
            shares[kind] = float(np.mean(chosen))
        rates = self._whole._replace(
            p_fa=shares["nontarget"], p_miss=1 - shares["target"], p_fa_spoof=shares["spoof"]
        )
        try:
            return revisited_weights(rates)
        except AsvtkError:  # in this cell the ASV is worse than none
            return None

    def _mask(self, column: str, kind: str, name: str) -> np.ndarray:
        if (column, kind) not in self._columns:
            names, codes = factorize(self._asv.columns[column][kind])
            self._columns[column, kind] = {name: codes == code for code, name in enumerate(names)}
        nobody = np.zeros(self._accepted[kind].size, bool)
        return self._columns[column, kind].get(name, nobody)
