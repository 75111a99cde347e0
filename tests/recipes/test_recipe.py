"""The recipe as a user runs it: ./run.sh, killed, resumed, misused."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tiny_models import save_model
from tiny_recipe import RECIPE, SMALL, Recipe, cached, wait_for

from asvtk.bin.main import main
from asvtk.inference.package import read_package
from asvtk.training.experiment import Experiment


@pytest.fixture
def recipe(tmp_path, corpus):
    return Recipe(tmp_path, corpus)


def test_one_command_ends_with_results(finished):
    assert (
        "Successfully finished." in finished.said
        and "note: not the official ASVspoof 2019 LA" in finished.said
    )
    exp = finished.folder / "exp" / "tiny"
    results = json.loads((exp / "results.json").read_text())
    assert results["eval"]["n_bonafide"] == 10 and set(results["eval"]["per_attack"]) == {
        f"A{n:02d}" for n in range(7, 13)
    }
    calibration = json.loads((exp / "calibration.json").read_text())
    assert calibration["window"]["dev"]["n_spoof"] == 8 and calibration["errors"]["data"] == "eval"
    calibrated = results["eval"]["calibrated"]
    assert calibrated["prior"] == 0.5 and calibrated["cllr"] < results["eval"]["cllr"]
    assert "eval with dev's calibration: act DCF " in finished.said
    for name in ("config.yaml", "environment.json", "run.sh", "train.jsonl", "RESULTS.md"):
        assert (exp / name).exists()
    utterance, attack, key, score = finished.scores()["eval.txt"].splitlines()[1].split()
    assert (utterance, attack, key) == ("LA_E_1000037", "A07", "spoof") and -1.01 < float(score) < 1.01
    page = (exp / "RESULTS.md").read_text()
    for fact in (
        f"- command: `./run.sh --corpus {finished.corpus} ",
        "- date: 20",
        "- git revision: ",
        "torch 2.",
    ):
        assert fact in page


def test_finished_features_are_not_computed_again(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.ark")}
    answer = finished.run(stop_stage=2)
    assert answer.returncode == 0 and answer.stderr.count(" 0 to compute") == 3
    assert {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.ark")} == before


def test_scoring_and_evaluation_alone(finished):
    scores = finished.scores()
    answer = finished.run(stage=4, stop_stage=5, force="true")
    assert answer.returncode == 0 and finished.scores() == scores
    log = finished.folder / "exp" / "tiny" / "log" / "calibrate.log"
    assert (before := log.stat()) and finished.run(stage=5, stop_stage=5).returncode == 0
    assert log.stat() == before  # up to date
    assert "stage 4" in answer.stdout and "stage 5" in answer.stdout and "stage 3" not in answer.stdout


def test_generated_script_runs_the_experiment_again_and_does_nothing_twice(finished):
    exp = finished.folder / "exp" / "tiny"
    made = {path: path.stat().st_mtime_ns for name in ("last", "best") for path in exp.glob(f"*/{name}.*")}
    log = (exp / "log" / "train.log").stat()
    script = exp / "run.sh"
    assert "--force false" in script.read_text()
    answer = subprocess.run([script], capture_output=True, text=True)
    assert answer.returncode == 0 and "stage 2" not in answer.stdout and "stage 5" in answer.stdout
    assert "trained already" in answer.stdout and (exp / "log" / "train.log").stat() == log  # fault 22
    assert len(made) == 2 and {path: path.stat().st_mtime_ns for path in made} == made


def test_wavlm_from_a_local_directory_with_all_layers_cached_once(recipe, finished, tmp_path, capsys):
    model = f"frontend.model={save_model(tmp_path / 'wavlm')}"
    options = {"config": "conf/wavlm_moe_mamba.yaml", "nj": 1, "stage": 2}
    recipe.folders["datadir"] = finished.folders["datadir"]
    answer = recipe.run(override=f"{SMALL} {model}", stop_stage=2, **options)
    assert answer.returncode == 0, answer.stderr
    assert "layers 0 1 2 3: 0 of 24 utterances are cached, 24 to compute" in answer.stderr
    arks = {path: path.stat().st_mtime_ns for path in recipe.folder.rglob("*.ark")}
    assert len(arks) == 3 * 4
    answer = recipe.run(
        override=f"{SMALL} {model} model.experts=3 frontend.layers=[1,3]", tag="two", stop_stage=3, **options
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count(" 0 to compute") == 3
    assert {path: path.stat().st_mtime_ns for path in recipe.folder.rglob("*.ark")} == arks
    words = ["--override", model, "frontend.layers=[1,30]", "--data", Path(recipe.folders["datadir"]) / "dev"]
    words += ["--config", RECIPE / "conf" / "wavlm_moe_mamba.yaml", "--dump", recipe.folders["dumpdir"]]
    assert main(["extract", "begin", *map(str, words)]) == 1
    assert "layer 30 does not exist" in capsys.readouterr().err


def test_several_seeds_are_several_experiments_and_one_table(finished):
    arks = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.ark")}
    answer = finished.run(seeds="1:2", tag="seeds", stage=2)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("0 to compute") == 3  # features are those of the first experiment
    assert {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*.ark")} == arks
    assert finished.scores("seeds_seed1") == finished.scores() != finished.scores("seeds_seed2")
    assert "mean ± sd" in (finished.folder / "exp" / "RESULTS_seeds.md").read_text()


@pytest.fixture
def extracted(recipe, finished):
    """A recipe of its own that has all features."""
    recipe.folders |= {name: finished.folders[name] for name in ("datadir", "dumpdir")}
    return recipe


def test_two_processes_train_and_two_jobs_score_what_one_does(extracted, finished):
    # Dropout draws other numbers in each process, and the losses of the router are no means over utterances.
    override = f"{SMALL} model.dropout=0 model.balance_weight=0 model.z_weight=0"
    begin = finished.folder / "exp" / "tiny"
    answer = extracted.run(
        stage=3, stop_stage=4, override=override, tag="two", num_processes=2, score_nj=2, init=begin
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    exp, folder = extracted.folder / "exp", {name: Path(path) for name, path in extracted.folders.items()}
    assert "in 2 processes" in (exp / "two" / "log" / "train.log").read_text()
    assert len(list((exp / "two" / "log").glob("score.*.log"))) == 2

    sets = [word for name in ("train", "dev") for word in (f"--{name}-data", folder["datadir"] / name)]
    given = ["--config", RECIPE / "conf" / "lfcc_moe_mamba.yaml", "--override", *override.split()]
    of_one = ["--init", begin, "--exp", exp / "one", "--dump", folder["dumpdir"]]
    assert main([str(word) for word in ("train", *given, *of_one, *sets)]) == 0
    for ours, theirs in zip(
        Experiment(exp / "two").records(), Experiment(exp / "one").records(), strict=True
    ):
        for name in ("loss", "dev_loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5)

    in_parts = extracted.scores("two")
    data = [folder["datadir"] / name for name in ("dev", "eval")]
    again = ["score", "--exp", exp / "two", "--dump", folder["dumpdir"], "--force", "--data", *data]
    assert main([str(word) for word in again]) == 0
    assert len(in_parts) == 2 and extracted.scores("two") == in_parts


@pytest.mark.parametrize(
    "options, status, message",
    [
        ({"corpus": "/none"}, 1, "'/none' does not hold asvspoof2019_la: give --corpus DIR"),
        ({"config": "conf/none.yaml"}, 1, "conf/none.yaml: no such file"),
        ({"override": "model.expert=3"}, 1, "unknown key 'expert'; did you mean 'experts'"),
        ({"override": "frontend.name=ssl frontend.model=/none"}, 1, "/none: no such directory"),
        ({"stage": 3, "datadir": "/none"}, 1, "no such data directory; run stage 1 first"),
        ({"stage": 4, "tag": "none"}, 1, "nothing was trained here; run stage 3 first"),
        ({"stage": 5, "tag": "none"}, 1, "run stage 4"),
        ({"stag": 3}, 1, "invalid option"),
        ({"config": "conf"}, 1, "missing config 'conf'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_misuse_is_one_clear_message(finished, options, status, message):
    answer = finished.run(**options)
    assert answer.returncode == status
    assert re.search(message, answer.stdout + answer.stderr), answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    "option, values, message",
    [
        ("seeds", ["one", "5:1", "1:", "1:2:3", "-1", "0:1000", "9" * 20], "expected A:B"),
        ("stage", ["abc", "", "-1", "1.5", "9" * 20], "expected a whole number, such as 3"),
        ("skip-stages", ["0,1"], "expected numbers and spaces"),
        ("nj", ["0", "-3", "1_0", "9" * 20], "expected a whole number, at least 1"),
        ("score-nj", ["all"], "expected a whole number, at least 1"),
        ("num-processes", ["", "0"], "expected a whole number, at least 1"),
        ("ngpu", ["two", "-1", ""], "expected auto, 0 or a number of GPUs"),
        ("augment-copies", ["x", "-1"], "expected a whole number"),
        ("tag", ["a(b)", "a\\", "a\nb", "-a", "JOB"], "brackets, quotes"),
        ("tag", ["a/b"], "a name without /"),
        ("dumpdir", ["/none/JOBS", "~/dump"], "JOB and SEED cannot be in it"),
        ("expdir", [""], "expected a name"),
        ("override", ["a=$(b)"], "characters of the shell"),
        ("num-nodes", ["2"], "needs Slurm, by slurm.py in cmd.sh; cuda_cmd is 'run.py'"),
    ],
)
def test_fault_19_a_value_of_no_sense_is_a_usage_error_of_one_line(option, values, message):
    for value in values:
        words = ["./run.sh", "--ngpu", "0", f"--{option}", value]
        answer = subprocess.run(words, cwd=RECIPE, capture_output=True, text=True)
        assert answer.returncode == 2, (value, answer.stderr)
        assert answer.stderr.startswith(f"./run.sh: --{option} ") and message in answer.stderr
        assert answer.stderr.count("\n") == 1 and "stage" not in answer.stdout


@pytest.mark.parametrize(
    "script, words, message",
    [
        ("ablations", ["--parallel", "0"], "expected a whole number, at least 1"),
        ("ablations", ["--seeds", "5:1"], "expected A:B, A not above B"),
        ("tune", ["--trials", "0"], "expected a whole number, at least 1"),
        ("tune", ["--sampler", "best"], "expected tpe, random or grid"),
        ("robustness", [], "--tag '': expected a name"),
        ("robustness", ["--tag", "a", "--nj", "0"], "expected a whole number, at least 1"),
        ("robustness", ["--tag", "a", "more"], "not an option"),
        ("robustness", ["--tag", "a", "--score-nj", "0"], "expected a whole number, at least 1"),
        ("robustness", ["--tag", "a", "--grid", "$(ls)"], "cannot be in it"),
    ],
)
def test_fault_19_other_scripts_check_their_options_likewise(script, words, message):
    answer = subprocess.run([f"local/{script}.sh", *words], cwd=RECIPE, capture_output=True, text=True)
    assert answer.returncode == 2 and message in answer.stderr and answer.stderr.count("\n") == 1


def test_fault_22_a_refused_tag_or_weight_is_noticed_before_stage_2(finished, tmp_path):
    exp = finished.folder / "exp" / "tiny"
    before = {path: path.read_bytes() for path in (exp / "run.sh", exp / "log" / "train.log")}
    for changes, message in (
        ({"override": f"{SMALL} training.lr=0.5"}, "training.lr: .* -> 0.5\n.*name another --tag"),
        ({"init": "/none.safetensors", "tag": "new"}, "/none.safetensors"),
    ):
        answer = finished.run(stage=2, dumpdir=tmp_path / "dump", **changes)
        assert answer.returncode == 1 and re.search(message, answer.stderr), answer.stderr
        assert not [*tmp_path.rglob("*.ark")] and "Traceback" not in answer.stderr
    assert {path: path.read_bytes() for path in before} == before and not (exp.parent / "new").exists()


@pytest.mark.parametrize("listed, found", [(0, "no"), (2, 2)])
def test_more_gpus_than_there_are_are_refused(finished, monkeypatch, tmp_path, listed, found):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n" + "echo 'GPU 0: one'\n" * listed)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    answer = finished.run(stage=3, tag="gpu", ngpu=3)
    assert answer.returncode == 2
    assert f"--ngpu 3: nvidia-smi -L names {found} GPU here; give --ngpu 0" in answer.stderr
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    answer = finished.run(stage=3, tag="gpu", ngpu=3)
    assert answer.returncode == 2
    assert "--ngpu 3: CUDA_VISIBLE_DEVICES names 1 GPU here" in answer.stderr


def test_training_on_several_gpus_is_one_job_of_as_many_processes(tmp_path):
    """What the launcher is told; cuda_cmd names a stand-in that only notes it."""
    for name in ("conf", "local"):
        (tmp_path / name).symlink_to(RECIPE / name)
    (tmp_path / "path.sh").write_text(f'here=$PWD; cd {RECIPE}; . ./path.sh; cd "$here"\n')
    (tmp_path / "note").write_text('#!/bin/sh\necho "$@" >>noted\n')
    (tmp_path / "note").chmod(0o755)
    (tmp_path / "cmd.sh").write_text("export cuda_cmd=./note\n")
    words = ["--stage", "3", "--stop-stage", "3", "--ngpu", "4", "--num-threads", "2", "--seeds", "1:3"]
    words += ["--test-sets", ""]
    answer = subprocess.run([RECIPE / "run.sh", *words], cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    said = (tmp_path / "noted").read_text()
    assert said.startswith(
        "--gpu 4 --num-threads 8 SEED=1:3 exp/lfcc_moe_mamba_seedSEED/log/train.log env OMP_NUM_THREADS=2 "
        "MKL_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 "
        "torchrun --nnodes 1 --nproc-per-node 4 --standalone -m asvtk train --config "
    )
    assert " --ngpu 4 " in said and " --eval-data" not in said


def test_launcher_alone_killed_the_same_command_waits_for_the_orphan(extracted, finished):
    """kill -9 for run.sh only: its jobs live on, and must neither be disturbed nor doubled."""
    recipe = extracted
    process = recipe.start(stage=3)
    wait_for(recipe, process, "exp/tiny/checkpoints/last.safetensors")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    answer = recipe.run(stage=3)
    assert answer.returncode == 0, answer.stderr
    assert recipe.scores() == finished.scores()
    assert len((recipe.folder / "exp" / "tiny" / "train.jsonl").read_text().splitlines()) == 3


def test_force_without_features_throws_nothing_away(finished, tmp_path):
    before = finished.scores()
    answer = finished.run(stage=3, stop_stage=3, force="true", dumpdir=tmp_path)
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    assert re.search("no features .* run stage 2 first", answer.stderr)
    assert finished.scores() == before
    assert (finished.folder / "exp" / "tiny" / "checkpoints" / "best.safetensors").exists()


def test_full_disk_is_named_and_the_same_command_finishes(recipe, finished, tmp_path):
    small = tmp_path / "dump"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", small], capture_output=True
    ).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        answer = recipe.run(stop_stage=2)
        assert answer.returncode == 1 and "are free on" in answer.stderr and "--dumpdir" in answer.stderr
        assert "Traceback" not in answer.stderr
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        answer = recipe.run(stop_stage=2)
        assert answer.returncode == 0, answer.stderr
        assert cached(small) == cached(finished.folders["dumpdir"])
    finally:
        subprocess.run(["umount", small], check=True)


def test_help_lists_every_option():
    answer = subprocess.run(["./run.sh", "--help"], cwd=RECIPE, capture_output=True, text=True)
    assert answer.returncode == 0
    for option in (
        "stage",
        "stop-stage",
        "skip-stages",
        "corpus",
        "config",
        "tag",
        "nj",
        "score-nj",
        "ngpu",
        "num-nodes",
        "force",
    ):
        assert f"--{option}" in answer.stderr


def test_run_sh_reads_as_the_experiment():
    lines = (RECIPE / "run.sh").read_text().splitlines()
    begins = [number for number, line in enumerate(lines, 1) if line.startswith("if stage ")]
    assert len(begins) == 8 and begins[0] <= 80


def test_run_elsewhere_says_where(tmp_path):
    answer = subprocess.run([RECIPE / "run.sh"], cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 2 and "cd egs/asvspoof2019_la" in answer.stderr


def test_vocoded_spoofs_a_packed_model_and_its_robustness(recipe):
    """By the configuration alone."""
    changes = f"{SMALL} vocoded.methods=[zero_phase,world] vocoded.share=0.5 training.epochs=2"
    answer = recipe.run(override=changes, stop_stage=7, skip_stages=6)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (made,) = (recipe.folder / "data").glob("train_vocoded-*")
    assert len(list((made / "flac").iterdir())) == 24 and f"{made}: 24 spoofs by 2 methods" in answer.stdout
    exp = recipe.folder / "exp" / "tiny"
    assert "training on 48 utterances" in (exp / "log" / "train.log").read_text()
    words = ["local/robustness.sh", "--tag", "tiny", "--changes", "trim"]
    for name in ("datadir", "expdir"):
        words += [f"--{name}", recipe.folders[name]]
    answer = subprocess.run(words, cwd=RECIPE, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    table = (recipe.folder / "exp" / "ROBUSTNESS_tiny.md").read_text()
    assert "| · trim " in table and (recipe.folder / "exp" / "ROBUSTNESS_tiny.html").exists()
    package = read_package(exp / "tiny.asvtk.tar")
    assert package.members["calibration.json"] == (exp / "calibration.json").read_bytes()
    assert "on eval, by the head of each recording: " in package.text("card.md")
