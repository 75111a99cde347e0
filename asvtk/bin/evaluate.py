"""Score files -> EER, min t-DCF, DCF, Cllr, per attack and kind.

  asvtk evaluate --scores eval.txt --asv-scores ASVspoof2019.LA.asv.eval.gi.trl.scores.txt
  asvtk evaluate --scores scores.csv --columns utterance=path,score=logit --protocol key.txt
  asvtk evaluate --exp exp/seed1 exp/seed2 --data-root data

Higher score = bona fide; --negate is for files that mean the opposite. Files may be gzipped. Forms:
`utterance attack key score` (2019), `utterance score` with --protocol or --data (2021), or a header.
With --exp, each DIR/scores/{dev,eval}.txt is evaluated, with the ASV scores of its own set, into
DIR/results.json and DIR/RESULTS.md.
"""

import json
import os
import sys
from pathlib import Path

# Nothing here needs the threads that numpy's linear algebra starts when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from asvtk.corpora.facts import load_facts, prefixes_of, rename_attacks, split_of, unofficial
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.protocols import label, read_protocol
from asvtk.io.scores import ScoreTable, read_asv_scores, read_scores
from asvtk.metrics import evaluate
from asvtk.report.markdown import CONVENTIONS, results_tables

SETS = ("dev", "eval")
#: options that speak of the one file of --scores
_ONE_FILE = ("protocol", "asv_scores", "columns", "negate", "json", "operating_point")
_COMPARISON = ("compare", "compare_negate")


def add_arguments(parser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--scores", metavar="FILE", help="score file")
    what.add_argument("--exp", metavar="DIR", nargs="+", help="experiments, each with scores/{dev,eval}.txt")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--protocol", metavar="FILE", help="protocol or key with the labels")
    labels.add_argument("--data", metavar="DIR", dest="protocol", help="the same from a Kaldi data directory")

    def option(name, metavar, help, **more):
        parser.add_argument(name, metavar=metavar, help=help, **more)

    option("--asv-scores", "FILE", "ASV scores of the same set; t-DCF needs them")
    parser.add_argument("--negate", action="store_true", help="flip the sign of the scores")
    option("--columns", "OURS=THEIRS,...", "names of the columns in the header", type=_pairs)
    option("--where", "COLUMN=VALUE,...", "only these trials, as subset=eval", type=_pairs, default={})
    option("--by", "COLUMN", "table per speaker, codec, ... (repeatable)", action="append", default=[])
    groupings = ("database", "reports")
    known = "which attacks count as known in training (default: %(default)s, its truth)"
    option("--grouping", None, known, choices=groupings, default=groupings[0])
    option("--bootstrap", "N", "95 %% intervals of N resamples", type=int, default=0)
    option("--seed", "S", "of the resampling (default: %(default)s)", type=int, default=0)
    option("--compare", "FILE", "paired test of the EER against this score file")
    parser.add_argument("--compare-negate", action="store_true", help="flip the sign of that one's scores")
    option("--operating-point", "POINT", "threshold at eer, far=R or frr=R", action="append", default=[])
    option("--json", "FILE", "write all values in full precision")
    option("--data-root", "DIR", "--exp: where dev and eval lie (default: %(default)s)", default="data")
    option("--summary", "FILE", "--exp: write the table of all experiments there")


def run(args) -> None:
    if args.exp:
        _refuse(args, "--exp", _ONE_FILE + _COMPARISON)
        _evaluate_experiments(args)
    else:
        _refuse(args, "--scores", ("summary",))
        if not args.compare:
            _refuse(args, "no --compare", ("compare_negate",))
        _evaluate_scores(args)


def _evaluate_scores(args) -> None:
    facts = load_facts()
    protocol = read_protocol(args.protocol) if args.protocol else None
    table = _read(args.scores, args, protocol, args.negate)
    asv = read_asv_scores(args.asv_scores) if args.asv_scores else None
    results = _evaluate(table, asv, facts, args, _kinds(args.protocol))
    results |= {"scores": args.scores, "asv_scores": args.asv_scores, "negated": args.negate}
    if args.operating_point:
        results["operating_points"] = {
            point: _operating_point(table, point) for point in args.operating_point
        }
    if args.compare:
        results["comparison"] = _compare(table, protocol, args)
    if args.json:
        _write_json(args.json, results)
    print(f"{CONVENTIONS}\n\n{results_tables({Path(args.scores).name: results})}")
    for point, at in results.get("operating_points", {}).items():
        print(f"\nat {point}: threshold {at['threshold']:.6g}, FRR {at['frr']:.4%}, FAR {at['far']:.4%}")
    if args.compare:
        test = results["comparison"]
        print(
            f"\nEER minus that of {args.compare}: {test['difference_percent']:+.3f} points, 95 % interval "
            f"[{test['interval'][0]:+.3f}, {test['interval'][1]:+.3f}], p = {test['p_value']:.4f} "
            "(paired bootstrap)"
        )


def _evaluate_experiments(args) -> None:
    from asvtk.io.atomic import write_text
    from asvtk.report.markdown import environment, experiment_page, summary_page

    facts = load_facts()
    about = environment()
    experiments = {}
    for folder in map(Path, args.exp):
        results = {}
        for name in SETS:
            scores, data = folder / "scores" / f"{name}.txt", Path(args.data_root) / name
            if not scores.exists():
                continue
            protocol = read_protocol(data) if (data / "utt2label").exists() else None
            asv = read_asv_scores(data / "asv_scores") if (data / "asv_scores").exists() else None
            results[name] = _evaluate(_read(scores, args, protocol), asv, facts, args, _kinds(data))
        if not results:
            raise AsvtkError(
                f"{folder}/scores: neither dev.txt nor eval.txt; run stage 4 (asvtk score) first"
            )
        _write_json(folder / "results.json", results)
        write_text(folder / "RESULTS.md", experiment_page(folder.name, results, about))
        print(f"# {folder}\n\n{results_tables(results)}\n")
        experiments[str(folder)] = results
    page = summary_page(experiments)
    if len(experiments) > 1:
        print(page)
    if args.summary:
        write_text(args.summary, page)


def _read(path, args, protocol, negate: bool = False) -> ScoreTable:
    """Read, flip, label, and narrow to ``--where``."""
    table = read_scores(path, args.columns)
    if negate:
        table.scores = -table.scores
    if protocol is not None:
        table = label(table, protocol)
    for column, value in args.where.items():
        there = table.columns.get(column)
        if there is None or not (there == value).any():
            found = sorted(table.columns if there is None else set(there.tolist()))
            what = "column" if there is None else "trial"
            raise AsvtkError(
                f"--where {column}={value}: no such {what} in {table.source} or its protocol; "
                f"there are: {listing(found) or 'none'}"
            )
        table = table.subset(there == value)
    return table


def _kinds(data) -> dict | None:
    """What a data directory says of its attacks; a corpus in the official layout may have others."""
    path = Path(data or "") / "attack2kind"
    if not path.is_file():
        return None
    from asvtk.io.tables import read_table

    return read_table(path)


def _evaluate(table: ScoreTable, asv, facts: dict, args, kinds: dict | None) -> dict:
    """Evaluate with what is known of the database that the utterances belong to."""
    prefixes = prefixes_of(facts, table.utterances)
    known_database, split = prefixes is not None, split_of(facts, prefixes)
    notes = list(table.notes)
    if known_database and table.attacks is not None:
        table.attacks = rename_attacks(facts, table.attacks)
    if split and asv is not None:
        _refuse_other_set(table, asv, facts, split)
    if kinds is None and known_database:
        kinds = {attack: of["kind"] for attack, of in facts["attacks"].items()}
    results = evaluate(
        table,
        asv,
        kinds=kinds,
        known=facts["groupings"][args.grouping] if known_database else None,
        by=args.by,
        bootstrap=args.bootstrap,
        seed=args.seed,
    )
    if split:
        notes.append(unofficial(facts, split, results["n_bonafide"], results["n_spoof"]))
    if len(set(table.columns.get("subset", np.empty(0)).tolist())) > 1:
        notes.append(
            "several subsets are pooled here; published ASVspoof 2021 results are --where subset=eval"
        )
    results["grouping"] = args.grouping if known_database else None
    results["notes"] = [note for note in notes if note]
    for warning in results["warnings"]:
        print(f"asvtk evaluate: warning: {table.source}: {warning}", file=sys.stderr)
    return results


def _refuse_other_set(table: ScoreTable, asv, facts: dict, split: str) -> None:
    """Catch dev trials scored with the ASV of eval also where the attacks have no names."""
    expected = facts["splits"][split]["attacks"]
    if not asv.attacks & expected.keys():
        raise AsvtkError(
            f"{table.source} holds the {split} set (attacks {min(expected)} to {max(expected)}), but "
            f"{asv.source} holds ASV scores of {min(asv.attacks)} to {max(asv.attacks)}: they belong to "
            f"another set. Name the ASV scores of {split}."
        )


def _operating_point(table: ScoreTable, point: str) -> dict:
    from asvtk.metrics.eer import det_curve
    from asvtk.metrics.operating_point import operating_point

    kind, _, rate = point.partition("=")
    try:
        rate = float(rate) if rate else None
    except ValueError:
        raise AsvtkError(f"--operating-point {point}: {rate!r} is no number") from None
    curve = det_curve(table.scores[table.bonafide], table.scores[~table.bonafide])
    return operating_point(curve, kind, rate)


def _compare(table: ScoreTable, protocol, args) -> dict:
    from asvtk.metrics.bootstrap import paired_test, strata_of

    other = label(_read(args.compare, args, protocol, args.compare_negate), table)
    strata = strata_of(table.bonafide, table.attacks)
    resamples = args.bootstrap or 1000
    test = paired_test(
        table.scores, other.scores, table.bonafide, strata, resamples=resamples, seed=args.seed
    )
    return {"scores": args.compare, **test, "resamples": resamples, "seed": args.seed}


def _pairs(text: str) -> dict:
    import argparse

    pairs = dict(pair.partition("=")[::2] for pair in text.split(","))
    if not all(key and value for key, value in pairs.items()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE,NAME=VALUE")
    return pairs


def _refuse(args, form: str, options) -> None:
    for option in options:
        if getattr(args, option):
            raise AsvtkError(f"--{option.replace('_', '-')} does not go with {form}")


def _write_json(path, value) -> None:
    from asvtk.io.atomic import write_text

    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
