#!/usr/bin/env python3
"""Stage 2 end to end, FLAC files on disk -> ark on disk, and what bounds it.

  tools/bench/extract.py --ngpu 1                                   one job a GPU of this machine, 1, 2, 4 ...
  tools/bench/extract.py --ngpu 1 --free-forward                    what the rest of the pipeline can do
  tools/bench/extract.py --free-forward --utterances 3000           the same, where there is no GPU

A corpus of --utterances FLAC files (--seconds of noise each, coloured and with pauses like speech: about
as many bits a sample) is laid out in a scratch folder, and `asvtk extract`, started by utils/run.py as in
a recipe, caches --layers as --storage of a randomly initialised model of the true shape (WavLM-Large, or
--model "XLS-R 300M"), whole or cut to --blocks. With
--free-forward the same command runs with features that are ready at once: all the rest is as ever.

Each job's line says the rate behind its start-up and the shares of time of its stages; the summary counts
everything, the start of Python included.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import figures
import numpy as np
import soundfile

from asvtk.io.audio import inspect_audio
from asvtk.io.datadir import DataDirectory

RUN = Path(__file__).parents[2] / "utils" / "run.py"


def write_corpus(folder: Path, count: int, seconds: float, distinct: int = 64) -> DataDirectory:
    """Noise with a falling spectrum and pauses, which compresses like speech; few files under many names."""
    (folder / "flac").mkdir()
    rows = []
    for number in range(count):
        path = folder / "flac" / f"LA_T_{number:07d}.flac"
        if number < distinct:
            rng = np.random.default_rng(number)
            noise = np.convolve(rng.normal(size=int(16000 * seconds) + 8), np.hanning(9), "valid")
            loudness = np.repeat(rng.uniform(0, 0.1, size=len(noise) // 1600 + 1) ** 1.5, 1600)
            soundfile.write(path, loudness[: len(noise)] * noise, 16000)
            rows.append((path.stem, str(path), *inspect_audio(path)[:2]))
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


def write_model(folder: Path, name: str, blocks: int) -> None:
    from ssl_forward import PUBLISHED, build_small

    build_small(*PUBLISHED[name], blocks).save_pretrained(folder)


def extract_for_free(arguments: list[str]) -> int:
    """`asvtk extract` with an SSL front-end whose features are there at once."""
    from asvtk.bin.main import main
    from asvtk.frontends.cache.extractor import Extractor
    from asvtk.io.ark import encode_matrix

    def ready(self, batch, layers):
        # What comes from the device, in memory that is written anew for every batch.
        shape, storage = self.frontend.shape(64_600), self.frontend.storage
        entry = encode_matrix(np.random.default_rng(0).normal(size=shape), storage)
        fetched = np.empty((len(batch), len(entry)), np.uint8)
        rows = np.empty((len(batch), max(map(len, batch))), np.float32)
        for row, audio in zip(rows, batch, strict=True):  # what goes to it is copied once, too
            row[: len(audio)] = audio
        fetched[:] = np.frombuffer(entry, np.uint8)
        return lambda: [dict.fromkeys(layers, (row,)) for row in fetched]

    Extractor.start = ready
    Extractor.on_gpu = property(lambda self: True, lambda self, value: None)
    return main(["extract", *arguments])


def measure(folder: Path, args, jobs: int) -> None:
    """Stage 2 as run.sh runs it, by so many jobs."""
    asvtk = [sys.executable, "-m", "asvtk", "extract"]
    if args.free_forward:
        asvtk = [sys.executable, __file__, "--as-asvtk"]
    dump = folder / f"dump{jobs}"
    common = ["--config", folder / "c.yaml", "--data", folder / "data" / "train", "--dump", dump]
    common = [*map(str, common), "--nj", str(jobs), "--ngpu", str(args.ngpu)]
    started = time.perf_counter()
    subprocess.run([*asvtk, "begin", *common], check=True, stdout=subprocess.DEVNULL)
    begun = time.perf_counter()
    log = folder / f"log{jobs}" / "extract.JOB.log"
    here = [sys.executable, RUN, "--gpu", str(args.ngpu), f"JOB=1:{jobs}", log]
    failed = subprocess.run([*here, *asvtk, "job", *common, "--job", "JOB"]).returncode
    computed = time.perf_counter()
    for job in range(1, jobs + 1):
        text = Path(str(log).replace("JOB", str(job))).read_text()
        print(text if failed else "\n".join(line for line in text.splitlines() if "a second" in line))
    if failed:
        sys.exit("a job failed")
    subprocess.run([*asvtk, "join", *common], check=True, stdout=subprocess.DEVNULL)
    joined = time.perf_counter()
    size = sum(ark.stat().st_size for ark in dump.glob("*/train/*/*.ark"))
    rate = args.utterances / (computed - begun)
    args.figures.add(f"{jobs} jobs with their start", rate, "utterances/s")
    print(
        f"{args.model}, {jobs} jobs, {args.utterances} utterances of {args.seconds} s, layers {args.layers} "
        f"as {args.storage}, batch {args.batch_size}: begin {begun - started:.1f} s, "
        f"jobs {computed - begun:.1f} s ({rate:.0f} utterances/s with their start), "
        f"join {joined - computed:.1f} s, {size / 1e9:.1f} GB",
        flush=True,
    )
    for ark in dump.glob("*/train/*/*.ark"):
        ark.unlink()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=30000)
    parser.add_argument("--seconds", type=float, default=4.1)
    parser.add_argument("--model", default="WavLM-Large", help="as in ssl_forward.py")
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--layers", default="[12]")
    parser.add_argument("--storage", default="CM2")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--ngpu", type=int, default=0, choices=(0, 1), help="GPUs of each job (default 0)")
    parser.add_argument("--jobs", type=int, nargs="+", help="numbers of jobs (default: 1, 2 ... GPUs)")
    parser.add_argument("--free-forward", action="store_true", help="features cost nothing")
    parser.add_argument("--scratch", help="folder to work in (default: the system's)")
    figures.add_option(parser)
    args = parser.parse_args()
    counts = args.jobs
    if counts is None:
        import torch

        found = torch.cuda.device_count() if args.ngpu else 1
        counts = [2**power for power in range(found.bit_length()) if 2**power <= found]
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        write_model(folder / "model", args.model, args.blocks)
        write_corpus(folder, args.utterances, args.seconds)
        (folder / "c.yaml").write_text(
            f"frontend: {{name: ssl, model: {folder / 'model'}, layers: {args.layers}, "
            f"precision: {args.precision}, storage: {args.storage}, batch_size: {args.batch_size}}}\n"
        )
        for jobs in counts:
            measure(folder, args, jobs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-asvtk"]:
        sys.exit(extract_for_free(sys.argv[2:]))
    main()
