"""Long recordings with spoofed stretches: what is made, the same every time, and what is refused."""

import csv
import dataclasses
import shutil
from collections import Counter

import numpy as np
import pytest
from tiny_corpus import prepare_split, write_tiny_corpus

from asvtk.corpora.derived import evaluation_split
from asvtk.corpora.splice_plan import MIXED, Piece, SpliceConfig, plan_recordings
from asvtk.corpora.splicing import LEVEL, _join, splice_set
from asvtk.io.audio import read_audio, write_audio
from asvtk.io.datadir import BONAFIDE, SPOOF, DataDirectory, find_problems
from asvtk.io.errors import AsvtkError
from asvtk.io.rttm import read_rttm, require_cover
from asvtk.io.tables import read_table

SMALL = SpliceConfig(recordings=10, duration=(2, 6), stretch=(0.2, 3), fade=(10, 20), seed=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return prepare_split(write_tiny_corpus(folder), "eval", folder / "data" / "eval")


@pytest.fixture(scope="module")
def made(source):
    return splice_set(source, SMALL, source.path.with_name("partial"), jobs=2)


def large_set(tmp_path, num_samples):
    """Tables of a data set of three speakers, of whom the last has no spoofs; there is no audio."""
    rows = {}
    for speaker, attacks in [("s1", "A1 A2"), ("s2", "A1 A2"), ("s3", "")]:
        for number in range(40):
            rows[f"{speaker}_b{number:02d}"] = (speaker, "-")
            for attack in attacks.split():
                rows[f"{speaker}_{attack}_{number:02d}"] = (speaker, attack)
    rows = dict(sorted(rows.items()))
    return DataDirectory(
        path=tmp_path / "set",
        wav={u: f"{u}.flac" for u in rows},
        speaker={u: speaker for u, (speaker, _) in rows.items()},
        label={u: BONAFIDE if attack == "-" else SPOOF for u, (_, attack) in rows.items()},
        attack={u: attack for u, (_, attack) in rows.items()},
        num_samples=dict.fromkeys(rows, num_samples),
        md5=dict.fromkeys(rows, "0"),
    )


def test_a_data_directory_with_its_tables(source, made):
    data, recordings = made
    assert not find_problems(data.path) and DataDirectory.read(data.path) == data
    assert data.count_classes() == (3, 7) and not data.source
    assert evaluation_split(data) == "eval"
    truth = require_cover("x", read_rttm(data.path / "segments.rttm"))
    shares = read_table(data.path / "utt2spoofshare")
    assert list(truth) == list(shares) == data.utterances == [of.utterance for of in recordings]
    with open(data.path / "pieces.tsv") as file:
        pieces = list(csv.DictReader(file, delimiter="\t"))
    for name, spans in truth.items():
        seconds = data.num_samples[name] / 16_000
        assert spans[-1].end == pytest.approx(seconds, abs=1e-9) and 2 <= seconds <= 6
        spoofed = sum(span.end - span.start for span in spans if span.label == SPOOF)
        assert float(shares[name]) == pytest.approx(spoofed / seconds, abs=1e-6)
        assert data.label[name] == (SPOOF if spoofed else BONAFIDE)
        assert all(a.label != b.label for a, b in zip(spans, spans[1:], strict=False))
        of_it = [piece for piece in pieces if piece["recording"] == name]
        assert [piece["joint"] == "start" for piece in of_it] == [True] + [False] * (len(of_it) - 1)
        for piece in of_it:
            assert source.label[piece["source"]] == piece["label"]
            assert piece["attack"] == source.attack[piece["source"]]
            middle = (float(piece["start"]) + float(piece["end"])) / 2
            (label,) = [span.label for span in spans if span.start <= middle < span.end]
            assert label == piece["label"]
        attacks = {piece["attack"] for piece in of_it} - {"-"}
        assert data.attack[name] == (MIXED if len(attacks) > 1 else attacks.pop() if attacks else "-")
    assert {piece["joint"] for piece in pieces} == {"start", "cut", "fade"}
    assert all(10 <= float(p["fade_ms"]) <= 20 for p in pieces if p["joint"] == "fade")
    assert sum(map(float, shares.values())) < 10 and list(map(float, shares.values())).count(1) == 1


def test_levels_tell_nothing(source, made, tmp_path):
    levels = {BONAFIDE: [], SPOOF: []}
    for name, spans in read_rttm(made[0].path / "segments.rttm").items():
        samples = read_audio(made[0].wav[name])
        for start, end, label in spans:
            part = samples[round(16_000 * start) : round(16_000 * end)]
            levels[label].append(10 * np.log10(np.square(part, dtype=float).mean()))
    assert min(levels[SPOOF] + levels[BONAFIDE]) > LEVEL - 0.5
    assert max(levels[SPOOF] + levels[BONAFIDE]) < LEVEL + 0.5
    config = dataclasses.replace(SMALL, recordings=2, match_level=False, spoof_share=0.5, bonafide_share=0.5)
    data, _ = splice_set(source, config, tmp_path / "loud", jobs=1)
    rms = {data.label[u]: np.sqrt(np.square(read_audio(data.wav[u])).mean()) for u in data.utterances}
    assert rms == pytest.approx({BONAFIDE: 0.3 / np.sqrt(2), SPOOF: 0.1}, rel=0.05)  # those of the corpus


def test_the_same_bytes_whatever_the_number_of_processes_and_after_a_kill(source, made, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(made[0].path, again)  # as if killed: half of the recordings, nothing beside them
    for path in [*sorted((again / "flac").iterdir())[::2], *again.glob("[!.]*"), again / ".done"]:
        if path.is_file():
            path.unlink()
    kept = next((again / "flac").iterdir())
    before = kept.stat().st_mtime_ns
    repeated, _ = splice_set(source, SMALL, again, jobs=1)
    assert repeated.digest() == made[0].digest() and kept.stat().st_mtime_ns == before
    for name in ("segments.rttm", "pieces.tsv", "utt2spoofshare", "utt2attack", "attack2kind"):
        assert (again / name).read_bytes() == (made[0].path / name).read_bytes()
    assert splice_set(source, SMALL, again)[0] == repeated  # and is done
    other = plan_recordings(source, dataclasses.replace(SMALL, seed=4))
    assert not any(a.pieces == b.pieces for a, b in zip(made[1], other, strict=True))


def test_plans_are_as_long_as_asked_and_of_one_speaker_and_attack_where_they_can(tmp_path):
    data = large_set(tmp_path, num_samples=90_000)
    config = SpliceConfig(recordings=400)
    recordings = plan_recordings(data, config)
    shares = Counter(of.spoof_share if of.spoof_share in (0, 1) else 0.5 for of in recordings)
    assert shares == {0: 120, 1: 40, 0.5: 240}
    lengths, outer = [], Counter()
    for of in recordings:
        assert 20 <= of.num_samples / 16_000 <= 180 and of.num_samples % 16 == 0
        ends = [0, *(end for _, end, _ in of.stretches)]
        assert [start for start, _, _ in of.stretches] == ends[:-1]
        if 0 < of.spoof_share < 1:
            parts = [(end - start, label) for start, end, label in of.stretches]
            spoofed = [length / 16_000 for length, label in parts if label == SPOOF]
            assert 1 <= len(spoofed) <= 4 and min(spoofed) >= 0.5 and max(spoofed) <= 60
            assert min(length for length, label in parts if label == BONAFIDE) >= 8_000
            lengths += spoofed
            outer[of.stretches[0].label, of.stretches[-1].label] += 1
        speakers = {data.speaker[piece.source] for piece in of.pieces}
        if of.speaker == "s3" and of.attack != "-":
            assert of.attack in ("A1", "A2")  # of anybody, but of one attack
        else:
            assert speakers == {of.speaker} and of.attack != MIXED
    # Log-uniform from 0.5 to 60 s: half lie below sqrt(30) s; a little more do, for want of room.
    assert 0.5 <= np.mean(np.array(lengths) < np.sqrt(30)) < 0.6
    assert len(outer) > 1


def test_pieces_lie_within_their_utterances_with_room_for_fades(tmp_path):
    data = large_set(tmp_path, num_samples=20_000)
    joints = Counter()
    for of in plan_recordings(data, SpliceConfig(recordings=60, stretches=6)):
        assert of.pieces[0].start == 0
        for before, after in zip(of.pieces, of.pieces[1:], strict=False):
            assert before.end == after.start and 0 <= after.fade <= 800
            joints[before.label, after.label, after.fade > 0] += 1
        for piece in of.pieces:
            assert piece.end - piece.start >= 1600
            assert piece.begin >= 800 and piece.begin + piece.end - piece.start + 800 <= 20_000
        if of.spoof_share in (0, 1):  # none twice before all of the speaker were used
            first = [piece.source for piece in of.pieces[:40]]
            assert len(set(first)) == len(first)
    assert min(joints.values()) > 20 and len(joints) == 8
    faded = sum(count for (*_, is_faded), count in joints.items() if is_faded)
    assert 0.45 < faded / joints.total() < 0.55


def test_joints_sample_by_sample():
    """Cross-fades lie in the spoofed stretch, and what is cut is cut."""
    pieces = [
        Piece("b", 100, 0, 1000, BONAFIDE, 0),
        Piece("s", 200, 1000, 3000, SPOOF, 160),
        Piece("b", 1100, 3000, 4000, BONAFIDE, 160),
        Piece("c", 50, 4000, 5000, BONAFIDE, 0),
    ]
    ramp = {"b": np.arange(5000) / 1e4, "s": -np.ones(5000) / 2, "c": np.ones(5000) / 4}
    made = _join(pieces, list(ramp), False, *ramp.values())
    assert np.array_equal(made[:1000], ramp["b"][100:1100])
    assert np.array_equal(made[1160:2840], np.full(1680, -0.5))
    assert np.array_equal(made[3000:4000], ramp["b"][1100:2100])
    assert np.array_equal(made[4000:], np.full(1000, 0.25))
    angle = (np.arange(160) + 0.5) / 160 * np.pi / 2
    rising, falling = np.sin(angle), np.cos(angle)
    assert made[1000:1160] == pytest.approx(falling * ramp["b"][1100:1260] + rising * -0.5)
    assert made[2840:3000] == pytest.approx(falling * -0.5 + rising * ramp["b"][940:1100])


def test_what_is_beyond_full_scale_is_scaled_down():
    piece = Piece("b", 0, 0, 16_000, BONAFIDE, 0)
    click = 0.001 * np.random.default_rng(0).normal(size=16_000)
    click[5000] = 0.9
    made = _join([piece], ["b"], True, click.astype(np.float32))
    assert np.abs(made).max() == 1
    assert not _join([piece], ["b"], True, np.zeros(16_000, np.float32)).any()  # silence stays silence


def test_audio_that_cannot_be_read_is_named_and_all_else_is_made(source, tmp_path):
    data, recordings = source, plan_recordings(source, SMALL)
    victim = recordings[0].pieces[0].source
    broken = dataclasses.replace(data, wav=data.wav | {victim: str(tmp_path / "gone.flac")})
    with pytest.raises(AsvtkError, match=r"failed: \d of 10 recordings could not be made: .*gone.flac"):
        splice_set(broken, SMALL, tmp_path / "out", jobs=1)
    write_audio(tmp_path / "gone.flac", read_audio(data.wav[victim]))
    made, _ = splice_set(broken, SMALL, tmp_path / "out", jobs=1)
    assert len(made.utterances) == 10 and not (tmp_path / "out" / "failed").exists()


def test_what_is_refused(source, made, tmp_path):
    spoofs = source.subset([u for u in source.utterances if source.label[u] == SPOOF])
    with pytest.raises(AsvtkError, match="eval/utt2label: no utterance of at least 0.12 s is bonafide; name"):
        splice_set(spoofs, SMALL, tmp_path / "out")
    whole = dataclasses.replace(SMALL, bonafide_share=0, spoof_share=1)
    assert {of.spoof_share for of in plan_recordings(spoofs, whole)} == {1}
    with pytest.raises(AsvtkError, match="holds something else .* or give --force"):
        splice_set(source, dataclasses.replace(SMALL, seed=9), made[0].path)
    for wrong, message in [
        ({"duration": (9, 3)}, "duration 9 3: expected the least and the most"),
        ({"duration": (0.6, 3)}, "duration from 0.6 s: expected at least 1 s"),
        ({"bonafide_share": 0.7, "spoof_share": 0.4}, "together more than 1"),
        ({"fade": (10, 300)}, "fade up to 300 ms: expected at most 250 ms"),
        ({"fade": (10, 200), "stretch": (0.3, 3)}, "half of the shortest stretch of 300 ms"),
        ({"fade_share": 2}, "fade_share 2: expected a number from 0 to 1"),
        ({"recordings": 0}, "at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            SpliceConfig(**wrong)
