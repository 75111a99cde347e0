"""Say exactly what is wrong with Kaldi data directories; exit 0 when nothing is."""

import sys
from collections import Counter
from pathlib import Path

from asvtk.bin.arguments import whole_number
from asvtk.io.datadir import DataDirectory, find_problems
from asvtk.io.errors import AsvtkError, readable

EXAMPLES = """\
  asvtk validate data/train data/dev
"""

_SHOWN = 20  # files that cannot be decoded
_UNUSED = ("feats.scp", "vad.scp", "cmvn.scp")


def add_arguments(parser):
    parser.add_argument("directory", nargs="+", help="a data directory, such as data/train")
    parser.add_argument("--no-wav", action="store_true", help="do not look whether the audio files exist")
    parser.add_argument("--decode", action="store_true", help="also decode every audio file")
    parser.add_argument("--nj", type=whole_number(1), default=4, help="processes that decode (default 4)")


def run(args) -> int:
    status = 0
    for directory in args.directory:
        problems = find_problems(directory, check_audio=not args.no_wav)
        if args.decode and not problems:
            problems = _decode_all(DataDirectory.read(directory), args.nj)
        for problem in problems:
            print(readable(problem), file=sys.stderr)
        if problems:
            status = 1
            continue
        if unused := [name for name in _UNUSED if Path(directory, name).exists()]:
            print(f"note: {directory}: asvtk reads whole files and makes no use of {' '.join(unused)}")
        print(f"{directory}: Successfully validated data-directory")
    return status


def _decode_all(data: DataDirectory, jobs: int) -> list[str]:
    """Which audio files cannot be decoded, or hold other audio than stage 1 found."""
    from asvtk.io.processes import in_processes

    items = [(data.wav[u], data.num_samples[u], data.md5[u]) for u in data.utterances]
    outcomes = list(in_processes(_decode, items, jobs, f"{data.name}: decoding"))
    faults = [str(outcome) for outcome in outcomes if isinstance(outcome, AsvtkError)]
    decoders = Counter(outcome for outcome in outcomes if isinstance(outcome, str))
    by = ", ".join(f"{count} by {name}" for name, count in decoders.most_common())
    print(f"{data.path}: {decoders.total()} of {len(items)} audio files were decoded{by and ': '}{by}")
    if not faults:
        return []
    problems = [f"{data.path}: {len(faults)} of {len(items)} audio files cannot be used", *faults[:_SHOWN]]
    return problems + [f"and {len(faults) - _SHOWN} more files"] * (len(faults) > _SHOWN)


def _decode(item: tuple[str, int, str]) -> str | AsvtkError:
    """The decoder's name, or what is wrong."""
    from asvtk.io.audio import decode_check, inspect_audio

    path, num_samples, md5 = item
    try:
        decoder = decode_check(path)
        if inspect_audio(path)[:2] != (num_samples, md5):
            return AsvtkError(f"{path}: was changed since stage 1; run it again")
    except AsvtkError as error:
        return error
    return decoder
