"""Parts of the page about recordings: the section of one, and the table of several."""

from collections.abc import Container

from asvtk.inference.detection import NO_SPEECH, Detection, Segment
from asvtk.io.datadir import SPOOF
from asvtk.report.detection_charts import ruler, timeline, timeline_cells, waveform
from asvtk.report.detection_words import (
    NAMES,
    base_name,
    clock,
    error_words,
    is_partly_spoofed,
    llr_words,
    number,
    prior_words,
    reason,
    shown_probability,
    stretch_words,
    verdict_name,
)
from asvtk.report.listening import Listened
from asvtk.report.svg import Markup, element, join, plain

__all__ = ["overview", "recording_section"]

_FEW = 12  # segments that are shown at once
_HOW_TO_HEAR = (
    "Click into the drawing to hear that place. The sound is what was judged: one channel, 16 kHz. "
)
_UNLIKE = (
    "Where a recording is unlike what a detector was trained on, its verdict is worth less than the measured "
    "error rates say."
)


def recording_section(
    detection: Detection, heard: Listened | str, sound: Markup | None, mute: str, place: int | None
) -> Markup:
    """All that is said of one recording.

    Args:
        detection: what was found.
        heard: the recording once more, or why it could not be read again.
        sound: the player; None: there is none.
        mute: why there is none; empty: nobody asked for one.
        place: of the recording on the page, which the table links to; None: the page is about it alone.
    """
    heading = element("h2", element("bdi", base_name(detection))) if place is not None else ""
    parts = [
        heading,
        _verdict(detection),
        element("dl", *_cards(detection), class_="cards"),
        _warnings(detection),
        _figure(detection, heard, sound, mute),
        _stretches(detection, seekable=sound is not None),
        _facts(detection, heard),
    ]
    name = "section" if place is not None else "div"
    return element(name, *parts, class_="recording", id=None if place is None else f"r{place + 1}")


def overview(detections: list[Detection], linked: Container[int], failures=()) -> Markup:
    """A row for each recording.

    Args:
        detections: in the order of the page.
        linked: the numbers of those that have a section.
        failures: (file, reason) of recordings that could not be judged.
    """
    scores = any(detection.llr is None and detection.score is not None for detection in detections)
    titles = [
        "Recording",
        "Verdict",
        "P(spoof)",
        "LLR",
        *(["score"] if scores else []),
        "speech",
        "spoofed",
        "",
    ]
    head = element(
        "tr",
        *(
            element("th", title, scope="col", class_="left" if title == "Verdict" else None)
            for title in titles
        ),
    )
    rows = [_row(i, detection, i in linked, scores) for i, detection in enumerate(detections)]
    for file, why in failures:
        words = element("div", f"Not judged: {why}", class_="why")
        cell = element("td", words, colspan=len(titles) - 1, class_="left")
        rows.append(element("tr", element("th", element("bdi", file), scope="row"), cell))
    table = element("table", element("thead", head), element("tbody", *rows), class_="overview")
    return element("div", table, class_="scroll", tabindex=0)


def _row(i: int, detection: Detection, linked: bool, scores: bool) -> Markup:
    name = element("bdi", base_name(detection))
    folder = detection.file.rstrip("/").removesuffix(base_name(detection))
    warned = len(detection.warnings)
    probability = "–" if detection.probability is None else shown_probability(detection.probability)
    cells = [
        element("td", _dot(detection.verdict), verdict_name(detection), class_="left"),
        element("td", probability.replace("over ", ">").replace("under ", "<")),
        element("td", number(detection.llr)),
        *([element("td", number(detection.score) if detection.llr is None else "")] if scores else []),
        element("td", clock(round(detection.speech))),
        element("td", stretch_words(detection) or "–", class_="wrap"),
        element("td", f"{warned} warning{'s' if warned > 1 else ''}" if warned else ""),
    ]
    title = element("a", name, href=f"#r{i + 1}") if linked else name
    small = element("small", element("bdi", folder)) if folder else ""
    return element("tr", element("th", title, small, scope="row"), *cells)


def _dot(verdict: str) -> Markup:
    return element("i", class_=f"dot is-{verdict}", aria_hidden="true")


def _verdict(detection: Detection) -> Markup:
    headline, why = reason(detection)
    return element(
        "div",
        element("p", _dot(detection.verdict), verdict_name(detection), class_="word"),
        element("p", headline, class_="headline"),
        element("p", why),
        class_=f"verdict is-{detection.verdict}",
    )


def _cards(detection: Detection):
    """The numbers, each with what it means."""
    value = detection.score if detection.llr is None else detection.llr
    whole = ", whole recording" if is_partly_spoofed(detection) else ""
    if whole:
        lowest = min(part.llr for part in detection.segments if part.verdict == SPOOF)
        about = f"at {stretch_words(detection)}; LLR down to {number(lowest)}, where {llr_words(lowest)}"
        yield _card("Called spoofed", clock(detection.spoofed), about)
    if detection.probability is not None:
        about = prior_words(detection.prior)
        yield _card(f"Probability of spoof{whole}", shown_probability(detection.probability), about)
    if detection.llr is not None:
        yield _card(f"Log-likelihood ratio (LLR){whole}", number(value), llr_words(value))
    elif value is not None:
        about = (
            "Uncalibrated score, no probability: higher is more like human speech, and no more can be said."
        )
        yield _card("Score", number(value, 4), about)
    if detection.threshold is not None and value is not None:
        digits = 4 if detection.llr is None else 2
        about = f"Above it a recording is called bona fide. {error_words(detection.error_rates)}"
        if whole and detection.error_rates is not None:
            about += " These are rates of whole recordings, not of stretches."
        yield _card("Threshold", number(detection.threshold, digits), about, wide=True)
    about = f"of {clock(detection.duration)} in all; only speech is judged"
    yield _card("Speech found", clock(round(detection.speech, 1)), about)


def _card(title: str, value: str, about: str, wide: bool = False) -> Markup:
    return element(
        "div",
        element("dt", title),
        element("dd", value, class_="value"),
        element("dd", about, class_="about"),
        class_="wide" if wide else None,
    )


def _warnings(detection: Detection) -> Markup:
    if not detection.warnings:
        return join([])
    unlike = any(text.startswith("unlike") for text in detection.warnings)
    return element(
        "div",
        element("p", "Read this verdict with care", class_="box-title"),
        element("ul", *(element("li", text) for text in detection.warnings)),
        element("p", _UNLIKE) if unlike else "",
        class_="box warnings",
    )


def _figure(detection: Detection, heard: Listened | str, sound: Markup | None, mute: str) -> Markup:
    drawn = [waveform(heard.low, heard.high, detection)] if isinstance(heard, Listened) else []
    drawn += [timeline(detection)] if detection.timeline else []
    lines = []
    if isinstance(heard, str):
        lines.append(element("p", f"No waveform and no player: {heard}.", class_="prose"))
    elif mute:
        lines.append(element("p", f"No player: {mute}.", class_="prose"))
    if not drawn:
        return element("figure", *lines)
    tracks = element(
        "div",
        *drawn,
        ruler(detection.duration),
        element("div", class_="playhead", hidden=""),
        class_="tracks" if sound is None else "tracks seekable",
        data_duration=f"{detection.duration:.3f}",
        data_hop=f"{detection.hop:g}",
        data_kind="score" if detection.llr is None else "LLR",
        data_values=",".join("" if value is None else f"{value:.2f}" for *_, value in detection.timeline),
    )
    readout = element("span", class_="readout", aria_hidden="true")
    broken = element("p", "This browser cannot play the sound on this page.", class_="unplayable", hidden="")
    player = element("div", sound or "", readout, class_="player")
    return element(
        "figure",
        element("h3", "Sound and score over time" if detection.timeline else "Sound"),
        tracks,
        player,
        broken if sound is not None else "",
        *lines,
        _legend(detection) if detection.timeline else "",
        element(
            "figcaption",
            element("span", _HOW_TO_HEAR, class_="no-print") if sound is not None else "",
            " ".join(_caption(detection, drawn=isinstance(heard, Listened))),
        ),
        class_="listen",
    )


def _legend(detection: Detection) -> Markup:
    if detection.threshold is None:
        keys = [("neutral", "score: the higher, the more like human speech")]
    else:
        keys = [
            ("above", "above the threshold: like human speech"),
            ("below", "below: like spoofed speech"),
            ("threshold", "threshold"),
        ]
    if any(part.verdict == SPOOF for part in detection.segments):
        keys.append(("shade", "stretch called spoofed"))
    if any(value is None for *_, value in detection.timeline):
        keys.append(("gap", "no speech"))
    items = [element("li", element("i", class_=name, aria_hidden="true"), words) for name, words in keys]
    return element("ul", *items, class_="legend")


def _caption(detection: Detection, drawn: bool):
    if drawn:
        yield "The waveform is as high as the loudest sample."
    if detection.timeline:
        what = "score" if detection.llr is None else "LLR"
        yield (
            f"Each {plain(detection.hop)} s of the lower drawing are the mean {what} of all windows of "
            f"{plain(detection.window)} s that cover them: borders are no sharper than about half a window."
        )
        if (size := timeline_cells(detection)[1]) > 1:
            yield f"Drawn is the lowest of each {plain(size * detection.hop)} s."


def _stretches(detection: Detection, seekable: bool) -> Markup:
    parts = detection.segments
    if not parts:
        if not detection.timeline:
            return join([])
        why = "Stretches are not told apart: that takes a calibrated detector."
        return element("p", why, class_="prose stretches")
    if len(parts) <= _FEW:
        return element(
            "div",
            element("h3", "Stretches"),
            _stretch_table(parts, detection.duration, seekable),
            class_="stretches",
        )
    spoofed = [part for part in parts if part.verdict == SPOOF]
    first = (
        [element("h3", "Stretches called spoofed"), _stretch_table(spoofed, detection.duration, seekable)]
        if spoofed
        else [element("h3", "Stretches"), element("p", "None is called spoofed.")]
    )
    every = element(
        "details",
        element("summary", f"All {len(parts)} stretches"),
        _stretch_table(parts, detection.duration, seekable),
    )
    return element("div", *first, every, class_="stretches")


def _stretch_table(parts, duration: float, seekable: bool) -> Markup:
    head = element(
        "tr", *(element("th", title, scope="col") for title in ("From – to", "length", "verdict", "LLR"))
    )
    rows = [_stretch_row(part, seekable) for part in parts]
    table = element("table", element("thead", head), element("tbody", *rows))
    return element("div", table, class_="scroll", tabindex=0)


def _stretch_row(part: Segment, seekable: bool) -> Markup:
    times = f"{clock(part.start)} – {clock(part.end)}"
    if seekable:
        label = f"Play from {clock(part.start)}, {NAMES[part.verdict].lower()} until {clock(part.end)}"
        times = element(
            "button", times, type="button", class_="seek", data_seconds=f"{part.start:.3f}", aria_label=label
        )
    return element(
        "tr",
        element("th", times, scope="row"),
        element("td", clock(part.end - part.start)),
        element(
            "td", _dot(part.verdict), NAMES[part.verdict], class_="spoofed" if part.verdict == SPOOF else None
        ),
        element("td", number(part.llr)),
    )


def _facts(detection: Detection, heard: Listened | str) -> Markup:
    hop, window = plain(detection.hop), plain(detection.window)
    facts = {
        "File": element("bdi", detection.file),
        "SHA-256 of the file": element("code", heard.sha256) if isinstance(heard, Listened) else None,
        "Before it was heard": "; ".join(detection.notes) or None,
        "Detector": detection.model or None,
        "SHA-256 of its weights": element("code", detection.model_sha256) if detection.model_sha256 else None,
        "Settings": f"windows of {window} s, one every {hop} s; score of the recording: "
        f"{detection.pooling} of its windows; prior probability of spoofed speech {detection.prior:g}",
        "Raw score": None if detection.score is None else number(detection.score, 4),
    }
    if detection.verdict == NO_SPEECH:
        del facts["Raw score"]
    pairs = [
        part for name, what in facts.items() if what for part in (element("dt", name), element("dd", what))
    ]
    return element("dl", *pairs, class_="facts")
