"""Recipes of several corpora: trained on two, chosen on two, tested on three; killed; tested on a fourth."""

import json
import re
import subprocess

import pytest
import tiny_corpora
from tiny_corpora import write_clip
from tiny_corpus import write_tiny_corpus
from tiny_recipe import RECIPE, SMALL, Recipe, kill, wait_for

TRAIN, DEV, TEST = ("la19-train", "own-train"), ("la19-dev", "own-dev"), ("la19-eval", "own-test", "itw-eval")


class CrossCorpus(Recipe):
    """``egs/cross_corpus/run.sh`` on a list of tiny corpora."""

    def command(self, **options):
        sets = {"train_sets": TRAIN, "dev_sets": DEV, "test_sets": TEST}
        options = {name: " ".join(of) for name, of in sets.items()} | options
        words = super().command(corpora=self.corpus, **options)
        at = words.index("--corpus")
        return ["../cross_corpus/run.sh", *words[1:at], *words[at + 2 :]]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    write_tiny_corpus(folder)
    tiny_corpora.in_the_wild(folder / "itw")
    rows = ["file,class,part"]
    for i in range(24):
        part, label = ("train", "dev", "test")[i // 8], ("human", "machine")[i % 2]
        suffix, rate, channels = ((".wav", 16000, 1), (".wav", 22050, 2), (".mp3", 44100, 1))[i % 3]
        write_clip(folder / "own" / f"{i}{suffix}", rate, channels, seed=i)
        rows.append(f"{i}{suffix},{label},{part}")
    (folder / "own" / "clips.csv").write_text("\n".join(rows) + "\n")
    file = folder / "corpora.yaml"
    file.write_text(
        "la19: {corpus: asvspoof2019_la, path: LA}\nitw: {corpus: in_the_wild, path: itw}\n"
        "own:\n  table: own/clips.csv\n  columns: {path: file, label: class, set: part}\n"
        "  labels: {bonafide: [human], spoof: [machine]}\n  utt_prefix: own-\n"
    )
    return file


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpora):
    """Killed in training, then run to its end by the same command."""
    recipe = CrossCorpus(tmp_path_factory.mktemp("cross"), corpora)
    override = f"{SMALL} training.sampling.corpus=equal training.sampling.label=equal"
    process = recipe.start(override=override)
    wait_for(recipe, process, "exp/tiny/checkpoints/last.safetensors")
    kill(process)
    answer = recipe.run(override=override)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    recipe.said = answer.stdout + answer.stderr
    return recipe


def results(recipe) -> dict:
    return json.loads((recipe.folder / "exp" / "tiny" / "results.json").read_text())


def test_resumed_after_a_kill_with_a_table_across_corpora(finished):
    assert finished.said.count(" 0 to compute") == len((*TRAIN, *DEV, *TEST))
    found = results(finished)
    assert {name: of["role"] for name, of in found.items()} == {
        **dict.fromkeys(DEV, "dev"), **dict.fromkeys(TEST, "test")
    }  # fmt: skip
    assert found["itw-eval"]["corpus"]["title"] == "In-the-Wild" and not found["itw-eval"]["official"]
    # a set is judged by the threshold of its own corpus's dev set, one without any by that of all
    points = {name: found[name]["operating_points"]["dev_eer"] for name in TEST}
    assert points["la19-eval"]["threshold"] != points["own-test"]["threshold"]
    assert "la19-dev" in points["la19-eval"]["dev"] and "own-dev" not in points["la19-eval"]["dev"]
    assert "la19-dev" in points["itw-eval"]["dev"] and "own-dev" in points["itw-eval"]["dev"]
    summary = (finished.folder / "exp" / "RESULTS_tiny.md").read_text()
    row = re.search(r"\| \S*exp/tiny +\|(.*)\|", summary.partition("## Across corpora")[2])[1].split("|")
    rates = [found[name]["eer_percent"] for name in TEST]
    assert [cell.strip() for cell in row[:4]] == [*(f"{x:.2f}" for x in rates), f"{sum(rates) / 3:.2f}"]
    about = (finished.folder / "exp" / "tiny" / "RESULTS.md").read_text()
    assert "itw-eval: In-the-Wild eval" in about and "own-test: table clips.csv sha256:" in about
    page = (finished.folder / "exp" / "report_tiny" / "report.html").read_text()
    assert "Across corpora" in page and "tiny: all corpora" in page
    log = (finished.folder / "exp" / "tiny" / "log" / "train.log").read_text()
    assert "own-train" in log  # which share of an epoch it has


def test_a_finished_experiment_on_another_corpus(finished, tmp_path):
    before = results(finished)
    corpus = tiny_corpora.asvspoof2021_la(tmp_path / "la21")
    words = ["../asvspoof2021/run.sh", "--part", "la", "--corpus", str(corpus)]
    words += ["--experiment", str(finished.folder / "exp" / "tiny"), "--ngpu", "0", "--nj", "1"]
    words += [w for name in ("data", "dump", "exp") for w in (f"--{name}dir", str(tmp_path / name))]
    answer = subprocess.run(words, cwd=RECIPE, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "stage 3" not in answer.stdout
    found = results(finished)
    assert found.pop("asvspoof2021_la-eval")["corpus"]["set"] == "eval"
    assert found == before  # what was measured before stays
    tables = results(finished)["asvspoof2021_la-eval"]["tables"]["attack,codec"]
    assert set(tables) == {"A07", "Pooled"} and set(tables["A07"]) == {"C1", "C2", "Pooled"}
    assert results(finished)["asvspoof2021_la-eval"]["min_tdcf_revisited"] is not None
    assert (tmp_path / "exp" / "report_tiny" / "report.html").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["../in_the_wild/run.sh", "--corpus", "/none"], "--experiment DIR: there is nothing to train on"),
        (["../in_the_wild/run.sh", "--experiment", "/none"], "--experiment /none: holds no config.yaml"),
        (["../asvspoof2021/run.sh", "--part", "xy"], "--part xy: expected la, df or pa"),
        (["../cross_corpus/run.sh", "--corpora", "/none.yaml", "--ngpu", "0"], "/none.yaml: no such file"),
    ],
)
def test_what_does_not_go_together(words, message):
    answer = subprocess.run(words, cwd=RECIPE, capture_output=True, text=True, timeout=120)
    assert answer.returncode in (1, 2) and message in answer.stderr
