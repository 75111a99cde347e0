#!/usr/bin/env python3
"""Time the reader against bare libsndfile: tools/bench/decode.py [FOLDER] [--files 10000] [--rounds 5]

FOLDER holds FLAC files of 16 kHz and one channel, at any depth; they are taken again and again. Without it,
the noise of extract.py is.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import figures
import soundfile
from extract import write_corpus

from asvtk.io.audio import inspect_audio, read_audio

READERS = {
    "soundfile.read": lambda path: soundfile.read(path, dtype="float32"),
    "read_audio": read_audio,
    "soundfile.info": lambda path: soundfile.info(path),
    "inspect_audio": inspect_audio,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    figures.add_option(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.folder is None:
            write_corpus(Path(scratch), 64, 4.0)
        measure(args, list(map(str, sorted((args.folder or Path(scratch)).rglob("*.flac")))))


def measure(args, paths: list[str]) -> None:
    taken = list(itertools.islice(itertools.cycle(paths), args.files // args.rounds))
    best = dict.fromkeys(READERS, float("inf"))
    for _ in range(args.rounds):
        for name, read in READERS.items():
            begin = time.perf_counter()
            for path in taken:
                read(path)
            best[name] = min(best[name], (time.perf_counter() - begin) / len(taken))
    for name, seconds in best.items():
        print(f"{name:16} {1e6 * seconds:8.1f} us a file")
    for ours, bare in (("read_audio", "soundfile.read"), ("inspect_audio", "soundfile.info")):
        args.figures.add(ours, 1e6 * best[ours], "us a file", 1e6 * best[bare], False)
    print(f"decoding: {best['read_audio'] / best['soundfile.read']:.3f} of libsndfile alone")


if __name__ == "__main__":
    main()
