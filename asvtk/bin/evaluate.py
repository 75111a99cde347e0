"""Score files -> EER, min t-DCF, DCF, Cllr, per attack and kind; --report makes a page of it.

Higher score = bona fide; --negate is for files that mean the opposite. Files may be packed. Read as they
are: `[speaker] utterance [-] attack key score` (2019); `utterance score` (2021, ASVspoof 5) with the key
of --protocol or --data; NII logs; a header. Others: --columns utterance=1,score=2,key=3 --labels spoof=0,...
Several files of --scores are systems on the same trials. --dev names their dev scores, whose threshold
is judged on --scores. With --exp, each DIR/scores/SET.txt is evaluated, with the ASV scores of its
own set, into DIR/results.json and DIR/RESULTS.md; what differs in its seed alone is averaged, and several
corpora are summed up. With --rttm, it is measured how much of the spoofed parts of recordings was found
(docs/partial.md).
"""

import os
import sys
from pathlib import Path

# Nothing here needs the threads that numpy's linear algebra starts when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from asvtk.bin.arguments import assignments, key_words, table_axes, whole_number
from asvtk.corpora.facts import load_facts
from asvtk.io.asv_scores import read_asv_scores
from asvtk.io.corpus_card import CorpusCard
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.protocols import label, read_protocol
from asvtk.io.scores import ScoreTable, read_scores
from asvtk.metrics.results import write_results
from asvtk.report.markdown import CONVENTIONS, results_tables
from asvtk.report.measured import measure
from asvtk.report.system import short_names

EXAMPLES = """\
  asvtk evaluate --scores eval.txt --asv-scores ASVspoof2019.LA.asv.eval.gi.trl.scores.txt
  asvtk evaluate --scores scores.csv --columns utterance=path,score=logit --protocol key.txt
  asvtk evaluate --scores ours.txt theirs.txt --negate theirs.txt --report comparison
      two systems on the same trials, side by side
  asvtk evaluate --exp exp/seed1 exp/seed2 --sets data/dev data/eval --report exp/seeds
  asvtk evaluate --rttm data/partial/segments.rttm --detections detections.jsonl
"""

#: options that speak of the files of --scores
_OF_SCORES = (
    "protocol", "protocol_columns", "asv_scores", "asv_key", "columns", "labels", "negate", "json", "dev",
    "dev_protocol",
)  # fmt: skip
_COMPARISON = ("compare", "compare_negate")
#: options that speak of the file of --rttm
_OF_PARTS = ("detections", "hyp", "majority")
_NOT_OF_PARTS = (
    *(option for option in _OF_SCORES if option != "json"), *_COMPARISON, "where", "by", "table", "grouping",
    "bootstrap", "bootstrap_by", "operating_point", "report", "summary",
)  # fmt: skip


def add_arguments(parser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--scores", metavar="FILE", nargs="+", help="score files of the same trials")
    what.add_argument("--exp", metavar="DIR", nargs="+", help="experiments, each with scores/{dev,eval}.txt")
    what.add_argument("--rttm", metavar="FILE", help="which parts of recordings are spoofed, as asvtk splice")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--protocol", metavar="FILE", help="protocol or key with the labels")
    labels.add_argument("--data", metavar="DIR", dest="protocol", help="the same from a Kaldi data directory")

    def option(name, metavar, help, **more):
        parser.add_argument(name, metavar=metavar, help=help, **more)

    option("--asv-scores", "FILE", "ASV scores of the same set; t-DCF needs them")
    negate = "flip the sign of the scores (of several files: name those to flip)"
    parser.add_argument("--negate", metavar="FILE", nargs="*", default=False, help=negate)
    option("--asv-key", "FILE", "2021: ASV/trial_metadata.txt with the labels of --asv-scores")
    named = "columns by name (header) or place, as utterance=path,score=2,key=3"
    option("--columns", "OURS=THEIRS,...", named, type=assignments)
    option("--protocol-columns", "OURS=THEIRS,...", "the same for --protocol", type=assignments)
    words = "what words in the keys mean; target=WORD,nontarget=WORD,spoof=WORD where it is known who speaks"
    option("--labels", "bonafide=WORD,spoof=WORD", words, type=key_words)
    option("--where", "COLUMN=VALUE,...", "only these trials, as subset=eval", type=assignments, default={})
    option("--by", "COLUMN", "table per speaker, codec, ... (repeatable)", action="append", default=[])
    two_way = "EER and t-DCF by two columns, as attack,codec; or official, as 2021 printed it (repeatable)"
    option("--table", "ROWS,COLUMNS", two_way, action="append", default=[], type=table_axes)
    known = "the attacks are ASVspoof 2019's, of which these count as known (default: database if official)"
    option("--grouping", None, known, choices=("database", "reports"))
    option("--bootstrap", "N", "95 %% intervals of N resamples", type=whole_number(0, 1_000_000), default=0)
    by = "resample all trials of a speaker, source, ... together: intervals for new ones"
    option("--bootstrap-by", "COLUMN", by)
    option("--seed", "S", "of the resampling (default: %(default)s)", type=whole_number(), default=0)
    option("--compare", "FILE", "paired test of the EER against this score file")
    parser.add_argument("--compare-negate", action="store_true", help="flip the sign of that one's scores")
    option("--operating-point", "POINT", "errors at eer, far=R, frr=R or a threshold", action="append")
    option("--dev", "FILE", "dev scores of each system: errors at dev's EER threshold", nargs="+")
    option("--dev-protocol", "FILE", "protocol, key or data directory with the labels of --dev")
    option("--json", "FILE", "write all values of one score file, or of --rttm, in full precision")
    option("--report", "DIR", "write DIR/report.html and DIR/RESULTS.md, beside published systems")
    option("--sets", "DIR", "--exp: data directories of the sets to evaluate", nargs="+")
    option(
        "--data-root", "DIR", "--exp: instead, where dev and eval lie (default: %(default)s)", default="data"
    )
    option("--summary", "FILE", "--exp: write the table of all experiments there")
    option("--detections", "FILE", "--rttm: what asvtk detect wrote of the same recordings (JSON lines)")
    option("--hyp", "FILE", "--rttm: instead, parts that were found, as RTTM; without scores")
    majority = "--rttm: a segment is a spoof if more than half of it is (default: any of it, as PartialSpoof)"
    parser.add_argument("--majority", action="store_true", help=majority)


def run(args) -> None:
    if args.rttm:
        _refuse(args, "--rttm", _NOT_OF_PARTS)
        _evaluate_parts(args)
        return
    _refuse(args, "--exp" if args.exp else "--scores", _OF_PARTS)
    if args.bootstrap_by and not (args.bootstrap or args.compare):
        raise AsvtkError("--bootstrap-by says how to resample; say how often too, as --bootstrap 1000")
    if args.exp:
        _refuse(args, "--exp", _OF_SCORES + _COMPARISON)
        _evaluate_experiments(args)
    else:
        _refuse(args, "--scores", ("summary", "sets"))
        if not args.compare:
            _refuse(args, "no --compare", ("compare_negate",))
        if not args.dev:
            _refuse(args, "no --dev", ("dev_protocol",))
        elif len(args.dev) != len(args.scores):
            raise AsvtkError(
                f"{len(args.dev)} files in --dev and {len(args.scores)} in --scores; expected one of each "
                "per system, in the same order"
            )
        _evaluate_scores(args)


def _evaluate_parts(args) -> None:
    from asvtk.metrics.localisation import localisation
    from asvtk.metrics.localised import read_localised
    from asvtk.report.localisation import localisation_tables

    if (args.detections is None) == (args.hyp is None):
        raise AsvtkError("--rttm takes what was found: either --detections FILE or --hyp FILE")
    recordings = read_localised(args.rttm, args.detections, args.hyp)
    results = localisation(recordings, args.majority)
    results |= {"rttm": args.rttm, "detections": args.detections, "hyp": args.hyp}
    if args.json:
        write_results(args.json, results)
    print(localisation_tables(results))


def _evaluate_scores(args) -> None:
    if args.json and len(args.scores) > 1:
        raise AsvtkError("--json takes the values of one score file; give --scores one file")
    if len(set(args.scores)) < len(args.scores):
        raise AsvtkError("--scores: a file is named twice")
    negated = _negated(args)
    facts = load_facts()
    protocol = None
    if args.protocol:
        protocol = read_protocol(args.protocol, args.protocol_columns, args.labels, _columns_asked_for(args))
    asv = read_asv_scores(args.asv_scores, args.asv_key, args.where) if args.asv_scores else None
    systems, tables, first = {}, {}, None
    dev_protocol = read_protocol(args.dev_protocol) if args.dev_protocol else None
    for path, of_dev in zip(args.scores, args.dev or [None] * len(args.scores), strict=True):
        table = _read(path, args, protocol, path in negated)
        # Systems are compared on the same trials, or not at all.
        table = label(table, first) if first is not None else table
        first = first or table
        dev = of_dev and _read_whole(of_dev, args, dev_protocol, path in negated)
        card = CorpusCard.read(args.protocol) if args.protocol else None
        results = _measure(table, asv, facts, args, _kinds(args.protocol), dev, card=card)
        results |= {"scores": path, "asv_scores": args.asv_scores, "negated": path in negated}
        if args.compare:
            results["comparison"] = _compare(table, protocol, args)
        systems[path], tables[path] = results, table
    if args.json:
        write_results(args.json, results)
    if args.report:
        from asvtk.report.writing import write_report  # only who wants a page waits for its code

        write_report(
            args.report,
            {path: {of["split"] or "trials": (tables[path], of)} for path, of in systems.items()},
            facts,
        )
    several = len(systems) > 1
    names = short_names(systems) if several else [Path(path).name for path in systems]
    by_name = dict(zip(names, systems.values(), strict=True))
    print(f"{CONVENTIONS}\n\n{results_tables(by_name, first='System' if several else 'Set')}")


def _evaluate_experiments(args) -> None:
    from asvtk.bin.evaluate_experiments import evaluate_experiments

    def measure(table, asv, facts, kinds, card, dev, calibration) -> dict:
        return _measure(table, asv, facts, args, kinds, dev, calibration, card)

    evaluate_experiments(args, measure, lambda scores, protocol: _read(scores, args, protocol))


def _columns_asked_for(args) -> set | None:
    """Columns of the protocol beside names, keys and attacks that the options name; None = any may be."""
    if args.table and "official" in (rows for rows, _ in args.table):
        return None
    in_tables = (part.partition("@")[0] for axes in args.table for axis in axes for part in axis.split("+"))
    by = [args.bootstrap_by] if args.bootstrap_by else []
    return {*args.by, *by, *args.where, *in_tables} - {"attack"}


def _negated(args) -> set:
    """The files of --scores whose sign to flip."""
    if args.negate is False:
        return set()
    if not args.negate and len(args.scores) > 1:
        raise AsvtkError(f"--negate: say which of the {len(args.scores)} score files to flip: --negate FILE")
    unknown = [path for path in args.negate if path not in args.scores]
    if unknown:
        raise AsvtkError(f"--negate {listing(unknown)}: not among the files of --scores")
    return set(args.negate or args.scores)


def _read_whole(path, args, protocol, negate: bool = False) -> ScoreTable:
    """Read, flip and label."""
    table = _read_scores(path, args, negate)
    return table if protocol is None else label(table, protocol)


def _read_scores(path, args, negate: bool) -> ScoreTable:
    table = read_scores(path, args.columns, args.labels)
    if negate:
        table.scores = -table.scores
    return table


def _read(path, args, protocol, negate: bool = False) -> ScoreTable:
    """Read, flip, label, and narrow to ``--where``, by columns of the protocol or of the file."""
    table = _read_scores(path, args, negate)
    there = {**table.columns, **(protocol.columns if protocol is not None else {})}
    for column, value in args.where.items():
        values = there.get(column)
        if values is None or not (values == value).any():
            found = sorted(there if values is None else set(values.tolist()))
            what = "column" if values is None else "trial"
            raise AsvtkError(
                f"--where {column}={value}: no such {what} in {table.source} or its protocol; "
                f"there are: {listing(found) or 'none'}"
            )
    if protocol is not None:
        table = label(table, protocol, _chosen(protocol, args.where))
    return table.subset(_chosen(table, args.where)) if args.where else table


def _chosen(trials, where: dict) -> np.ndarray:
    """Which trials the columns that these have leave, bool (n,)."""
    tests = [trials.columns[column] == value for column, value in where.items() if column in trials.columns]
    return np.logical_and.reduce(tests) if tests else np.ones(trials.utterances.size, bool)


def _kinds(data) -> dict | None:
    """What a data directory says of its attacks; a corpus in the official layout may have others."""
    path = Path(data or "") / "attack2kind"
    if not path.is_file():
        return None
    from asvtk.io.tables import read_table

    return read_table(path)


def _measure(
    table: ScoreTable,
    asv,
    facts: dict,
    args,
    kinds: dict | None,
    dev: ScoreTable | None,
    calibration=None,
    card: CorpusCard | None = None,
) -> dict:
    by, tables = args.by, args.table
    if card is not None:  # what its corpus's papers show, as far as it is there
        by = by or [column for column in card.by if column in table.columns]
        tables = tables or [axes for axes in map(table_axes, card.tables) if _has_axes(table, axes)]
    results = measure(
        table,
        asv,
        facts,
        kinds=kinds,
        card=card,
        grouping=args.grouping,
        by=by,
        tables=tables,
        bootstrap=args.bootstrap,
        bootstrap_by=args.bootstrap_by,
        seed=args.seed,
        points=args.operating_point or (),
        dev=dev,
        calibration=calibration,
    )
    for warning in results["warnings"]:
        print(f"asvtk evaluate: warning: {table.source}: {warning}", file=sys.stderr)
    return results


def _has_axes(table: ScoreTable, axes: tuple) -> bool:
    """Whether a two-way table can be made; its columns may hold nothing in this set."""
    return axes[0] == "official" and bool(table.columns) or {*axes} <= {"attack", *table.columns}


def _compare(table: ScoreTable, protocol, args) -> dict:
    from asvtk.metrics.auc import delong_test
    from asvtk.metrics.bootstrap import clusters_of, paired_test, strata_of

    other = label(_read(args.compare, args, protocol, args.compare_negate), table)
    strata = strata_of(table.bonafide, table.attacks)
    resamples, clusters = args.bootstrap or 1000, None
    if args.bootstrap_by:
        if args.bootstrap_by not in table.columns:
            raise AsvtkError(
                f"--bootstrap-by {args.bootstrap_by}: no such column; there are: "
                f"{listing(table.columns) or 'none; columns come from the protocol'}"
            )
        clusters = clusters_of(table.columns[args.bootstrap_by], table.utterances)
    test = paired_test(
        table.scores, other.scores, table.bonafide, strata, resamples=resamples, seed=args.seed,
        clusters=clusters,
    )  # fmt: skip
    test |= {"resamples": resamples, "seed": args.seed, "by": args.bootstrap_by}
    return {"scores": args.compare, **test, "delong": delong_test(table.scores, other.scores, table.bonafide)}


def _refuse(args, form: str, options) -> None:
    for option in options:
        # `--negate` of no file is an empty list; of others that is the default.
        if getattr(args, option) not in (None, False, {}) and (getattr(args, option) or option == "negate"):
            raise AsvtkError(f"--{option.replace('_', '-')} does not go with {form}")
