"""Check a package of stage 7 and write what it holds into a new folder."""


def add_arguments(parser):
    parser.add_argument("file", metavar="FILE", help="the package, NAME.asvtk.tar")
    parser.add_argument("folder", metavar="DIR", help="folder to write; must not exist, or be empty")


def run(args):
    from asvtk.training.package import unpack

    package = unpack(args.file, args.folder)
    for path in sorted(package.folder.iterdir()):
        print(path)
