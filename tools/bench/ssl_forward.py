#!/usr/bin/env python3
"""Our forward pass of a self-supervised model against that of transformers, in one run.

  tools/bench/ssl_forward.py --device cuda --precision bfloat16 --batches 1 16 64 128
  tools/bench/ssl_forward.py --device cpu --precision float32 --batches 1 8
  tools/bench/ssl_forward.py --device cuda --precision bfloat16 --model "XLS-R 2B" --blocks 9 --alone
  tools/bench/ssl_forward.py --agreement --blocks 3 [--folder DIR ...]

A randomly initialised model of the true shape (WavLM-Large, or --model) hears 64,600 samples; all hidden
states are kept. Prints utterances a second of both, the share of the rate of a large matrix product that
ours reaches, and the largest relative error of any hidden state against transformers in float32. Beside
float8, transformers and the large product are in bfloat16. --alone leaves transformers' out, so that the
memory of the GPU is that of ours.

With --agreement, the table of docs/encoders.md instead: for every architecture in the true width of a
published model, but with a few blocks, the largest relative error of a hidden state in each precision. A
folder that save_pretrained() wrote is measured as it is.
"""

import argparse
import copy
import functools
import statistics
import time
from pathlib import Path

import figures
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from asvtk.frontends.ssl.architecture import read_architecture
from asvtk.frontends.ssl.frontend import encoder_class
from asvtk.frontends.ssl.weights import load_model
from asvtk.nn.cuda_graph import CudaGraphs
from asvtk.nn.float8 import dtype_of, wide

SAMPLES = 64_600
LARGE = dict(
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
    conv_bias=True,
)
BASE = dict(hidden_size=768, num_attention_heads=12, intermediate_size=3072)
XLS_R = {
    "1B": dict(hidden_size=1280, intermediate_size=5120),
    "2B": dict(hidden_size=1920, intermediate_size=7680),
}
#: published model -> architecture of transformers, and its width
PUBLISHED = {
    "WavLM-Base": ("WavLM", BASE),
    "WavLM-Large": ("WavLM", LARGE | dict(num_buckets=320, max_bucket_distance=800)),
    "wav2vec 2.0 Base": ("Wav2Vec2", BASE),
    "XLS-R 300M": ("Wav2Vec2", LARGE),
    "XLS-R 1B": ("Wav2Vec2", LARGE | XLS_R["1B"]),
    "XLS-R 2B": ("Wav2Vec2", LARGE | XLS_R["2B"]),
    "HuBERT Base, mHuBERT-147": ("Hubert", BASE),
    "HuBERT Large": ("Hubert", LARGE),
    "UniSpeech-SAT Base": ("UniSpeechSat", BASE),
    "UniSpeech-SAT Large": ("UniSpeechSat", LARGE),
    "data2vec-audio Base": ("Data2VecAudio", BASE),
    "w2v-BERT 2.0": ("Wav2Vec2Bert", {}),  # whose defaults are its own
    "Whisper tiny": ("Whisper", dict(d_model=384, encoder_attention_heads=6, encoder_ffn_dim=1536)),
    "Whisper large-v3": (
        "Whisper",
        dict(d_model=1280, encoder_attention_heads=20, encoder_ffn_dim=5120, num_mel_bins=128),
    ),
}


def build_small(architecture: str, options: dict, blocks: int) -> torch.nn.Module:
    """A model of that width with so many blocks, random weights."""
    torch.manual_seed(0)
    depth = {"encoder_layers": blocks} if architecture == "Whisper" else {"num_hidden_layers": blocks}
    config = getattr(transformers, f"{architecture}Config")(**{**options, **depth})
    if architecture == "Whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder as cls
    else:
        cls = getattr(transformers, f"{architecture}Model")
    return cls(config).eval()


def states_of_transformers(model: torch.nn.Module, audio: torch.Tensor) -> list[torch.Tensor]:
    """Hidden states of one utterance (samples,), from the features that transformers makes of it."""
    audio = audio.numpy()
    if model.config.model_type == "whisper":
        extractor = transformers.WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
        given = extractor(
            audio, sampling_rate=16000, padding="do_not_pad", return_tensors="pt"
        ).input_features
        # It hears 30 s unless its positions are fewer: here as many as there are frames.
        model = copy.deepcopy(model)
        model.config.max_source_positions = given.shape[2] // 2
        cut = model.embed_positions.weight[: given.shape[2] // 2]
        model.embed_positions = torch.nn.Embedding.from_pretrained(cut)
    elif model.config.model_type == "wav2vec2-bert":
        extractor = transformers.SeamlessM4TFeatureExtractor()
        given = extractor(audio, sampling_rate=16000, return_tensors="pt").input_features
    else:
        given = torch.from_numpy(audio)[None]
    output = model(given, output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


def print_agreement(blocks: int, folders: list[str]) -> None:
    models = {name: functools.partial(build_small, *kind, blocks) for name, kind in PUBLISHED.items()}
    for folder in folders:
        architecture = read_architecture(Path(folder), folder)
        models[Path(folder).name] = functools.partial(
            load_model, Path(folder), architecture, architecture.depth
        )
    audio = 0.1 * torch.randn(64_000, generator=torch.Generator().manual_seed(0))
    precisions = "float32", "bfloat16", "float16", "float8"
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, 64,000 samples\n")
    print("| Model | blocks | " + " | ".join(precisions) + " |\n|---|--:|" + "--:|" * len(precisions))
    for name, build in models.items():
        model = build()
        expected, worst = states_of_transformers(model, audio), []
        for precision in precisions:
            if precision == "float8" and model.config.model_type == "wav2vec2-bert":
                worst.append("-")
                continue
            ours = encoder_class(model.config.model_type)(model, dtype=dtype_of(precision))(audio[None])
            errors = [(x.float() - y).norm() / y.norm() for x, y in zip(ours, expected, strict=True)]
            worst.append(f"{max(errors).item():.1e}")
        print(f"| {name} | {len(expected) - 1} | " + " | ".join(worst) + " |", flush=True)


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


@torch.no_grad()
def count_operations(model, audio: torch.Tensor) -> int:
    """Floating-point operations of the forward pass of one utterance, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        model(audio[:1])
    return counter.get_total_flops()


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
    parser.add_argument("--model", choices=list(PUBLISHED), metavar="NAME", default="WavLM-Large")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "float16", "float8"), default="float32"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--agreement", action="store_true", help="the table of agreement, on the CPU")
    parser.add_argument("--blocks", type=int, default=24, help="of the model, or of each of that table")
    parser.add_argument(
        "--alone", action="store_true", help="without transformers: the memory is that of ours"
    )
    parser.add_argument("--folder", nargs="+", default=[], help="further models of that table")
    figures.add_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False
    dtype = dtype_of(args.precision)
    if args.agreement:
        with torch.inference_mode():
            print_agreement(args.blocks, args.folder)
        return

    model = build_small(*PUBLISHED[args.model], args.blocks).to(args.device)
    audio = torch.randn(max(args.batches), SAMPLES, device=args.device)
    operations = count_operations(model, audio)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {args.precision}")
    print(f"{args.model}, {args.blocks} blocks: {operations / 1e9:.0f} GFLOP an utterance")
    with torch.inference_mode():
        encoder = encoder_class(model.config.model_type)(copy.deepcopy(model), dtype=dtype).to(args.device)
        if not args.alone:
            error = largest_error(model, encoder, audio[:2])
            print(f"largest relative error of a hidden state: {error:.1e}")
            args.figures.add("largest relative error of a hidden state", error, "", higher_is_better=False)
        model = None if args.alone else model.to(wide(dtype))
        limit = ceiling(args.device, wide(dtype))
        print(f"large matrix product: {limit / 1e12:.2f} TFLOP/s")
        print("batch  transformers     asvtk  utterances/s   ratio   of the ceiling   GPU memory")
        forward = functools.partial(CudaGraphs(), encoder) if args.device == "cuda" else encoder
        for batch in args.batches:
            heard = audio[:batch].clone()
            theirs = float("nan")
            if model is not None:
                rounded = heard.to(wide(dtype))
                turn = functools.partial(model, rounded, output_hidden_states=True)
                theirs = batch / seconds(turn, args.device, args.repeat)
            if args.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            ours = batch / seconds(functools.partial(forward, heard), args.device, args.repeat)
            args.figures.add(f"batch {batch}", ours, "utterances/s", None if args.alone else theirs)
            share = 100 * ours * operations / limit
            args.figures.add(f"batch {batch}, of a large matrix product", share, "%")
            memory = torch.cuda.max_memory_reserved() / 1e9 if args.device == "cuda" else float("nan")
            print(
                f"{batch:5}  {theirs:12.2f}  {ours:8.2f}  {'':12}  {ours / theirs:6.2f}  "
                f"{share:13.1f} %  {memory:8.1f} GB"
            )


if __name__ == "__main__":
    main()
