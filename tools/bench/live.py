#!/usr/bin/env python3
"""Training steps of WavLM-MoE-Mamba with its speech model inside: utterances a second, and memory.

  tools/bench/live.py --device cuda [--batch 16] [--steps 50] [--trainable 6] [--utterances 2000]
  tools/bench/live.py --small            # a tiny model, to try it anywhere
  tools/bench/live.py --device cuda --config egs/asvspoof2019_la/conf/xlsr_*.yaml   # these, as they are

A randomly initialised model of WavLM-Large's shape hears 64,600 samples; MoE-Mamba weighs all its layers.
Frozen, and with its top blocks trained, in bfloat16:

  asvtk live   LiveSsl, GradientStep and optimiser, as stage 3 uses them, on audio that is on the GPU
  asvtk split  the same above given layers, as from a cache
  plain        transformers' model in evaluation mode under autocast in an eager loop, the same head
  loading      the audio alone: FLAC files through Loader, decoded, RawBoost 5 anew, copied to the GPU

With --config, a row of each configuration instead, with its own batch and precision.

What trains at the slower of two rates, live and loading, is said at the end. Memory is the peak that torch
allocated for model, optimiser and step. Never run as a test.
"""

import argparse
import dataclasses
import gc
import statistics
import tempfile
import time
from pathlib import Path

import figures
import numpy as np
import soundfile
import torch
import transformers
from torch import nn

from asvtk.augment.config import AugmentationConfig
from asvtk.frontends.base import Crop
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.frontends.ssl.frontend import Ssl, SslConfig
from asvtk.io.datadir import BONAFIDE
from asvtk.models import Batch, assemble
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmaxConfig
from asvtk.nn.selective_scan import active_backend
from asvtk.testing import detector_for
from asvtk.training.config import Rates, TrainingConfig, load_config
from asvtk.training.dataloader import Loader
from asvtk.training.dataset import UtteranceDataset
from asvtk.training.optim import build_optimiser, set_rates
from asvtk.training.sampler import sample_epoch
from asvtk.training.step import GradientStep

SAMPLES = 64_600
LARGE = dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
FULL = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
SMALL = dict(hidden_size=64, num_hidden_layers=8, num_attention_heads=4, intermediate_size=128)


class Data:
    """What a data set needs to know of a data directory: noise as FLAC files."""

    def __init__(self, folder: Path, utterances: int):
        self.utterances = [f"U{number:06d}" for number in range(utterances)]
        self.label = {u: BONAFIDE if n % 10 == 0 else "spoof" for n, u in enumerate(self.utterances)}
        self.attack = dict.fromkeys(self.utterances, "A01")
        self.path, rng = folder, np.random.default_rng(0)
        files = [folder / f"{number}.flac" for number in range(min(utterances, 200))]
        for path in files:
            soundfile.write(path, 0.1 * rng.standard_normal(SAMPLES), 16000, subtype="PCM_16")
        self.wav = {u: str(files[n % len(files)]) for n, u in enumerate(self.utterances)}
        self.num_samples = dict.fromkeys(self.utterances, SAMPLES)
        self.md5, self.source = dict.fromkeys(self.utterances), {}


class Plain(nn.Module):
    """What a short script does."""

    def __init__(self, model: nn.Module, trainable: int, head: nn.Module):
        super().__init__()
        self.model, self.head, self.trainable = model.eval(), head, trainable
        model.requires_grad_(False)
        if trainable:
            model.encoder.layers[-trainable:].requires_grad_(True)
            model.encoder.layer_norm.requires_grad_(True)

    def forward(self, inputs: Batch, bonafide: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(self.trainable > 0):
            output = self.model(inputs.features, output_hidden_states=True)
            states = torch.stack([*output.hidden_states[:-1], output.last_hidden_state], dim=1).float()
        lengths = torch.full((len(states),), states.shape[2], device=states.device)
        return self.head(inputs._replace(features=states, lengths=lengths), bonafide)


def new_model(args) -> nn.Module:
    torch.manual_seed(0)
    shape = SMALL if args.small else FULL
    return transformers.WavLMModel(transformers.WavLMConfig(**shape, **LARGE)).eval()


def our_step(args, trainable: int, split: bool):
    with tempfile.TemporaryDirectory() as folder:
        new_model(args).save_pretrained(folder)
        config = SslConfig(folder, cache=split, trainable=trainable, precision="bfloat16")
        frontend = Ssl(config).load(lower=not split)
    head = assemble(frontend, MoeMambaConfig(), OcSoftmaxConfig()).to(args.device).train()
    rates = Rates((("frontend", 1e-6),)) if trainable else Rates()
    optimiser = build_optimiser(head, TrainingConfig(lr=5e-5, rates=rates))
    set_rates(optimiser, 5e-5)
    step = GradientStep(head, 1.0, precision="bfloat16", record=args.device == "cuda" and not args.eager)

    def call(batch):
        step([batch], args.batch)
        optimiser.step()

    return call


def configured_step(args, config):
    """The training step of a configuration, its speech model with random weights; everything is trained."""
    family = "WavLM" if "wavlm" in config.frontend.model else "Wav2Vec2"
    shape = (SMALL if args.small else FULL) | dict(num_hidden_layers=24)
    with tempfile.TemporaryDirectory() as folder:
        model = getattr(transformers, f"{family}Model")
        model(getattr(transformers, f"{family}Config")(**shape, **LARGE)).save_pretrained(folder)
        frontend = Ssl(dataclasses.replace(config.frontend, model=folder)).load(lower=True)
    detector = assemble(frontend, config.model, config.loss).to(args.device).train()
    optimiser = build_optimiser(detector, config.training)
    set_rates(optimiser, config.training.lr)
    bfloat16 = config.training.precision == "bfloat16"
    step = GradientStep(
        detector, config.training.grad_clip, bfloat16, args.device == "cuda" and not args.eager
    )

    def call(batch):
        step([batch], args.batch)
        optimiser.step()

    return call


def plain_step(args, trainable: int):
    model = new_model(args)
    depth, width = model.config.num_hidden_layers, model.config.hidden_size
    detector = Plain(model, trainable, detector_for(MoeMambaConfig(), layers=depth + 1, width=width))
    detector.to(args.device)
    detector.head.train()
    groups = [{"params": detector.head.parameters(), "lr": 5e-5}]
    if trainable:
        groups.append({"params": [p for p in model.parameters() if p.requires_grad], "lr": 1e-6})
    optimiser = torch.optim.AdamW(groups)

    def call(batch):
        optimiser.zero_grad()
        with torch.autocast(args.device, torch.bfloat16):
            loss = detector(*batch)
        loss.backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimiser.step()
        loss.item()

    return call


def example(args, split_layers: int = 0):
    """A batch of audio, or of layers, on the device."""
    generator = torch.Generator().manual_seed(0)
    shape, length = (SAMPLES,), SAMPLES
    if split_layers:
        shape, length = (split_layers, 201, SMALL["hidden_size"] if args.small else FULL["hidden_size"]), 201
    given = torch.randn(args.batch, *shape, generator=generator)
    inputs = Batch(given, torch.full((args.batch,), length), None, None).to(args.device)
    return inputs, (torch.arange(args.batch) % 2 == 0).to(args.device)


def measure(args, make, batch) -> float:
    """Utterances a second; prints them, and the peak of memory."""
    gc.collect()
    on_gpu = args.device == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step, times = make(), []
    for turn in range(args.steps + 5):
        begun = time.perf_counter()
        step(batch)
        if on_gpu:
            torch.cuda.synchronize()
        if turn >= 5:
            times.append(time.perf_counter() - begun)
    rate = args.batch / statistics.median(times)
    memory = f"{torch.cuda.max_memory_allocated() / 2**30:8.1f} GiB" if on_gpu else ""
    print(f"{rate:10.1f} utterances/s {memory}", flush=True)
    return rate


def loading_rate(args) -> float:
    """Utterances a second through the loader, augmented anew."""
    with tempfile.TemporaryDirectory() as folder:
        data = Data(Path(folder), args.utterances)
        frontend = Lfcc(LfccConfig(crop=Crop(SAMPLES), cache=False))  # which does nothing to audio
        dataset = UtteranceDataset(data, frontend, augmentation=AugmentationConfig())
        dataset.serve(detector_for(MoeMambaConfig()).model)  # a back-end that uses features alone
        order = sample_epoch(dataset.bonafide, 1, balance=False)
        batches = [order[i : i + args.batch] for i in range(0, len(order), args.batch)]
        loaded = Loader(dataset, args.device, args.workers)(batches, 1)
        next(loaded)  # the workers have started
        begun = time.perf_counter()
        count = sum(len(bonafide) for _, bonafide in loaded)
        return count / (time.perf_counter() - begun)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--trainable", type=int, default=6)
    parser.add_argument("--utterances", type=int, default=2000, help="to load (default 2000)")
    parser.add_argument("--workers", type=int, help="of the loader (default: as many as stage 3 takes)")
    parser.add_argument("--eager", action="store_true", help="without CUDA graphs")
    parser.add_argument("--small", action="store_true", help="a tiny model")
    parser.add_argument("--config", nargs="+", default=[], metavar="FILE", help="configurations to measure")
    figures.add_option(parser)
    args = parser.parse_args()
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, {where}, scan by "
        f"{active_backend(args.device)}; batch {args.batch}, {SAMPLES} samples"
    )
    for path in args.config:
        config = load_config(path)
        args.batch = config.training.batch_size
        print(f"  {Path(path).name:<32} batch {args.batch:3} ", end="", flush=True)
        rate = measure(args, lambda config=config: configured_step(args, config), example(args))
        print(f"  {25_380 / rate:.0f} s for 25,380 utterances", flush=True)
    if args.config:
        return
    depth = (SMALL if args.small else FULL)["num_hidden_layers"]
    audio, rates = example(args), {}
    for trainable in (0, args.trainable):
        what = f"top {trainable} trained" if trainable else "frozen"
        print(f"  {what:<15} asvtk live  ", end="", flush=True)
        rates[trainable] = measure(args, lambda n=trainable: our_step(args, n, split=False), audio)
        if trainable:
            print(f"  {what:<15} asvtk split ", end="", flush=True)
            layers = example(args, depth - trainable + 1)
            measure(args, lambda n=trainable: our_step(args, n, split=True), layers)
            del layers
        print(f"  {what:<15} plain       ", end="", flush=True)
        theirs = measure(args, lambda n=trainable: plain_step(args, n), audio)
        args.figures.add(what, rates[trainable], "utterances/s", theirs)
        print(f"  {what:<15} live is {rates[trainable] / theirs:.2f} times as fast as plain")
    loading = loading_rate(args)
    args.figures.add("loading, RawBoost 5 anew", loading, "utterances/s")
    print(f"  loading, RawBoost 5 anew    {loading:10.1f} utterances/s")
    for trainable, rate in rates.items():
        bound = "computing" if rate < loading else "loading"
        seconds = 25_380 / min(rate, loading)
        print(f"  25,380 utterances, {trainable} blocks trained: {seconds:.0f} s an epoch, bound by {bound}")


if __name__ == "__main__":
    main()
