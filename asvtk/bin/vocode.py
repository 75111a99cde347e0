"""Part of stage 1: vocoded data, further training spoofs made of the bona fide training speech.

asvtk vocode name ...        check the configuration, and print the name of the data directory that it asks
                             for, or nothing
asvtk vocode make ...        make the data directory beside DATA; killed, it goes on where it was

The section of the configuration: vocoded: {methods: all, copies: 1, share: 0.5, seed: 1}
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the jobs share the cores already

from pathlib import Path

from asvtk.bin.arguments import whole_number
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk vocode make --config conf/spectrogram_moe_mamba.yaml --data data/train --nj 4
"""

_SHOWN = 10


def add_arguments(parser):
    parser.add_argument("action", choices=("name", "make"))
    parser.add_argument("--config", required=True, help="experiment configuration (YAML)")
    parser.add_argument(
        "--override", nargs="*", default=[], metavar="KEY=VALUE", help="change the configuration"
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="the training set, such as data/train")
    parser.add_argument("--nj", type=whole_number(1), default=4, help="processes (default 4)")
    parser.add_argument("--force", action="store_true", help="make again what is there")


def run(args):
    from asvtk.training.config import load_config

    config = load_config(args.config, args.override).vocoded
    path = Path(args.data)
    if args.action == "name":
        if config is not None:
            print(config.set_name(path.name))
        return
    if config is None:
        raise AsvtkError(f"{args.config}: has no section 'vocoded', such as 'vocoded: {{methods: all}}'")
    _make(config, path, args.nj, args.force)


def _make(config, path: Path, jobs: int, again: bool) -> None:
    from asvtk.vocoding.copy_synthesis import vocode_set

    out = path.with_name(config.set_name(path.name))
    data, faults = vocode_set(DataDirectory.read(path), config, out, jobs, again)
    print(f"{out}: {len(data.utterances)} spoofs by {len(config.names)} methods")
    if faults:
        shown = "\n  ".join(f"{utterance}: {fault}" for utterance, fault in list(faults.items())[:_SHOWN])
        more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        print(f"{out}/failed: {len(faults)} could not be made and are done without:\n  {shown}{more}")
