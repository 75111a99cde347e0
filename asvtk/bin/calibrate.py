"""Dev scores -> log-likelihood ratios: of other scores, of several systems together, of a detector.

Linear logistic regression is trained on --dev and applied to --scores, which must share no utterance
with it. Files go in pairs: the first of --dev and the first of --scores are of one system, and so on;
their trials may stand in any order. Forms as in `asvtk evaluate`, higher score = bona fide. --out is
`utterance attack key score`, or `utterance score` where --scores have no labels. --model holds the
weights as JSON: written with --dev, read without.

  asvtk calibrate --detector MODEL --dev-data DIR [--eval-data DIR] [--train-data DIR] --out FILE.json
      what the scores of a detector mean (a package, an experiment, published weights), by its scores of
      dev; its errors on eval; what its bona fide training speech is like: for asvtk.load(MODEL,
      calibration=FILE)
  asvtk calibrate --exp DIR ... --dev-data DIR --eval-data DIR --train-data DIR
      the same of experiments, by the scores of stage 4, into EXP/calibration.json (stage 5)

Each of these three takes several data directories, which are pooled: each class weighs what the prior
says, and within a class each trial as much as any other, whatever set it is of. The errors are of the trials
of all eval sets together.
"""

import os
import sys
from pathlib import Path

# Nothing here needs the threads that numpy's linear algebra starts when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from asvtk.bin.arguments import UsageError, assignments, between, key_words, whole_number
from asvtk.inference.calibration import PRIOR
from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.protocols import label, read_protocol
from asvtk.io.scores import ScoreTable, read_scores, write_scores
from asvtk.metrics.calibration import Calibration, effective_prior, quality, train_calibration, trials_digest
from asvtk.report.calibration import quality_table

EXAMPLES = """\
  asvtk calibrate --dev exp/a/scores/dev.txt --scores exp/a/scores/eval.txt --out calibrated.txt
  asvtk calibrate --dev a/dev.txt b/dev.txt --scores a/eval.txt b/eval.txt --negate 2 --out fused.txt
      a fusion; the second system's scores mean the opposite
  asvtk calibrate --model fused.json --scores a/new.txt b/new.txt --out fused_new.txt
  asvtk calibrate --detector aasist --dev-data data/dev --eval-data data/eval --out aasist.json
      for asvtk detect --calibration
"""


def add_arguments(parser) -> None:
    def option(name, help, metavar="FILE", of=parser, **more):
        of.add_argument(*name.split(), metavar=metavar, help=help, **more)

    option("--dev", "dev scores to train on, one file per system", nargs="+")
    option("--scores", "scores to calibrate, one file per system", nargs="+")
    option("--out", "score file to write, or the calibration of a detector")
    option("--model", "weights as JSON (default with --dev: --out with the suffix .json)")
    labels = "protocol, key or data directory with the labels of --dev (--exp, --detector: one or more)"
    option("--dev-protocol --dev-data", labels, nargs="+")
    option("--protocol --data", "the same for --scores, whose labels only serve to judge the result")
    flips = "flip the sign of the scores; with numbers only of these systems (1 = the first)"
    option("--negate", flips, metavar="N", nargs="*", type=whole_number(1))
    default = f"default: {effective_prior():.4f}, ASVspoof 5; of a detector: {PRIOR}"
    prior = f"effective prior of bona fide speech in training ({default})"
    option("--prior", prior, metavar="P", type=between(0, 1))
    named = "columns of all score files by name (header) or place, as utterance=path,score=2,key=3"
    option("--columns", named, metavar="OURS=THEIRS,...", type=assignments)
    words = "what words in the keys mean, as bonafide=1,spoof=0"
    option("--labels", words, metavar="bonafide=WORD,...", type=key_words)
    of = parser.add_argument_group("of detectors, with --dev-data")
    option("--detector", "packed, an experiment, published weights, or a name", "MODEL", of)
    option("--exp", "experiments, scored in stage 4", "DIR", of, nargs="+")
    option("--eval-data", "data directories to measure errors on (default: dev's)", "DIR", of, nargs="+")
    option("--train-data", "data directories that the detector was trained on", "DIR", of, nargs="+")
    option("--most", "--detector: recordings of a class to hear (1000)", "N", of, type=whole_number(1))
    option("--ssl-model", "--detector: directory of the front-end's model, if it has one", "DIR", of)
    option("--ngpu", "0: CPU, 1: GPU (default: %(default)s)", "N", of, type=whole_number(), default=0)
    of.add_argument("--check", action="store_true", help="--exp: print those that have work to do")
    of.add_argument("--force", action="store_true", help="--exp: fit again what is up to date")


#: option -> the forms that it belongs to, beside --dev-data
_FORMS = {
    "dev scores model protocol negate columns labels": ("scores",),
    "out prior": ("scores", "detector"),
    "most ssl_model": ("detector",),
    "eval_data train_data ngpu": ("exp", "detector"),
    "check force": ("exp",),
}


def run(args) -> None:
    form = next((name for name in ("exp", "detector") if getattr(args, name) is not None), "scores")
    for names, forms in _FORMS.items():
        for name in names.split():
            if getattr(args, name) not in (None, False, 0) and form not in forms:
                raise UsageError(f"--{name.replace('_', '-')} does not go with --{form}")
    needed = {"exp": "dev_protocol", "detector": "dev_protocol out", "scores": "scores out"}
    for name in needed[form].split():
        if getattr(args, name) is None:
            word = "dev-data" if name == "dev_protocol" else name
            instead = ", or name a --detector or an --exp" if name == "scores" else ""
            raise UsageError(f"--{word} is missing{instead}; --help tells what goes together")
    if form != "scores":
        if args.exp and args.detector:
            raise UsageError("--detector does not go with --exp")
        from asvtk.bin import calibrate_detector

        return getattr(calibrate_detector, f"calibrate_{form}")(args)
    if args.dev_protocol is not None:
        if len(args.dev_protocol) > 1:
            raise UsageError("--dev-protocol takes one name; several --dev-data go with --exp and --detector")
        (args.dev_protocol,) = args.dev_protocol
    model = _check(args)
    tables = _read(args.scores, args.protocol, args)
    if args.dev:
        dev = _read(args.dev, args.dev_protocol, args)
        _refuse_selection_on_eval(dev[0], tables[0])
        calibration = train_calibration(dev, prior=args.prior, negate=_negate(args.negate, len(dev)))
    else:
        dev, calibration = [], Calibration.load(model)
        _refuse_other_use(calibration, tables, model)
    for warning in calibration.warnings:
        print(f"asvtk calibrate: warning: {warning}", file=sys.stderr)

    llr = calibration.apply(np.stack([of_system.scores for of_system in tables]))
    _write(args.out, tables[0], llr)
    if args.dev:
        calibration.save(model)
    _print(calibration, dev, tables, llr)
    print(f"\n{args.out}: {llr.size} trials; {model}: the weights")


def _check(args) -> str:
    """Refuse options that do not go together; return the name of the model file."""
    if not args.dev:
        if not args.model:
            raise AsvtkError("name the scores to train on (--dev), or weights trained before (--model)")
        for option in ("dev_protocol", "prior", "negate"):
            if getattr(args, option) is not None:
                raise AsvtkError(
                    f"--{option.replace('_', '-')} does not go with a --model that is read: it belongs to "
                    "the training of that one"
                )
    elif len(args.dev) != len(args.scores):
        raise AsvtkError(
            f"{len(args.dev)} files in --dev and {len(args.scores)} in --scores; expected one of each per "
            "system, in the same order"
        )
    else:
        _refuse_swapped_folders(args.dev, args.scores)
    model = args.model or str(Path(args.out).with_suffix(".json"))
    # realpath: Path.resolve ends with a RuntimeError where links lead in a circle
    inputs = {os.path.realpath(name) for name in [*(args.dev or [model]), *args.scores]}
    outputs = [os.path.realpath(name) for name in ([args.out, model] if args.dev else [args.out])]
    if len({*outputs}) < len(outputs) or inputs & {*outputs}:
        raise AsvtkError(
            f"--out {args.out} and --model {model} must be two files of their own, not files that are read"
        )
    return model


def _refuse_swapped_folders(dev, scores) -> None:
    """Catch `--dev a/dev b/dev --scores b/eval a/eval`, which would weight each system as the other."""
    folders = [[Path(name).parent for name in names] for names in (dev, scores)]
    if folders[0] != folders[1] and sorted(folders[0]) == sorted(folders[1]):
        raise AsvtkError(
            f"the systems of training lie in {listing(folders[0])}, those of --scores in another order in "
            f"{listing(folders[1])}. The files go in pairs, one system after the other: reorder one list."
        )


def _read(paths: list, protocol, args) -> list[ScoreTable]:
    """The same trials of each system in the same order, with labels where any file has them."""
    tables = [read_scores(path, args.columns, args.labels) for path in paths]
    labelled = [of_system for of_system in tables if of_system.bonafide is not None]
    trials = read_protocol(protocol, labels=args.labels) if protocol else (labelled or tables)[0]
    return [of_system if of_system is trials else label(of_system, trials) for of_system in tables]


def _refuse_selection_on_eval(dev: ScoreTable, scores: ScoreTable) -> None:
    shared = sorted({*dev.utterances.tolist()} & {*scores.utterances.tolist()})
    if shared:
        raise AsvtkError(
            f"{len(shared)} utterances stand both in {dev.source} (--dev) and in {scores.source} (--scores): "
            f"{listing(shared)}. To calibrate scores with their own labels is to select on the evaluation "
            "set; train on a development set."
        )


def _refuse_other_use(calibration: Calibration, tables: list, model: str) -> None:
    if len(tables) != len(calibration.systems):
        raise AsvtkError(
            f"{len(tables)} files in --scores; {model} was trained on {len(calibration.systems)} systems and "
            f"needs their scores in this order: {listing(calibration.systems)}"
        )
    _refuse_swapped_folders(calibration.systems, [of_system.source for of_system in tables])
    if trials_digest(tables[0].utterances) == calibration.dev.trials:
        raise AsvtkError(
            f"{tables[0].source} holds the very trials that {model} was trained on; results on them would be "
            "too good. Calibrate another set."
        )


def _negate(numbers: list | None, n: int) -> list:
    if numbers is None:
        return [False] * n
    for number in numbers:
        if not 1 <= number <= n:
            raise AsvtkError(f"--negate {number}: there is no such system; 1 to {n} are those of --dev")
    return [not numbers or number in numbers for number in range(1, n + 1)]


def _write(path, trials: ScoreTable, llr: np.ndarray) -> None:
    if trials.bonafide is None:
        pairs = zip(trials.utterances.tolist(), llr.tolist(), strict=True)
        write_text(path, "".join(f"{utterance} {value!r}\n" for utterance, value in pairs))
        return
    attacks = ["-"] * llr.size if trials.attacks is None else trials.attacks
    write_scores(path, trials.utterances, attacks, np.where(trials.bonafide, "bonafide", "spoof"), llr)


def _print(calibration: Calibration, dev: list, tables: list, llr: np.ndarray) -> None:
    terms = (f" {weight:+.6g} s{number}" for number, weight in enumerate(calibration.weights, 1))
    print(f"llr = {calibration.offset:.6g}{''.join(terms)}")
    for number, name in enumerate(calibration.systems, 1):
        print(f"s{number}: trained on {name}, applied to {tables[number - 1].source}")
    print(
        f"effective prior of bona fide speech {calibration.prior:.4f}; trained on "
        f"{calibration.dev.n_bonafide} bona fide and {calibration.dev.n_spoof} spoof trials\n"
    )
    what = "fused" if len(tables) > 1 else "calibrated"
    rows = _before("dev", dev, calibration) + [("dev", what, vars(calibration.dev))]
    bonafide = tables[0].bonafide
    if bonafide is not None and 0 < np.count_nonzero(bonafide) < bonafide.size:
        rows += _before("scores", tables, calibration) + [("scores", what, quality(llr, bonafide))]
    print(quality_table(rows))


def _before(of_set: str, tables: list, calibration: Calibration) -> list:
    signs = [-1 if flipped else 1 for flipped in calibration.negated]
    return [
        (of_set, f"s{number}", quality(sign * of_system.scores, of_system.bonafide))
        for number, (sign, of_system) in enumerate(zip(signs, tables, strict=False), 1)  # no dev: none
    ]
