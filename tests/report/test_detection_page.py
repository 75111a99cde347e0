"""The page about judged recordings, their table and their CSV: whole, safe, and true to the numbers."""

import base64
import csv
import hashlib
import io
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from page_reader import Page

from asvtk.inference.detection import Detection, Segment, probability_of_spoof
from asvtk.io.errors import AsvtkError
from asvtk.io.mp3 import BIT_RATES, Mp3Writer
from asvtk.io.recording import read_recording
from asvtk.report import detection_page
from asvtk.report.detection_charts import MOST_CELLS, timeline_cells
from asvtk.report.detection_page import write_detection_page
from asvtk.report.detection_words import (
    clock,
    error_words,
    llr_words,
    number,
    percent,
    spoofed_stretches,
    stretch_words,
)
from asvtk.report.detections import CSV_FIELDS, detections_csv, detections_table
from asvtk.report.listening import Outline, listen

RATES = {"data": "LA eval", "bonafide": 7355, "spoof": 63882, "frr": 0.0123, "far": 0.0}
WEIGHTS = "5a" * 32


def tone(seconds, rate=16000):
    return 0.3 * np.sin(np.arange(int(seconds * rate)) * 0.2).astype(np.float32)


def detection(file="call.wav", seconds=8.0, **changes):
    """Spoofed from 3 to 5 s, nobody speaks from 6 to 7 s."""
    values = [2.5, 2.25, 2.0, -4.5, -4.75, 3.0, None, 1.5]
    segments = (
        Segment(0.0, 3.0, "bonafide", 2.25),
        Segment(3.0, 5.0, "spoof", -4.625),
        Segment(5.0, 6.0, "bonafide", 3.0),
        Segment(6.0, 7.0, "no_speech", None),
        Segment(7.0, seconds, "bonafide", 1.5),
    )
    fields = {
        "file": str(file),
        "verdict": "spoof",
        "score": 0.71234,
        "llr": 1.75,
        "probability": probability_of_spoof(1.75, 0.25),
        "threshold": -1.0986,
        "prior": 0.25,
        "pooling": "mean",
        "error_rates": RATES,
        "duration": seconds,
        "speech": 6.5,
        "window": 4.0375,
        "hop": 1.0,
        "model": "AASIST",
        "model_sha256": WEIGHTS,
        "segments": segments,
        "timeline": tuple((float(i), float(i + 1), value) for i, value in enumerate(values)),
        "warnings": ("unlike the training data: level -50.0 dB",),
        "notes": ("2 channels averaged", "resampled from 44100 Hz"),
    }
    return Detection(**{**fields, **changes})


def silent(**changes):
    nothing = {"score": None, "llr": None, "probability": None, "segments": (), "timeline": ()}
    return detection(verdict="no_speech", speech=0.3, **nothing, **changes)


def uncalibrated(**changes):
    nothing = {"llr": None, "probability": None, "error_rates": None, "segments": ()}
    return detection(**{"verdict": "undecided", "threshold": None, **nothing, **changes})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("call.wav", tone(8), 16000)
    return tmp_path


def write(detections, **options):
    """The page, looked at for what every page must keep to."""
    write_detection_page("page.html", detections, **options)
    with open("page.html", encoding="utf-8") as file:
        text = file.read()
    page = Page(text)
    assert page.tags.count("script") == 1 and not {"link", "img", "iframe"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith(("data:audio/mpeg;base64,", "#"))
    assert not re.search(r"url\(|@import|@font-face|https?://|\0", text)
    assert not re.search(r"\b(nan|inf|None)\b", page.text)
    return page


def sources(page):
    return [value for name, value in page.attributes if name == "src"]


def test_all_of_one_recording(folder):
    page = write(detection())
    for words in (
        "call.wav", "Spoof in part", "0:02 of 0:08 sound like", "0:03–0:05", "5.5 %",
        "if 25 % of such recordings were spoofed", "1.75", "5.8 times as likely from human speech",
        "−1.10", "LA eval: 1.23 % of 7,355 human recordings were called spoofs",
        "none of 63,882 spoofs were called bona fide", "not of stretches", "unlike the training data: level",
        "2 channels averaged; resampled from 44100 Hz", "AASIST", WEIGHTS, "windows of 4.04 s, one every 1 s",
        "mean of its windows", "0.7123", "0:06.5", "−4.62", "No proof.", "0:06 – 0:07", "asvtk",
        hashlib.sha256((folder / "call.wav").read_bytes()).hexdigest(),
    ):  # fmt: skip
        assert words in page.text, words
    attributes = dict(page.attributes)
    assert attributes["data-values"] == "2.50,2.25,2.00,-4.50,-4.75,3.00,,1.50"
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert "Waveform, 0:08; spoofed: 0:03 to 0:05" in labels
    assert "Play from 0:03, spoof until 0:05" in labels
    assert "Log-likelihood ratio over time, from −4.75 to 3.00; threshold −1.10" in labels
    assert page.tags.count("button") == 5 and page.tags.count("audio") == 1


def test_the_page_plays_what_was_heard(folder):
    # 44.1 kHz, and a right channel that is the left one upside down: the mean would be silence
    high = 0.3 * np.sin(np.arange(8 * 44100) * 0.05)
    soundfile.write("call.wav", np.stack([high, -high], axis=1), 44100)
    (source,) = sources(write(detection()))
    (folder / "copy.mp3").write_bytes(base64.b64decode(source.partition(",")[2], validate=True))
    copy, heard = read_recording("copy.mp3").samples, read_recording("call.wav").samples
    assert len(copy) == len(heard) == 8 * 16000
    middle = slice(2000, -2000)
    assert np.abs(copy[middle] - heard[middle]).max() < 0.02


def test_names_stay_text(folder):
    hostile = "<script>alert(1)<!--&'\"\u202e\x07.wav"
    os.rename("call.wav", hostile)
    page = write(detection(hostile))
    assert hostile.replace("\x07", "\ufffd") in page.text and page.tags.count("audio") == 1
    strange = os.fsencode("caf") + b"\xe9.wav"
    os.rename(os.fsencode(hostile), strange)
    page = write(detection("caf\\xe9.wav"), recordings=[os.fsdecode(strange)])
    assert "caf\\xe9.wav" in page.text and page.tags.count("audio") == 1


def test_a_policy_lets_this_script_run_and_nothing_else(folder):
    write_detection_page("page.html", detection())
    text = (folder / "page.html").read_text()
    script = re.search("<script>(.*)</script>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(value for _, value in Page(text).attributes if "script-src" in (value or ""))
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_without_verdict(folder):
    page = write(silent())
    assert "0.3 s of speech were found in 0:08" in page.text and "No speech" in page.text
    assert "P(" not in page.text and "Threshold" not in page.text and "LLR" not in page.text
    assert "audio" in page.tags

    page = write(uncalibrated())
    assert "Undecided" in page.text and "Uncalibrated score, no probability" in page.text
    assert "0.7123" in page.text and "Probability" not in page.text and "Stretches are not told" in page.text

    page = write(uncalibrated(verdict="bonafide", threshold=0.5))
    assert "Sounds like a person" in page.text and "Nobody has measured" in page.text
    assert "0.5000" in page.text and "Probability" not in page.text


def test_a_wholly_spoofed_recording(folder):
    page = write(detection(llr=-20.0, probability=probability_of_spoof(-20.0, 0.5), prior=0.5))
    assert "over 99.9 %" in page.text and "if half of such recordings" in page.text
    assert "over a million times as likely from spoofed speech" in page.text
    assert "Spoof in part" not in page.text and "close call" not in page.text
    assert "close call" in write(detection(llr=-2.0)).text


@pytest.mark.parametrize("recording", ["gone.wav", None, "call.wav", "."])
def test_recordings_that_cannot_be_read_again(folder, recording):
    seconds = 9.0 if recording == "call.wav" else 8.0  # it has changed since
    page = write(detection("x.wav", seconds=seconds), recordings=[recording])
    reasons = {"gone.wav": "no such file", None: "no file", "call.wav": "another one", ".": "is a folder"}
    assert "No waveform and no player: " in page.text and reasons[recording] in page.text
    assert "audio" not in page.tags and "button" not in page.tags and "−4.62" in page.text


def test_without_player(folder, monkeypatch):
    page = write(detection(), audio=False)
    assert "audio" not in page.tags and "No player" not in page.text and "Waveform, " in str(page.attributes)
    monkeypatch.setattr(detection_page, "LONGEST_AUDIO", 5.0)
    page = write(detection())
    assert "audio" not in page.tags and "No player: it lasts more than" in page.text
    monkeypatch.setattr(detection_page, "LONGEST_AUDIO", 10.0)
    # the spoofed one is more worth hearing
    page = write([replace(detection(), verdict="bonafide", segments=()), detection()])
    assert page.tags.count("audio") == 1 and "carries other recordings already" in page.text
    assert page.text.index("No player") < page.text.index("0:02 of 0:08")


def test_several_recordings(folder):
    everything = [detection(), silent(), uncalibrated(file="a/b/c.wav")]
    page = write(everything, failures=[("<b>.mp3", "is cut off")])
    assert "4 recordings: 1 spoof, 1 no speech, 1 undecided, 1 not judged" in page.text
    assert "<b>.mp3" in page.text and "Not judged: is cut off" in page.text and "a/b/" in page.text
    assert [value for name, value in page.attributes if name == "href"] == ["#r1", "#r2", "#r3"]
    assert [v for n, v in page.attributes if n == "id"] == ["r1", "r2", "r3"]
    assert page.tags.count("audio") == 2
    assert "1 recording: 1 not judged" in write([], failures=[("x", "y")]).text
    with pytest.raises(AsvtkError, match="1 recordings of 3 detections"):
        write(everything, recordings=["x"])


def test_of_many_recordings_those_that_need_eyes_have_sections(folder):
    fine = detection(verdict="bonafide", segments=(), warnings=())
    page = write([fine] * 40 + [detection(warnings=()), silent()] + [fine] * 20, audio=False)
    assert [value for name, value in page.attributes if name == "href"] == ["#r41", "#r42"]
    assert "60 of 62 recordings have a row in the table only" in page.text
    page = write([silent()] * 60 + [detection()], audio=False)
    links = [value for name, value in page.attributes if name == "href"]
    assert len(links) == 50 and links[-1] == "#r61"


def test_failed_pages_leave_nothing(folder):
    (folder / "page.html").mkdir()
    with pytest.raises(AsvtkError, match="page.html: cannot be written"):
        write_detection_page("page.html", detection())
    assert sorted(os.listdir()) == ["call.wav", "page.html"]


# Parts


@pytest.mark.parametrize("pieces", [1, 7, 100, 2999])
def test_outline(pieces):
    samples = np.random.default_rng(0).normal(size=2999).astype(np.float32)
    outline = Outline(2999)
    for piece in np.array_split(samples, pieces):
        outline.push(piece)
    outline.push(samples[:10])  # more than was said
    assert outline.count == 3009
    bins = np.arange(2999) * 1000 // 2999
    assert outline.low.tolist() == [samples[bins == i].min() for i in range(1000)]
    assert outline.high.tolist() == [samples[bins == i].max() for i in range(1000)]


def test_outline_of_three_samples():
    outline = Outline(3)
    outline.push(np.array([1, -2, 3], np.float32))
    assert outline.low.tolist() == outline.high.tolist() == [1, -2, 3]


def test_asked_for_channels(folder):
    soundfile.write("two.wav", np.stack([tone(1), 0 * tone(1)], axis=1), 16000)
    assert listen("two.wav", 1.0, channel=1).high.max() > 0.29
    assert listen("two.wav", 1.0, channel=2).high.max() == 0


@pytest.mark.parametrize("rate", BIT_RATES)
def test_copies_begin_and_end_with_the_recording(folder, rate):
    samples = tone(2)
    with open("copy.mp3", "wb") as file:
        writer = Mp3Writer(file, rate)
        for piece in np.array_split(samples, 9):
            writer.push(piece)
        writer.close()
        assert not file.closed
    assert os.path.getsize("copy.mp3") < rate / 8 * 2 + 1500
    assert len(read_recording("copy.mp3").samples) == len(samples)


def test_long_timelines_show_the_lowest():
    n = 3 * MOST_CELLS
    values = [None if i < 3 else float(i % 5) for i in range(n)]
    cells, size = timeline_cells(detection(timeline=tuple((i, i + 1, v) for i, v in enumerate(values))))
    assert size == 3 and len(cells) == MOST_CELLS
    assert cells[0] == (0, 3, None) and cells[1] == (3, 6, 0.0) and cells[-1][1] == n


def test_stretches_reach_over_short_pauses():
    parts = [(0, 2, "spoof"), (2, 4, "no_speech"), (4, 6, "spoof"), (6, 20, "no_speech"), (20, 21, "spoof"),
             (21, 22, "bonafide"), (22, 23, "spoof")]  # fmt: skip
    one = detection(segments=tuple(Segment(start, end, verdict, None) for start, end, verdict in parts))
    assert spoofed_stretches(one) == [(0, 6), (20, 21), (22, 23)]
    assert stretch_words(one, "-") == "0:00-0:06, 0:20-0:21, 0:22-0:23" and one.spoofed == 6
    many = detection(segments=tuple(Segment(2 * i, 2 * i + 1, "spoof", -1.0) for i in range(0, 60, 10)))
    assert stretch_words(many).endswith("1:00–1:01 and 2 more")


def test_words():
    assert [clock(x) for x in (0, 4.25, 59.96, 270, 3723)] == ["0:00", "0:04.2", "1:00", "4:30", "1:02:03"]
    assert [percent(x) for x in (0, 1, 0.5, 0.9995, 0.0004)] == ["0 %", "100 %", "50 %", "over 99.9 %",
                                                                "under 0.1 %"]  # fmt: skip
    assert [number(x) for x in (None, -0.001, -2, 1e300)] == ["–", "0.00", "−2.00", "1e+300"]
    assert "near 0" in llr_words(0.2) and "over a million" in llr_words(-900.0)
    assert "Nobody" in error_words(None)


# Table and CSV


def test_table():
    ours = [
        detection("shows/" + "x" * 60 + "_interview.m4a"),
        silent(file="quiet\x1b[2J.wav"),
        detection(probability=1.0),
    ]
    first, *rows = [re.split(r"  +", line) for line in detections_table(ours).splitlines()]
    assert first == ["file", "verdict", "P(spoof)", "LLR", "speech s", "spoofed"]
    assert rows[0][1:] == ["spoof", "0.055", "1.75", "6.5", "0:03-0:05"]
    assert len(rows[0][0]) == 40 and rows[0][0].startswith("shows/") and rows[0][0].endswith("_interview.m4a")
    assert rows[1] == ["quiet\\x1b[2J.wav", "no_speech", "-", "-", "0.3", "-"] and rows[2][2] == ">0.999"
    lines = detections_table([uncalibrated(file="录音.wav"), uncalibrated(file="ab.wav")]).splitlines()
    assert lines[0].split() == ["file", "verdict", "score", "speech", "s", "spoofed"]
    assert lines[1].index("undecided") == lines[2].index("undecided") - 2  # two letters of two columns
    assert "score" in detections_table([detection(), uncalibrated()]).splitlines()[0]
    assert detections_table([]).split() == ["file", "verdict", "P(spoof)", "LLR", "speech", "s", "spoofed"]


def test_csv():
    name = 'a,"b"\n.wav'
    text = detections_csv([detection(name), silent()])
    assert text.splitlines()[0] == ",".join(CSV_FIELDS)
    first, second = csv.DictReader(io.StringIO(text))
    assert first["file"] == name and float(first["llr"]) == 1.75 and float(first["spoofed_s"]) == 2.0
    assert first["model_sha256"] == WEIGHTS and float(first["probability"]) == pytest.approx(0.054753)
    assert second["llr"] == second["score"] == "" and second["verdict"] == "no_speech"
    scalars = {key for key, value in detection().to_dict().items() if not isinstance(value, (list, dict))}
    assert set(CSV_FIELDS) == scalars | {"spoofed_s"}
    assert detections_csv([silent()], header=False).startswith("call.wav,no_speech,")
