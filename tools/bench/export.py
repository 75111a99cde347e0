#!/usr/bin/env python3
"""Speed and size of exported detectors: torch against ONNX Runtime, float32 and int8, in turns in one run.

    taskset -c 0,1 python tools/bench/export.py [--whisper DIR] [--aasist AASIST.pth] [SYSTEM ...]

Each system is made with random weights, but for those that are named: speed asks for nothing else. A time is
the best of several turns on one window of 4.04 s; on a busy machine ratios hold, milliseconds do not. Never
run as a test.
"""

import argparse
import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import figures
import numpy as np
import safetensors.torch
import soundfile
import torch

from asvtk.frontends import FRONTENDS, build_frontend
from asvtk.inference.export import write_export
from asvtk.inference.onnx_detector import OnnxDetector
from asvtk.inference.onnx_session import open_session
from asvtk.inference.package import WEIGHTS, write_package
from asvtk.inference.parity import speech_like
from asvtk.inference.published import load_published
from asvtk.inference.torch_detector import TorchDetector
from asvtk.inference.weights import PREFIX, prefixed
from asvtk.models import MODELS, assemble
from asvtk.nn.losses import OcSoftmaxConfig

LFCC = {"name": "lfcc"}
SMALL = {"d_model": 64, "blocks": 2, "d_state": 8, "d_expert": 128, "d_embedding": 64}
#: front-end and back-end; None: the encoder that --whisper names
SYSTEMS = {
    "aasist": ({"name": "waveform"}, {"name": "aasist"}),
    "lfcc_moe_mamba": (LFCC, {"name": "moe_mamba"}),
    "lfcc_dual_stream": (
        LFCC,
        {"name": "dual_stream", "stack": 4, "audio_stack": 2, "hop": 40, "filters": 80}
        | {"channels": [8, 8, 16, 16, 16, 16], **SMALL},
    ),
    "whisper_aasist": (None, {"name": "ssl_aasist"}),
}


def make(name: str, whisper: str | None, aasist: str | None) -> TorchDetector:
    if name == "aasist" and aasist:
        return load_published(aasist)[0]
    front_end, model = SYSTEMS[name]
    if front_end is None:
        front_end = {"name": "ssl", "model": whisper, "layers": [4]}
    torch.manual_seed(0)
    frontend = build_frontend(FRONTENDS.config(front_end, "frontend")).load()
    detector = TorchDetector.of(assemble(frontend, MODELS.config(model, "model"), OcSoftmaxConfig()).eval())
    detector.name, detector.sha256 = name, "0" * 64
    return detector


def write_example(folder: Path) -> tuple[str, str]:
    """A package of random weights and 60 s like speech, for benches that were given none; their paths."""
    detector = make("lfcc_moe_mamba", None, None)
    about = {"name": "random", "threshold": {"threshold": 0.0, "chosen": "at random"}, "layers": []}
    about |= {"front-end": detector.frontend.describe(), "precision": "float32"}
    members = {
        "config.yaml": b"frontend: {name: lfcc}\nmodel: {name: moe_mamba}\nloss: {name: oc_softmax}\n",
        "card.md": b"Random\n",
    }
    members |= {"results.json": b"{}\n", "environment.json": b"{}\n"}
    members[WEIGHTS] = safetensors.torch.save(prefixed(PREFIX, detector.state_dict()))
    write_package(folder / "random.asvtk.tar", about, members)
    soundfile.write(folder / "speech.flac", speech_like(1, seconds=60)[0], 16_000)
    return str(folder / "random.asvtk.tar"), str(folder / "speech.flac")


def measure(detector: TorchDetector, threads: int, turns: int, folder: Path) -> dict[str, float]:
    """Print and return the best milliseconds of torch and of each exported file."""
    window = speech_like(1)[:1]
    sessions = {}
    for file in sorted(folder.iterdir()):
        exported = OnnxDetector.load(file)
        exported._session = open_session(file.read_bytes(), threads)
        sessions[file.stem] = exported
    torch.set_num_threads(threads)
    runs = {"torch": detector, **sessions}
    times = {name: [] for name in runs}
    for _ in range(turns):
        for name, scorer in runs.items():
            began = time.perf_counter()
            scorer.score_windows(window)
            times[name].append(time.perf_counter() - began)
    best = {name: 1000 * min(values) for name, values in times.items()}
    cells = [f"{name} {ms:.0f} ms ({best['torch'] / ms:.2f} x)" for name, ms in best.items()]
    print(f"  {threads} threads: " + ", ".join(cells), flush=True)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)} (default: all)"
    )
    parser.add_argument(
        "--whisper", metavar="DIR", help="folder of a Whisper encoder; without it, none is measured"
    )
    parser.add_argument("--aasist", metavar="FILE", help="published weights")
    parser.add_argument("--turns", type=int, default=7)
    figures.add_option(parser)
    args = parser.parse_args()
    for name in args.systems or SYSTEMS:
        if SYSTEMS[name][0] is None and args.whisper is None:
            continue
        detector = make(name, args.whisper, args.aasist)
        with tempfile.TemporaryDirectory() as folder:
            files = {kind: Path(folder, f"{kind}.onnx") for kind in ("float32", "int8")}
            for kind, file in files.items():
                try:
                    written = write_export(detector, file, speech_like(4), int8=kind == "int8")
                except Exception as error:  # of a system that others still follow
                    print(f"{name}: {error}", flush=True)
                    continue
                change = (written.int8 or written.parity).relative
                print(f"{name} {kind}: {written.size / 2**20:.1f} MB, change {change:.1e}", flush=True)
            for threads in (1, 2):
                best = measure(detector, threads, args.turns, Path(folder))
                for kind in files if threads == 1 else ():
                    if kind in best:
                        args.figures.add(f"{name}, {kind}", best[kind], "ms", best["torch"], False)
    cpus = len(os.sched_getaffinity(0))
    busy = np.mean(os.getloadavg()[0])
    print(f"{cpus} CPUs, load {busy:.1f}, torch {version('torch')}, onnxruntime {version('onnxruntime')}")


if __name__ == "__main__":
    main()
