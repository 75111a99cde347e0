"""Check a package of stage 7 and write what it holds into a new folder."""

EXAMPLES = """\
  asvtk unpack lfcc_moe_mamba.asvtk.tar lfcc_moe_mamba/
"""


def add_arguments(parser):
    parser.add_argument("file", metavar="FILE", help="the package, NAME.asvtk.tar")
    parser.add_argument("folder", metavar="DIR", help="folder to write; must not exist, or be empty")


def run(args):
    from asvtk.inference.package import unpack

    for path in unpack(args.file, args.folder):
        print(path)
