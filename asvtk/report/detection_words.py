"""What a detection means, in words that need no glossary; times, shares and stretches as they are shown."""

import math

from asvtk.inference.detection import NO_SPEECH, UNDECIDED, Detection
from asvtk.io.datadir import BONAFIDE, SPOOF
from asvtk.report.svg import plain

__all__ = [
    "NAMES",
    "base_name",
    "clock",
    "error_words",
    "is_partly_spoofed",
    "llr_words",
    "number",
    "percent",
    "prior_words",
    "reason",
    "shown_probability",
    "spoofed_stretches",
    "stretch_words",
    "verdict_name",
]

#: verdict -> its name
NAMES = {BONAFIDE: "Bona fide", SPOOF: "Spoof", NO_SPEECH: "No speech", UNDECIDED: "Undecided"}
#: Pauses up to so many seconds do not cut what is spoofed before and after them.
_PAUSE = 5.0
#: Log-likelihood ratios that are no farther from the threshold decide nothing alone: odds of three to one.
_CLOSE = math.log(3)
_FEW = 4  # stretches named in a sentence or a cell


def base_name(detection: Detection) -> str:
    """The name of a recording's file, without its folder."""
    return detection.file.rstrip("/").rpartition("/")[2] or detection.file


def clock(seconds: float) -> str:
    """A time as players show it: 4:30, 1:02:03; tenths where there are some."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    shown = f"{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{shown}" if hours else f"{minutes}:{shown}"


def number(value: float | None, digits: int = 2) -> str:
    """A score or LLR with its true minus; None is a dash."""
    if value is None:
        return "–"
    text = f"{value + 0.0:.{digits}f}" if abs(value) < 1e7 else f"{value:.4g}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    """A share without needless zeros; what is neither none nor all is never shown as that."""
    least = 10.0**-digits
    if 0 < 100 * share < least:
        return f"under {plain(least, digits)} %"
    if 100 - least < 100 * share < 100:
        return f"over {plain(100 - least, digits)} %"
    return f"{plain(100 * share, digits)} %"


def shown_probability(probability: float) -> str:
    """As ``percent``; no detector is ever certain."""
    return percent(min(max(probability, 1e-12), 1 - 1e-12))


def prior_words(prior: float) -> str:
    """The condition that a probability holds under."""
    share = "half" if prior == 0.5 else percent(prior)
    return f"if {share} of such recordings were spoofed"


def llr_words(llr: float) -> str:
    """How much a log-likelihood ratio says."""
    ratio = math.exp(min(abs(llr), 100.0))
    if ratio < 1.5:
        return "near 0: such a score is as common with human as with spoofed speech"
    times = plain(ratio, 1) if ratio < 10 else f"{ratio:,.0f}" if ratio < 1e6 else "over a million"
    these, those = ("human", "spoofed") if llr > 0 else ("spoofed", "human")
    return f"such a score is {times} times as likely from {these} speech as from {those} speech"


def error_words(rates: dict | None) -> str:
    """How often the detector was wrong at its threshold."""
    if rates is None:
        return "Nobody has measured how often the detector errs at this threshold."
    rejected = _rate_words(rates["frr"], rates["bonafide"], "human recordings were called spoofs")
    accepted = _rate_words(rates["far"], rates["spoof"], "spoofs were called bona fide")
    return f"Measured on {rates['data']}: {rejected}; {accepted}."


def _rate_words(rate: float, n: int, what: str) -> str:
    return f"{percent(rate, 2) if rate else 'none'} of {n:,} {what}"


def is_partly_spoofed(detection: Detection) -> bool:
    """Whether a stretch made the verdict, and not the recording as a whole."""
    value = detection.score if detection.llr is None else detection.llr
    return detection.verdict == SPOOF and value is not None and value > detection.threshold


def verdict_name(detection: Detection) -> str:
    """The verdict in a word or three."""
    return "Spoof in part" if is_partly_spoofed(detection) else NAMES[detection.verdict]


def spoofed_stretches(detection: Detection) -> list[tuple[float, float]]:
    """(start, end) of what is called spoofed; short pauses without speech belong to it."""
    stretches: list[tuple[float, float]] = []
    goes_on = False  # no bona fide speech since the last of them
    for part in detection.segments:
        if part.verdict == SPOOF:
            if goes_on and part.start - stretches[-1][1] <= _PAUSE:
                stretches[-1] = (stretches[-1][0], part.end)
            else:
                stretches.append((part.start, part.end))
        goes_on = part.verdict == SPOOF or goes_on and part.verdict == NO_SPEECH
    return stretches


def stretch_words(detection: Detection, dash: str = "–") -> str:
    """4:30–5:30, 7:02–7:10; the first few of many."""
    stretches = spoofed_stretches(detection)
    named = [f"{clock(start)}{dash}{clock(end)}" for start, end in stretches[:_FEW]]
    more = len(stretches) - _FEW
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def reason(detection: Detection) -> tuple[str, str]:
    """A verdict's headline, and the sentence that says why."""
    threshold = "the threshold of this detector"
    is_close = detection.llr is not None and abs(detection.llr - (detection.threshold or 0.0)) < _CLOSE
    close = " It is a close call: the score lies near the threshold." if is_close else ""
    if detection.verdict == NO_SPEECH:
        return (
            "Too little speech to judge",
            f"{detection.speech:.1f} s of speech were found in {clock(detection.duration)}. Nothing can be "
            "said of the origin of silence, noise or music, or of so little speech.",
        )
    if detection.verdict == UNDECIDED:
        return (
            "There is a score, and nothing to read it by",
            "This detector has neither a calibration nor a threshold. Its score can be compared with its "
            "scores of other recordings, and with nothing else.",
        )
    if detection.verdict == BONAFIDE:
        return (
            "Sounds like a person speaking",
            f"The recording scores above {threshold}"
            + (", and no stretch of it was found to be spoofed." if detection.segments else ".")
            + close,
        )
    if is_partly_spoofed(detection):
        return (
            f"{clock(detection.spoofed)} of {clock(detection.duration)} sound like synthetic or converted "
            "speech",
            f"As a whole the recording scores above {threshold}, like human speech. The verdict rests on "
            f"what is heard at {stretch_words(detection)}.",
        )
    where = stretch_words(detection)
    return (
        "Sounds like synthetic or converted speech",
        f"As a whole the recording scores below {threshold}"
        + (f"; called spoofed is what is heard at {where}." if where else ".")
        + close,
    )
