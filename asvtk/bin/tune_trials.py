"""Trials of ``asvtk tune``: run.sh for each, several at a time. See `asvtk.bin.tune`."""

import os
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import yaml

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import read_scores
from asvtk.metrics.eer import compute_eer
from asvtk.report.search import best_of, write_search
from asvtk.report.values import config_values, mean_sd
from asvtk.training.config import build_config
from asvtk.training.search_space import with_values

__all__ = ["Trials", "log"]

_POLL_S = 0.1


@dataclass
class _Running:
    """A trial at work: its experiments by fold, one after another."""

    process: subprocess.Popen
    fold: int
    began: float


class Trials:
    """The trials of a search, several at a time, each in a process group of its own.

    Args:
        folds: names of training and dev sets, a pair for each fold; without folds one pair.
        stage: the first of a trial: 2, or 3 where the features are there.
        configured: whether the first trial is the configuration as it is.
    """

    def __init__(self, args, content: dict, search, folds: list, stage: int, configured: bool):
        self._stage, self._configured = stage, configured
        self._args, self._content, self._search = args, content, search
        self._folder = Path(args.expdir)
        self._folds = [(train, dev or [Path(path).name for path in args.dev_data]) for train, dev in folds]
        self._running: dict[int, _Running] = {}

    def run(self) -> None:
        """Run trials until there are as many as asked for."""
        left = deque(self._search.unfinished())
        if left:
            log(f"taken up again: {', '.join(_name(trial.number) for trial in left)}")
        most = min(self._args.trials, self._search.size)
        try:
            while True:
                while len(self._running) < self._args.parallel and (
                    left or len(self._search.outcomes()) < most
                ):
                    self._begin(left.popleft() if left else self._search.ask())
                if not self._running:
                    return
                ended = [number for number, of in self._running.items() if of.process.poll() is not None]
                for number in ended:
                    self._go_on(number, self._running.pop(number))
                if not ended:
                    time.sleep(_POLL_S)
        finally:  # by Ctrl-C there are some
            for of in self._running.values():
                os.killpg(of.process.pid, signal.SIGTERM)
            for of in self._running.values():
                of.process.wait()

    def _begin(self, trial) -> None:
        name = _name(trial.number)
        path, log_file = self._folder / "conf" / f"{name}.yaml", self._log_of(trial.number)
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log_file.write_text("")
        log(f"{name}: {config_values(trial.values)}; {log_file}")
        try:
            content = with_values(self._content, trial.values, self._args.space)
            write_text(path, yaml.safe_dump(content, sort_keys=False))
            build_config(content, str(path))
        except AsvtkError as error:  # values that fit one by one need not fit together
            self._fail(trial.number, str(error))
        else:
            self._start(trial.number, 0, time.monotonic())

    def _start(self, number: int, fold: int, began: float) -> None:
        seeds, (train, dev) = self._args.seeds, self._folds[fold]
        given = {
            "config": self._folder / "conf" / f"{_name(number)}.yaml",
            "tag": self._tag(number, fold),
            "train-sets": " ".join(train),
            "dev-sets": " ".join(dev),
            "test-sets": "",
            "seeds": f"{seeds[0]}:{seeds[-1]}",
            "stage": self._stage,
            "stop-stage": 4,
            "force": "false",
        }
        words = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
        with open(self._log_of(number), "ab") as stream:
            process = subprocess.Popen(
                [*self._args.command, *words],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[number] = _Running(process, fold, began)

    def _go_on(self, number: int, ended: _Running) -> None:
        """To the next fold, or to the result."""
        log_file = self._log_of(number)
        if ended.process.returncode:
            errors = [line for line in log_file.read_text(errors="replace").splitlines() if "error:" in line]
            what = errors[-1] if errors else f"run.sh ended with {ended.process.returncode}"
            self._fail(number, f"{what}; log: {log_file}")
        elif ended.fold + 1 < len(self._folds):
            self._start(number, ended.fold + 1, ended.began)
        else:
            try:
                eers = [self._dev_eer(number, seed) for seed in self._args.seeds]
            except AsvtkError as error:
                self._fail(number, str(error))
                return
            seconds = time.monotonic() - ended.began
            self._search.tell(number, eers, seconds)
            log(f"{_name(number)}: dev EER {mean_sd(eers)} % after {seconds:.0f} s")
            self.write_results()

    def _fail(self, number: int, reason: str) -> None:
        self._search.fail(number, reason)
        log(f"{_name(number)}: failed: {reason}")

    def _dev_eer(self, number: int, seed: int) -> float:
        """Mean of the EERs of all dev sets, or folds, in percent."""
        rates = []
        for fold, (_, dev) in enumerate(self._folds):
            for name in dev:
                scores = self._folder / f"{self._tag(number, fold)}_seed{seed}" / "scores" / f"{name}.txt"
                table = read_scores(scores)
                rates.append(
                    100 * compute_eer(table.scores[table.bonafide], table.scores[~table.bonafide])[0]
                )
        return fmean(rates)

    def _tag(self, number: int, fold: int) -> str:
        return _name(number) + (f"_fold{fold + 1}" if len(self._folds) > 1 else "")

    def _log_of(self, number: int) -> Path:
        return self._folder / "log" / f"{_name(number)}.log"

    def write_results(self):
        """Write RESULTS.md and tune.html, and best.yaml once there is a best trial, which is returned."""
        args, outcomes = self._args, self._search.outcomes()
        judged = f"{args.folds} folds by {args.fold_by}" if args.folds else " + ".join(self._folds[0][1])
        about = {
            "config": args.config,
            "space": args.space,
            "sampler": f"{args.sampler}, seed {args.search_seed}",
            "judged on": judged,
            "seeds": args.seeds,
            "configured": self._configured,
        }
        write_search(self._folder, outcomes, self._search.importances(), about)
        best = best_of(outcomes)
        if best is not None:
            head = f"# {_name(best.number)} of {len(outcomes)} around {args.config}.\n"
            head += f"# EER {best.eer:.2f} % on {judged}, which is optimistic, as it chose this trial.\n"
            text = (self._folder / "conf" / f"{_name(best.number)}.yaml").read_text()
            write_text(self._folder / "best.yaml", head + text)
        return best


def _name(number: int) -> str:
    """Tag of a trial."""
    return f"trial_{number:03d}"


def log(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}", flush=True)
