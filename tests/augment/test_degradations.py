"""Degradations by name: what each of them does, measured."""

import pickle

import numpy as np
import pytest

from asvtk.augment.degradations import DEGRADATIONS, parse_degradation
from asvtk.augment.grid import DEFAULT, chain, read_grid
from asvtk.augment.perturbation import degrade
from asvtk.augment.rooms import decay_time, room_response
from asvtk.io.errors import AsvtkError

RNG = np.random.default_rng(0)
CELLS = read_grid(DEFAULT)


def rms_db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def change(text, samples, utterance="u", seed=1):
    return degrade(np.asarray(samples), (parse_degradation(text),), utterance, seed)


def band_db(samples, low, high):
    power = np.square(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))
    frequency = np.fft.rfftfreq(len(samples), 1 / 16_000)
    return 10 * np.log10(power[(frequency >= low) & (frequency < high)].mean())


def test_level():
    for gain in (0.001, 0.2):
        assert rms_db(change("level", gain * RNG.normal(size=8000))) == pytest.approx(-30)
    assert rms_db(change("level:-40", 0.1 * RNG.normal(size=8000))) == pytest.approx(-40)
    click = np.zeros(16000)
    click[7] = 0.1
    assert np.abs(change("level", click)).max() == 1  # no louder than fits
    assert not change("level", np.zeros(9)).any()


def test_trim():
    speech, quiet = RNG.normal(size=3200), 1e-4 * RNG.normal(size=3200)
    speech /= np.abs(speech).max()
    pause = np.concatenate([quiet, speech, quiet, speech, quiet[:1000]])
    assert np.array_equal(change("trim", pause), pause[3200:12800])
    assert len(change("trim", speech[:3001])) == 3001 and len(change("trim", np.zeros(500))) == 500


@pytest.mark.parametrize("text, kept, lost", [("lowpass", 6800, 7300), ("lowpass:4000", 3800, 4300)])
def test_lowpass(text, kept, lost):
    time = np.arange(16000) / 16000
    kept, lost = (0.4 * np.sin(2 * np.pi * frequency * time) for frequency in (kept, lost))
    np.testing.assert_allclose(change(text, kept + lost)[500:-500], kept[500:-500], atol=1e-3)


def test_telephone_keeps_its_band_in_time():
    noise = 0.1 * RNG.normal(size=64_000)
    line = change("telephone", noise)
    for low, high, least, most in ((50, 200, -200, -45), (3600, 3900, -200, -45), (4100, 8000, -200, -45)):
        assert least < band_db(line, low, high) - band_db(noise, low, high) < most, low
    assert band_db(line, 400, 3300) - band_db(noise, 400, 3300) == pytest.approx(0, abs=0.2)
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(8001) / 16_000)
    np.testing.assert_allclose(change("telephone", tone)[600:-600], tone[600:-600], atol=3e-3)


@pytest.mark.parametrize("snr", [-5, 0, 10, 40])
@pytest.mark.parametrize("kind, slope", [("noise", 0), ("pink", -10)])
def test_noise_has_its_ratio_and_colour(kind, slope, snr):
    tone = 0.05 * np.sin(2 * np.pi * 500 * np.arange(64_000) / 16_000)
    added = change(f"{kind}:{snr}", tone) - tone
    assert rms_db(tone) - rms_db(added) == pytest.approx(snr, abs=0.01)
    assert band_db(added, 4000, 6000) - band_db(added, 400, 600) == pytest.approx(slope, abs=1)


def test_loud_noise_stays_below_full_scale_at_its_ratio():
    tone = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)
    made = change("noise:0", tone)
    share = np.dot(made, tone) / np.dot(tone, tone)  # of what was scaled down as a whole
    assert np.abs(made).max() <= 1 and share < 0.9
    assert rms_db(share * tone) - rms_db(made - share * tone) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("rt60", [0.2, 0.4, 0.7, 1.0])
def test_rooms_ring_as_long_as_they_are_said_to(rt60):
    for number in range(5):
        response = room_response(rt60, number)
        assert np.argmax(np.abs(response)) == 16  # the direct sound
        assert decay_time(np.square(response), 1 / 16_000) == pytest.approx(rt60, rel=0.1)


def test_decay_time_is_schroeders():
    seconds = np.arange(16_000) / 16_000
    noise = RNG.normal(size=16_000) * 10 ** (-3 * seconds / 0.5)
    assert decay_time(np.square(noise), 1 / 16_000) == pytest.approx(0.5, rel=0.03)
    assert decay_time(np.array([1.0, 0.0]), 0.001) == 0


def test_reverberation_starts_in_time_and_is_as_loud():
    burst = np.zeros(16_001)
    burst[4000:4400] = 0.2 * RNG.normal(size=400)
    made = change("reverb:0.6", burst)
    assert np.abs(made[:3980]).max() < 1e-3 * np.abs(made).max() < np.abs(made[4390:6000]).max()
    assert rms_db(made) == pytest.approx(rms_db(burst), abs=1e-6)
    rooms = {change("reverb:0.6", burst, utterance).tobytes() for utterance in "abcdefgh"}
    assert len(rooms) > 4  # rooms differ from utterance to utterance


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_time_and_what_lies_below_half_the_rate(rate):
    length = 20_001
    below, above = (0.3 * np.sin(2 * np.pi * of * np.arange(length) / 16_000) for of in (2000, 7000))
    made = change(f"resample:{rate}", below + above)
    assert len(made) == length
    expected = below if rate < 14_000 else below + above
    np.testing.assert_allclose(made[500:-500], expected[500:-500], atol=0.02)


def test_replay_is_bent_reverberant_and_noisy_by_quality():
    tone = np.concatenate([0.2 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000), np.zeros(16_000)])
    third, floor = [], []
    for quality in ("good", "fair", "poor"):
        heard = [change(f"replay:{quality}", tone, utterance) for utterance in "abcdefgh"]
        assert np.allclose([rms_db(made) for made in heard], rms_db(tone))
        beside = [band_db(x[4000:14_000], 2980, 3020) - band_db(x[4000:14_000], 980, 1020) for x in heard]
        third.append(np.median(beside))  # rooms differ in how they carry the two
        floor.append(np.median([rms_db(made[-3000:]) for made in heard]))
    assert third[0] < third[1] < third[2] < -15 and floor[0] < floor[1] < floor[2]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_every_cell_is_determined_and_takes_any_clip(cell):
    speech = (0.2 * RNG.normal(size=4001)).astype(np.float32)
    made = degrade(speech, cell.how, "u")
    assert np.array_equal(made, degrade(speech, pickle.loads(pickle.dumps(cell.how)), "u"))
    is_random = any(of.random for of in cell.how)
    for other in (degrade(speech, cell.how, "v"), degrade(speech, cell.how, "u", seed=2)):
        assert np.array_equal(made, other) != is_random
    for clip in (speech[:1], speech[:100], np.zeros(321, np.float32), np.sign(speech), 1e-5 * speech):
        made = degrade(clip, cell.how, "u")
        assert np.isfinite(made).all() and np.abs(made).max() <= 1
        assert len(made) == len(clip) or cell.name == "trim"
    with pytest.raises(AsvtkError, match="no samples"):
        degrade(speech[:0], cell.how, "u")


def test_a_name_is_always_written_alike():
    assert chain(["noise:10.0", "mp3:32.0k", "level"]).name == "noise-10_mp3-32k_level"
    assert chain(["level:-30"]).title == "level:-30" and parse_degradation("level").value == -30
    assert len({cell.name for cell in CELLS}) == len(CELLS)
    assert all(set(cell.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_") for cell in CELLS)


@pytest.mark.parametrize(
    "text, message",
    [
        ("mp4:32k", "no degradation 'mp4:32k'; there are mp3:RATE .8k, 16k"),
        ("mp3", r"expected mp3:RATE \(8k, 16k, 24k"),
        ("mp3:33k", r"expected mp3:RATE \(8k, 16k, 24k"),
        ("mp3:32", r"expected mp3:RATE \(8k, 16k, 24k"),
        ("amr:12k", r"\(4.75k, 5.15k, 5.9k, 6.7k, 7.4k, 7.95k, 10.2k, 12.2k\)"),
        ("opus:1k", r"opus:RATE \(6k to 128k\)"),
        ("gsm:13k", "expected gsm$"),
        ("noise", r"noise:DB of SNR \(-20 to 60\)"),
        ("noise:nan", "-20 to 60"),
        ("reverb:9", "0.2 to 2"),
        ("resample:8000.5", "4000 to 96000"),
        ("level:0", "-60 to -3; default -30"),
        ("trim:1", "expected trim$"),
        ("replay:", r"replay:good\|fair\|poor"),
        ("", "no degradation ''"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_right_ones(text, message):
    with pytest.raises(AsvtkError, match=message) as fault:
        parse_degradation(text)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("MP3: [mp3:32k, mp4:32k]", "g.yaml: MP3: no degradation 'mp4:32k'"),
        ("[mp3:32k]", "g.yaml: expected|mapping"),
        ("MP3: mp3:32k", "g.yaml: MP3: expected a name and a list"),
        ("MP3: []", "g.yaml: MP3: expected a name and a list"),
        ("MP3: [[]]", "such as mp3:64k"),
        ("MP3: [32]", "g.yaml: MP3: 32: expected a degradation"),
        ("a: [gsm]\nb: [gsm]", "g.yaml: gsm: stands there twice"),
        ("a: [noise:1.0, noise:1]", "noise:1: stands there twice"),
        (f"a: [[{', '.join(['noise:10'] * 40)}]]", "too long"),
    ],
)
def test_a_wrong_grid_says_where(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.yaml").write_text(text)
    with pytest.raises(AsvtkError, match=message):
        read_grid("g.yaml")


def test_what_is_on_an_axis():
    assert chain(["gsm"]).place == ("gsm", "bit rate, kbit/s", 13)
    assert chain(["noise:5"]).place == ("noise", "SNR, dB", 5)
    assert chain(["trim"]).place is None and chain(["noise:5", "gsm"]).place is None
    assert set(DEGRADATIONS) >= {of.kind for cell in CELLS for of in cell.how}
