#!/usr/bin/env python3
"""Our forward pass of a self-supervised model against that of transformers, in one run.

  tools/bench/ssl_forward.py --device cuda --precision bfloat16 --batches 1 16 64 128
  tools/bench/ssl_forward.py --device cpu --precision float32 --batches 1 8

A randomly initialised model of the true WavLM-Large shape (or --model xlsr: XLS-R-300M) hears 64,600
samples; all 25 hidden states are kept. Prints utterances a second of both, the share of the rate of
a large matrix product that ours reaches, and the largest relative error of any hidden state against
transformers in float32.
"""

import argparse
import copy
import functools
import statistics
import time

import torch
import transformers

from asvtk.frontends.ssl.encoder import SslEncoder
from asvtk.nn.cuda_graph import CudaGraphs

SAMPLES = 64_600
OPERATIONS = 145e9  # of one utterance's forward pass
LARGE = dict(
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
    conv_bias=True,
)


def build_model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "wavlm":
        config = transformers.WavLMConfig(num_buckets=320, max_bucket_distance=800, **LARGE)
        return transformers.WavLMModel(config).eval()
    return transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**LARGE)).eval()


def seconds(function, device: str, repeat: int) -> float:
    """Median time of a call, after two that do not count."""
    times = []
    for turn in range(repeat + 2):
        started = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        if turn >= 2:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def ceiling(device: str, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    n = 8192 if device == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 / seconds(lambda: a @ a, device, 10)


def largest_error(model, encoder, audio) -> float:
    output = model(audio, output_hidden_states=True)
    errors = [
        ((ours.float() - theirs).norm() / theirs.norm()).item()
        for ours, theirs in zip(
            encoder(audio), [*output.hidden_states[:-1], output.last_hidden_state], strict=True
        )
    ]
    return max(errors)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("wavlm", "xlsr"), default="wavlm")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False
    dtype = getattr(torch, args.precision)

    with torch.inference_mode():
        model = build_model(args.model).to(args.device)
        encoder = SslEncoder(copy.deepcopy(model), dtype=dtype).to(args.device)
        audio = torch.randn(max(args.batches), SAMPLES, device=args.device)
        print(f"torch {torch.__version__}, transformers {transformers.__version__}, {args.precision}")
        print(f"largest relative error of a hidden state: {largest_error(model, encoder, audio[:2]):.1e}")
        model = model.to(dtype)
        limit = ceiling(args.device, dtype)
        print(f"large matrix product: {limit / 1e12:.2f} TFLOP/s")
        print(f"{'batch':>5}  {'transformers':>12}  {'asvtk':>8}  utterances/s   ratio   of the ceiling")
        forward = functools.partial(CudaGraphs(), encoder) if args.device == "cuda" else encoder
        for batch in args.batches:
            heard = audio[:batch].clone()
            rounded = heard.to(dtype)
            theirs = batch / seconds(
                lambda heard=rounded: model(heard, output_hidden_states=True), args.device, args.repeat
            )
            ours = batch / seconds(lambda heard=heard: forward(heard), args.device, args.repeat)
            share = ours * OPERATIONS / limit
            print(
                f"{batch:5}  {theirs:12.2f}  {ours:8.2f}  {'':12}  {ours / theirs:6.2f}  {100 * share:8.1f} %"
            )


if __name__ == "__main__":
    main()
