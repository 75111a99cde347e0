"""Experiments: what there is, what became of them, and in what they differ.

asvtk exp ls [DIR ...]      one line for each experiment (default: those in exp/)
asvtk exp show DIR          configuration, results, and what it was trained on
asvtk exp diff DIR DIR      settings that differ, and the results side by side
"""

import re
import sys
from pathlib import Path

import yaml

from asvtk.io.config import differences, load_yaml
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.stamps import read_stamp
from asvtk.io.text import read_json
from asvtk.metrics.results import read_results
from asvtk.training.experiment import Experiment

EXAMPLES = """\
  asvtk exp ls
  asvtk exp diff exp/lfcc_moe_mamba exp/eight_experts
"""

_HEADER = (
    "experiment", "corpus", "model", "front-end", "seed", "epochs", "best dev EER %", "eval EER %", "minutes",
    "state",
)  # fmt: skip


def add_arguments(parser):
    parser.add_argument("action", choices=("ls", "show", "diff"), help="what to do")
    parser.add_argument(
        "exp", nargs="*", metavar="DIR", help="experiments; for ls also folders of experiments"
    )


def run(args):
    return {"ls": _list, "show": _show, "diff": _diff}[args.action](args.exp)


def _list(paths: list[str]) -> int:
    rows, faults = [_HEADER], []
    for folder in _experiments(paths or ["exp"]):
        try:
            rows.append(_read(_row, folder))
        except AsvtkError as error:  # a fault of one must not hide the others
            faults.append(f"asvtk exp ls: {error}")
            rows.append((folder.name, *["-"] * (len(_HEADER) - 2), "damaged"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("".join(f"{fault}\n" for fault in faults), end="", file=sys.stderr)
    return int(bool(faults))


def _read(reader, folder: Path):
    """What ``reader`` makes of an experiment, whose files are JSON and YAML and may be of any shape.

    Raises:
        AsvtkError: they are damaged.
    """
    try:
        return reader(Experiment(folder))
    except OSError as error:
        raise AsvtkError(str(error)) from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AsvtkError(f"{folder}: its files are damaged: {error!r:.200}") from None


def _experiments(paths: list[str]) -> list[Path]:
    found = []
    for path in map(Path, paths):
        configs = [*path.glob("config.yaml")] or sorted(path.glob("*/config.yaml"))
        if not configs:
            raise AsvtkError(f"{path}: is no experiment, and holds none (no config.yaml, nor */config.yaml)")
        found += [config.parent for config in configs]
    return found


def _row(experiment: Experiment) -> tuple[str, ...]:
    path = experiment.folder / "config.yaml"
    config = load_yaml(path)
    training, results = _summary(experiment), _results(experiment)
    return (
        experiment.folder.name,
        _corpus(experiment),
        field_of(config, "model.name", str, path),
        field_of(config, "frontend.name", str, path),
        str(field_of(config, "seed", int, path)),
        f"{training['epochs done']}/{field_of(config, 'training.epochs', int, path)}",
        _number(training["best dev EER %"]),
        _number(results.get("eval EER %", results.get("macro EER %"))),  # of other test sets their mean
        _number(training["minutes"], 1),
        experiment.state(),
    )


def _corpus(experiment: Experiment) -> str:
    """The folder of the corpus by the command that trained on it; of several corpora, the training sets."""
    command = (read_stamp(experiment.folder / "environment.json") or {}).get("command")
    if not isinstance(command, str):
        return "-"
    if sets := re.findall(r"--train-sets\s+((?:\\.|\S)+)", command):
        return sets[-1].replace("\\ ", "+")
    named = re.findall(r"--corpus\s+(\S+)", command)
    return named[-1] if named else "-"


def _summary(experiment: Experiment) -> dict:
    """How far training came, by its log: it is there also when the process is not."""
    records = experiment.records()
    rates = [record["dev_eer_percent"] for record in records if "dev_eer_percent" in record]
    done = read_json(experiment.done) if experiment.done.exists() else {}
    return {
        "epochs done": max((r["epoch"] - ("step" in r) for r in records), default=0),
        "best epoch": records[-1].get("best_epoch") if records else None,
        "best dev EER %": 100 * field_of(done, "best_dev_eer", float, experiment.done)
        if done
        else min(rates, default=None),
        "minutes": sum(record["seconds"] for record in records) / 60,
        "rollbacks": done.get("rollbacks", 0),
        "skipped steps": max((record.get("skipped_steps", 0) for record in records), default=0),
    }


def _results(experiment: Experiment) -> dict:
    """What stage 5 measured, in one level."""
    names = {"eer_percent": "EER %", "min_tdcf": "min t-DCF"}
    path = experiment.folder / "results.json"
    try:
        found = read_results(path) if path.exists() else {}
    except AsvtkError as error:  # one that cannot be read ends no list
        print(f"asvtk exp: warning: {error}", file=sys.stderr)
        found = {}
    results = {
        f"{dataset} {name}": values[key]
        for dataset, values in found.items()
        for key, name in names.items()
        if values.get(key) is not None
    }
    tested = [of_set["eer_percent"] for of_set in found.values() if of_set.get("role") == "test"]
    return results | ({"macro EER %": sum(tested) / len(tested)} if len(tested) > 1 else {})


def _show(paths: list[str]) -> None:
    if len(paths) != 1:
        raise AsvtkError(f"asvtk exp show: expected one experiment, found {len(paths)}")
    (folder,) = _require(paths)
    experiment, sections = Experiment(folder), _read(_sections, folder)
    print(f"# {folder}: {experiment.state()}\n")
    print(yaml.safe_dump(sections, sort_keys=False, allow_unicode=True), end="")
    if (folder / "diff.patch").exists():
        print(f"the source was changed since its revision: {folder / 'diff.patch'}")
    if experiment.faults.exists():
        print(f"steps were skipped: {experiment.faults}")


def _sections(experiment: Experiment) -> dict:
    measured = _summary(experiment) | _results(experiment)
    return {
        "results": {name: _rounded(value) for name, value in measured.items()},
        "config": load_yaml(experiment.folder / "config.yaml"),
        "trained on": experiment.inputs(),
        "environment": read_stamp(experiment.folder / "environment.json") or {},
    }


def _diff(paths: list[str]) -> None:
    if len(paths) != 2:
        raise AsvtkError(f"asvtk exp diff: expected two experiments, found {len(paths)}")
    folders = _require(paths)
    both = [_read(_sections, folder) for folder in folders]
    lines = [line for name in ("config", "trained on") for line in differences(*(x[name] for x in both))]
    results = [x["results"] for x in both]
    print(f"{folders[0]} -> {folders[1]}\n")
    print("\n".join(f"  {line}" for line in lines) or "  same settings, same data")
    print()
    for name in dict.fromkeys([*results[0], *results[1]]):
        print(f"  {name:<16}" + "".join(f"{_cell(result.get(name)):>12}" for result in results))


def _require(paths: list[str]) -> list[Path]:
    for path in map(Path, paths):
        if not (path / "config.yaml").exists():
            raise AsvtkError(f"{path}/config.yaml: nothing was trained here; asvtk exp ls lists experiments")
    return [Path(path) for path in paths]


def _rounded(value):
    """A number as a person reads it, in six digits."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _cell(value) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _number(value, digits: int = 3) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
