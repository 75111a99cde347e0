#!/usr/bin/env python3
"""Time stage 1 on all 121,461 official trials of 2019, or on the key of ASVspoof 5.

tools/bench/prepare.py PROTOCOLS [--nj 4]   a folder with the official protocols, plain or gzipped; one
                                            short FLAC file under all the names (hard links), so that
                                            headers cost what they cost, and decoding nothing
tools/bench/prepare.py --asvspoof5          1,004,081 lines made up in the form of ASVspoof 5, without audio
"""

import argparse
import gzip
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile

from asvtk.corpora import audio_files
from asvtk.corpora.corpus import open_corpus
from asvtk.corpora.preparation import prepare_set
from asvtk.io.audio import AudioHeader

NAMES = {"train": "cm.train.trn", "dev": "cm.dev.trl", "eval": "cm.eval.trl"}


def lay_out(protocols: Path, folder: Path) -> int:
    """The official layout in ``folder``; returns the number of trials."""
    (folder / "ASVspoof2019_LA_cm_protocols").mkdir()
    sound = folder / "one.flac"
    soundfile.write(sound, 0.1 * np.random.default_rng(0).normal(size=16000), 16000)
    total, source, links = 0, sound, 0
    for split, name in NAMES.items():
        name = f"ASVspoof2019.LA.{name}.txt"
        plain, zipped = protocols / name, protocols / f"{name}.gz"
        text = plain.read_text() if plain.exists() else gzip.decompress(zipped.read_bytes()).decode()
        (folder / "ASVspoof2019_LA_cm_protocols" / name).write_text(text)
        flac = folder / f"ASVspoof2019_LA_{split}" / "flac"
        flac.mkdir(parents=True)
        for line in text.splitlines():
            target = flac / f"{line.split()[1]}.flac"
            if links == 60_000:  # file systems limit the links to one file
                target.write_bytes(sound.read_bytes())
                source, links = target, 0
                continue
            os.link(source, target)
            links += 1
        total += len(text.splitlines())
    return total


def prepare(folder: Path, out: Path, jobs: int) -> float:
    started = time.perf_counter()
    corpus = open_corpus("asvspoof2019_la", folder)
    for name in corpus.description.sets:
        prepare_set(corpus, name, out / name, jobs=jobs)
    return time.perf_counter() - started


def make_up_asvspoof5(folder: Path) -> None:
    """Protocols with the official numbers of trials, in no order."""
    draw = random.Random(1)
    for part, letter, count, bonafide in (
        ("train", "T", 182_357, 18_797),
        ("dev.track_1", "D", 140_950, 31_334),
        ("eval.track_1", "E", 680_774, 138_688),
    ):
        lines = []
        for number in range(count):
            coded = letter == "E" and draw.random() < 0.75
            codec = f"C{draw.randint(1, 11):02d} {draw.randint(1, 5)}" if coded else "- -"
            seed = f"{letter}_{draw.randrange(count):010d}" if coded else "-"
            key = "- bonafide bonafide" if number < bonafide else f"AC1 A{draw.randint(1, 32):02d} spoof"
            speaker = f"{letter}_{draw.randrange(1000):04d} {letter}_{number:010d} {draw.choice('FM')}"
            lines.append(f"{speaker} {codec} {seed} {key} -\n")
        draw.shuffle(lines)
        (folder / f"ASVspoof5.{part}.tsv").write_text("".join(lines))


def time_asvspoof5() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch), Path(scratch) / "data"
        make_up_asvspoof5(folder)
        started = time.perf_counter()
        words = ["prepare", "--corpus", "asvspoof5", str(folder), str(out), "--no-audio"]
        subprocess.run([sys.executable, "-m", "asvtk", *words], check=True)
        print(f"the whole process: {time.perf_counter() - started:.1f} s")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocols", type=Path, nargs="?")
    parser.add_argument("--asvspoof5", action="store_true")
    parser.add_argument("--nj", type=int, default=4)
    args = parser.parse_args()
    if args.asvspoof5:
        return time_asvspoof5()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "LA"
        folder.mkdir()
        total = lay_out(args.protocols, folder)
        whole = prepare(folder, Path(scratch) / "data", args.nj)
        again = prepare(folder, Path(scratch) / "data", args.nj)
        with mock.patch.object(
            audio_files, "inspect_audio", lambda path: AudioHeader(16000, "0", "libsndfile")
        ):
            without = prepare(folder, Path(scratch) / "data2", args.nj)
    print(
        f"{total} trials, {args.nj} threads: {whole:.1f} s, {whole - without:.1f} s of them for audio headers"
    )
    print(f"without reading headers: {without:.1f} s; up to date already: {again:.1f} s")


if __name__ == "__main__":
    main()
