"""Numbers and names as they are shown: the page, ``RESULTS.md`` and the terminal say the same digits."""

import json
import math
import statistics

from asvtk.metrics.operating_point import DEV_EER

__all__ = [
    "POOLED",
    "RATES",
    "TWO_WAY",
    "VERIFICATION",
    "average",
    "config_value",
    "config_values",
    "corpus_heading",
    "interval",
    "kind_name",
    "mean_sd",
    "measured_lines",
    "shown",
]

#: (title, key in ``results.json``, decimals; None: six digits that count)
RATES = (("EER %", "eer_percent", 3), ("min t-DCF legacy", "min_tdcf", 4))
POOLED = (
    *RATES,
    ("min t-DCF revisited", "min_tdcf_revisited", 4),
    ("ROCCH-EER %", "eer_rocch_percent", 3),
    ("AUC", "auc", 4),
    ("min DCF", "min_dcf", 4),
    ("act DCF", "act_dcf", 4),
    ("Cllr", "cllr", 4),
    ("EER threshold", "threshold", None),
)
#: the same of the cells of two-way tables, with the digits of the printed ones
TWO_WAY = (("EER %", "eer_percent", 2), ("min t-DCF revisited", "min_tdcf_revisited", 4))
#: the same of one score as the whole decision of speaker verification
VERIFICATION = (
    ("a-DCF", "a_dcf", 4),
    ("a-DCF threshold", "a_dcf_threshold", None),
    ("SASV-EER %", "sasv_eer_percent", 3),
    ("SV-EER %", "sv_eer_percent", 3),
    ("SPF-EER %", "spf_eer_percent", 3),
)
#: Beyond it decimals say nothing, and a score of 1e308 would have 309 digits.
_LARGE = 1e7
_KINDS = {"TTS_VC": "hybrid (TTS+VC)"}
_AS_LLR = "scores taken for log-likelihood ratios, which only calibrated ones are"


def shown(value: float | None, digits: int | None, sign: str = "") -> str:
    """A number with so many decimals; None is a dash, and ``sign="+"`` shows the sign always."""
    if value is None:
        return "–"
    value += 0.0  # -0.0 is 0
    if digits is None:
        return f"{value:{sign}.6g}"
    return f"{value:{sign}.{digits}f}" if abs(value) < _LARGE else f"{value:{sign}.4g}"


def interval(row: dict, key: str, digits: int | None) -> tuple[str, str] | None:
    """Both ends of a 95 % interval, where there is one."""
    ends = row.get("intervals", {}).get(key) or row.get(f"{key}_interval")
    return None if ends is None else (shown(ends[0], digits), shown(ends[1], digits))


def mean_sd(values: list, digits: int | None = 2, sign: str = "") -> str:
    """Mean ± standard deviation (n - 1); of one value the value, of any None a dash."""
    if None in values:
        return "–"
    try:
        spread = f" ± {shown(statistics.stdev(values), digits)}" if len(values) > 1 else ""
    except OverflowError:
        spread = ""
    mean = math.fsum(value / len(values) for value in values)
    return f"{shown(mean, digits, sign)}{spread}"


def average(members: list[dict], key: str, digits: int | None) -> str:
    """`mean_sd` of a value of several runs of one system; each has a threshold of its own, and no mean."""
    return "–" if digits is None else mean_sd([of.get(key) for of in members], digits)


def config_value(value) -> str:
    """A value of a configuration for people: sections as ``wce score=difference``, floats to four digits."""
    if isinstance(value, dict):
        return " ".join(
            str(of) if key == "name" else f"{key}={config_value(of)}" for key, of in value.items()
        )
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, list | bool) or value is None else str(value)


def config_values(values: dict) -> str:
    """``training.lr = 0.0002, loss = wce bonafide_weight=0.5``, of dotted keys and values."""
    return ", ".join(f"{key} = {config_value(value)}" for key, value in values.items())


def corpus_heading(corpus: dict) -> str:
    """Corpus, version and set of results, ``ASVspoof 2021 LA eval``."""
    return " ".join(filter(None, (corpus["title"], corpus["version"], corpus["set"])))


def kind_name(kind: str | None) -> str:
    """A kind of attacks for people; a corpus may call its kinds as it likes."""
    return _KINDS.get(kind, kind or "–")


def _grouped(resampled: dict) -> str:
    return f" of whole groups by {resampled['by']}" if resampled.get("by") else ""


def measured_lines(name: str, results: dict) -> list[str]:
    """Operating points, calibration and the paired test of one system, a line each; ``name`` may be empty."""
    name = f"{name} " if name else ""
    lines = []
    for point, at in results.get("operating_points", {}).items():
        rates = f"FRR {shown(100 * at['frr'], 3)} %, FAR {shown(100 * at['far'], 3)} %"
        if point == DEV_EER:
            costs = ", ".join(
                f"{title} {shown(results.get(key), digits)}"
                for title, key, digits in POOLED
                if key in ("act_dcf", "cllr")
            )
            rates = (
                f"FRR (bona fide rejected) {shown(100 * at['frr'], 3)} %, FAR (spoofs accepted) "
                f"{shown(100 * at['far'], 3)} %; {costs} ({_AS_LLR})"
            )
            point = "dev's EER threshold"
        lines.append(f"{name}at {point}: threshold {shown(at['threshold'], None)}, {rates}")
    if of := results.get("calibrated"):
        act_dcf, cllr, raw_dcf, raw_cllr = (
            shown(value, 4)
            for value in (of["act_dcf"], of["cllr"], results.get("act_dcf"), results.get("cllr"))
        )
        lines.append(
            f"{name}with dev's calibration: act DCF {act_dcf} (uncalibrated {raw_dcf}), Cllr {cllr} "
            f"(uncalibrated {raw_cllr}); at the log-likelihood ratio 0: FRR {shown(100 * of['frr'], 3)} %, "
            f"FAR {shown(100 * of['far'], 3)} %"
        )
    sasv = results.get("sasv") or {}
    if "t_eer_percent" in sasv:
        at = sasv["t_eer_thresholds"]
        lines.append(
            f"{name}t-EER {shown(sasv['t_eer_percent'], 3)} % of CM and ASV in tandem (thresholds "
            f"{shown(at['score'], None)} and {shown(at['asv_score'], None)}), {sasv['n_target']} target, "
            f"{sasv['n_nontarget']} nontarget, {sasv['n_spoof']} spoof trials"
        )
    if (resampled := results.get("bootstrap", {})).get("by"):
        lines.append(
            f"{name}95 % intervals: {resampled['resamples']} resamples{_grouped(resampled)}, of "
            f"{resampled['groups']} groups"
        )
    if test := results.get("comparison"):
        low, high = (shown(end, 3, "+") for end in test["interval"])
        difference, of = shown(test["difference_percent"], 3, "+"), f"of {name}" if name else ""
        lines.append(
            f"EER {of}minus that of {test['scores']}: {difference} points, 95 % interval [{low}, {high}], "
            f"p = {test['p_value']:.4f} (paired bootstrap{_grouped(test)})"
        )
        if of_auc := test.get("delong"):
            low, high = (shown(end, 4, "+") for end in of_auc["interval"])
            lines.append(
                f"AUC {of}minus that of {test['scores']}: {shown(of_auc['difference'], 4, '+')}, 95 % "
                f"interval [{low}, {high}], p = {of_auc['p_value']:.4f} (DeLong)"
            )
    return lines
