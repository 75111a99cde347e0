#!/usr/bin/env python3
"""One training step of the MoE-Mamba head: forward, backward, optimiser.

  tools/bench/heads.py [--device cpu|cuda] [--batch N --frames N --layers N] [--runs N] [--compile] [--tf32]

The head is asvtk's moe_mamba with OC-Softmax on features as WavLM-Large gives them, by each backend of
the scan: step by step, and on CUDA also with the whole step held by a CUDA graph, which costs one
launch instead of hundreds, and compiled. Beside it, where mamba_ssm is installed, a head of 6 + 6 of
its own blocks on one layer. What cannot run says why. Times are medians. Never run as a test.
"""

import argparse
import copy
import statistics
import time
from functools import partial

import figures
import torch
from torch import nn

import asvtk.nn.mamba
from asvtk.models.base import Batch, Output
from asvtk.models.detector import Detector
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmax, OcSoftmaxConfig
from asvtk.nn.selective_scan import select_backend
from asvtk.testing import GivenFeatures, detector_for

D_IN = 1024  # of WavLM-Large and XLS-R-300M
D_MODEL = 144


class PeerHead(nn.Module):
    """The usual bidirectional head of mamba_ssm blocks: two stacks, one on the flipped frames."""

    uses_features, uses_audio = True, False

    def __init__(self, blocks: int = 6):
        super().__init__()
        from mamba_ssm import Mamba

        def stack():
            return nn.ModuleList(nn.Sequential(nn.LayerNorm(D_MODEL), Mamba(D_MODEL)) for _ in range(blocks))

        self.projection = nn.Linear(D_IN, D_MODEL)
        self.forwards, self.backwards = stack(), stack()
        self.attention = nn.Linear(D_MODEL, 1)
        self.d_embedding = D_MODEL

    def forward(self, inputs: Batch) -> Output:
        forward = self.projection(inputs.features[:, -1])
        backward = forward.flip(1)
        for one, other in zip(self.forwards, self.backwards, strict=True):
            forward, backward = forward + one(forward), backward + other(backward)
        x = forward + backward.flip(1)
        weights = self.attention(x).softmax(1)
        return Output((weights * x).sum(1), x.new_zeros(()))


class Step:
    """A training step on fixed inputs."""

    def __init__(self, detector: nn.Module, inputs: Batch, bonafide: torch.Tensor):
        device = bonafide.device.type
        self.detector, self.inputs, self.bonafide = detector, inputs, bonafide
        options = {"fused": True, "capturable": True} if device == "cuda" else {}
        self.optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-5, **options)

    def __call__(self) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.detector(self.inputs, self.bonafide)
        loss.backward()
        self.optimizer.step()
        return loss

    def captured(self):
        """The step as a CUDA graph. Real training copies each batch into ``inputs`` before the replay."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)  # gradients then live in the graph's own memory
        with torch.cuda.graph(graph):
            self()
        return graph.replay


def example(args):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(args.batch, args.layers, args.frames, D_IN, generator=generator)
    lengths = torch.full((args.batch,), args.frames)
    lengths[::2] -= args.frames // 4
    bonafide = torch.arange(args.batch) % 2 == 0
    return Batch(features.to(args.device), lengths.to(args.device), None, None), bonafide.to(args.device)


def our_head(args, backend, dropout=0.1):
    select_backend(backend)
    torch.manual_seed(0)
    detector = detector_for(MoeMambaConfig(dropout=dropout), layers=args.layers, width=D_IN)
    return detector.to(args.device)


def compiled_head(args, backend):
    return torch.compile(our_head(args, backend))


def peer_head(args):
    torch.manual_seed(0)
    head = PeerHead()
    return Detector(
        GivenFeatures(args.layers, D_IN), head, OcSoftmax(OcSoftmaxConfig(), head.d_embedding)
    ).to(args.device)


def milliseconds(call, runs, device):
    """Median of ``runs`` calls after warming up."""
    times = []
    for _ in range(runs + max(1, runs // 10)):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[-runs:])


def kernels_of(call):
    """Kernels that one call runs on the GPU, and their time in ms; fails where profiling does."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return len(events), sum(event.time_range.elapsed_us() for event in events) / 1e3


def attempt(name, work):
    """Run ``work``; if it cannot run, say why and go on."""
    try:
        return work()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        print(f"  {name:34}not run: {type(error).__name__}: {reason[:150]}", flush=True)
        return None


def compare_times(args):
    print(
        f"Training step: batch {args.batch}, {args.layers} layers x {D_IN}, {args.frames} frames, "
        f"width {D_MODEL}, {'TF32' if args.tf32 else 'float32'}"
    )
    inputs, bonafide = example(args)
    peer, heads = {"6 + 6 mamba_ssm blocks": partial(peer_head, args)}, {}
    for backend in ("mamba_ssm", "torch") if args.device == "cuda" else ("torch",):
        heads[f"moe_mamba, {backend}"] = partial(our_head, args, backend)
        if args.compile:
            heads[f"moe_mamba, {backend}, compiled"] = partial(compiled_head, args, backend)
    times = {}
    for name, make in (peer | heads if args.device == "cuda" else heads).items():
        for as_graph in (False, True) if args.device == "cuda" else (False,):
            label = name + (", graph" if as_graph else "")

            def work(make=make, as_graph=as_graph):
                step = Step(make(), inputs, bonafide)
                call = step.captured() if as_graph else step
                return milliseconds(call, args.runs, args.device), call

            done = attempt(label, work)
            if done is None:
                continue
            times[label] = done[0]
            line = f"  {label:34}{done[0]:9.2f} ms"
            if args.device == "cuda":
                launched = attempt("profile of " + label, partial(kernels_of, done[1]))
                if launched is not None:
                    line += f"{launched[0]:7} kernels, {launched[1]:.2f} ms on the GPU"
            print(line, flush=True)
    for label, taken in times.items():
        if not label.startswith("6 + 6"):
            args.figures.add(label, taken, "ms", times.get("6 + 6 mamba_ssm blocks"), False)


def relative(ours, theirs):
    ours, theirs = (torch.cat([x.detach().flatten().double() for x in group]) for group in (ours, theirs))
    return ((ours - theirs).norm() / theirs.norm()).item()


def check_backends(args):
    """The same weights and batch by both backends."""
    inputs, bonafide = example(args)
    found = {}
    for backend in ("torch", "mamba_ssm"):
        detector = our_head(args, backend, dropout=0.0)
        detector(inputs, bonafide).backward()
        found[backend] = (
            [parameter.grad for parameter in detector.parameters()],
            detector.score_prepared(inputs),
        )
    gradients, scores = zip(found["torch"], found["mamba_ssm"], strict=True)
    print(f"  both backends: scores differ by {relative(*([x] for x in scores)):.1e}", end=", ")
    print(f"gradients by {relative(*gradients):.1e} (relative)", flush=True)


def check_graph(args, backend, steps=8):
    """Training by replays of a graph against training step by step, without dropout."""
    inputs, bonafide = example(args)
    plain = our_head(args, backend, dropout=0.0)
    start = copy.deepcopy(plain.state_dict())
    step = Step(plain, inputs, bonafide)
    for _ in range(3 + steps):  # a capture warms up with three steps
        step()
    captured = our_head(args, backend, dropout=0.0)
    replay = Step(captured, inputs, bonafide).captured()
    for _ in range(steps):
        replay()
    moved = [now - then for now, then in zip(plain.state_dict().values(), start.values(), strict=True)]
    error = [x - y for x, y in zip(captured.parameters(), plain.parameters(), strict=True)]
    size = torch.cat([x.flatten() for x in moved]).norm()
    difference = torch.cat([x.detach().flatten() for x in error]).norm()
    print(f"  {backend}: graph and single steps differ by {difference / size:.1e} of what {steps} steps move")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, default=201)
    parser.add_argument("--layers", type=int, default=25)
    parser.add_argument("--runs", type=int, default=0, help="default: 50 on CUDA, 3 on a CPU")
    parser.add_argument("--compile", action="store_true", help="also time the compiled head (minutes)")
    parser.add_argument("--tf32", action="store_true", help="let CUDA multiply matrices in TF32")
    figures.add_option(parser)
    args = parser.parse_args()
    args.runs = args.runs or (50 if args.device == "cuda" else 3)
    if args.compile:
        # The scans are opaque to the compiler: it compiles what stands between them.
        asvtk.nn.mamba.selective_scan = torch.compiler.disable(asvtk.nn.mamba.selective_scan)
    if args.tf32:
        torch.set_float32_matmul_precision("high")
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {where}")
    compare_times(args)
    if args.device == "cuda":
        print("Agreement")
        attempt("both backends", partial(check_backends, args))
        for backend in ("mamba_ssm", "torch"):
            attempt(f"graph, {backend}", partial(check_graph, args, backend))


if __name__ == "__main__":
    main()
