"""A page about judged recordings, for who has never seen the tool: verdict, waveform, timeline, player."""

import base64
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from io import BytesIO
from typing import BinaryIO, NamedTuple

from asvtk.inference.detection import VERDICTS, Detection
from asvtk.io.atomic import atomic_path
from asvtk.io.datadir import SPOOF
from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError
from asvtk.io.mp3 import BIT_RATES
from asvtk.report.detection_section import overview, recording_section
from asvtk.report.detection_words import NAMES, base_name
from asvtk.report.document import document, footer
from asvtk.report.listening import Listened, listen
from asvtk.report.svg import Markup, element
from asvtk.version import __version__

__all__ = ["LONGEST_AUDIO", "MOST_SECTIONS", "detection_page", "write_detection_page"]

MOST_SECTIONS = 50  #: recordings that have a section of their own
LONGEST_AUDIO = 2 * 3600.0  #: seconds of sound that one page holds
#: (bit rate, seconds up to which it keeps the page below 30 MB)
_RATES = tuple(zip(BIT_RATES, (1800.0, 3600.0, math.inf), strict=True))
_BLOCK = 3 << 18  # bytes, three of which are four letters in base64
_CAUTION = (
    "No proof. A detector compares a recording with the human and the spoofed speech that it was trained on. "
    "What it has never heard can mislead it either way: new methods of synthesis, other languages, telephone "
    "lines, strong compression, noise, music, speech played by a loudspeaker.",
    "Not about content or person. “Bona fide” does not mean that the words are true, that nothing was cut, "
    "or that it is the person it is said to be. “Spoof” does not say who made it, how, or why.",
    "Not an error rate of your recordings. The rates given here were measured on the data named beside "
    "them; on others they are different, mostly worse.",
    "So decide on more than this page: where the recording comes from, other copies of it, the ears of "
    "people who know the voice, other tools.",
)


class _Player(NamedTuple):
    copy: BinaryIO | None  # where the sound is, as MP3
    mute: str  # why there is none; empty: nobody asked for one


def write_detection_page(
    path,
    detections: Detection | Iterable[Detection],
    *,
    recordings: Sequence | None = None,
    failures: Sequence[tuple[str, str]] = (),
    audio: bool = True,
    channel: int | None = None,
) -> None:
    """Write one HTML page that needs nothing else: no network, no other file; see `detection_page`.

    Args:
        path: the page.
        detections: of one recording or of several.
        recordings, failures, audio, channel: as ``detection_page``.

    Raises:
        AsvtkError: the page cannot be written.
    """
    options = {"recordings": recordings, "failures": failures, "audio": audio, "channel": channel}
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as page:
        for part in detection_page(detections, **options):
            page.write(part)


def detection_page(
    detections: Detection | Iterable[Detection],
    *,
    recordings: Sequence | None = None,
    failures: Sequence[tuple[str, str]] = (),
    audio: bool = True,
    channel: int | None = None,
) -> Iterator[str]:
    """The page, piece by piece.

    Of several recordings there is a table, and below it a section for each; of more than ``MOST_SECTIONS``
    for spoofed ones and those with warnings only. Recordings are read again for the waveform and the player.

    Args:
        detections: of one recording or of several.
        recordings: their files, in the same order; None where there is no file to read again. By default
            ``Detection.file``, which is no path where a name has bytes that are no UTF-8.
        failures: (file, reason) of recordings that could not be judged.
        audio: whether the page can play them: as MP3, for ``LONGEST_AUDIO`` seconds in all.
        channel: which was heard, from 1, where one was asked for.
    """
    detections = [detections] if isinstance(detections, Detection) else list(detections)
    files = [detection.file for detection in detections] if recordings is None else list(recordings)
    if len(files) != len(detections):
        raise AsvtkError(f"{len(files)} recordings of {len(detections)} detections")
    chosen = _chosen(detections)
    players = _players(detections, chosen) if audio else {}
    seconds = sum(detections[i].duration for i, player in players.items() if player.copy)
    rate = next(rate for rate, most in _RATES if seconds <= most)
    sections = {}
    for i in chosen:
        player = players.get(i, _Player(None, ""))
        heard = _listen(files[i], detections[i].duration, player.copy, rate, channel)
        sections[i] = _section(i, detections[i], heard, player, alone=len(detections) == 1 and not failures)
    # No text can hold the character that stands around the number of a player (`svg.text_of`).
    for place, part in enumerate(_page(detections, sections, failures).split("\0")):
        if place % 2:
            yield from _base64(players[int(part)].copy)
        else:
            yield part.encode(errors="backslashreplace").decode()


def _chosen(detections: list[Detection]) -> list[int]:
    """Which recordings have a section."""
    numbers = range(len(detections))
    if len(detections) <= MOST_SECTIONS:
        return list(numbers)
    spoofed = [i for i in numbers if detections[i].verdict == SPOOF]
    warned = [i for i in numbers if detections[i].verdict != SPOOF and detections[i].warnings]
    return sorted((spoofed + warned)[:MOST_SECTIONS])


def _players(detections: list[Detection], chosen: list[int]) -> dict[int, _Player]:
    """A player for each recording, spoofed ones first, as far as the page's room goes."""
    players, room, hours = {}, LONGEST_AUDIO, f"{LONGEST_AUDIO / 3600:g} hours"
    for i in sorted(chosen, key=lambda i: detections[i].verdict != SPOOF):
        seconds = detections[i].duration
        if seconds <= room:
            room -= seconds
            players[i] = _Player(BytesIO(), "")
        elif seconds > LONGEST_AUDIO:
            players[i] = _Player(None, f"it lasts more than {hours}, which a page could hardly carry")
        else:
            players[i] = _Player(
                None, f"the page carries other recordings already, and {hours} are its limit"
            )
    return players


def _listen(file, duration: float, copy: BinaryIO | None, rate: int, channel: int | None) -> Listened | str:
    """The recording once more; or why not."""
    if file is None:
        return "it came from no file that could be read again"
    try:
        return listen(file, duration, copy, rate, channel)
    except AsvtkError as error:
        return str(error).removeprefix(f"{path_text(file)}: ")


def _section(i: int, detection: Detection, heard: Listened | str, player: _Player, alone: bool) -> Markup:
    sound, mute = None, player.mute
    if isinstance(heard, Listened):
        mute = heard.mute or mute
        if player.copy is not None and not mute:
            opening = element(
                "audio", controls="", preload="metadata", aria_label=f"Play {base_name(detection)}"
            )
            opening = opening.removesuffix("></audio>")
            sound = Markup(f'{opening} src="data:audio/mpeg;base64,\0{i}\0"></audio>')
    return recording_section(detection, heard, sound, mute, place=None if alone else i)


def _base64(copy: BinaryIO) -> Iterator[str]:
    copy.seek(0)
    while block := copy.read(_BLOCK):
        yield base64.b64encode(block).decode()


def _page(detections: list[Detection], sections: dict[int, Markup], failures) -> str:
    if len(detections) == 1 and not failures:
        title = base_name(detections[0])
        lead = []
    else:
        title = _count_words(detections, failures)
        lead = [overview(detections, sections.keys(), failures)]
        if missing := len(detections) - len(sections):
            lead.append(
                element(
                    "p",
                    f"{missing:,} of {len(detections):,} recordings have a row in the table only: sections "
                    f"below are for spoofed recordings and those with warnings, {MOST_SECTIONS} at most.",
                    class_="prose after",
                )
            )
    about = {"written": datetime.now().astimezone().isoformat(" ", "minutes"), "asvtk": __version__}
    body = [
        element(
            "header",
            element("p", "asvtk: is this speech human?", class_="overline"),
            element("h1", element("bdi", title)),
            *lead,
        ),
        *sections.values(),
        element(
            "section",
            element("h2", "What a verdict is not"),
            element("ul", *(element("li", text) for text in _CAUTION), class_="prose"),
        ),
        footer(about),
    ]
    return document(f"{title}: detection", *body, style="detection.css", script="detection.js")


def _count_words(detections: list[Detection], failures) -> str:
    """4 recordings: 1 spoof, 3 bona fide."""
    counts = Counter(detection.verdict for detection in detections)
    words = [
        f"{counts[verdict]:,} {NAMES[verdict].lower()}"
        for verdict in sorted(VERDICTS, key=lambda verdict: verdict != SPOOF)
        if counts[verdict]
    ]
    words += [f"{len(failures):,} not judged"] if failures else []
    n = len(detections) + len(failures)
    return f"{n:,} recording{'' if n == 1 else 's'}" + (f": {', '.join(words)}" if words else "")
