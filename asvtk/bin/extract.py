"""Stage 2: compute the front-end features that the cache lacks.

asvtk extract begin ...    check all that can be checked; print how many utterances lack features
asvtk extract job ...      compute share --job of --nj; killed, it goes on where it was
asvtk extract join ...     check that all is there, and gather what the jobs wrote
"""

import shutil
import sys

from asvtk.frontends import build_frontend, load_frontend_config
from asvtk.frontends.cache import FeatureCache, cache_name
from asvtk.frontends.extraction import extract_missing
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.training.device import choose_device


def add_arguments(parser):
    parser.add_argument("action", choices=("begin", "job", "join"))
    parser.add_argument("--config", required=True, help="experiment configuration (YAML)")
    parser.add_argument(
        "--override", nargs="*", default=[], metavar="KEY=VALUE", help="change the configuration"
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="data directory, such as data/train")
    parser.add_argument("--dump", required=True, metavar="DIR", help="folder of the feature caches")
    parser.add_argument("--job", type=int, default=1, help="which share of the data set, from 1 (default 1)")
    parser.add_argument("--nj", type=int, default=1, help="number of shares (default 1)")
    parser.add_argument("--ngpu", type=int, default=0, help="0: CPU, 1: GPU (default 0)")
    parser.add_argument(
        "--force", action="store_true", help="begin: throw away what is cached of this data set"
    )


def run(args):
    if not 1 <= args.job <= args.nj:
        raise AsvtkError(f"--job {args.job} does not lie between 1 and --nj {args.nj}")
    # Not the whole configuration: its other sections would have every job import torch.
    config = load_frontend_config(args.config, args.override)
    data = DataDirectory.read(args.data)
    # Only a job computes; the host that submits it need not have its GPU.
    frontend = build_frontend(config, choose_device(args.ngpu) if args.action == "job" else "cpu")
    cache = FeatureCache(args.dump, cache_name(frontend), data.name)
    if args.action == "begin":
        _begin(cache, frontend, data, args.ngpu, args.force)
    elif args.action == "job":
        computed = extract_missing(cache, frontend, data, args.job, args.nj)
        print(f"{cache.folder}: job {args.job} of {args.nj}: features of {computed} utterances computed")
    else:
        cache.join(data, frontend.layers)


def _begin(cache, frontend, data, ngpu: int, force: bool) -> None:
    if not frontend.layers:
        print(f"front-end {frontend.label}: nothing to cache", file=sys.stderr)
        print(0, 0)
        return
    if force:
        shutil.rmtree(cache.folder, ignore_errors=True)
    cache.claim(data, frontend)
    missing = len(cache.missing(data.utterances, frontend.layers))
    layers = " ".join(map(str, frontend.layers))
    print(
        f"{cache.folder}: layers {layers}: {len(data.utterances) - missing} of {len(data.utterances)} "
        f"utterances are cached, {missing} to compute",
        file=sys.stderr,
    )
    print(missing, ngpu if frontend.uses_gpu else 0)  # for the shell
