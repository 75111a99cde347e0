"""Scores in the form of a leaderboard, beside a YAML file with their SHA-256.

  asvtk submit --format arena --scores EXP/scores/eval.txt --meta meta.yaml --out submission/
      the Arena of SpeechAntiSpoofingBenchmarks: scores.txt, submission.yaml (its form 4)
  asvtk submit --format asvspoof5 --scores FILE --out submission/
      ASVspoof 5, track 1: score.tsv with the header `filename cm-score`, and score.zip
  asvtk submit --format codalab --scores FILE --out submission/
      ASVspoof 2021 on CodaLab: score.txt with lines `utterance score`, and score.zip

Nothing is sent. Higher = bona fide, as in all of them. meta.yaml says what scores cannot (docs/corpora.md);
what is missing stays in the YAML as <...>, and is listed. --data or --protocol names all trials.
"""

from pathlib import Path

from asvtk.io.errors import AsvtkError, listing

EXAMPLES = """\
  asvtk submit --format asvspoof5 --scores exp/a/scores/eval.txt --out submission/
  asvtk submit --format arena --scores exp/a/scores/eval.txt --meta meta.yaml --out submission/
"""


def add_arguments(parser):
    parser.add_argument(
        "--format", required=True, choices=("arena", "asvspoof5", "codalab"), help="whose form"
    )
    parser.add_argument("--scores", required=True, metavar="FILE", help="score file of any kind")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--negate", action="store_true", help="flip the sign of the scores")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--protocol", metavar="FILE", help="protocol or key of all trials")
    labels.add_argument("--data", metavar="DIR", dest="protocol", help="the same from a data directory")
    prefix = "take this off utterance ids, which asvtk prepare put before them"
    parser.add_argument("--utt-prefix", metavar="P", help=prefix)
    parser.add_argument("--meta", metavar="FILE", help="system, dataset, submitter (YAML)")


def run(args):
    import numpy as np

    from asvtk.io.protocols import label, read_protocol
    from asvtk.io.scores import read_scores
    from asvtk.report.submission import write_submission

    table = read_scores(args.scores)
    if not table.named:
        raise AsvtkError(f"{args.scores}: does not name its trials, and a leaderboard has to know them")
    if args.negate:
        table.scores = -table.scores
    if args.protocol is not None:
        table = label(table, read_protocol(args.protocol))
    if args.utt_prefix is not None:
        table.utterances = np.array(
            [name.removeprefix(args.utt_prefix) for name in table.utterances.tolist()], dtype=object
        )
    skipped = None if args.protocol is None else _skipped(args.protocol)
    written, missing = write_submission(args.format, table, args.out, args.meta, skipped)
    print(f"{args.out}: {table.scores.size} scores: {', '.join(written)}")
    if missing:
        print(f"note: {args.out}/{written[-1]}: still to be filled in: {listing(missing, 30)}")


def _skipped(protocol: str) -> int:
    """Trials that stage 1 left out of a data directory."""
    from asvtk.io.tables import read_table

    path = Path(protocol) / "skipped"
    return len(read_table(path)) if path.is_file() else 0
