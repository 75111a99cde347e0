"""slurm.py and the recipe on a real Slurm: two nodes that are one host, brought up for these tests.

tools/slurm_lab/slurm_lab.py makes it; Debian's packages slurm-wlm and munge are needed.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_corpus import write_tiny_corpus

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "slurm_lab"))

from slurm_lab import DAEMONS, SlurmLab, find_daemon

from asvtk.training.experiment import Experiment

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "utils" / "slurm.py"
RECIPE = ROOT / "egs" / "asvspoof2019_la"
missing = [daemon for daemon in DAEMONS if find_daemon(daemon) is None]
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"no {' '.join(missing)} here: apt-get install slurm-wlm munge"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = SlurmLab(tmp_path_factory.mktemp("lab"))
    lab.up()
    yield lab
    lab.stop()
    assert not lab.processes()
    assert not any(lab.pid(name) for name in ("slurmctld", "munged", *lab.names))


@pytest.fixture
def here(lab, tmp_path, monkeypatch):
    """An empty current folder in which Slurm's commands find the lab."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_CONF", lab.environment["SLURM_CONF"])
    yield tmp_path
    assert lab.ask("squeue", "--noheader") == ""  # no test leaves a job behind


@contextlib.contextmanager
def started(*words):
    """slurm.py in the background; ``finish(process)`` waits for it."""
    process = subprocess.Popen([SLURM, *words], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)
        process.stderr.close()


def finish(process) -> tuple[int, str]:
    status = process.wait(timeout=120)
    return status, process.stderr.read()


def run(*words) -> tuple[int, str]:
    with started(*words) as process:
        return finish(process)


def wait_for(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def lines(path) -> list[str]:
    path = Path(path)
    return sorted(path.read_text().splitlines()) if path.exists() else []


def header(log) -> dict:
    """The SLURM_* variables in the head of a log."""
    comments = [line[2:].partition("=") for line in Path(log).read_text().splitlines() if "# SLURM" in line]
    return {name: value for name, _, value in comments}


def identity() -> str:
    """The number of the array that is in the queue."""
    listing = subprocess.run(["squeue", "--noheader", "--format=%F"], capture_output=True, text=True)
    return listing.stdout.split()[0]


# ---- the recipe


# Nothing that differs with the number of processes: dropout, and losses that are no means.
SMALL = (
    "model.d_model=16 model.blocks=1 model.d_state=4 model.d_expert=16 model.d_embedding=8 "
    "model.dropout=0 model.balance_weight=0 model.z_weight=0 training.epochs=2 training.batch_size=4 "
    "frontend.crop.samples=6000"
)
HERE = {"train": "run.py", "cuda": "run.py", "decode": "run.py"}
# -G 1 asks for a GPU although --ngpu 0 says not to compute on it: the lab's are none.
SUBMITTED = {
    "train": "slurm.py --max-jobs-run 3 --mem 900M",
    "cuda": "slurm.py -p gpu -G 1 --mem 2000M",
    "decode": "slurm.py --max-jobs-run 4 --mem 900M",
}


class Recipe:
    """./run.sh in a recipe folder of its own, whose cmd.sh names these launchers.

    Args:
        of: the recipe whose conf/ and local/ it has.
        override: changes to its configuration.
    """

    def __init__(self, folder, corpus, of=RECIPE, override=SMALL, **commands):
        self.folder, self.corpus, self.override = folder, corpus, override
        folder.mkdir(parents=True)
        for name in ("conf", "local"):
            (folder / name).symlink_to(of / name)
        (folder / "path.sh").write_text(f'here=$PWD; cd {RECIPE}; . ./path.sh; cd "$here"\n')
        (folder / "cmd.sh").write_text(
            "".join(f'export {name}_cmd="{command}"\n' for name, command in commands.items())
        )

    def command(self, *more):
        given = {"corpus": self.corpus, "override": self.override}
        options = given | {"tag": "tiny", "ngpu": 0, "stop-stage": 4}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [RECIPE / "run.sh", *words, *more]

    def run(self, *more):
        return subprocess.run(
            self.command(*more), cwd=self.folder, capture_output=True, text=True, timeout=300
        )

    def scores(self):
        return {path.name: path.read_bytes() for path in (self.folder / "exp/tiny/scores").glob("*.txt")}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus"), times=11)  # work for more than eight jobs


@pytest.fixture(scope="module")
def local(tmp_path_factory, corpus):
    """The recipe on this machine."""
    recipe = Recipe(tmp_path_factory.mktemp("local") / "egs", corpus, **HERE)
    answer = recipe.run("--nj", "2")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return recipe


@pytest.fixture
def cluster(here, corpus):
    """The recipe in the lab."""
    return Recipe(here / "slurm", corpus, **SUBMITTED)


def test_the_whole_of_egs_mini_on_two_nodes_gives_the_scores_of_this_machine(here):
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("pyworld")
    of = {
        "corpus": here / "corpus",
        "of": ROOT / "egs" / "mini",
        "override": "training.epochs=1 training.warmup_epochs=0",
    }
    local, cluster = Recipe(here / "local", **of, **HERE), Recipe(here / "slurm", **of, **SUBMITTED)
    wide = ("--nj", "4", "--score-nj", "4", "--stop-stage", "5")
    answers = [local.run("--stop-stage", "5"), cluster.run(*wide)]
    for answer in answers:
        assert answer.returncode == 0, answer.stdout + answer.stderr
    assert cluster.scores() == local.scores() and set(local.scores()) == {"dev.txt", "eval.txt"}

    train = header(cluster.folder / "exp/tiny/log/train.log")
    assert train["SLURM_JOB_GPUS"] == "0"
    for array in ("dump/log/extract_train_dev_eval", "exp/tiny/log/score"):
        heads = [header(cluster.folder / f"{array}.{job}.log") for job in range(1, 5)]
        assert {head["SLURM_ARRAY_TASK_COUNT"] for head in heads} == {"4"}
        assert {head["SLURMD_NODENAME"] for head in heads} == {"d1", "d2"}
    assert answers[1].stderr.count("slurm.py: job ") == 4  # features, training, scores, calibration

    answer = cluster.run(*wide, "--stage", "2")
    assert answer.returncode == 0 and answer.stderr.count(" 0 to compute") == 3
    assert answer.stderr.count("slurm.py: job ") == 0  # nor is the finished training submitted


def test_a_training_on_two_nodes_has_the_losses_of_one_process(cluster, local):
    (cluster.folder / "cmd.sh").write_text('export cuda_cmd="slurm.py -p gpu --mem 1500M"\n')
    for name in ("data", "dump"):
        (cluster.folder / name).symlink_to(local.folder / name)
    answer = cluster.run("--stage", "3", "--stop-stage", "3", "--num-nodes", "2")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    log = cluster.folder / "exp/tiny/log/train.log"
    assert header(log)["SLURM_JOB_NODELIST"] == "d[1-2]" and "in 2 processes" in log.read_text()
    ours, theirs = (Experiment(recipe.folder / "exp/tiny").records() for recipe in (cluster, local))
    assert len(ours) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["dev_loss"] == pytest.approx(other["dev_loss"], rel=1e-5)


def test_an_array_of_the_recipe_that_is_cancelled_and_the_rerun_computes_nothing_twice(cluster, local):
    commands = cluster.folder / "cmd.sh"
    commands.write_text(commands.read_text().replace("--max-jobs-run 3", "--max-jobs-run 1"))
    only_2 = ("--nj", "8", "--stop-stage", "2")
    first = cluster.folder / "dump/log/extract_train_dev_eval.1.log"
    with subprocess.Popen(
        cluster.command(*only_2),
        cwd=cluster.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: first.exists() and "with status 0" in first.read_text(), 120)
        subprocess.run(["scancel", identity()], check=True)
        said = process.stderr.read()
    assert process.returncode == 1 and "cancelled (scancel)" in said and "Traceback" not in said
    answer = cluster.run("--nj", "20", "--stop-stage", "2")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert re.search(r"nj: \d, as there are no more batches of utterances", answer.stdout)
    written = [
        line.split()[0]
        for part in cluster.folder.glob("dump/*/*/layer_00/part.*.scp")
        for line in part.read_text().splitlines()
    ]
    assert len(written) == len(set(written)) == 11 * (12 + 8 + 10)


# ---- what is asked is granted


def test_gpus_are_granted_one_to_a_job_and_the_throttle_holds(here):
    Path("job.sh").write_text(
        "mkdir gpu.$SLURMD_NODENAME.$CUDA_VISIBLE_DEVICES; ls -d gpu.* | wc -l\n"
        "sleep 0.5; rmdir gpu.$SLURMD_NODENAME.$CUDA_VISIBLE_DEVICES\n"
    )
    status, said = run(
        "--gpu", "1", "--max-jobs-run", "2", "JOB=1:8", "log/a.JOB.log", "bash", "-e", "job.sh"
    )
    assert status == 0, said
    heads = [header(f"log/a.{job}.log") for job in range(1, 9)]
    assert {head["SLURMD_NODENAME"] for head in heads} == {"d1", "d2"}
    assert {head["SLURM_JOB_GPUS"] for head in heads} == {"0"}


def test_more_jobs_than_one_array_may_have(here, lab):
    many = 2 * lab.max_array
    status, said = run(f"JOB=3:{many}", "log/a.JOB.log", "echo", "JOB", ">>", "ran")
    assert status == 0, said
    assert lines("ran") == sorted(str(number) for number in range(3, many + 1))
    assert len(said.split(" submitted")[0].split()) == 2 + 3  # slurm.py: job, and three arrays


@pytest.mark.parametrize(
    "options, told",
    [
        (["-p", "nowhere"], "invalid partition specified: nowhere"),
        (["--mem", "1T"], "Requested node configuration is not available"),
        (["--gpu", "2"], "Requested node configuration is not available"),
        (["--num-threads", "64"], "Requested node configuration is not available"),
        (["--time", "soon"], "Invalid --time specification"),
    ],
)
def test_what_can_never_run_is_one_line_before_anything_is_submitted(here, options, told):
    status, said = run(*options, "JOB=1:2", "log/a.JOB.log", "touch", "ran")
    assert status == 1 and told in said and "nothing was submitted" in said
    assert len(said.splitlines()) == 1
    assert not Path("log").exists()


# ---- faults


def test_a_cancelled_array_says_so_at_once_and_picks_up_where_it_was(here):
    words = [
        "JOB=1:4",
        "log/a.JOB.log",
        "echo",
        "JOB",
        ">>",
        "ran;",
        "test",
        "-e",
        "go",
        "||",
        "sleep",
        "100",
    ]
    with started(*words) as process:
        wait_for(lambda: len(lines("ran")) == 4)
        subprocess.run(["scancel", identity()], check=True)
        began = time.monotonic()
        status, said = finish(process)
    assert status == 1 and time.monotonic() - began < 15
    assert "slurm.py: 4 / 4 failed, log is in log/a.*.log\n" in said
    assert "cancelled (scancel)" in said and "# Interrupted by SIGTERM" in said
    Path("go").touch()
    assert run("--pick", "failed", *words)[0] == 0
    assert lines("ran") == ["1", "1", "2", "2", "3", "3", "4", "4"]


def test_a_pending_job_of_an_array_that_is_cancelled_fails_alone(here):
    words = ["--max-jobs-run", "1", "JOB=1:3", "log/a.JOB.log", "echo", "JOB", ">>", "ran;", "sleep", "2"]
    with started(*words) as process:
        wait_for(lambda: lines("ran") == ["1"])
        subprocess.run(["scancel", f"{identity()}_3"], check=True)
        status, said = finish(process)
    assert (status, lines("ran")) == (1, ["1", "2"])
    assert "1 / 3 failed" in said and "job 3: left the queue without having run: cancelled" in said


def test_too_much_memory_is_told_as_that(here):
    Path("eat.py").write_text("x = b'x' * 400_000_000\nimport time\ntime.sleep(60)\n")
    status, said = run("--mem", "100M", "log/a.log", "python3", "eat.py")
    assert status == 1 and "more memory than it had asked for (--mem sets it)" in said


def test_a_time_limit_is_told_and_the_rerun_finishes(here):
    # Slurm counts in minutes.
    words = ["--time", "1", "JOB=1:2", "log/a.JOB.log", "echo", "JOB", ">>", "ran;"]
    words += ["test", "JOB", "=", "1", "||", "test", "-e", "go", "||", "sleep", "600"]
    status, said = run(*words)
    assert status == 1 and "1 / 2 failed" in said
    assert "killed at its time limit, 00:01:00 (--time sets it)" in said
    Path("go").touch()
    assert run("--pick", "failed", *words)[0] == 0
    assert lines("ran") == ["1", "2", "2"]


def test_jobs_of_a_lost_node_finish_on_the_other_and_no_other_runs_twice(here, lab):
    words = [
        "JOB=1:4",
        "log/a.JOB.log",
        "echo",
        "JOB",
        ">>",
        "ran;",
        "sleep",
        "6;",
        "echo",
        "JOB",
        ">>",
        "ended",
    ]
    with started(*words) as process:
        wait_for(lambda: len(lines("ran")) == 4)
        time.sleep(2)  # until slurm.py has seen them run
        lost = [job for job in "1234" if header(f"log/a.{job}.log")["SLURMD_NODENAME"] == "d2"]
        try:
            lab.lose_node("d2")
            status, said = finish(process)
        finally:
            lab.return_node("d2")
            lab.wait_until_ready()
    assert lost and status == 0, said
    assert "stopped before the end and went back into the queue" in said
    assert lines("ended") == ["1", "2", "3", "4"]
    assert lines("ran") == sorted([*"1234", *lost])
    assert "# Started again at" in Path(f"log/a.{lost[0]}.log").read_text()


def test_a_restart_of_the_controller_is_waited_for(here, lab):
    with started("JOB=1:2", "log/a.JOB.log", "echo", "JOB", ">>", "ran;", "sleep", "4") as process:
        wait_for(lambda: len(lines("ran")) == 2)
        lab.stop_controller()
        time.sleep(4)
        lab.start_controller()
        status, said = finish(process)
    lab.wait_until_ready()
    assert (status, lines("ran")) == (0, ["1", "2"]), said


# ---- interruption


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_what_was_submitted(here, number, status):
    words = ["--max-jobs-run", "1", "JOB=1:3", "log/a.JOB.log", "touch", "began;", "sleep", "100"]
    with started(*words) as process:
        wait_for(Path("began").exists)
        process.send_signal(number)
        ended, said = finish(process)
    assert ended == status and f"interrupted by {number.name}; cancelled with 'scancel " in said
    assert not list(Path("q").glob("*.ids"))
    # The fixture asserts that the queue is empty.


def test_jobs_of_a_killed_launcher_are_found_again_and_not_run_twice(here):
    words = ["--max-jobs-run", "2", "JOB=1:4", "log/a.JOB.log", "echo", "JOB", ">>", "ran;", "sleep", "3"]
    with started(*words) as process:
        wait_for(lambda: lines("ran") == ["1", "2"])
        process.kill()
        process.wait()
    with started("JOB=1:4", "log/a.JOB.log", "echo", "other") as process:
        status, said = finish(process)
    assert status == 1 and "of another command still writes log/a.JOB.log" in said
    status, said = run(*words)
    assert status == 0, said
    assert "of an earlier run is still in the queue: waiting for it" in said and "submitted" not in said
    assert lines("ran") == ["1", "2", "3", "4"]


def test_a_second_lab_in_the_same_folder_is_refused(lab):
    tool = ROOT / "tools" / "slurm_lab" / "slurm_lab.py"
    answer = subprocess.run([tool, "up", lab.folder], capture_output=True, text=True)
    assert answer.returncode == 1 and "holds a lab already" in answer.stderr
    assert shutil.which("sinfo") and "d[1-2]" in lab.ask("sinfo")
    assert os.path.exists(lab.folder / "slurm.conf")
