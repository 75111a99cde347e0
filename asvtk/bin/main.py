"""``asvtk VERB``: find the verb, run it, turn a user's fault into one readable line.

A verb is a module of this folder with ``add_arguments(parser)`` and ``run(args)``, which may return an exit
status, and ``EXAMPLES`` for its help: commands two blanks in, what they do six blanks in. Only the module of
the verb that runs is imported, and what is slow (torch, scipy) by its functions, so that ``--help``
and a usage error never wait for it.
"""

import argparse
import contextlib
import gc
import importlib
import logging
import os
import sys

from asvtk.bin.arguments import Parser, UsageError
from asvtk.bin.interruption import Interruption
from asvtk.io.errors import AsvtkError, readable
from asvtk.io.former import FORMER_VERBS
from asvtk.version import __version__

#: verb -> one line of help: what people type
TYPED = {
    "corpora": "list and show the corpora that asvtk knows",
    "prepare": "corpus -> Kaldi data directories (stage 1)",
    "validate": "check a data directory, and say exactly what is wrong with it",
    "config": "check a configuration and print it resolved",
    "detect": "recordings -> bona fide or spoof, where, and how sure",
    "serve": "the same over HTTP and WebSocket, and as a page for people",
    "score": "experiment, package or published weights + audio -> scores (stage 4)",
    "evaluate": "score files -> EER, min t-DCF, per-attack tables (stage 5)",
    "submit": "scores -> the files that a leaderboard takes",
    "calibrate": "dev -> log-likelihood ratios: of score files, fusions, detectors (stage 5)",
    "probe": "cached layers -> which of them tells bona fide speech from spoofs",
    "exp": "list, show and compare experiments",
    "analyse": "experiment -> experts by attack, layer weights, gates, embeddings (stage 6)",
    "ablations": "list of cells -> configurations; their experiments -> a table",
    "shortcuts": "data directories -> how well level, length, silence or bandwidth alone tell the classes",
    "perturb": "data directory -> copies through codecs, noise, rooms, or without shortcuts",
    "robustness": "such copies, scored by a model -> the table of degradations",
    "splice": "data directory -> long recordings with spoofed stretches in bona fide speech",
    "pack": "finished experiment -> one file: weights, model card, threshold (stage 7)",
    "unpack": "check such a file and open it",
    "export": "trained detector -> ONNX or torch.export, compared with torch",
    "models": "list and fetch pretrained detectors by name",
    "push": "package -> the Hugging Face hub, with a model card",
    "truncate": "speech encoder -> a folder of its first blocks alone",
    "cache": "list, verify, prune, predict and import cached features",
    "doctor": "print the whole environment and which fast paths are on",
}
#: the same for what run.sh calls with the options of a recipe
CALLED = {
    "vocode": "bona fide training speech -> vocoded data, further spoofs (stage 1)",
    "extract": "data directory -> cached front-end features (stage 2)",
    "train": "cached features or audio -> a trained experiment (stage 3)",
    "tune": "search space -> trials by run.sh, the best configuration (local/tune.sh)",
}
VERBS = TYPED | CALLED


def usage() -> str:
    def group(verbs):
        return [f"  {verb:<10} {help_line}" for verb, help_line in verbs.items()]

    lines = ["usage: asvtk VERB [options]      (asvtk VERB --help lists them)"]
    lines += ["", "verbs:", *group(TYPED), "", "called by run.sh, seldom by hand:", *group(CALLED)]
    lines += ["", "asvtk --version prints the version. The stages are those of egs/*/run.sh."]
    return "\n".join(lines)


class _Lines(logging.Handler):
    """Messages of the library as plain lines.

    Training's go to standard output, where its progress is read; all others to standard error, as a script
    may read a verb's answer on standard output.
    """

    def emit(self, record: logging.LogRecord) -> None:
        training = record.name.startswith("asvtk.training.")
        prefix = "" if record.levelno < logging.WARNING else "warning: " if training else "asvtk: warning: "
        print(prefix + record.getMessage(), file=sys.stdout if training else sys.stderr, flush=True)


def log_to_terminal() -> None:
    """Have the logger ``asvtk`` write to this process's terminal."""
    logger = logging.getLogger("asvtk")
    if not logger.handlers:
        logger.addHandler(_Lines())
        logger.setLevel(logging.INFO)
        logger.propagate = False  # other libraries may give the root a handler too


def main(argv=None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    log_to_terminal()
    # Imports of torch make a million objects that stay: to look for cycles among them after every 700 takes a
    # sixth of a training's start.
    gc.set_threshold(50_000, 20, 100)
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
    if verb in FORMER_VERBS:
        print(f"asvtk: the verb {verb} {FORMER_VERBS[verb]}", file=sys.stderr)
        return 2
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
        epilog=f"examples:\n{module.EXAMPLES}",
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
