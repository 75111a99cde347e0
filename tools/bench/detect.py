#!/usr/bin/env python3
"""Speed and memory of `asvtk detect` on a long recording, and its start.

    taskset -c 0,1 python tools/bench/detect.py [--model MODEL --speech FILE.flac] [--minutes 60]

The recording is FILE again and again, as 44.1 kHz stereo MP3; without a model and a file, a small system of
random weights hears what is like speech. "Scoring alone" are as many windows that are at hand, in batches of
8 through the detector: what `asvtk detect` needs more is its own. Never run as a test.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import figures
import numpy as np
import soundfile
from export import write_example


def write_mp3(path: Path, speech: np.ndarray, rate: int, minutes: float) -> None:
    from scipy.signal import resample_poly

    minute = np.resize(speech, 60 * rate)
    mono = resample_poly(minute, 441, 160 * rate // 16_000)
    stereo = np.stack([mono, 0.8 * mono], axis=1).astype(np.float32)
    with soundfile.SoundFile(path, "w", 44_100, 2, format="MP3") as file:
        for _ in range(round(minutes)):
            file.write(stereo)


def run(*words) -> tuple[float, int, str]:
    """Seconds, peak memory in MiB, and what it said."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "asvtk", "detect", *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, said
    return time.perf_counter() - began, usage.ru_maxrss >> 10, said


def score_alone(model: str, speech: np.ndarray, windows: int) -> float:
    """Seconds to score so many windows that are at hand."""
    import asvtk
    from asvtk.inference.detector import DetectConfig

    detector = asvtk.load(model)
    length = round(detector.window_seconds(DetectConfig()) * 16_000)
    batch = [np.resize(speech[k * 16_000 :], length).astype(np.float32) for k in range(8)]
    detector.score_windows(batch)
    began = time.perf_counter()
    for _ in range(-(-windows // 8)):
        detector.score_windows(batch)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model")
    parser.add_argument("--speech", help="16 kHz, mono")
    parser.add_argument("--minutes", type=float, default=60)
    figures.add_option(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not (args.model and args.speech):
            args.model, args.speech = write_example(Path(folder))
        measure(args, Path(folder))


def measure(args, folder: Path) -> None:
    speech, rate = soundfile.read(args.speech, dtype="float32")
    clip, long = Path(folder, "clip.wav"), Path(folder, "long.mp3")
    soundfile.write(clip, speech[: 4 * rate], rate)
    starts = [run("--model", args.model, clip, "--json")[0] for _ in range(3)]
    three = ", ".join(f"{seconds:.2f}" for seconds in starts)
    print(f"start and a clip of 4 s: {min(starts):.2f} s (of three: {three})")
    write_mp3(long, speech, rate, args.minutes)
    seconds, mebibytes, said = run("--model", args.model, long, "--json")
    detection = json.loads(said)
    windows = sum(value is not None for *_, value in detection["timeline"])
    print(
        f"{detection['duration'] / 60:.0f} minutes of 44.1 kHz stereo MP3: {seconds:.1f} s, "
        f"{detection['duration'] / seconds:.0f} x real time, peak {mebibytes} MiB"
    )
    alone = score_alone(args.model, speech, windows)
    net = seconds - min(starts)
    args.figures.add("start and a clip of 4 s", min(starts), "s", higher_is_better=False)
    args.figures.add("windows of a long recording", windows / net, "windows/s", windows / alone)
    print(
        f"about {windows} windows: {windows / net:.1f} a second; scoring alone {alone:.1f} s, "
        f"{windows / alone:.1f} a second; overhead {100 * (net / alone - 1):.0f} %"
    )
    print(f"{len(os.sched_getaffinity(0))} CPUs, torch {version('torch')}")


if __name__ == "__main__":
    main()
