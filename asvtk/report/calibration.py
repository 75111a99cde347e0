"""Calibration quality of scores as a Markdown table."""

from asvtk.report.markdown import table

__all__ = ["quality_table"]

#: title, key of what ``asvtk.metrics.calibration.quality`` gives, decimals
_COLUMNS = (
    ("EER %", "eer_percent", 3),
    ("min DCF", "min_dcf", 4),
    ("act DCF", "act_dcf", 4),
    ("min Cllr", "min_cllr", 4),
    ("Cllr", "cllr", 4),
)


def quality_table(rows: list) -> str:
    """A table of (set, what the scores are, `quality` of them), and how to read it."""
    header = ["Set", "System", *(title for title, _, _ in _COLUMNS), "Cllr loss"]
    return (
        f"{table(header, [_row(*row) for row in rows])}\n\n"
        "act DCF (costs of ASVspoof 5) and Cllr (bits) take scores for log-likelihood ratios. min Cllr:\n"
        "after PAV on the same trials; Cllr loss: Cllr - min Cllr, what the lack of calibration costs."
    )


def _row(of_set: str, what: str, values: dict) -> list:
    numbers = [f"{values[key]:.{digits}f}" for _, key, digits in _COLUMNS]
    return [of_set, what, *numbers, f"{values['cllr'] - values['min_cllr']:.4f}"]
