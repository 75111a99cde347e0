"""``asvtk score --model``: a packed model on audio of any kind, or on a data directory."""

import csv
import io
import tempfile

from tqdm import tqdm

from asvtk.corpora.folder import find_audio, import_audio
from asvtk.corpora.speech import MIN_SPEECH, has_speech, require_detector
from asvtk.io.atomic import write_text
from asvtk.io.audio import read_audio
from asvtk.io.datadir import BONAFIDE, SPOOF, DataDirectory
from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.scores import write_scores
from asvtk.training.applying import score_data
from asvtk.training.package import opened

__all__ = ["score_packed", "without_scores"]

NO_SPEECH = "no_speech"


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
    if args.audio is not None:
        require_detector()
    with opened(args.model) as package, tempfile.TemporaryDirectory(prefix="asvtk_audio_") as work:
        if args.audio is None:
            data, faults, lines = DataDirectory.read(args.data[0]), {}, []
        else:
            files, lines = find_audio(args.audio)
            names, data, faults = import_audio(files, work)
        scores, more = score_data(package, data, device, args.ssl_model)
        faults |= more
        if args.audio is None:
            tables = ([table[u] for u in scores] for table in (data.attack, data.label))
            write_scores(args.out, scores, *tables, list(scores.values()))
        else:
            silent = _without_speech(data, scores)
            rows = [(path_text(names[u]), score, u in silent) for u, score in scores.items()]
            _write_decisions(args.out, rows, package.threshold)
    if args.out is not None:
        print(f"{args.out}: {len(scores)} scores; higher = bona fide, threshold {package.threshold:.6g}")
    if lines := [*lines, *(faults[utterance] for utterance in sorted(faults))]:
        raise AsvtkError(without_scores(lines, len(scores)))


def without_scores(lines: list[str], scored: int) -> str:
    """The message on files that have no score, of each a line, beside ``scored`` others."""
    if not scored:
        return f"no file has a score: {listing(lines, 3)}"
    listed = "\n  ".join(lines)
    return f"{len(lines)} files have no score, all others have:\n  {listed}"


def _without_speech(data: DataDirectory, utterances) -> set[str]:
    """Those of the utterances whose score means nothing, as there is too little speech in them."""
    return {
        u
        for u in tqdm(utterances, desc="looking for speech", unit="file", disable=None)
        if not has_speech(read_audio(data.wav[u]), MIN_SPEECH)
    }


def _write_decisions(out, scores: list[tuple[str, float, bool]], threshold: float) -> None:
    """A table of file, score and decision; to standard output, in six digits, where there is no ``out``.

    Args:
        out: the table's name, or None.
        scores: file, score, and whether it has too little speech to decide.
        threshold: scores above it are called bona fide.
    """
    text = io.StringIO()
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")  # quotes what a file name may hold
    rows.writerow(["file", "score", "decision"])
    for name, score, without_speech in scores:
        decision = NO_SPEECH if without_speech else BONAFIDE if score > threshold else SPOOF
        rows.writerow([name, f"{score:.6g}" if out is None else repr(score), decision])
    if out is None:
        print(text.getvalue(), end="")
    else:
        write_text(out, text.getvalue())
