"""kill -9 at random moments, and SIGTERM as schedulers send it, to real processes.

ASVTK_KILLS=50 pytest tests/training/test_kill.py kills fifty times; three times is usual.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

import tiny_training
import torch

from asvtk.models import build_detector
from asvtk.training.checkpoint import load_detector, read_training
from asvtk.training.config import load_config
from asvtk.training.scoring import score_dataset

KILLS = int(os.environ.get("ASVTK_KILLS", 3))
SETTINGS = ("training.save_every=1", "training.average_best=2", "training.ema=0.5", "training.epochs=5")


def scores(corpus, exp):
    config = load_config(corpus / "c.yaml", list(SETTINGS))
    dev = tiny_training.open_sets(corpus, config)[1]
    detector = build_detector(config, dev.frontend)
    load_detector(exp / "checkpoints" / "best.safetensors", detector)
    return score_dataset(detector, dev, 4, "cpu")


def start(processes, corpus, exp):
    """A training that has just begun."""
    begun, tell = processes.Pipe(duplex=False)
    process = processes.Process(target=tiny_training.run_alone, args=(tell, str(corpus), str(exp), *SETTINGS))
    process.start()
    begun.recv()
    return process


def test_killed_at_random_moments_it_ends_with_the_same_bits(corpus, tmp_path, processes, content):
    torch.set_num_threads(1)  # as in the processes: sums of another order have other bits
    undisturbed = tmp_path / "undisturbed"
    process, begun = start(processes, corpus, undisturbed), time.monotonic()
    process.join()
    duration = time.monotonic() - begun
    expected = {name: content(undisturbed, name) for name in ("last", "best")}, scores(corpus, undisturbed)
    generator, kills, runs = random.Random(os.getpid()), 0, 0
    reached = []
    while kills < KILLS:
        exp, runs = tmp_path / f"run{runs}", runs + 1
        while not (exp / ".train.done").exists():
            process = start(processes, corpus, exp)
            process.join(generator.uniform(0, duration) if kills < KILLS else None)
            if process.exitcode is None:
                process.kill()
                kills += 1
                found = read_training(exp / "checkpoints")
                reached.append(found[2]["updates"] if found else 0)
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
        assert ({name: content(exp, name) for name in ("last", "best")}, scores(corpus, exp)) == expected
        assert not list((exp / "checkpoints").glob("epoch_*"))
    print(f"{kills} kills in {runs} runs of {duration:.2f} s; each after so many updates: {reached}")


def test_scheduler_that_asks_gets_its_status_and_the_requeue_goes_on(corpus, tmp_path, content):
    """The verb itself, as ``run.sh`` calls it."""
    exp = tmp_path / "exp"
    command = [
        sys.executable, "-m", "asvtk.bin.main", "train", "--config", corpus / "c.yaml", "--exp", exp,
        "--override", "training.epochs=400",
        "--train-data", corpus / "data/train", "--dev-data", corpus / "data/dev", "--dump", corpus / "dump",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("epoch   2"):
                process.send_signal(signal.SIGTERM)
        error = process.stderr.read()
    assert process.returncode == 75
    assert f"{exp}: stopped by SIGTERM; saved after epoch" in error and "Traceback" not in error
    done = len((exp / "train.jsonl").read_text().splitlines())
    assert 2 <= done < 400
    assert (exp / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((exp / "environment.json").read_text())["seed"] == 1
