#!/usr/bin/env python3
"""Start-up of commands that people wait for, beside `python -c pass` and `python -c 'import torch'`.

  tools/bench/startup.py                                        what answers from small files
  tools/bench/startup.py --detect AASIST.pth aasist.onnx --clip clip.flac     also detectors, on one clip
  tools/bench/startup.py --recipe egs/mini                      also run.sh, up to its first stage line

Best of --runs, in turns, so that a busy machine is equally busy for all: wall-clock and CPU seconds of the
whole process and of its children, and the wall-clock time in those of `import torch`. Bytecode is written by
a first run that does not count. Never run as a test.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from asvtk.io.config import to_mapping
from asvtk.training.config import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "egs" / "asvspoof2019_la" / "conf" / "lfcc_moe_mamba.yaml"


def write_experiments(folder: Path, count: int = 10) -> None:
    for number in range(count):
        experiment = folder / f"exp{number}"
        experiment.mkdir(parents=True)
        config = to_mapping(load_config(CONFIG, [f"seed={number}"]))
        (experiment / "config.yaml").write_text(yaml.safe_dump(config))


def commands(folder: Path, args) -> dict[str, list[str]]:
    """Name -> command; every one must end by itself within seconds."""
    asvtk = [sys.executable, "-m", "asvtk"]
    exp = str(folder / "exp")
    listed = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import torch": [sys.executable, "-c", "import torch"],
        "exp ls": [*asvtk, "exp", "ls", exp],
        "exp show": [*asvtk, "exp", "show", f"{exp}/exp0"],
        "exp diff": [*asvtk, "exp", "diff", f"{exp}/exp0", f"{exp}/exp1"],
        "cache ls": [*asvtk, "cache", "ls", "--dump", str(folder)],
        "config": [*asvtk, "config", str(CONFIG)],
        "unknown option": [*asvtk, "train", "--nonsense"],
        "missing recording": [*asvtk, "detect", "--model", "aasist", str(folder / "none.wav")],
        "missing model": [*asvtk, "score", "--model", str(folder / "none"), "--audio", str(folder)],
    }
    for model in args.detect:
        listed[f"detect, {Path(model).name}"] = [*asvtk, "detect", "--model", model, args.clip]
    if args.recipe:  # all that comes before the first stage, and no stage
        listed["run.sh, first stage"] = [f"{args.recipe}/run.sh", "--stage", "1", "--stop-stage", "0"]
    return listed


def measure(command: list[str]) -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    answer = subprocess.run(command, capture_output=True, text=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if "Traceback" in answer.stderr or "No module named" in answer.stderr:
        sys.exit(f"{command}: {answer.stderr[-300:]}")
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detect", nargs="*", default=[], metavar="MODEL")
    parser.add_argument("--clip", help="recording for --detect")
    parser.add_argument("--recipe", help="a recipe's folder, such as egs/mini")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    if args.detect and not args.clip:
        parser.error("--detect: needs --clip FILE")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        write_experiments(Path(folder) / "exp")
        listed = commands(Path(folder), args)
        runs = [{name: measure(command) for name, command in listed.items()} for _ in range(args.runs + 1)]
    best = {name: [min(run[name][i] for run in runs[1:]) for i in (0, 1)] for name in listed}
    print("| | wall, s | CPU, s | of `import torch` |\n|---|--:|--:|--:|")
    for name, (wall, cpu) in best.items():
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {wall / best['import torch'][0]:.2f} |")


if __name__ == "__main__":
    main()
