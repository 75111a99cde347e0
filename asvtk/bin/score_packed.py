"""``asvtk score --model``: a packed model on audio of any kind, or on a data directory."""

import csv
import io
import tempfile

from asvtk.corpora.folder import find_audio, import_audio
from asvtk.io.atomic import write_text
from asvtk.io.datadir import BONAFIDE, SPOOF, DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.scores import write_scores
from asvtk.training.applying import score_data
from asvtk.training.package import opened

__all__ = ["add_packed_arguments", "score_packed", "without_scores"]


def add_packed_arguments(parser) -> None:
    parser.add_argument(
        "--model", metavar="FILE", help="what 'asvtk pack' made, or a folder it was unpacked to"
    )
    parser.add_argument("--audio", nargs="+", metavar="PATH", help="audio files, and folders of them")
    parser.add_argument(
        "--ssl-model", metavar="DIR", help="directory of the front-end's model, if it has one"
    )


def score_packed(args, device: str) -> None:
    """
    Raises:
        AsvtkError: options that do not go together; or files that have no score, after all others were
            written.
    """
    if (args.data is None) == (args.audio is None):
        raise AsvtkError("--model: say what to score, by either --audio or --data")
    if args.data is not None and (len(args.data) != 1 or args.out is None):
        raise AsvtkError("--model: takes one data directory, and --out FILE for its scores")
    with opened(args.model) as package, tempfile.TemporaryDirectory(prefix="asvtk_audio_") as work:
        if args.audio is None:
            data, faults = DataDirectory.read(args.data[0]), {}
        else:
            names, data, faults = import_audio(find_audio(args.audio), work)
        scores, more = score_data(package, data, device, args.ssl_model)
        faults |= more
        if args.audio is None:
            tables = ([table[u] for u in scores] for table in (data.attack, data.label))
            write_scores(args.out, scores, *tables, list(scores.values()))
        else:
            named = {str(names[utterance]): score for utterance, score in scores.items()}
            _write_decisions(args.out, named, package.threshold)
    if args.out is not None:
        print(f"{args.out}: {len(scores)} scores; higher = bona fide, threshold {package.threshold:.6g}")
    if faults:
        raise AsvtkError(without_scores(faults, len(scores)))


def without_scores(faults: dict[str, str], scored: int) -> str:
    """The message on files that have no score (utterance -> what is wrong), beside ``scored`` others."""
    lines = "\n  ".join(faults[utterance] for utterance in sorted(faults))
    if not scored:
        return f"no file has a score: {listing([faults[utterance] for utterance in sorted(faults)], 3)}"
    return f"{len(faults)} files have no score, all others have:\n  {lines}"


def _write_decisions(out, scores: dict[str, float], threshold: float) -> None:
    """A table of file, score and decision; to standard output where there is no ``out``."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")  # quotes what a file name may hold
    rows.writerow(["file", "score", "decision"])
    for name, score in scores.items():
        rows.writerow([name, repr(score), BONAFIDE if score > threshold else SPOOF])
    if out is None:
        print(text.getvalue(), end="")
    else:
        write_text(out, text.getvalue())
