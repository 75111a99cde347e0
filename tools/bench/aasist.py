#!/usr/bin/env python3
"""Time of a training step and of scoring with AASIST, one row for each way to compute them.

  tools/bench/aasist.py [--device cuda] [--model aasist_l] [--batch N] [--steps N] [--rows WORD ...]
                        [--profile]

A step is what training does with a batch of 4.04 s utterances that is on the device already: forward,
weighted cross-entropy, backward, Adam. "plain" is the graph as one writes it down at first: images with
the channels first, the filters' whole image, a tensor for every result. "tuned": cuDNN tries all its
algorithms first. CPU time is that of all threads: on a busy machine it says more than the wall's, with
OMP_NUM_THREADS=1. A row that cannot run here says why, and the others go on. Never run as a test.
"""

import argparse
import contextlib
import functools
import statistics
import time

import figures
import torch
from torch import nn
from torch.nn import functional as F

from asvtk.inference.published import AASIST, AASIST_L
from asvtk.io.audio import SAMPLE_RATE
from asvtk.models import Batch
from asvtk.models.aasist import ResidualBlock
from asvtk.nn.cuda_graph import CudaGraphs
from asvtk.nn.losses import WeightedCrossEntropyConfig
from asvtk.nn.sinc import mel_band_edges, sinc_bank
from asvtk.testing import detector_for

AUTHORS_MS = 132  # the authors' code, AASIST, batch 24, one H200
SAMPLES = 64_600

#: row -> what to compute, with which settings
ROWS = {
    "cpu": {
        "plain": {"plain": True},
        "eager": {},
        "compiled": {"compiled": True},
        "scoring, plain": {"plain": True, "scoring": True},
        "scoring": {"scoring": True},
    },
    "cuda": {
        "plain, TF32": {"plain": True},
        "plain, TF32, tuned": {"plain": True, "tuned": True},
        "eager, TF32": {},
        "eager, TF32, tuned": {"tuned": True},
        "eager, float32, tuned": {"tf32": False, "tuned": True},
        "eager, bfloat16, tuned": {"bf16": True, "tuned": True},
        "CUDA graph, TF32, tuned": {"graph": True, "tuned": True},
        "CUDA graph, bfloat16, tuned": {"graph": True, "bf16": True, "tuned": True},
        "compiled, TF32, tuned": {"compiled": True, "tuned": True},
        "compiled, bfloat16, tuned": {"compiled": True, "bf16": True, "tuned": True},
        "compiled, CUDA graph, bfloat16": {"compiled": True, "graph": True, "bf16": True, "tuned": True},
        "scoring, plain, float32": {"plain": True, "scoring": True, "tf32": False},
        "scoring, float32": {"scoring": True, "tf32": False},
        "scoring, float32, tuned": {"scoring": True, "tf32": False, "tuned": True},
        "scoring, TF32": {"scoring": True},
        "scoring, compiled, float32": {"scoring": True, "tf32": False, "compiled": True},
        "scoring, compiled, TF32": {"scoring": True, "compiled": True},
        "scoring, compiled, bfloat16": {"scoring": True, "compiled": True, "bf16": True},
    },
}


class PlainBlock(ResidualBlock):
    def forward(self, x):
        if self.training and self.bn1 is not None:
            self.bn1(x)
        hidden = self.conv2(F.selu(self.bn2(self.conv1(x))))
        return F.max_pool2d(hidden + (x if self.conv_downsample is None else self.conv_downsample(x)), (1, 3))


class PlainBank(nn.Module):
    """Without the silencing of filters."""

    def __init__(self, filters: int, taps: int):
        super().__init__()
        self.register_buffer("bank", sinc_bank(mel_band_edges(filters, SAMPLE_RATE), taps, SAMPLE_RATE))

    def forward(self, audio):
        image = F.conv1d(audio.unsqueeze(1), self.bank.unsqueeze(1)).abs()
        return F.max_pool2d(image.unsqueeze(1), 3).squeeze(1)


def make_plain(model) -> None:
    for block in model.encoder:
        block.__class__ = PlainBlock
    model.bank = PlainBank(model.config.filters, model.config.taps)
    model.encoder.register_forward_pre_hook(lambda _, args: args[0].squeeze(1).contiguous().unsqueeze(1))


def make_work(
    config, batch: int, device: str, plain=False, compiled=False, graph=False, bf16=False, scoring=False
):
    """A function that does one step, or scores one batch; it waits for nothing."""
    torch.manual_seed(0)
    detector = detector_for(config, WeightedCrossEntropyConfig(), layers=0)
    if plain:
        make_plain(detector.model)
    detector.to(device).train(not scoring)
    inputs = Batch(None, None, 0.1 * torch.randn(batch, SAMPLES, device=device), None)
    bonafide = (torch.arange(batch, device=device) % 10 == 0).long()
    weights = torch.tensor([0.1, 0.9], device=device)
    optimiser = torch.optim.Adam(detector.parameters(), 1e-4, capturable=device == "cuda")
    precision = torch.autocast(device, torch.bfloat16) if bf16 else contextlib.nullcontext()

    def compute_logits():
        return detector.loss.classifier(detector.model(inputs).embedding).float()

    if compiled:
        compute_logits = torch.compile(compute_logits)

    def score():
        with torch.inference_mode(), precision:
            compute_logits()

    def step():
        optimiser.zero_grad(set_to_none=True)
        with precision:
            logits = compute_logits()
        F.cross_entropy(logits, bonafide, weights).backward()
        optimiser.step()

    work = score if scoring else step
    return capture(work) if graph else work


def capture(work):
    """The kernels of ``work`` as one CUDA graph."""
    replay = functools.partial(CudaGraphs(), work)
    replay()
    return replay


def measure(work, steps: int, device: str) -> tuple[list, list]:
    """Wall and CPU milliseconds of each step, after some to warm up."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(min(steps, 5)):
        work()
    wall, cpu = [], []
    for _ in range(steps):
        wait()
        start = time.perf_counter(), time.process_time()
        work()
        wait()
        wall.append(1e3 * (time.perf_counter() - start[0]))
        cpu.append(1e3 * (time.process_time() - start[1]))
    return wall, cpu


def print_profile(work, device: str) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    work()
    with torch.profiler.profile(activities=activities, record_shapes=True) as profile:
        work()
        if device == "cuda":
            torch.cuda.synchronize()
    key = f"self_{device}_time_total"
    print(profile.key_averages(group_by_input_shape=True).table(sort_by=key, row_limit=30))


def measure_row(
    name: str, config, batch: int, steps: int, device: str, tf32=True, tuned=False, **how
) -> float | None:
    """Median milliseconds of a step; None if that cannot run here."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = tuned
    try:
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        wall, cpu = measure(make_work(config, batch, device, **how), steps, device)
    except Exception as error:  # one way that fails is a result too
        reason = " ".join(str(error).split())[:120]
        print(f"{name:<32} failed: {type(error).__name__}: {reason}", flush=True)
        return None
    memory = f"; {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device == "cuda" else ""
    print(
        f"{name:<32} wall: median {statistics.median(wall):.1f} ms, fastest {min(wall):.1f} ms; "
        f"CPU: median {statistics.median(cpu):.1f} ms, least {min(cpu):.1f} ms; "
        f"{1e3 * batch / statistics.median(wall):.1f} utterances/s{memory}",
        flush=True,
    )
    return statistics.median(wall)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", choices=("aasist", "aasist_l"), default="aasist")
    parser.add_argument("--batch", type=int, default=24, metavar="N", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="per row (default: %(default)s)")
    parser.add_argument("--rows", nargs="+", default=[""], metavar="WORD", help="only rows that hold a WORD")
    parser.add_argument("--profile", action="store_true", help="where the time of the eager step goes")
    figures.add_option(parser)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device cuda: torch {torch.__version__} sees no GPU here")
    config = {"aasist": AASIST, "aasist_l": AASIST_L}[args.model]
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{args.model}, batch {args.batch}, {args.device} ({where}), torch {torch.__version__}")
    print(f"for comparison: the authors' code, AASIST, batch 24, one H200: {AUTHORS_MS} ms a step")
    if args.profile:
        print_profile(make_work(config, args.batch, args.device), args.device)
    times = {}
    for name, settings in ROWS[args.device].items():
        if any(word in name for word in args.rows):
            times[name] = measure_row(name, config, args.batch, args.steps, args.device, **settings)
    for name, taken in times.items():
        settings = ROWS[args.device][name]
        plain = "scoring, plain" if settings.get("scoring") else "plain"
        if taken and not settings.get("plain"):
            peers = [time for other, time in times.items() if other.startswith(plain)]
            args.figures.add(name, taken, "ms", peers[0] if peers else None, False)


if __name__ == "__main__":
    main()
