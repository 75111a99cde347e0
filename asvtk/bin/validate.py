"""Say exactly what is wrong with a Kaldi data directory; exit 0 when nothing is."""

import sys

from asvtk.io.datadir import find_problems


def add_arguments(parser):
    parser.add_argument("directory", nargs="+", help="a data directory, such as data/train")
    parser.add_argument("--no-wav", action="store_true", help="do not look whether the audio files exist")


def run(args) -> int:
    status = 0
    for directory in args.directory:
        problems = find_problems(directory, check_audio=not args.no_wav)
        for problem in problems:
            print(problem, file=sys.stderr)
        if problems:
            status = 1
        else:
            print(f"{directory}: Successfully validated data-directory")
    return status
