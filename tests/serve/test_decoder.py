"""Decoders in processes of their own: they may die, hang or be fed anything."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from asvtk.io.errors import AsvtkError
from asvtk.io.recording import read_recording
from asvtk.serve.decoder import Decoder, DecoderTimeout, TooLong

RATE = 44_100


@pytest.fixture
def decoder():
    made = Decoder()
    yield made
    made.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "stereo.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=(20 * RATE, 2)), RATE)
    return str(path)


def decoded(decoder, path, longest=60.0, seconds=60.0, channel=None):
    parts = []

    def open_sink(_):
        parts.clear()
        return lambda samples: parts.append(samples.copy())

    stream = decoder.decode(path, open_sink, channel, longest, time.monotonic() + seconds)
    return np.concatenate(parts), stream


def test_it_gives_what_reading_here_gives(decoder, sound):
    samples, stream = decoded(decoder, sound)
    expected = read_recording(sound)
    assert np.array_equal(samples, expected.samples) and stream.changes == expected.changes
    process = decoder._process.pid
    assert decoded(decoder, sound, channel=1)[1].changes[0].startswith("channel 2")
    assert decoder._process.pid == process


def test_a_deep_temporary_folder_leaves_no_room_for_a_socket_and_needs_none(sound, tmp_path):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    program = (
        "import sys, time; from asvtk.serve.decoder import Decoder; heard = []\n"
        "decoder = Decoder()\n"
        "decoder.decode(sys.argv[1], lambda _: heard.append, None, 60.0, time.monotonic() + 60)\n"
        "decoder.close(); print(sum(map(len, heard)))"
    )
    words = [sys.executable, "-c", program, sound]
    environment = {**os.environ, "TMPDIR": str(deep)}
    answer = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert answer.returncode == 0 and int(answer.stdout) == 20 * 16_000, answer.stderr


def test_faults_limits_and_deadlines(decoder, sound, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("this is no recording\n")
    with pytest.raises(AsvtkError, match=r"text\.wav: is text"):
        decoded(decoder, str(text))
    with pytest.raises(TooLong, match="lasts 20 s, the limit is 5 s"):
        decoded(decoder, sound, longest=5)
    process = decoder._process
    with pytest.raises(DecoderTimeout):
        decoded(decoder, sound, seconds=-1)
    assert not process.is_alive()
    assert len(decoded(decoder, sound)[0]) == 20 * 16_000


def test_it_may_die_at_any_time(decoder, sound):
    def open_sink(_):
        def push(samples):
            decoder._process.kill()

        return push

    with pytest.raises(AsvtkError, match="the decoder ended at it"):
        decoder.decode(sound, open_sink, None, 60, time.monotonic() + 60)
    decoder.start()
    decoder._process.kill()
    decoder._process.join()
    assert len(decoded(decoder, sound)[0]) == 20 * 16_000


def test_who_gives_up_midway_gets_nothing_of_it_with_the_next_file(decoder, sound):
    def open_sink(_):
        def push(samples):
            raise KeyError("given up")

        return push

    with pytest.raises(KeyError):
        decoder.decode(sound, open_sink, None, 60, time.monotonic() + 60)
    assert len(decoded(decoder, sound)[0]) == 20 * 16_000


def test_the_process_can_write_no_file(decoder, sound):
    decoder.start()
    decoded(decoder, sound)
    with open(f"/proc/{decoder._process.pid}/limits") as file:
        limits = dict((line[:26].strip(), line[26:].split()[:1]) for line in file)
    assert limits["Max file size"] == ["0"] and limits["Max core file size"] == ["0"]
    standard = [os.readlink(f"/proc/{decoder._process.pid}/fd/{k}") for k in (0, 1, 2)]
    assert standard == ["/dev/null"] * 3
