#!/usr/bin/env python3
"""Selective scan, forward and backward: time, agreement, and cost against length.

  tools/bench/scan.py [--device cpu|cuda] [--batch N --channels N --states N --frames N] [--runs N]

Beside the torch backend it runs a plain loop over the frames, and on CUDA, where the package is
installed, the reference loop and the kernel of mamba_ssm; what cannot run says why. Agreement is with
the definition, step by step in float64. Times are medians. Never run as a test.
"""

import argparse
import statistics
import time
from functools import partial

import figures
import torch

from asvtk.io.errors import AsvtkError
from asvtk.nn.selective_scan import select_backend, selective_scan

FRAMES_PER_SECOND = 50
LENGTHS_FOR_AGREEMENT = (1, 2, 3, 5, 16, 17, 63, 64, 65, 100, 201, 255, 400, 1000, 2000)
LENGTHS_FOR_COST = (201, 401, 801, 1601, 3201)  # 4 to 64 s


def plain_loop(u, delta, A, B, C, D):
    """The recurrence as one first writes it: all factors at once, then frame after frame."""
    heads = u.shape[1] // B.shape[1]
    B, C = (x.repeat_interleave(heads, dim=1) for x in (B, C))
    decay = torch.exp(torch.einsum("bcl,cn->bcln", delta, A))
    added = torch.einsum("bcl,bcnl,bcl->bcln", delta, B, u)
    state, ys = torch.zeros_like(added[:, :, 0]), []
    for t in range(u.shape[2]):
        state = decay[:, :, t] * state + added[:, :, t]
        ys.append(torch.einsum("bcn,bcn->bc", state, C[..., t]))
    return torch.stack(ys, dim=2) + u * D.unsqueeze(-1)


def definition(u, delta, A, B, C, D):
    """The recurrence with no factor kept, so that its gradient in float64 is cheap for long sequences."""
    heads = u.shape[1] // B.shape[1]
    u_t, delta_t = u.unbind(2), delta.unbind(2)
    B_t, C_t = (x.repeat_interleave(heads, dim=1).unbind(3) for x in (B, C))
    state, ys = u.new_zeros(*u.shape[:2], A.shape[1]), []
    for u, delta, B, C in zip(u_t, delta_t, B_t, C_t, strict=True):
        state = torch.exp(delta.unsqueeze(-1) * A) * state + (delta * u).unsqueeze(-1) * B
        ys.append((state * C).sum(-1) + D * u)
    return torch.stack(ys, dim=2)


def backend(name):
    """The scan by one backend; raises where that cannot run."""
    select_backend(name)

    def scan(*inputs):
        select_backend(name)
        return selective_scan(*inputs)

    return scan


def reference_of_mamba_ssm():
    from mamba_ssm.ops.selective_scan_interface import selective_scan_ref

    return selective_scan_ref


def draw(batch, channels, groups, states, length, device, dtype=torch.float32):
    """Inputs as a trained block has them: steps between 0.001 and 0.1, decay rates between 1 and 16."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = (
        normal(batch, channels, length),
        1e-3 * 100 ** torch.rand(batch, channels, length, generator=generator, dtype=torch.float64),
        -torch.arange(1.0, states + 1, dtype=torch.float64).repeat(channels, 1)
        * torch.exp(0.1 * normal(channels, 1)),
        normal(batch, groups, states, length),
        normal(batch, groups, states, length),
        normal(channels),
    )
    return [x.to(device, dtype).requires_grad_() for x in inputs]


def forward_and_backward(scan, inputs, weights):
    y = scan(*inputs)
    return y, *torch.autograd.grad(y, inputs, weights)


def captured(call):
    """The same work as a CUDA graph: one launch for all of it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def milliseconds(call, runs, device, seconds=20.0):
    """Median of ``runs`` calls after a warm-up; of fewer if they would take longer than ``seconds``."""
    times, begin = [], time.perf_counter()
    while len(times) <= runs and (len(times) < 1 or time.perf_counter() - begin < seconds):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:] or times)


def attempt(name, work):
    """Run ``work``; if it cannot run, say why and go on."""
    try:
        return work()
    except (AsvtkError, ImportError, RuntimeError, AttributeError, OSError, TypeError, ValueError) as error:
        print(
            f"  {name:28}not run: {type(error).__name__}: {str(error).strip().splitlines()[0][:150]}",
            flush=True,
        )
        return None


def compare_times(args, batch, variants):
    """Times of the variants, each a function that makes a scan and whether a CUDA graph holds it."""
    print(
        f"Forward + backward: batch {batch}, {args.channels} channels, {args.states} states, "
        f"{args.frames} frames"
    )
    inputs = draw(batch, args.channels, 1, args.states, args.frames, args.device)
    weights = torch.randn_like(inputs[0])
    times = {}
    for name, (make, as_graph) in variants.items():

        def median(make=make, as_graph=as_graph):
            call = partial(forward_and_backward, make(), inputs, weights)
            return milliseconds(captured(call) if as_graph else call, args.runs, args.device)

        found = attempt(name, median)
        if found is not None:
            times[name] = found
            ours = next(iter(times.values()))
            print(f"  {name:28}{found:10.2f} ms{found / ours:10.2f} x torch backend", flush=True)
    loop = times.pop("plain loop", None)
    for name, found in times.items() if loop else ():
        args.figures.add(f"{name}, batch {batch}, {args.frames} frames", found, "ms", loop, False)


def check_agreement(args):
    names = ("torch", "mamba_ssm") if args.device == "cuda" else ("torch",)
    shortest, longest = LENGTHS_FOR_AGREEMENT[0], LENGTHS_FOR_AGREEMENT[-1]
    print(f"Agreement with the definition in float64, {shortest} to {longest} frames")
    scans = {name: attempt(name, partial(backend, name)) for name in names}
    worst = {name: [0.0, 0.0] for name, scan in scans.items() if scan}
    for length in LENGTHS_FOR_AGREEMENT:
        exact = draw(2, 8, 2, 16, length, "cpu", torch.float64)
        weights = torch.randn(exact[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        expected = forward_and_backward(definition, exact, weights)
        for name in worst:
            single = [x.detach().to(args.device, torch.float32).requires_grad_() for x in exact]
            found = forward_and_backward(scans[name], single, weights.to(args.device, torch.float32))
            errors = [
                ((ours.cpu().double() - theirs).norm() / theirs.norm()).item()
                for ours, theirs in zip(found, expected, strict=True)
            ]
            worst[name] = [max(worst[name][0], errors[0]), max(worst[name][1], *errors[1:])]
    for name, (forward, gradient) in worst.items():
        print(
            f"  {name:28}forward {forward:.1e}, gradients {gradient:.1e} (largest relative error)", flush=True
        )


def compare_lengths(args):
    batch = args.batch if args.device == "cuda" else min(args.batch, 2)
    print(f"Cost against length: batch {batch}, {args.channels} channels, {args.states} states")
    for name in ("torch", "mamba_ssm") if args.device == "cuda" else ("torch",):
        scan = attempt(name, partial(backend, name))
        for length in LENGTHS_FOR_COST if scan else ():
            inputs = draw(batch, args.channels, 1, args.states, length, args.device)
            weights = torch.randn_like(inputs[0])
            if args.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            median = milliseconds(partial(forward_and_backward, scan, inputs, weights), 5, args.device, 4.0)
            seconds = length / FRAMES_PER_SECOND
            line = f"  {name:12}{seconds:6.1f} s{length:7} frames{median:10.2f} ms"
            line += f"{median / seconds:8.3f} ms per s"
            if args.device == "cuda":
                line += f"{(torch.cuda.max_memory_allocated() - before) / 2**20:9.0f} MiB"
            print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--channels", type=int, default=288)
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--frames", type=int, default=201)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument(
        "--loop-batch", type=int, default=4, help="batch of the plain loop on a CPU: it is slow"
    )
    figures.add_option(parser)
    args = parser.parse_args()
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {where}")
    ours, loop = (
        {"torch backend": (partial(backend, "torch"), False)},
        {"plain loop": (lambda: plain_loop, False)},
    )
    if args.device == "cuda":
        others = {
            "torch backend, CUDA graph": (partial(backend, "torch"), True),
            "mamba_ssm kernel": (partial(backend, "mamba_ssm"), False),
            "mamba_ssm reference": (reference_of_mamba_ssm, False),
        }
        compare_times(args, args.batch, ours | others | loop)
    else:
        compare_times(args, args.batch, ours)
        compare_times(args, min(args.batch, args.loop_batch), ours | loop)
    check_agreement(args)
    compare_lengths(args)


if __name__ == "__main__":
    main()
