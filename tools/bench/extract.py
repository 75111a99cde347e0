#!/usr/bin/env python3
"""Stage 2 end to end, FLAC files on disk -> ark on disk: tools/bench/extract.py [--ngpu 1] [--jobs 1]

A corpus of --utterances FLAC files (--seconds of noise each, 16 bit) is laid out in a scratch folder, and
`asvtk extract` caches one layer as CM2 of a randomly initialised WavLM of the Large shape (--small: a
tiny one, to time everything but the model). With --jobs 2, two processes with a GPU each share it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import transformers
from ssl_forward import LARGE

from asvtk.io.audio import inspect_audio
from asvtk.io.datadir import DataDirectory

SMALL = LARGE | dict(
    conv_dim=(32,) * 7, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
)


def write_corpus(folder: Path, count: int, seconds: float, distinct: int = 64) -> DataDirectory:
    """Noise through a low-pass filter, which compresses like speech; few files under many names."""
    (folder / "flac").mkdir()
    rows = []
    for number in range(count):
        path = folder / "flac" / f"LA_T_{number:07d}.flac"
        if number < distinct:
            noise = np.random.default_rng(number).normal(size=int(16000 * seconds) + 8)
            soundfile.write(path, 0.1 * np.convolve(noise, np.hanning(9), "valid"), 16000)
            rows.append((path.stem, str(path), *inspect_audio(path)))
        else:
            os.link(rows[number % distinct][1], path)
            rows.append((path.stem, str(path), *rows[number % distinct][2:]))
    names = [row[0] for row in rows]
    constant = {value: dict.fromkeys(names, value) for value in ("LA_0001", "bonafide", "-")}
    data = DataDirectory(
        path=folder / "data" / "train",
        wav={row[0]: row[1] for row in rows},
        speaker=constant["LA_0001"],
        label=constant["bonafide"],
        attack=constant["-"],
        num_samples={row[0]: row[2] for row in rows},
        md5={row[0]: row[3] for row in rows},
    )
    data.path.mkdir(parents=True)
    data.write()
    return data


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=20000)
    parser.add_argument("--seconds", type=float, default=4.0375)
    parser.add_argument("--layers", default="[12]")
    parser.add_argument("--storage", default="CM2")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--ngpu", type=int, default=0, choices=(0, 1), help="GPUs of each job")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--scratch", help="folder to work in (default: the system's)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        config = transformers.WavLMConfig(
            num_buckets=320, max_bucket_distance=800, **(SMALL if args.small else LARGE)
        )
        transformers.WavLMModel(config).save_pretrained(folder / "wavlm")
        write_corpus(folder, args.utterances, args.seconds)
        (folder / "c.yaml").write_text(
            f"frontend: {{name: ssl, model: {folder / 'wavlm'}, layers: {args.layers}, "
            f"precision: {args.precision}, storage: {args.storage}, batch_size: {args.batch_size}}}\n"
        )
        extract = [sys.executable, "-m", "asvtk", "extract"]
        common = [
            "--config",
            folder / "c.yaml",
            "--data",
            folder / "data" / "train",
            "--dump",
            folder / "dump",
        ]
        subprocess.run([*extract, "begin", *common, "--ngpu", str(args.ngpu)], check=True)
        started = time.perf_counter()
        jobs = []
        for job in range(1, args.jobs + 1):
            share = ["--job", str(job), "--nj", str(args.jobs), "--ngpu", str(args.ngpu)]
            gpu = os.environ | ({"CUDA_VISIBLE_DEVICES": str(job - 1)} if args.ngpu else {})
            jobs.append(subprocess.Popen([*extract, "job", *common, *share], env=gpu))
        if any([job.wait() for job in jobs]):
            sys.exit("a job failed")
        taken = time.perf_counter() - started
        subprocess.run([*extract, "join", *common], check=True)
        size = sum(ark.stat().st_size for ark in folder.glob("dump/*/train/*/*.ark"))
    print(
        f"{args.utterances} utterances of {args.seconds} s, layers {args.layers} as {args.storage}: ", end=""
    )
    print(f"{taken:.1f} s with start-up, {args.utterances / taken:.0f} utterances/s, {size / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
