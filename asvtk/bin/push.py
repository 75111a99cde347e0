"""A package of stage 7 -> a repository of models on the Hugging Face hub, with a model card.

The repository is made if need be, and everything goes there in one commit: the members of the package, by
which 'asvtk detect --model hf:OWNER/NAME' knows it, and README.md, the card with the hub's metadata (licence,
tags, measured error rates). HF_TOKEN or 'hf auth login' says who you are; HF_ENDPOINT names another hub.
"""

import sys

EXAMPLES = """\
  asvtk push lfcc_moe_mamba.asvtk.tar hf:owner/name --licence mit --dry-run
      print card and files, send nothing
  asvtk push lfcc_moe_mamba.asvtk.tar hf:owner/name --licence mit --private
"""


def add_arguments(parser):
    parser.add_argument("package", metavar="PACKAGE", help="NAME.asvtk.tar, or the folder it was unpacked to")
    parser.add_argument("name", metavar="hf:OWNER/NAME", help="where to; @BRANCH behind it names a branch")
    parser.add_argument(
        "--licence", metavar="TEXT", help="of the weights (default: what asvtk pack was told)"
    )
    parser.add_argument("--private", action="store_true", help="a new repository is yours alone")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent, and send nothing")


def run(args):
    from asvtk.inference.package import MEMBERS, read_package
    from asvtk.io.hub import HubName, commit_files

    name, package = HubName.parse(args.name), read_package(args.package)
    from asvtk.report.hub_card import hub_files

    files, licence = hub_files(package, str(name), args.licence)
    if not licence:
        print(
            f"asvtk push: warning: {args.package}: states no licence, without which nobody may use "
            "the weights; --licence TEXT states it",
            file=sys.stderr,
        )
    if args.dry_run:
        for path, content in files.items():
            print(f"{name}: {path}, {len(content):,} bytes")
        print(f"\n{files['README.md'].decode()}", end="")
        return
    stale = [member for member in MEMBERS if member not in files]
    print(commit_files(name, files, stale, f"{package.about['name']}, by asvtk push", args.private))
