"""Evaluation of scores: the object of ``results.json`` in one call."""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from asvtk.io.asv_scores import AsvScores
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.scores import ScoreTable
from asvtk.metrics import breakdown
from asvtk.metrics.auc import auc
from asvtk.metrics.bootstrap import bootstrap_intervals, clusters_of, strata_of
from asvtk.metrics.calibration import Calibration
from asvtk.metrics.dcf import act_dcf, cllr, min_dcf_cut
from asvtk.metrics.eer import det_curve, eer, rocch_eer
from asvtk.metrics.operating_point import DEV_EER, errors_at, operating_point, point_of
from asvtk.metrics.sasv import of_one_score, t_eer
from asvtk.metrics.tdcf import asv_error_rates, legacy_weights, min_tdcf, revisited_weights

__all__ = ["evaluate"]


def evaluate(
    table: ScoreTable,
    asv: AsvScores | None = None,
    *,
    kinds: dict | None = None,
    known: dict | None = None,
    by=(),
    tables=(),
    bootstrap: int = 0,
    seed: int = 0,
    bootstrap_by: str | None = None,
    points=(),
    dev: ScoreTable | None = None,
    calibration: Calibration | None = None,
) -> dict:
    """Evaluate labelled scores; higher = bona fide.

    Args:
        table: trials with scores and labels.
        asv: scores of the speaker verification system of the **same** set; None: those of ``table``
            itself where it has any; without them both t-DCFs are null.
        kinds: ``{attack: kind}``, for the table per kind.
        known: ``{"known": attacks, "unknown": attacks}``, for the table of that name.
        by: names of columns of ``table`` to break the EER down by.
        tables: ``(rows, columns)`` of two-way tables, see `asvtk.metrics.tables.two_way_table`.
        bootstrap: number of resamples for 95 % intervals; 0 = no intervals.
        seed: of the resampling.
        bootstrap_by: column of ``table`` whose values are resampled whole, as speaker; None: single trials.
        points: operating points to measure, as `point_of` takes them.
        dev: labelled dev scores of the same system, whose EER threshold is carried over.
        calibration: of the same system, trained on dev.

    Returns:
        Plain Python values in full double precision, ready for `json`; rates in percent where the
        name says so, else in [0, 1]. ``min_tdcf`` is the legacy form of 2019,
        ``min_tdcf_revisited`` the form of 2021; null (None) where a value does not exist.
        ``sasv``, where the key tells targets from nontargets: a-DCF and EERs of each score by itself as the
        whole decision (see `asvtk.metrics.sasv`), and the t-EER of CM and ASV scores.
        ``tables``, where any were asked for: ``{"rows,columns": {row: {column: values}}}``.
        ``operating_points``, where any were asked for: name -> threshold, frr, far; that of dev is
        named ``dev_eer``. ``calibrated``, where there is a calibration: act_dcf and cllr of its LLRs, and
        threshold, frr and far at the LLR 0. ``warnings`` lists in words what a reader should doubt.

    Raises:
        AsvtkError: no labels, one class only, ASV scores of another set, dev scores that hold trials of
            this set, or an operating point that there is not.
    """
    kinds = kinds or {}
    _refuse_unusable(table)
    # Sorted once: every later sort of a part of it is then a mere merge.
    clusters = None
    if bootstrap and bootstrap_by:
        _refuse_no_column(table, bootstrap_by, "resample by")
        clusters = clusters_of(table.columns[bootstrap_by], table.utterances)
    utterances, order = table.utterances, np.argsort(table.scores)
    table = replace(table, utterances=order).subset(order)  # nobody asks for the names any more
    groups = _groups(table, kinds, known, by)
    if asv is None:
        asv = _own_asv(table)
    _refuse_asv_of_another_set(table, asv, groups["per_attack"])
    rates = None if asv is None else asv_error_rates(asv.target, asv.nontarget, asv.spoof)
    statistics = {"eer_percent": _eer_percent}
    if rates is not None:
        statistics["min_tdcf"] = partial(min_tdcf, weights=legacy_weights(rates))
        statistics["min_tdcf_revisited"] = partial(min_tdcf, weights=revisited_weights(rates))

    bonafide, spoof = table.scores[table.bonafide], table.scores[~table.bonafide]
    curve = det_curve(bonafide, spoof)
    area = auc(bonafide, spoof)
    lowest_dcf, cut_of_dcf = min_dcf_cut(curve.frr, curve.far)
    results = {
        **_values(statistics, curve),
        "eer_rocch_percent": 100 * rocch_eer(curve.frr, curve.far),
        "auc": area.value,
        "auc_interval": area.interval,
        "min_dcf": lowest_dcf,
        "act_dcf": act_dcf(bonafide, spoof),
        "cllr": _finite(cllr, bonafide, spoof),
        "threshold": operating_point(curve, "eer")["threshold"],
        "eer_threshold": _finite_threshold(curve, eer(curve.frr, curve.far)[1]),
        "min_dcf_threshold": _finite_threshold(curve, cut_of_dcf),
        "n_bonafide": bonafide.size,
        "n_spoof": spoof.size,
        "C0_C1_C2": None,
        "asv": None,
    }
    if rates is not None:
        weights = revisited_weights(rates)
        results["C0_C1_C2"] = [weights.c0, weights.c1, weights.c2]
        results["asv"] = {**rates._asdict(), "p_miss_spoof": rates.p_miss_spoof}

    if table.classes is not None:
        results["sasv"] = _sasv(table)
    for name, members in groups.items():
        results[name] = {value: _row(statistics, table, group) for value, group in members.items()}
    for attack, row in results["per_attack"].items():
        row["kind"] = kinds.get(attack)
    if tables:
        from asvtk.metrics.tables import two_way_tables  # only who wants them waits for its code

        results["tables"] = two_way_tables(table, tables, asv)
    if found := _operating_points(bonafide, spoof, points, replace(table, utterances=utterances), dev):
        results["operating_points"] = found
    if calibration is not None:
        results["calibrated"] = _calibrated(calibration, bonafide, spoof)
    if bootstrap:
        if clusters is not None:
            clusters = clusters[order]
        _add_intervals(results, table, groups, statistics, bootstrap, seed, clusters)
        if clusters is not None:
            results["bootstrap"] |= {"by": bootstrap_by, "groups": int(clusters.max()) + 1}
    results["warnings"] = _warnings(table, results, kinds)
    return results


def _by_class(table: ScoreTable, scores) -> dict:
    return {name: scores[table.classes == name] for name in ("target", "nontarget", "spoof")}


def _own_asv(table: ScoreTable) -> AsvScores | None:
    """The ASV scores that stand beside the CM's, as those of another file."""
    if table.classes is None or table.asv_scores is None:
        return None
    by_class = _by_class(table, table.asv_scores)
    if not all(scores.size for scores in by_class.values()):
        return None
    columns = table.columns if table.attacks is None else {**table.columns, "attack": table.attacks}
    columns = {name: _by_class(table, values) for name, values in columns.items()}
    attacks = frozenset(columns["attack"]["spoof"].tolist() if "attack" in columns else ())
    return AsvScores(**by_class, attacks=attacks, source=table.source, columns=columns)


def _sasv(table: ScoreTable) -> dict | None:
    """What the scores do as speaker verification; None where one of the three classes has no trial."""
    scores = {"score": table.scores, "asv_score": table.asv_scores}
    by_class = {name: _by_class(table, of) for name, of in scores.items() if of is not None}
    counts = {f"n_{name}": of.size for name, of in by_class["score"].items()}
    if not all(counts.values()):
        return None
    found = {**counts, **{name: of_one_score(**of) for name, of in by_class.items()}}
    if "asv_score" in by_class:
        tandem = t_eer(*(tuple(of.values()) for of in by_class.values()))
        found["t_eer_percent"] = 100 * tandem.rate
        found["t_eer_thresholds"] = {"score": tandem.cm_threshold, "asv_score": tandem.asv_threshold}
    return found


def _finite_threshold(curve, cut: int) -> float | None:
    threshold = float(curve.thresholds[cut])
    return threshold if math.isfinite(threshold) else None


def _eer_percent(frr, far) -> float:
    return 100 * eer(frr, far)[0]


def _finite(statistic, bonafide, spoof) -> float | None:
    """A statistic of scores; None where it is larger than any double, as the Cllr of scores of 1e308."""
    with np.errstate(over="ignore"):
        value = statistic(bonafide, spoof)
    return value if math.isfinite(value) else None


def _operating_points(bonafide, spoof, points, table: ScoreTable, dev: ScoreTable | None) -> dict:
    by_name = {}
    if dev is not None:
        _refuse_unusable(dev)
        if shared := set(dev.utterances.tolist()) & set(table.utterances.tolist()):
            raise AsvtkError(
                f"{len(shared)} utterances stand both in {dev.source} (dev) and in {table.source}: "
                f"{listing(sorted(shared))}. A threshold is chosen on trials that it is not judged by."
            )
        curve = det_curve(dev.scores[dev.bonafide], dev.scores[~dev.bonafide])
        threshold = operating_point(curve, "eer")["threshold"]
        by_name[DEV_EER] = errors_at(bonafide, spoof, threshold) | {"dev": dev.source}
    return by_name | {point: point_of(bonafide, spoof, point) for point in points}


def _calibrated(calibration: Calibration, bonafide, spoof) -> dict:
    bonafide, spoof = (calibration.apply(scores[None]) for scores in (bonafide, spoof))
    costs = {"act_dcf": act_dcf(bonafide, spoof), "cllr": _finite(cllr, bonafide, spoof)}
    return {"prior": calibration.prior, **costs, **errors_at(bonafide, spoof, 0.0)}


def _values(statistics: dict, curve) -> dict:
    """The statistics of one DET curve; what cannot be computed is None."""
    empty = dict.fromkeys(("eer_percent", "min_tdcf", "min_tdcf_revisited"))
    return empty | {
        name: statistic(curve.frr, curve.far) for name, statistic in statistics.items() if curve is not None
    }


def _row(statistics: dict, table: ScoreTable, group: breakdown.Group) -> dict:
    bonafide, spoof = table.scores[group.bonafide], table.scores[group.spoof]
    curve = det_curve(bonafide, spoof) if bonafide.size and spoof.size else None
    return {**_values(statistics, curve), "n": spoof.size, "n_bonafide": bonafide.size}


def _groups(table: ScoreTable, kinds: dict, known: dict | None, by) -> dict:
    """Name of a table -> its groups of trials."""
    per_attack = {} if table.attacks is None else breakdown.by_attack(table.attacks, table.bonafide)
    attacks_of_kind = {}
    for attack in per_attack:
        if attack in kinds:
            attacks_of_kind.setdefault(kinds[attack], []).append(attack)
    groups = {
        "per_attack": per_attack,
        "per_kind": breakdown.by_attack_group(per_attack, attacks_of_kind),
        "per_known": breakdown.by_attack_group(per_attack, known or {}),
    }
    for column in by:
        _refuse_no_column(table, column, "break down by")
        groups[f"per_{column}"] = breakdown.by_column(table.columns[column], table.bonafide)
    return groups


def _refuse_no_column(table: ScoreTable, column: str, what_for: str) -> None:
    if column not in table.columns:
        raise AsvtkError(
            f"{table.source}: no column {column!r} to {what_for}; there are: "
            f"{listing(table.columns) or 'none; columns come from the protocol'}"
        )


def _add_intervals(results, table, groups, statistics, resamples: int, seed: int, clusters=None) -> None:
    rows = {"": results}
    members = {"": np.arange(table.scores.size)}
    for name in ("per_attack", "per_kind", "per_known"):  # of whole strata; a speaker may draw no trial
        for value, group in groups[name].items():
            rows[name, value] = results[name][value]
            members[name, value] = np.concatenate([group.bonafide, group.spoof])
    strata = strata_of(table.bonafide, table.attacks)
    intervals = bootstrap_intervals(
        table.scores,
        table.bonafide,
        strata,
        members,
        statistics,
        resamples=resamples,
        seed=seed,
        clusters=clusters,
    )
    for key, of_row in intervals.items():
        rows[key]["intervals"] = {statistic: list(ends) for statistic, ends in of_row.items()}
    results["bootstrap"] = {"resamples": resamples, "seed": seed, "confidence": 0.95}


def _refuse_unusable(table: ScoreTable) -> None:
    if table.bonafide is None:
        raise AsvtkError(
            f"{table.source}: the scores carry no labels (bonafide or spoof); name the protocol, key or data "
            "directory of these trials (--protocol or --data)"
        )
    n_bonafide = int(np.count_nonzero(table.bonafide))
    if n_bonafide in (0, table.scores.size):
        raise AsvtkError(
            f"{table.source}: all {table.scores.size} trials are {'bona fide' if n_bonafide else 'spoof'}; "
            "error rates need both classes. Is this the whole set?"
        )


def _refuse_asv_of_another_set(table: ScoreTable, asv: AsvScores | None, attacks) -> None:
    if asv is not None and attacks and not asv.attacks & attacks.keys():
        raise AsvtkError(
            f"{asv.source} holds ASV scores of the attacks {listing(sorted(asv.attacks), 20)}, but "
            f"{table.source} holds {listing(attacks, 20)}: these ASV scores belong to another set. A dev set "
            "takes the dev ASV scores, an eval set the eval ones."
        )


def _warnings(table: ScoreTable, results: dict, kinds: dict) -> list:
    warnings = []
    if table.classes is not None and results["sasv"] is None:
        there = {*table.classes.tolist()}
        absent = [name for name in ("target", "nontarget", "spoof") if name not in there]
        warnings.append(f"no trial is {listing(absent)}: a-DCF and t-EER need all three classes.")
    distinct = 1 + int(np.count_nonzero(table.scores[1:] != table.scores[:-1]))
    if distinct == 1:
        warnings.append(
            f"all {table.scores.size} scores are equal ({table.scores[0]}): the system decides nothing. "
            "The EER of 100 % is the official convention, which counts ties against the system."
        )
    elif results["eer_percent"] > 50:
        warnings.append(
            f"THE EER OF {results['eer_percent']:.2f} % IS WORSE THAN CHANCE: the scores look sign-flipped. "
            "Higher must mean bona fide; if these scores mean the opposite, say --negate (or drop it)."
        )
    elif 2 * distinct < table.scores.size:
        warnings.append(
            f"only {distinct} different scores among {table.scores.size} trials: ties count against the "
            "system. Saturated probabilities do this; score with logits, in full precision."
        )
    unnamed = 0 if table.attacks is None else np.count_nonzero(~table.bonafide & (table.attacks == "-"))
    if unnamed and results["per_attack"]:
        warnings.append(
            f"{unnamed} of {results['n_spoof']} spoofs have no attack id (`-`): they count in the pooled "
            "values and in no row per attack."
        )
    if kinds and (without := [attack for attack in results["per_attack"] if attack not in kinds]):
        warnings.append(f"no kind is known of the attacks {listing(without)}: they count in no row per kind.")
    if results["cllr"] is None:
        warnings.append("Cllr is larger than any number: such scores are no log-likelihood ratios.")
    return warnings
