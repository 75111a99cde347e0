"""Check a configuration and print it resolved, every default written out.

An unknown key is named with the nearest valid one.
"""

import sys

import yaml

from asvtk.io.config import to_mapping

EXAMPLES = """\
  asvtk config conf/lfcc_moe_mamba.yaml
  asvtk config conf/lfcc_moe_mamba.yaml --override model.experts=8 training.epochs=20
"""


def add_arguments(parser):
    parser.add_argument("config", help="experiment configuration (YAML)")
    parser.add_argument(
        "--override", nargs="*", default=[], metavar="KEY=VALUE", help="change the configuration"
    )


def run(args):
    from asvtk.training.config import load_config

    yaml.safe_dump(to_mapping(load_config(args.config, args.override)), sys.stdout, sort_keys=False)
