"""``asvtk VERB``: find the verb, run it, turn a user's fault into one readable line.

A verb is a module of this folder with ``add_arguments(parser)`` and ``run(args)``, which may return
an exit status. Only the module of the verb that runs is imported, and what is slow (torch, scipy) is imported
by its functions, so that ``--help`` and a usage error never wait for it.
"""

import argparse
import contextlib
import importlib
import os
import sys

from asvtk.bin.arguments import Parser, UsageError
from asvtk.bin.interruption import Interruption
from asvtk.io.errors import AsvtkError, readable
from asvtk.version import __version__

#: verb -> (stage of run.sh, one line of help)
VERBS = {
    "prepare": ("1", "corpus -> Kaldi data directories"),
    "vocode": ("1", "bona fide training speech -> vocoded data, further spoofs"),
    "validate": ("", "say exactly what is wrong with a data directory"),
    "config": ("", "check a configuration and print it resolved"),
    "extract": ("2", "data directory -> cached front-end features (Kaldi arks)"),
    "train": ("3", "cached features -> a trained experiment"),
    "score": ("4", "experiment, or published weights + data directory -> score file"),
    "evaluate": ("5", "score files -> EER, min t-DCF, per-attack tables"),
    "analyse": ("6", "trained experiment -> experts by attack, layer weights, gates, embeddings"),
    "ablations": ("", "list of cells -> configurations; their experiments -> a table"),
    "pack": ("7", "finished experiment -> one file: weights, model card, threshold"),
    "unpack": ("", "check such a file and open it"),
    "cues": ("", "data directories -> how far level, length, silence, bandwidth alone tell the classes"),
    "perturb": ("", "data directory -> a copy without level, silence or bandwidth as cues"),
    "robustness": ("", "scores of such copies -> a table"),
    "doctor": ("", "print the whole environment and which fast paths are on"),
    "cache": ("", "list, verify, prune and predict the feature caches"),
    "exp": ("", "list, show and compare experiments"),
    "calibrate": ("", "dev scores -> calibrated or fused log-likelihood ratios"),
}


def usage() -> str:
    lines = ["usage: asvtk VERB [options]      (asvtk VERB --help lists them)", "", "verbs:"]
    for verb, (stage, help_line) in VERBS.items():
        where = f"stage {stage}" if stage else ""
        lines.append(f"  {verb:<10} {where:<8} {help_line}")
    lines += ["", "asvtk --version prints the version. The stages are those of egs/*/run.sh."]
    return "\n".join(lines)


def main(argv=None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    # Names of files may be any bytes, and a terminal's code may be poor.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # closed, or somebody's own
            stream.reconfigure(errors="backslashreplace")
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"asvtk {__version__}")
        return 0
    verb = argv[0]
    if verb not in VERBS:
        print(f"asvtk: no verb {verb!r}\n\n{usage()}", file=sys.stderr)
        return 2
    with Interruption() as interruption:
        try:
            status = _run(verb, argv[1:])
        except BaseException:
            # While another fault is handled, or by a library that makes another fault of it, just as well.
            if interruption.status is None:
                raise
    if interruption.status is None:
        return status
    print(f"asvtk {verb}: ended by {interruption.name}; run the same command to go on", file=sys.stderr)
    return interruption.status


def _run(verb: str, words: list[str]) -> int:
    module = importlib.import_module(f"asvtk.bin.{verb}")
    parser = Parser(
        prog=f"asvtk {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    args = parser.parse_args(words)
    try:
        return module.run(args) or 0
    except AsvtkError as error:
        print(f"asvtk {verb}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:  # `asvtk ... | head` is no fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, UnicodeDecodeError) as error:
        # A folder where a file is expected, one without permission ...: the system names it well enough.
        print(f"asvtk {verb}: error: {readable(str(error))}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
