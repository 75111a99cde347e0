"""Part of stage 1: further training spoofs, made of the bona fide training speech by vocoders.

asvtk resynth name ...        print the name of the data directory that the configuration asks for, or nothing
asvtk resynth jobs ...        print how many jobs train its neural vocoders; 0 where there is nothing to train
asvtk resynth train ...       train one of them (--job N: the N-th) on the bona fide speech of DATA
asvtk resynth make ...        make the data directory beside DATA; killed, it goes on where it was

The section of the configuration: resynthesis: {methods: all, copies: 1, share: 0.5, seed: 1}
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the jobs share the cores already

import time
from pathlib import Path

from asvtk.bin.arguments import whole_number
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

_SHOWN = 10


def add_arguments(parser):
    parser.add_argument("action", choices=("name", "jobs", "train", "make"))
    parser.add_argument("--config", required=True, help="experiment configuration (YAML)")
    parser.add_argument(
        "--override", nargs="*", default=[], metavar="KEY=VALUE", help="change the configuration"
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="the training set, such as data/train")
    parser.add_argument("--nj", type=whole_number(1), default=4, help="processes (default 4)")
    parser.add_argument("--job", type=whole_number(1), default=1, help="train: which, from 1 (default 1)")
    parser.add_argument("--ngpu", type=whole_number(), default=0, help="train: 0: CPU, 1: GPU (default 0)")
    parser.add_argument("--force", action="store_true", help="make again what is there")


def run(args):
    from asvtk.augment.copy_synthesis import ResynthesisConfig
    from asvtk.io.config import apply_overrides, build, load_yaml

    # Not the whole configuration: its other sections would have every call import torch.
    content = apply_overrides(load_yaml(args.config), args.override).get("resynthesis")
    config = None if content is None else build(ResynthesisConfig, content, f"{args.config}: resynthesis")
    path = Path(args.data)
    if args.action == "name":
        if config is not None:
            print(config.set_name(path.name))
        return
    if args.action == "jobs":
        print(0 if config is None else _count_jobs(config, path, args.force))
        return
    if config is None:
        raise AsvtkError(
            f"{args.config}: has no section 'resynthesis', such as 'resynthesis: {{methods: all}}'"
        )
    if args.action == "train":
        _train(config, path, args.job, args.ngpu, args.force)
    else:
        _make(config, path, args.nj, args.force)


def _count_jobs(config, path: Path, again: bool) -> int:
    if not config.generators:
        return 0
    source = DataDirectory.read(path)
    ready = all(_are_trained(config, source, name) for name in config.generators)
    return 0 if ready and not again else len(config.generators)


def _train(config, path: Path, job: int, ngpu: int, again: bool) -> None:
    from asvtk.augment.copy_synthesis import bona_fide
    from asvtk.augment.neural.training import train_vocoder
    from asvtk.augment.neural.weights import save_generator
    from asvtk.io.audio import read_audio
    from asvtk.training.device import choose_device

    if not 1 <= job <= len(config.generators):
        raise AsvtkError(f"--job {job}: the configuration asks for {len(config.generators)} neural vocoders")
    name, ages = list(config.generators.items())[job - 1]
    device, source = choose_device(ngpu), DataDirectory.read(path)
    weights, originals = config.weights(source, name), bona_fide(source)
    if _are_trained(config, source, name) and not again:
        print(f"{weights}: trained already; --force trains it anew")
        return
    recordings = [read_audio(source.wav[u], source.num_samples[u]) for u in originals]
    began = time.monotonic()
    young = [age for age in ages if age is not None]
    generators, measure = train_vocoder(name, recordings, config.vocoders, device, young)
    for age in generators:  # none of an earlier training beside those of this one
        config.weights(source, name, age).unlink(missing_ok=True)
    for age, generator in generators.items():
        save_generator(config.weights(source, name, age), generator)
    print(
        f"{weights}: trained on {len(originals)} utterances in {time.monotonic() - began:.0f} s; "
        f"last {generator.MEASURE} {measure:.2f}"
    )


def _are_trained(config, source: DataDirectory, name: str) -> bool:
    return all(config.weights(source, name, age).exists() for age in config.generators[name])


def _make(config, path: Path, jobs: int, again: bool) -> None:
    from asvtk.augment.copy_synthesis import resynthesise_set

    out = path.with_name(config.set_name(path.name))
    data, faults = resynthesise_set(DataDirectory.read(path), config, out, jobs, again)
    print(f"{out}: {len(data.utterances)} spoofs by {len(config.names)} methods")
    if faults:
        shown = "\n  ".join(f"{utterance}: {fault}" for utterance, fault in list(faults.items())[:_SHOWN])
        more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        print(f"{out}/failed: {len(faults)} could not be made and are done without:\n  {shown}{more}")
