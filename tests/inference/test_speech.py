"""What is speech, and what is not."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from asvtk.inference import speech
from asvtk.inference.speech import has_speech
from asvtk.io.audio import read_audio

RNG, TIME = np.random.default_rng(0), np.arange(64000) / 16000
NOTES = [
    np.sin(2 * np.pi * pitch * harmonic * TIME[:8000]) / harmonic * np.exp(-4 * TIME[:8000])
    for pitch in (220, 262, 330, 440, 392, 330, 294, 262)
    for harmonic in [1, 3]
]
NO_SPEECH = {
    "nothing": np.zeros(64000),
    "dither": np.rint(RNG.normal(size=64000)) / 32768,
    "white noise": 0.1 * RNG.normal(size=64000),
    "faint noise": 0.001 * RNG.normal(size=64000),
    "red noise": 0.001 * np.cumsum(RNG.normal(size=64000)),
    "hum": 0.1 * np.sin(2 * np.pi * 50 * TIME),
    "chord": sum(0.1 * np.sin(2 * np.pi * pitch * TIME) for pitch in (220, 277, 330)),
    "melody": 0.2 * np.concatenate(NOTES),
    "50 ms": 0.1 * RNG.normal(size=800),
    "no sample": np.zeros(0),
}


@pytest.mark.parametrize("samples", NO_SPEECH.values(), ids=NO_SPEECH)
def test_fault_8_silence_noise_and_tones_are_no_speech(samples):
    assert not has_speech(samples)


def test_real_speech_is_speech_also_where_it_is_faint(shared_data):
    paths = sorted((shared_data / "la_real" / "LA").glob("*/flac/*.flac"))[::30]
    clips = [read_audio(path) for path in paths]
    assert sum(map(has_speech, clips)) >= 0.95 * len(clips) > 20
    assert has_speech(0.003 * clips[0]) and not has_speech(clips[0][:15000])
    silence = np.zeros(40 * 16000, np.float32)
    assert has_speech(np.concatenate([silence, clips[0]]))


def test_rows_at_once_are_what_the_package_says_frame_by_frame_in_any_number_of_threads(shared_data):
    paths = sorted((shared_data / "la_real" / "LA").glob("*/flac/*.flac"))[:4]
    clips = [np.resize(read_audio(path), 124 * speech.FRAME) for path in paths]
    rows = torch.from_numpy(np.stack(clips).reshape(8, 62, speech.FRAME))
    model = speech._model()
    assert isinstance(model, speech._WholeRows)
    with torch.inference_mode():
        plain = speech._FrameByFrame(speech._package().load_silero_vad())(rows)
        assert torch.allclose(model(rows), plain, atol=1e-5) and plain.max() > 0.9
    alone = [speech.speech_probabilities(clip) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(speech.speech_probabilities, clips * 5)):
            assert np.array_equal(found, alone[number % 4])
