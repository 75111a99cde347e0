"""Stage 2: compute the front-end features that the cache lacks.

asvtk extract begin ...    check all that can be checked; print for how many jobs, of --nj, there is work,
                           and how many GPUs each can use; 0 jobs: nothing is left to do, nor to join
asvtk extract job ...      compute share --job of --nj; killed, it goes on where it was
asvtk extract join ...     check that all is there, and gather what the jobs wrote
"""

import dataclasses
import sys
import time
from pathlib import Path

from asvtk.bin.arguments import check_share, whole_number
from asvtk.io.config import load_yaml
from asvtk.io.datadir import DataDirectory, refuse_same_names
from asvtk.io.errors import AsvtkError
from asvtk.io.locks import locked, locked_together

EXAMPLES = """\
  asvtk extract begin --config conf/lfcc_moe_mamba.yaml --data data/train --dump dump --nj 4
  asvtk extract job --config conf/lfcc_moe_mamba.yaml --data data/train --dump dump --nj 4 --job 2
  asvtk extract join --config conf/lfcc_moe_mamba.yaml --data data/train --dump dump --nj 4
"""


def add_arguments(parser):
    parser.add_argument("action", choices=("begin", "job", "join"))
    parser.add_argument("--config", required=True, help="experiment configuration (YAML)")
    parser.add_argument(
        "--override", nargs="*", default=[], metavar="KEY=VALUE", help="change the configuration"
    )
    parser.add_argument("--dump", required=True, metavar="DIR", help="folder of the feature caches")
    parser.add_argument(
        "--data", nargs="+", default=[], metavar="DIR", help="data directories, such as data/dev"
    )
    parser.add_argument(
        "--train-data",
        nargs="+",
        default=[],
        metavar="DIR",
        help="those of which the augmented copies that the configuration asks for are wanted, too",
    )
    parser.add_argument("--job", type=whole_number(1), default=1, help="which share, from 1 (default 1)")
    parser.add_argument("--nj", type=whole_number(1), default=1, help="number of shares (default 1)")
    parser.add_argument("--ngpu", type=whole_number(), default=0, help="0: CPU, 1: GPU (default 0)")
    parser.add_argument("--skip-bad", action="store_true", help="do without audio that cannot be decoded")
    parser.add_argument(
        "--force", action="store_true", help="begin: throw away what is cached of these data sets"
    )


def run(args):
    from asvtk.frontends import build_frontend, build_frontend_spec, load_frontend_config

    check_share(args.job, args.nj)
    if not args.train_data + args.data:
        raise AsvtkError("say what to extract features of, by --train-data or --data")
    # What can be wrong with the arguments first: in a job, it must not wait for torch.
    config, augmentation = load_frontend_config(args.config, args.override)
    training = [DataDirectory.read(path) for path in args.train_data]
    others = [DataDirectory.read(path) for path in args.data]
    refuse_same_names([*training, *others])
    from asvtk.frontends.cache.extraction import find_sources

    # Only a job computes: what surrounds it needs neither its GPU nor to wait for torch.
    build = build_frontend if args.action == "job" else build_frontend_spec
    frontend = build(_with_model_found(config, args))
    sources = []
    for sets, change in ((training, augmentation), (others, None)):
        for data in sets:
            sources += find_sources(data, args.dump, frontend, change)
    if args.action == "begin":
        _begin(sources, frontend, augmentation, args)
    elif args.action == "job":
        from asvtk.frontends.cache.extractor import Extractor
        from asvtk.training.distributed import choose_device

        _compute(sources, Extractor(frontend, choose_device(args.ngpu)), args)
    else:
        _join(sources, frontend)


def _with_model_found(config, args):
    """The configuration of a front-end; that of an experiment names its model where it lies from here."""
    from asvtk.inference.experiment import local_model

    folder = Path(args.config).parent
    is_its_own = Path(args.config).name == "config.yaml" and (folder / "inputs.json").exists()
    if is_its_own and (model := local_model(folder)) is not None and hasattr(config, "model"):
        named = load_yaml(args.config)["frontend"]["model"]
        if config.model == named:  # and no override
            return dataclasses.replace(config, model=model)
    return config


def _begin(sources, frontend, augmentation, args) -> None:
    from asvtk.frontends.cache.contents import bytes_needed, human_bytes, require_space
    from asvtk.frontends.cache.extraction import count_batches
    from asvtk.frontends.cache.prune import hold, remove
    from asvtk.frontends.cache.store import description

    if not frontend.stored:
        how = " runs in training" if frontend.layers else ""
        print(f"front-end {frontend.label}{how}: nothing to cache", file=sys.stderr)
        print(0, 0)
        return
    jobs = needed = 0
    for source in sources:
        if args.force and source.cache.folder.exists():
            with hold(source.cache):
                remove(source.cache, source.cache.folder)
        changed_by = None if source.change is None else augmentation
        source.cache.claim(source.data, description(frontend, changed_by))
        utterances = source.data.utterances
        missing = source.cache.missing(utterances, frontend.stored)
        size = bytes_needed(source, frontend, missing)
        layers = " ".join(map(str, frontend.stored))
        print(
            f"{source.cache.folder}: layers {layers}: {len(utterances) - len(missing)} of "
            f"{len(utterances)} utterances are cached, {len(missing)} to compute ({human_bytes(size)})",
            file=sys.stderr,
        )
        needed += size
        jobs = max(jobs, min(args.nj, count_batches(frontend, source.data, missing)))
    require_space(args.dump, needed)
    if not jobs:
        _join(sources, frontend)
    print(jobs, args.ngpu if frontend.uses_gpu else 0)  # for the shell


def _join(sources, frontend) -> None:
    for source in sources:
        source.cache.join(source.data, frontend.stored)
        if skipped := source.cache.skipped():
            print(
                f"{source.cache.folder}/skipped: {len(skipped)} utterances are done without", file=sys.stderr
            )


def _compute(sources, extractor, args) -> None:
    from asvtk.frontends.cache.extraction import extract_missing

    reports = []
    for source in sources:
        folder, started = source.cache.folder, time.monotonic()
        # Shares of another number of jobs overlap with these: two runs on one dump compute nothing twice.
        together = locked_together(folder / ".shares.lock", f"{args.nj} jobs, which compute its features")
        with together, locked(folder / f".job.{args.job}.of.{args.nj}.lock", "computes this share"):
            computed, faults = extract_missing(source, extractor, args.job, args.nj, print)
        if faults:
            if args.skip_bad:
                source.cache.skip(faults)
            reports += [f"{len(faults)} audio files of {source.data.path} cannot be used:", *faults.values()]
        seconds = time.monotonic() - started
        print(
            f"{folder}: job {args.job} of {args.nj}: features of {computed} utterances computed in "
            f"{seconds:.1f} s, {computed / seconds:.0f} a second"
        )
    if reports:
        report = "\n  ".join(reports)
        if not args.skip_bad:
            raise AsvtkError(
                f"{report}\nfeatures of all others are cached; restore these files, or give --skip-bad true"
            )
        print(report)
