#!/usr/bin/env python3
"""One epoch of training over a cache of features, with reading them, beside a plain loop.

  tools/bench/training.py DIR [--utterances N --layers N --frames N --batch N] [--device cpu|cuda]
  tools/bench/training.py DIR --device cuda --distinct 1500 --most-steps 500               # in two minutes
  tools/bench/training.py DIR --device cuda --distinct 300 --most-steps 150 --layers 25
  tools/bench/training.py DIR --device cuda --distinct 1500 --layers 1 --batch 128 \\
      --config egs/asvspoof2019_la/conf/xlsr_layer5_aasist.yaml

DIR takes a synthetic cache and keeps it for the next call: Kaldi arks of 16 bits (CM2), 31 GB for
25,380 utterances of 3 layers, 201 frames and 1024 numbers. --distinct 2000 writes so many utterances,
and all others read theirs, from the page cache. The head is asvtk's moe_mamba with OC-Softmax, or model,
loss and training of --config FILE. Timed, after
the first steps of an epoch, and with --most-steps in so many of them, from which the time of all follows:

  asvtk      Loader, GradientStep and optimiser, as stage 3 uses them
  compute    the same steps on one batch that stays on the GPU: what reading costs is the difference
  reading    Loader alone
  plain      kaldiio in a torch DataLoader with 4 workers, eager steps of the same head, whose Mamba
             blocks are mamba_ssm's own where that is installed

Busy is the share of samples (10 a second) in which nvidia-smi's counter says that a kernel ran, and
compute / asvtk beside it, which no sampling blurs. Never run as a test.
"""

import argparse
import statistics
import threading
import time
from pathlib import Path

import figures
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from asvtk.frontends.cache.store import CachedFeatures
from asvtk.io.ark import ArkWriter, read_scp
from asvtk.io.datadir import BONAFIDE
from asvtk.models import Batch
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.selective_scan import active_backend
from asvtk.testing import GivenFeatures, detector_for
from asvtk.training.config import TrainingConfig, load_config
from asvtk.training.dataloader import Loader
from asvtk.training.dataset import UtteranceDataset
from asvtk.training.optim import build_optimiser
from asvtk.training.sampler import sample_epoch
from asvtk.training.step import GradientStep

D_IN = 1024


class FakeData:
    """What a data set needs to know of a data directory."""

    def __init__(self, utterances: int):
        self.utterances = [f"U{number:06d}" for number in range(utterances)]
        self.label = {u: BONAFIDE if n % 10 == 0 else "spoof" for n, u in enumerate(self.utterances)}
        self.attack = dict.fromkeys(self.utterances, "A01")
        self.source = {}
        self.num_samples = dict.fromkeys(self.utterances, 64_600)
        self.path = Path("synthetic")


class Repeated(CachedFeatures):
    """A cache of fewer matrices than utterances: each stands for several, under the name of the first."""

    def __init__(self, scps: list[dict], distinct: int):
        super().__init__(scps)
        self._distinct = distinct

    def __getitem__(self, utterance: str) -> np.ndarray:
        return super().__getitem__(self._name(utterance))

    def find(self, utterance: str):
        return super().find(self._name(utterance))

    def _name(self, utterance: str) -> str:
        return f"U{int(utterance[1:]) % self._distinct:06d}"


def write_cache(folder: Path, args) -> list[dict]:
    """utterance -> (ark, offset) for each layer; what is there already is not written again."""
    scps = []
    for layer in range(args.layers):
        stem = folder / f"{args.distinct}x{args.frames}" / f"layer_{layer:02d}"
        scp = stem.with_suffix(".scp")
        if not scp.exists():
            stem.parent.mkdir(parents=True, exist_ok=True)
            stem.with_suffix(".ark").unlink(missing_ok=True)
            unfinished = stem.with_suffix(".part")
            unfinished.unlink(missing_ok=True)
            generator = np.random.default_rng(layer)
            writer = ArkWriter(stem.with_suffix(".ark"), unfinished)
            for number in range(args.distinct):
                matrix = generator.standard_normal((args.frames, D_IN), dtype=np.float32)
                writer.write(f"U{number:06d}", matrix, "CM2")
            writer.close()
            unfinished.rename(scp)
        entries = read_scp(scp)
        scps.append({f"U{n:06d}": entries[f"U{n % args.distinct:06d}"] for n in range(args.utterances)})
    return scps


def new_head(args):
    torch.manual_seed(0)
    head = (args.config.model, args.config.loss) if args.config else (MoeMambaConfig(),)
    return detector_for(*head, layers=args.layers, width=D_IN).to(args.device).train()


class Busy:
    """Samples the GPU's utilisation while something runs."""

    def __init__(self, device: str):
        self._on_gpu, self._stop, self.samples = device == "cuda", threading.Event(), []

    def __enter__(self):
        if self._on_gpu:
            self._thread = threading.Thread(target=self._sample)
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        if self._on_gpu:
            self._thread.join()

    def _sample(self):
        while not self._stop.wait(0.1):
            try:
                self.samples.append(torch.cuda.utilization())
            except Exception as error:  # no NVML here: the other measure remains
                print(f"  (no utilisation: {error})")
                return

    def __str__(self):
        return f", GPU busy {statistics.mean(self.samples):.0f} % (NVML)" if self.samples else ""


def epoch_seconds(args, batches, step) -> tuple[float, Busy]:
    """Time of a whole epoch from the steps after the first few, which record and allocate."""
    count, warm = 0, max(2, min(50, args.measured // 10))
    busy = Busy(args.device)
    begun = None
    with busy:
        for batch in batches:
            if count == warm:
                synchronize(args)
                busy.samples.clear()
                begun = time.perf_counter()
            step(batch)
            count += 1
        synchronize(args)
    return (time.perf_counter() - begun) / (count - warm) * args.steps, busy


def synchronize(args):
    if args.device == "cuda":
        torch.cuda.synchronize()


def our_step(args):
    settings = TrainingConfig(batch_size=args.batch, precision=args.precision)
    if args.config:
        settings = args.config.training
    head = new_head(args)
    optimiser = build_optimiser(head, settings)
    gradients = GradientStep(
        head,
        settings.grad_clip,
        precision=settings.precision,
        record=args.device == "cuda" and not args.eager,
        fuse=settings.compile,
    )

    def step(batch):
        gradients([batch], len(batch[1]))
        optimiser.step()

    return step


class PlainDataset(Dataset):
    """What a short script does: kaldiio, one matrix after another."""

    def __init__(self, scps: list[dict], utterances: list[str], bonafide):
        self.scps, self.utterances, self.bonafide = scps, utterances, bonafide

    def __len__(self):
        return len(self.utterances)

    def __getitem__(self, index):
        import kaldiio

        places = (scp[self.utterances[index]] for scp in self.scps)
        layers = [kaldiio.load_mat(f"{ark}:{offset}") for ark, offset in places]
        return torch.from_numpy(np.stack(layers)), self.bonafide[index]


class OfficialBiMamba(nn.Module):
    """Two of mamba_ssm's own blocks, one on the flipped frames, summed."""

    def __init__(self, d_model: int):
        super().__init__()
        from mamba_ssm import Mamba

        self.forwards, self.backwards = Mamba(d_model), Mamba(d_model)

    def forward(self, x, lengths):
        return self.forwards(x) + self.backwards(x.flip(1)).flip(1)


def plain_head(args):
    head, what = new_head(args), "mamba_ssm.Mamba"
    if args.config:
        return head
    try:
        for block in head.model.blocks:
            block.mixer = OfficialBiMamba(head.model.config.d_model)
        head.to(args.device)(
            Batch(torch.randn(2, args.layers, 9, D_IN), torch.tensor([9, 9]), None, None).to(args.device),
            torch.tensor([True, False], device=args.device),
        ).backward()
    except (ImportError, RuntimeError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        head, what = new_head(args), f"asvtk's Mamba, as mamba_ssm's does not run here ({reason})"
    print(f"  (plain: {what})", flush=True)
    return head


def plain_step(args):
    head = plain_head(args)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-4)

    def step(batch):
        features, bonafide = (x.to(args.device) for x in batch)
        lengths = torch.full((len(features),), features.shape[2], device=args.device)
        loss = head(Batch(features, lengths, None, None), bonafide)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        loss.item()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path, help="folder for the synthetic cache")
    parser.add_argument("--utterances", type=int, default=25_380)
    parser.add_argument("--distinct", type=int, default=0, help="features to write; 0: of every utterance")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--frames", type=int, default=201)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--config", type=load_config, metavar="FILE", help="a configuration's head instead")
    parser.add_argument("--most-steps", type=int, default=0, help="measure so many at most; 0: an epoch's")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", default="float32", help="of training, unless a configuration says it")
    parser.add_argument("--eager", action="store_true", help="without CUDA graphs")
    parser.add_argument("--workers", type=int, help="of asvtk's loader (default: as many as stage 3 takes)")
    figures.add_option(parser)
    args = parser.parse_args()
    args.steps = args.utterances // args.batch
    args.distinct = min(args.distinct or args.utterances, args.utterances)
    args.measured = min(args.most_steps or args.steps, args.steps)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {where}, scan by {active_backend(args.device)}")
    scps, data = write_cache(args.dir, args), FakeData(args.utterances)
    dataset = UtteranceDataset(data, GivenFeatures(args.layers, D_IN), [Repeated(scps, args.distinct)])
    head = new_head(args)
    dataset.serve(head.model)
    order = sample_epoch(dataset.bonafide, 1, balance=False)[: args.measured * args.batch]
    batches = [order[i : i + args.batch] for i in range(0, len(order), args.batch)]
    megabytes = args.batch * args.layers * args.frames * D_IN * 4 / 1e6
    print(
        f"{args.steps} steps of {args.batch} utterances, {args.layers} layers: {megabytes:.0f} MB each; the "
        f"time of all from {args.measured} steps, on {args.distinct} distinct utterances"
    )

    loader = Loader(dataset, args.device, args.workers)
    reading, _ = epoch_seconds(args, loader(batches, 1), lambda batch: None)
    print(f"  reading  {reading:8.1f} s an epoch", flush=True)
    held = next(iter(loader(batches[:1], 1)))
    compute, _ = epoch_seconds(args, (held for _ in range(args.measured)), our_step(args))
    print(f"  compute  {compute:8.1f} s", flush=True)
    ours, busy = epoch_seconds(args, loader(batches, 1), our_step(args))
    print(f"  asvtk    {ours:8.1f} s, compute / asvtk {100 * compute / ours:.0f} %{busy}", flush=True)
    bound = "computing" if compute > reading else "reading and copying to the GPU"
    print(f"           bound by {bound}")
    plain = DataLoader(
        PlainDataset(scps, data.utterances, dataset.bonafide),
        batch_sampler=batches, num_workers=4 if args.device == "cuda" else 0,
    )  # fmt: skip
    theirs, busy = epoch_seconds(args, plain, plain_step(args))
    args.figures.add(f"an epoch of {args.layers} layers", ours, "s", theirs, False)
    print(f"  plain    {theirs:8.1f} s{busy}: asvtk is {theirs / ours:.1f} times as fast")


if __name__ == "__main__":
    main()
