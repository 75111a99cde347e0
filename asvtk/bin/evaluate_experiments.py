"""asvtk evaluate --exp: the sets that stage 4 scored, each by the threshold of its corpus's dev set."""

import os
import sys
from pathlib import Path

from asvtk.corpora.facts import load_facts
from asvtk.inference.experiment import dev_sets, pooled_scores
from asvtk.io.asv_scores import read_asv_scores
from asvtk.io.corpus_card import CorpusCard
from asvtk.io.errors import AsvtkError
from asvtk.io.protocols import read_protocol
from asvtk.io.scores import ScoreTable
from asvtk.io.stamps import file_digest
from asvtk.io.tables import read_table
from asvtk.metrics.results import read_results, write_results

__all__ = ["evaluate_experiments"]

_USUAL = ("dev", "eval")


def evaluate_experiments(args, measure, where) -> None:
    """Evaluate experiments, and write their results, the table of all and the page.

    Args:
        args: of ``asvtk evaluate``.
        measure: function(table, asv, facts, kinds, card, dev, calibration) -> results of one set.
        where: function(scores, protocol) -> the table that ``--where`` leaves.

    Raises:
        AsvtkError: a folder is named twice, sets have one name, or nothing was scored.
    """
    from asvtk.io.atomic import write_text
    from asvtk.report.corpora import corpus_markdown, corpus_table
    from asvtk.report.markdown import environment, experiment_page, plain_text, results_tables, summary_page
    from asvtk.report.seeds import seed_groups

    if len(set(map(os.path.realpath, args.exp))) < len(args.exp):
        raise AsvtkError("--exp: a folder is named twice")
    data = _data(args)
    facts, about = load_facts(), environment()
    experiments, tables, of_dev = {}, {}, set()
    for folder in map(Path, args.exp):
        results = {}
        for name, table, found in _evaluate(folder, data, facts, measure, where):
            results[name], tables[str(folder), name] = found, table
        if not results:
            raise AsvtkError(
                f"{folder}/scores: no {' or '.join(f'{name}.txt' for name in data)}; run stage 4 first"
            )
        of_dev |= {name for name, of in results.items() if of["role"] == "dev"}
        kept = {**_kept(folder, results), **results}
        write_results(folder / "results.json", kept)
        write_text(folder / "RESULTS.md", experiment_page(folder.name, kept, about))
        print(f"# {plain_text(folder)}\n\n{results_tables(results)}\n")
        experiments[str(folder)] = results
    seeds = seed_groups({name: name for name in experiments}, experiments)
    found = {
        folder: {name: (tables[folder, name], of) for name, of in results.items()}
        for folder, results in experiments.items()
    }
    across = corpus_table(found, seeds, of_dev)
    page = summary_page(experiments, seeds, "" if across is None else corpus_markdown(across))
    if len(experiments) > 1 or len(data) > 2:
        print(page)
    if args.summary:
        write_text(args.summary, page)
    if args.report:
        from asvtk.report.writing import write_report  # only who wants a page waits for its code

        write_report(args.report, found, facts, seeds, of_dev)


def _data(args) -> dict[str, Path]:
    """Name of each set -> its data directory."""
    folders = list(map(Path, args.sets)) if args.sets else [Path(args.data_root) / name for name in _USUAL]
    data = {}
    for folder in folders:
        if folder.name in data:
            raise AsvtkError(
                f"{folder} and {data[folder.name]} have one name, by which scores go; give one another"
            )
        data[folder.name] = folder
    return data


def _evaluate(folder: Path, data: dict[str, Path], facts: dict, measure, where):
    """Name, scores and results of each set that was scored; dev sets first."""
    from asvtk.training.calibration import current_calibration
    from asvtk.training.experiment import Experiment

    calibration, reason = current_calibration(Experiment(folder))
    chosen_on = dev_sets(folder)
    for name, path in sorted(data.items(), key=lambda item: item[0] not in chosen_on):
        scores = folder / "scores" / f"{name}.txt"
        if not scores.exists():
            continue
        protocol = read_protocol(path) if (path / "utt2label").exists() else None
        asv = None
        if (path / "asv_scores").exists():
            key = path / "asv_key"
            asv = read_asv_scores(path / "asv_scores", key if key.exists() else None)
        table = where(scores, protocol)
        is_dev = name in chosen_on
        window = None if is_dev or calibration is None else calibration.window
        dev = None if is_dev else _dev(folder, _dev_of(folder, name, chosen_on))
        results = measure(table, asv, facts, _kinds(path), CorpusCard.read(path), dev, window)
        results |= {"role": "dev" if is_dev else "test", "scores_sha256": _basis(folder, name, chosen_on)}
        if not is_dev and reason:
            results["notes"].append(reason)
        yield name, table, results


def _dev_of(folder: Path, name: str, chosen_on: list[str]) -> list[str]:
    """The dev sets whose threshold a set is judged by: those of its own corpus, or all that were scored."""
    there = [of for of in chosen_on if (folder / "scores" / f"{of}.txt").exists()]
    return [of for of in there if _corpus_of(of) == _corpus_of(name)] or there


def _corpus_of(name: str) -> str:
    """Data directories are called CORPUS-SET where there are several corpora; one without sets CORPUS."""
    corpus, dash, _ = name.rpartition("-")
    return corpus if dash else "" if name in (*_USUAL, "train", "test") else name


def _dev(folder: Path, names: list[str]) -> ScoreTable | None:
    table = pooled_scores(folder, names) if names else None
    return table if table is not None and table.bonafide is not None else None


def _basis(folder: Path, name: str, chosen_on: list[str]) -> dict:
    """Digests of the scores that the results of a set rest on."""
    dev = [] if name in chosen_on else _dev_of(folder, name, chosen_on)
    return {of: file_digest(folder / "scores" / f"{of}.txt") for of in [name, *dev]}


def _kinds(path: Path) -> dict | None:
    """What a data directory says of its attacks; a corpus in the official layout may have others."""
    return read_table(path / "attack2kind") if (path / "attack2kind").is_file() else None


def _kept(folder: Path, results: dict) -> dict:
    """Results of other sets that were measured before, of scores that are still the same."""
    path = folder / "results.json"
    try:
        before = read_results(path) if path.exists() else {}
    except AsvtkError as error:
        print(f"asvtk evaluate: warning: {error}; written anew", file=sys.stderr)
        return {}
    there = [name for name in before.keys() - results.keys() if (folder / "scores" / f"{name}.txt").exists()]
    chosen_on = dev_sets(folder)
    same = {name for name in there if before[name].get("scores_sha256") == _basis(folder, name, chosen_on)}
    return {name: of_set for name, of_set in before.items() if name in same}
