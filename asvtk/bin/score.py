"""Score audio: data sets by experiments (stage 4), recordings by any model.

  asvtk score --exp DIR ... --dump DIR --data DIR ...
      writes EXP/scores/NAME.txt for each; a score file that is up to date is left as it is
  asvtk score begin|job|join --exp DIR ... --dump DIR --data DIR ... --nj N
      the same by several jobs: begin checks all that can be checked and prints how many jobs there is
      work for; each job J scores its share (--job J), and join puts the shares together
  asvtk score --model MODEL --audio FOLDER_OR_FILE ... [--out scores.tsv]
      audio of any kind: a table of file, score, and bonafide or spoof by the threshold chosen on dev
  asvtk score --model MODEL --data DIR --out FILE
      a data directory, without features of stage 2

MODEL is what 'asvtk pack' made, the folder of an experiment, weights as their authors publish them
(AASIST.pth, AASIST-L.pth), a name of 'asvtk models ls', or hf:OWNER/NAME. Scores of data directories have
the official form, 'utterance attack key score'; higher = bona fide. The number of jobs changes no score: jobs
have whole batches of the data set.
"""

import argparse
import csv
import importlib
import io
import sys
from contextlib import redirect_stdout

from asvtk.bin.arguments import check_share, whole_number
from asvtk.io.atomic import write_text
from asvtk.io.datadir import BONAFIDE, SPOOF, DataDirectory, refuse_same_names
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.scores import write_scores

EXAMPLES = """\
  asvtk score --model aasist --audio recordings/ --out scores.tsv
  asvtk score --model exp/lfcc_moe_mamba/lfcc_moe_mamba.asvtk.tar --data data/eval --out eval.txt
  asvtk score --exp exp/lfcc_moe_mamba --dump dump --data data/dev data/eval
      stage 4
"""

NO_SPEECH = "no_speech"

_EXPERIMENT_OPTIONS = ("exp", "dump")
_MODEL_OPTIONS = ("model", "audio", "out", "ssl_model")


def add_arguments(parser):
    parser.add_argument(
        "action", nargs="?", choices=("begin", "job", "join"), help="one step of several jobs"
    )
    parser.add_argument("--data", nargs="+", metavar="DIR", help="data directories to score")
    parser.add_argument("--ngpu", type=whole_number(), default=0, help="0: CPU, 1: GPU (default 0)")
    model = parser.add_argument_group("with a model")
    model.add_argument("--model", metavar="MODEL", help="packed, an experiment, published weights, or a name")
    model.add_argument("--audio", nargs="+", metavar="PATH", help="audio files, and folders of them")
    model.add_argument("--out", metavar="FILE", help="score file to write or replace")
    model.add_argument(
        "--import", nargs="+", default=[], dest="modules", metavar="MODULE",
        help="import code outside asvtk that the model names",
    )  # fmt: skip
    model.add_argument("--ssl-model", metavar="DIR", help="directory of the front-end's model, if it has one")
    # What --model says alone: kept for those who have it in their scripts.
    model.add_argument("--system", choices=("aasist",), help=argparse.SUPPRESS)
    model.add_argument("--weights", metavar="FILE", help=argparse.SUPPRESS)
    trained = parser.add_argument_group("with experiments")
    trained.add_argument("--exp", nargs="+", metavar="DIR", help="folders of experiments")
    trained.add_argument("--dump", metavar="DIR", help="folder of the feature caches")
    trained.add_argument("--force", action="store_true", help="score again what is up to date")
    trained.add_argument("--nj", type=whole_number(1), default=1, help="number of jobs (default 1)")
    trained.add_argument("--job", type=whole_number(1), default=1, help="job: which, from 1 (default 1)")


def run(args):
    check_share(args.job, args.nj)
    if (args.system is None) != (args.weights is None):
        raise AsvtkError("--system and --weights go together; --model FILE says the same alone")
    if args.weights is not None and args.model is None:
        args.model = args.weights
    with_experiments = args.model is None and _check_options(args)
    if not with_experiments:
        from asvtk.inference.pretrained import require_model

        _check_model_options(args)
        require_model(args.model)
    import torch

    from asvtk.training.distributed import choose_device

    # Only who computes needs the GPU; the host that submits may have none.
    device = choose_device(args.ngpu if args.action in (None, "job") else 0)
    # Scores are compared across machines: a GPU's convolutions would round to 10 bits otherwise.
    torch.backends.cudnn.allow_tf32 = False
    if with_experiments:
        return _score_with_experiments(args, device)
    from asvtk.inference.load import load

    for module in args.modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise AsvtkError(f"--import {module}: {error}") from None
    # Files first: a wrong name must not wait for the model.
    items = _read_data(args) if args.audio is None else _find_audio(args)
    detector = load(args.model, device, ssl_model=args.ssl_model)
    return (_score_data if args.audio is None else _score_audio)(args, detector, *items)


def _check_options(args) -> bool:
    """True: an experiment's options are given, and all of them."""
    given = {name for name in _EXPERIMENT_OPTIONS + _MODEL_OPTIONS if getattr(args, name) is not None}
    if given != set(_EXPERIMENT_OPTIONS):
        words = " ".join(f"--{name.replace('_', '-')}" for name in sorted(given)) or "neither"
        raise AsvtkError(
            "expected --model (a packed model, an experiment or published weights) with --audio, or with "
            f"--data and --out; or --exp and --dump (stage 4); found {words}"
        )
    if args.data is None:
        raise AsvtkError("--data DIR says what to score; --audio goes with --model")
    if args.action is None and args.nj != 1:
        raise AsvtkError(f"--nj {args.nj}: goes with begin, job and join; without them one job does it all")
    return True


def _check_model_options(args) -> None:
    for name in (*_EXPERIMENT_OPTIONS, "force"):
        if getattr(args, name):
            raise AsvtkError(f"--{name} does not go with --model")
    if args.action is not None or args.nj != 1:
        raise AsvtkError("begin, job, join and --nj: go with --exp; with --model it is one job's work")
    if (args.data is None) == (args.audio is None):
        raise AsvtkError("--model: say what to score, by either --audio or --data")
    if args.data is not None and (len(args.data) != 1 or args.out is None):
        raise AsvtkError("--model: takes one data directory, and --out FILE for its scores")


def _read_data(args) -> tuple:
    return (DataDirectory.read(args.data[0]),)


def _find_audio(args) -> tuple:
    from asvtk.inference.folder import find_audio
    from asvtk.inference.speech import require_detector

    require_detector()
    return find_audio(args.audio)


def _score_data(args, detector, data: DataDirectory) -> None:
    from asvtk.inference.recordings import score_set

    scores, faults = score_set(detector, data)
    if scores:
        attacks, labels = ([table[u] for u in scores] for table in (data.attack, data.label))
        write_scores(args.out, list(scores), attacks, labels, list(scores.values()))
        print(f"{args.out}: {len(scores)} trials; higher = bona fide{_threshold(detector)}")
    if faults:
        raise AsvtkError(_without_scores(faults, len(scores)))


def _score_audio(args, detector, files: list, faults: list[str]) -> None:
    from asvtk.inference.recordings import score_recordings
    from asvtk.io.decoding import path_text

    rows, notes = [], []
    for file, scored in zip(files, score_recordings(detector, files), strict=True):
        if scored.note:
            notes.append(f"{path_text(file)}: {scored.note}")
        if scored.score is None:
            faults.append(scored.fault)
        else:
            rows.append((path_text(file), scored.score, _decision(scored, detector.threshold)))
    if notes:
        others = f"; {len(notes) - 1} other files were converted too" if len(notes) > 1 else ""
        print(f"note: {notes[0]}{others}", file=sys.stderr)
    _write_decisions(args.out, rows)
    if args.out is not None:
        print(f"{args.out}: {len(rows)} scores; higher = bona fide{_threshold(detector)}")
    if faults:
        raise AsvtkError(_without_scores(faults, len(rows)))


def _threshold(detector) -> str:
    return "" if detector.threshold is None else f", threshold {detector.threshold:.6g}"


def _decision(scored, threshold: float | None) -> str:
    """``no_speech`` where the score means nothing; ``-`` where no threshold was ever chosen."""
    if not scored.has_speech:
        return NO_SPEECH
    return "-" if threshold is None else BONAFIDE if scored.score > threshold else SPOOF


def _without_scores(lines: list[str], scored: int) -> str:
    """The message on files that have no score, of each a line, beside ``scored`` others."""
    if not scored:
        return f"no file has a score: {listing(lines, 3)}"
    listed = "\n  ".join(lines)
    return f"{len(lines)} files have no score, all others have:\n  {listed}"


def _write_decisions(out, rows: list[tuple[str, float, str]]) -> None:
    """A table of file, score and decision; to standard output, in six digits, where there is no ``out``."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")  # quotes what a file name may hold
    table.writerow(["file", "score", "decision"])
    for name, score, decision in rows:
        table.writerow([name, f"{score:.6g}" if out is None else repr(score), decision])
    if out is None:
        print(text.getvalue(), end="")
    else:
        write_text(out, text.getvalue())


def _score_with_experiments(args, device: str) -> None:
    from asvtk.training.experiment import Experiment
    from asvtk.training.trained import TrainedDetector

    systems = [TrainedDetector(Experiment(folder), args.dump) for folder in args.exp]
    data = [DataDirectory.read(path) for path in args.data]
    refuse_same_names(data)
    work = [_Work(system, item) for system in systems for item in data]
    if not args.force:
        for item in work:
            item.refuse_other_set()
    if args.force and args.action in (None, "begin"):
        for item in work:
            item.scores.forget()
    todo = [item for item in work if not item.scores.is_complete()]
    if args.action == "begin":
        # Shards count as long as there are as many: that must not hang on which sets are finished.
        with redirect_stdout(sys.stderr):  # also what opening a data set has to say
            jobs = min(args.nj, max(item.count_batches() for item in work)) if todo else 0
        print(jobs)  # for the shell, and nothing else
        return
    for item in work:
        if item not in todo:
            print(f"{item.scores.path}: up to date")
    for item in todo:
        if args.action in (None, "job"):
            item.compute(device, args.job, args.nj)
        if args.action in (None, "join"):
            print(f"{item.scores.path}: {item.scores.join(args.nj)} trials")


class _Work:
    """One data set that is scored with one experiment."""

    def __init__(self, system, data: DataDirectory):
        from asvtk.training.scoring import ScoreShards

        self._system, self._data = system, data
        basis = {"checkpoint": system.digest, "data": data.digest()}
        self.scores = ScoreShards(system.experiment.scores(data.name), basis)
        self._batch_size = system.config.training.batch_size

    def refuse_other_set(self) -> None:
        """Raises AsvtkError: there are scores of a data set of another corpus by this name."""
        self.scores.refuse_other_set(self._data)

    def count_batches(self) -> int:
        from asvtk.training.scoring import batches_of

        return len(batches_of(len(self._system.open(self._data)), self._batch_size))

    def compute(self, device: str, job: int, num_jobs: int) -> None:
        """Write the shard of a job, unless it is there."""
        shard = self.scores.shard(job, num_jobs)
        with self.scores.lock(job, num_jobs):
            if self.scores.is_complete():  # since another run joined it
                print(f"{self.scores.path}: up to date")
                return
            if shard.exists():
                print(f"{self._data.path}: shard {job} of {num_jobs} is there")
                return
            dataset = self._system.open(self._data)
            detector = self._system.detector()
            trials = _score(detector, self._data, dataset, self._batch_size, device, shard, job, num_jobs)
            if num_jobs > 1:
                print(f"{self._data.path}: shard {job} of {num_jobs}: {trials} trials")


def _score(
    detector, data, dataset, batch_size: int, device: str, out, job: int = 1, num_jobs: int = 1
) -> int:
    """Write the scores of a job's share; returns the number of trials."""
    from asvtk.training.scoring import batches_of, require_finite_scores, score_dataset

    scores = score_dataset(detector.to(device), dataset, batch_size, device, job, num_jobs)
    batches = batches_of(len(dataset), batch_size, job, num_jobs)
    utterances = [dataset.utterances[index] for batch in batches for index in batch]
    require_finite_scores(utterances, scores, out)
    attacks, labels = ([table[u] for u in utterances] for table in (data.attack, data.label))
    write_scores(out, utterances, attacks, labels, scores)
    return len(scores)
