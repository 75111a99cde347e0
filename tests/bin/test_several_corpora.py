"""Two corpora: trained in shares, chosen by both dev sets, scored and calibrated; and from other folders."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import yaml
from tiny_corpus import prepare_split, write_tiny_corpus
from tiny_models import save_model

from asvtk.bin.main import main
from asvtk.inference.experiment import dev_sets
from asvtk.io.datadir import DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import read_scores
from asvtk.io.tables import write_table
from asvtk.training.calibration import current_calibration
from asvtk.training.experiment import Experiment
from asvtk.training.trained import threshold_on_dev

SPLITS = ("train", "dev", "eval")
CONFIG = {
    "frontend": {"name": "lfcc", "crop": {"samples": 6000}},
    "model": {"name": "moe_mamba", "d_model": 16, "blocks": 1, "d_state": 4, "d_expert": 8, "d_embedding": 8},
    "loss": {"name": "oc_softmax"},
    "training": {
        "epochs": 3,
        "lr": 3e-3,
        "batch_size": 4,
        "eval_all_best": True,
        "sampling": {"corpus": {"la-train": 2, "wild-train": 1}, "label": "equal"},
    },
}


def renamed(data, prefix):
    names = [field.name for field in dataclasses.fields(data) if field.name not in ("path", "source")]
    return {name: {f"{prefix}{u}": value for u, value in getattr(data, name).items()} for name in names}


def run(*words, status=0):
    assert main([str(word) for word in words]) == status


def extract(config, dump, *sets):
    given = ["--config", config, "--dump", dump, "--data", *sets]
    for step in (["begin"], ["job", "--job", 1], ["join"]):
        run("extract", step[0], *given, *step[1:])


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """data/{la,wild}-{train,dev,eval}: wild has other ids, and 3 of its training utterances are missing."""
    folder = tmp_path_factory.mktemp("corpora")
    for seed, (corpus, prefix) in enumerate((("la", ""), ("wild", "w-"))):
        la = write_tiny_corpus(folder / corpus, seed=seed)
        for split in SPLITS:
            data = prepare_split(la, split, folder / "official" / corpus / split)
            if (corpus, split) == ("wild", "train"):
                data = data.subset(data.utterances[:9])
            DataDirectory(folder / "data" / f"{corpus}-{split}", **renamed(data, prefix)).write()
    return folder


@pytest.fixture(scope="session")
def mixed(corpora):
    """An experiment of both, trained, scored and calibrated."""
    config, data = corpora / "config.yaml", corpora / "data"
    config.write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    extract(config, corpora / "dump", *sorted(data.iterdir()))
    run("train", *words_of(corpora))
    sets = [data / f"{corpus}-{split}" for split in ("dev", "eval") for corpus in ("la", "wild")]
    run("score", "--exp", corpora / "exp", "--dump", corpora / "dump", "--data", *sets)
    return corpora


def words_of(corpora, dev=("la", "wild"), exp="exp"):
    words = ["--config", corpora / "config.yaml", "--dump", corpora / "dump", "--exp", corpora / exp]
    for role, of in (("train", ("la", "wild")), ("dev", dev), ("eval", ("wild", "la"))):
        words += [f"--{role}-data", *(corpora / "data" / f"{corpus}-{role}" for corpus in of)]
    return words


def calibrate(corpora, *more, roles=(("dev", "la wild"), ("eval", "la wild"), ("train", "la wild"))):
    words = []
    for role, of in roles:
        words += [f"--{role}-data", *(corpora / "data" / f"{corpus}-{role}" for corpus in of.split())]
    return ["calibrate", *more, *words]


def test_dev_sets_count_each_by_itself(mixed):
    records = [json.loads(line) for line in (mixed / "exp" / "train.jsonl").read_text().splitlines()]
    for record in records:
        of = record["dev_eer_percent_of"]
        assert list(of) == ["la-dev", "wild-dev"]
        assert record["dev_eer_percent"] == pytest.approx(np.mean(list(of.values())))
        if record["best_epoch"] == record["epoch"]:
            of = record["eval_eer_percent_of"]
            assert list(of) == ["wild-eval", "la-eval"]
            assert record["eval_eer_percent"] == pytest.approx(np.mean(list(of.values())))
    environment = json.loads((mixed / "exp" / "environment.json").read_text())
    assert environment["data"]["wild-train"] == {"bonafide": 5, "spoof": 4}
    assert len(environment["data"]) == 6


def test_what_training_says_of_its_sets(mixed, tmp_path, capfd):
    shutil.copytree(mixed / "exp", mixed / "said")
    run(
        "train",
        *words_of(mixed, exp="said"),
        "--force",
        "--override",
        "training.epochs=2",
        "training.select=worst",
    )
    said = capfd.readouterr()
    said = said.out + said.err
    shutil.rmtree(mixed / "said")
    assert (
        "training on 21 utterances, choosing on 16, by the worst EER of 2 sets: la-dev (8), wild-dev (8)"
        in said
    )
    assert "an epoch has 21 utterances, in the shares of training.sampling (corpus, label):" in said
    for corpus, label, count, there in (
        ("la", "bonafide", 7, 6), ("la", "spoof", 7, 6), ("wild", "bonafide", 4, 5), ("wild", "spoof", 3, 4),
    ):  # fmt: skip
        assert f"  {corpus}-train {label}: {count} (the set has {there})" in said
    assert "% (la-dev " in said and "% (wild-eval " in said and "worst dev EER of 2 sets" in said


def test_an_experiment_is_of_its_dev_sets_and_shares(mixed, capsys):
    def check(*more, status=0, **options):
        run("train", *words_of(mixed, **options), "--check", *more, status=status)
        return "".join(capsys.readouterr())

    assert check() == check(dev=("wild", "la")) == "finished\n"
    assert "dev data: {'la-dev'" in check(dev=("la",), status=1)
    order = "training.sampling={label: equal, corpus: {la-train: 2, wild-train: 1}}"
    assert "sampling.levels: corpus, label -> label, corpus" in check("--override", order, status=1)
    said = check("--override", "training.sampling.corpus.la-train=1", status=1)
    assert "training.sampling.corpus.la-train: 2.0 -> 1.0" in said and "sampling.values" not in said


@pytest.mark.parametrize(
    "override, message",
    [
        ("training.sampling.corpus.asv5=1", "corpus: no utterance has asv5; there are la-train, wild-train"),
        ("training.sampling.corpus={la-train: 1}", "corpus: no weight for wild-train"),
        ("training.sampling.codec=equal", "la-train/utt2codec: no such file: it would say the 'codec'"),
    ],
)  # fmt: skip
def test_shares_that_do_not_fit_show_before_anything_is_computed(mixed, capsys, override, message):
    run("train", *words_of(mixed, exp="new"), "--check", "--override", override, status=1)
    assert message in capsys.readouterr().err
    assert not (mixed / "new").exists()


def test_values_of_a_further_column(mixed, tmp_path, capfd):
    for corpus in ("la", "wild"):
        path = tmp_path / f"{corpus}-train"
        shutil.copytree(mixed / "data" / f"{corpus}-train", path)
        names = DataDirectory.read(path).utterances
        write_table(path / "utt2codec", {u: "mp3" if n % 3 else "none at all" for n, u in enumerate(names)})
    words = words_of(mixed, exp="codec")
    first = words.index("--train-data")
    words[first + 1 : first + 3] = [tmp_path / "la-train", tmp_path / "wild-train"]
    run(
        "train",
        *words,
        "--override",
        "training.sampling={codec: {mp3: 1, none at all: 0}}",
        "training.epochs=2",
    )
    said = "".join(capfd.readouterr())
    shutil.rmtree(mixed / "codec")
    assert "an epoch has 14 utterances" in said and "wild-train spoof" in said


def one_class(corpora, folder):
    dev = DataDirectory.read(corpora / "data" / "wild-dev")
    spoofs = dev.subset(u for u, label in dev.label.items() if label == "spoof")
    dataclasses.replace(spoofs, path=folder / "spoofs").write()
    return folder / "spoofs"


def test_sets_that_do_not_go_together(mixed, tmp_path, capsys):
    def refused(*more, role="dev"):
        words = words_of(mixed, exp="new")
        place = words.index(f"--{role}-data")
        run("train", *words[: place + 2], *more, *words[place + 3 :], status=1)
        return capsys.readouterr().err

    said = refused(one_class(mixed, tmp_path))
    assert f"{tmp_path}/spoofs: 0 bona fide and 4 spoofed utterances; both are needed" in said
    shutil.copytree(mixed / "data" / "wild-dev", tmp_path / "la-dev")
    assert "two data directories called 'la-dev'; features and scores" in refused(tmp_path / "la-dev")
    shutil.copytree(mixed / "data" / "wild-dev", tmp_path / "la-train")
    assert "two data directories called 'la-train'" in refused(tmp_path / "la-train", role="eval")
    shutil.copytree(mixed / "data" / "la-dev", tmp_path / "again")
    assert "utils/copy_data_dir.sh --utt-prefix again- " in refused(tmp_path / "again")
    assert "the data directory is named twice" in refused(mixed / "data" / "la-dev")
    assert not (mixed / "new").exists()


def test_calibration_pools_dev_sets_and_measures_on_all_eval_sets(mixed, capsys):
    exp = Experiment(mixed / "exp")
    run(*calibrate(mixed, "--exp", exp.folder))
    assert capsys.readouterr().out == f"{exp.calibration}\n"
    calibration, reason = current_calibration(exp)
    assert reason == "" and dev_sets(exp.folder) == ["la-dev", "wild-dev"]
    assert (calibration.window.dev.n_bonafide, calibration.window.dev.n_spoof) == (8, 8)
    assert calibration.window.systems == ("exp on la-dev+wild-dev",)
    assert (calibration.errors.data, calibration.errors.bonafide) == ("la-eval+wild-eval", 10)
    run(*calibrate(mixed, "--exp", exp.folder))
    assert "up to date" in capsys.readouterr().out
    # of other scores of one of the dev sets
    scores = exp.scores("wild-dev")
    before = scores.read_bytes()
    scores.write_bytes(before.replace(b" bonafide ", b" bonafide 1", 1))
    assert current_calibration(exp) == (
        None,
        f"uncalibrated: {exp.calibration} is of other scores of dev; run stage 5 again",
    )
    scores.write_bytes(before)
    assert current_calibration(exp)[0] is not None
    # of one of the sets alone
    run(*calibrate(mixed, "--exp", exp.folder, roles=(("dev", "wild"), ("eval", "la"))))
    assert dev_sets(exp.folder) == ["wild-dev"] and current_calibration(exp)[0].window.dev.n_spoof == 4
    assert current_calibration(exp)[0].errors.data == "la-eval"


def test_the_threshold_of_a_package_is_that_of_all_dev_sets(mixed):
    exp = Experiment(mixed / "exp")
    run(*calibrate(mixed, "--exp", exp.folder))
    results = {}
    for name in dev_sets(exp.folder):
        run("evaluate", "--scores", exp.scores(name), "--json", mixed / "one.json")
        results[name] = json.loads((mixed / "one.json").read_text())
    (exp.folder / "results.json").write_text(json.dumps(results))
    threshold = threshold_on_dev(exp)
    assert threshold["chosen"] == "at the EER of la-dev + wild-dev"
    tables = [read_scores(exp.scores(name)) for name in dev_sets(exp.folder)]
    bonafide = np.concatenate([table.scores[table.bonafide] for table in tables])
    assert threshold["frr"] == np.mean(bonafide <= threshold["threshold"])


def test_one_dev_set_is_stamped_as_ever(trained, tmp_path):
    """With the name dev: stamps of former calibrations stay valid."""
    shutil.copytree(trained / "exp", tmp_path / "exp")
    sets = [trained / "data" / name for name in ("dev", "eval")]
    run("score", "--exp", tmp_path / "exp", "--dump", trained / "dump", "--data", *sets)
    run("calibrate", "--exp", tmp_path / "exp", "--dev-data", sets[0], "--eval-data", sets[1])
    stamp = json.loads((tmp_path / "exp" / ".calibration.done").read_text())
    assert set(stamp) - {"uncalibrated"} == {"form", "checkpoint", "scores", "data", "prior", "scikit-learn"}
    inputs = json.loads((trained / "exp" / "inputs.json").read_text())
    assert inputs["dev data"] == DataDirectory.read(sets[0]).digest() and "sampling" not in inputs


def test_several_sets_of_a_detector(mixed, tmp_path, capsys, monkeypatch):
    from asvtk.inference import fitting

    def fit(detector, *sets, **_):  # there is no speech in tones
        raise AsvtkError(" ".join(f"{data.name}:{len(data.utterances)}" for data in sets))

    monkeypatch.setattr(fitting, "fit_calibration", fit)
    roles = (("dev", "la wild"), ("eval", "wild la"), ("train", "wild"))
    run(*calibrate(mixed, "--detector", mixed / "exp", "--out", tmp_path / "c.json", roles=roles), status=1)
    assert "error: la-dev+wild-dev:16 wild-eval+la-eval:20 wild-train:9" in capsys.readouterr().err
    roles = (("dev", "la wild"), ("eval", "wild la"), ("train", "wild wild"))
    run(*calibrate(mixed, "--exp", mixed / "exp", roles=roles), status=2)
    assert "a data directory is named twice" in capsys.readouterr().err
    run("calibrate", "--dev", "a", "--scores", "b", "--out", "c", "--dev-data", "d", "e", status=2)
    assert "--dev-protocol takes one name" in capsys.readouterr().err


# ---- names, and other folders


@pytest.fixture
def namesakes(mixed, tmp_path):
    """la/eval and wild/eval: two data directories of one name."""
    for corpus in ("la", "wild"):
        shutil.copytree(mixed / "data" / f"{corpus}-eval", tmp_path / corpus / "eval")
    return [tmp_path / "la" / "eval", tmp_path / "wild" / "eval"]


def test_data_directories_of_one_name_are_refused_by_every_verb(mixed, namesakes, tmp_path, capsys):
    told = f"{namesakes[0]} and {namesakes[1]}: two data directories called 'eval'; features and scores"
    model = ["--exp", mixed / "exp", "--dump", tmp_path / "dump"]
    commands = [["extract", action, "--config", mixed / "config.yaml", "--dump", tmp_path / "dump", "--data"]
                for action in ("begin", "job", "join")]  # fmt: skip
    commands += [["score", *model, "--data"], ["score", "begin", *model, "--nj", 2, "--data"]]
    commands += [["calibrate", "--exp", mixed / "exp", "--dev-data"]]
    for command in commands:
        run(*command, *namesakes, status=1)
        said = capsys.readouterr().err
        assert told in said
        assert f"such as {tmp_path}/wild/wild-eval" in said
    assert not (tmp_path / "dump").exists()


def test_scores_of_another_set_of_that_name_stay(mixed, namesakes, tmp_path, capsys):
    shutil.copytree(mixed / "exp", tmp_path / "exp")
    for data in namesakes:
        extract(mixed / "config.yaml", tmp_path / data.parent.name / "dump", data)
    words = ["score", "--exp", tmp_path / "exp", "--dump"]
    run(*words, tmp_path / "la" / "dump", "--data", namesakes[0])
    scores = tmp_path / "exp" / "scores" / "eval.txt"
    before = scores.read_bytes()
    for step in ([], ["begin"]):
        run(words[0], *step, *words[1:], tmp_path / "wild" / "dump", "--data", namesakes[1], status=1)
        said = capsys.readouterr().err
        assert f"{scores}: holds scores of another data set called 'eval', which has no utterance of" in said
    assert scores.read_bytes() == before
    run(*words, tmp_path / "wild" / "dump", "--data", namesakes[1], "--force")
    assert scores.read_bytes() != before and read_scores(scores).utterances[0].startswith("w-")


@pytest.mark.parametrize("cache", [True, False])
def test_another_recipe_scores_what_was_trained_in_a_folder_of_its_own(corpora, tmp_path, monkeypatch, cache):
    """All paths relative, also that of the front-end's model, which lies in the first recipe's folder."""
    first, second = tmp_path / "egs" / "first", tmp_path / "egs" / "second"
    for folder, corpus in ((first, "la"), (second, "wild")):
        (folder / "data").mkdir(parents=True)
        for split in SPLITS:
            shutil.copytree(corpora / "data" / f"{corpus}-{split}", folder / "data" / f"{corpus}-{split}")
    save_model(first / "models" / "wavlm")
    frontend = {
        "name": "ssl",
        "model": "models/wavlm",
        "layers": [2],
        "crop": {"samples": 6000},
        "cache": cache,
    }
    training = {"epochs": 1, "warmup_epochs": 0}
    (first / "c.yaml").write_text(yaml.safe_dump({**CONFIG, "frontend": frontend, "training": training}))
    monkeypatch.chdir(first)
    if cache:
        extract("c.yaml", "dump", *(f"data/la-{split}" for split in SPLITS))
    sets = ["--train-data", "data/la-train", "--dev-data", "data/la-dev"]
    run("train", "--config", "c.yaml", "--exp", "exp/a", "--dump", "dump", *sets)
    run("score", "--exp", "exp/a", "--dump", "dump", "--data", "data/la-eval")
    monkeypatch.chdir(second)
    exp = "../first/exp/a"
    if cache:
        extract(f"{exp}/config.yaml", "dump", "data/wild-eval", "data/wild-dev")
    run("score", "--exp", exp, "--dump", "dump", "--data", "data/wild-eval", "data/wild-dev")
    table = read_scores(first / "exp" / "a" / "scores" / "wild-eval.txt")
    assert table.bonafide.sum() == 5 and len(table.scores) == 10 and table.utterances[0].startswith("w-")
    run("calibrate", "--exp", exp, "--dev-data", "data/wild-dev", "--eval-data", "data/wild-eval")
    assert (first / "exp" / "a" / ".calibration.done").exists()
    # The same audio gets the same scores, from wherever.
    shutil.copytree(first / "data" / "la-eval", second / "data" / "once-more")
    if cache:
        extract(f"{exp}/config.yaml", "dump", "data/once-more")
    run("score", "--exp", exp, "--dump", "dump", "--data", "data/once-more")
    scores = first / "exp" / "a" / "scores"
    assert (scores / "once-more.txt").read_bytes() == (scores / "la-eval.txt").read_bytes()
