"""What a Kaldi user expects of run.pl alone, kept by utils/run.py, and what it does better.

What all launchers share is in test_launchers.py.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launchers import LAUNCHERS, RUN, UTILS, output

DONE = "x\n# Accounting: time=0 threads=1\n# Ended (code 0) at Mon, elapsed time 0 seconds\n"
CPUS = len(os.sched_getaffinity(0))
silent = LAUNCHERS["run.py"].silent
refused = LAUNCHERS["run.py"].refused


@pytest.fixture
def run(here):
    return LAUNCHERS["run.py"]


@pytest.fixture
def nvidia_smi(here, monkeypatch):
    """Puts an nvidia-smi that lists n GPUs first on PATH."""

    def install(n, status=0):
        tool = here / "bin" / "nvidia-smi"
        tool.parent.mkdir(exist_ok=True)
        lines = [f"GPU {i}: NVIDIA Test (UUID: GPU-{i}{i}{i})" for i in range(n)]
        listing = "\n".join(lines) or "No devices were found"
        tool.write_text(f'#!/bin/bash\n[ "$*" = -L ] || exit 9\ncat <<E\n{listing}\nE\nexit {status}\n')
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")

    return install


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# A job that tells how many run together: it notes itself and writes how many notes there are.
MEETING = "mkdir -p busy\ntouch busy/$1\nls busy | wc -l\nsleep 0.2\nrm busy/$1\n"


@pytest.fixture
def most_together(run, here):
    def most(*words, n=4):
        (here / "meet.sh").write_text(MEETING)
        silent(run(*words, f"JOB=1:{n}", "m.JOB.log", "bash", "meet.sh", "JOB"))
        return max(int(output(f"m.{i}.log")) for i in range(1, n + 1))

    return most


# ---- the log


def test_it_can_be_run_by_its_name(here):
    silent(subprocess.run([UTILS / "run.py", "log", "true"], capture_output=True, text=True))


def test_the_log_has_the_header_the_output_and_the_trailer(run):
    silent(run("a.log", "echo", "out;", "echo", "err", ">&2"))
    day = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"
    assert re.fullmatch(
        rf"# echo out; echo err >&2\n# Started at {day}\n#\nout\nerr\n"
        rf"# Accounting: time=\d+ threads=1\n# Ended \(code 0\) at {day}, elapsed time \d+ seconds\n",
        Path("a.log").read_text(),
    )


def test_elapsed_seconds_and_threads_are_accounted(run):
    silent(run("--num-threads", "3", "a.log", "sleep", "1.1"))
    text = Path("a.log").read_text()
    assert "# Accounting: time=1 threads=3\n" in text
    assert "elapsed time 1 seconds" in text


def test_a_log_may_be_no_file(run):
    silent(run("/dev/null", "echo", "x"))
    result = run("/dev/stdout", "echo", "x")
    assert result.returncode == 0
    assert "\nx\n# Accounting" in result.stdout


def test_it_is_silent_on_success(run):
    silent(run("JOB=1:3", "a.JOB.log", "echo", "x"))


# ---- the grammar


@pytest.mark.parametrize(
    "words",
    [
        ["--mem", "4G", "JOB=1:2"],
        ["JOB=1:2", "--mem", "4G"],
        ["--time", "1:00:00", "JOB=1:2", "--config", "conf/slurm.conf", "--foo-bar", "x"],
        ["-V", "JOB=1:2"],
        ["JOB=1:2", "-V", "-l", "ram=4G"],
        ["-pe", "smp", "4", "JOB=1:2"],
        ["-V", "-pe", "smp", "4", "-q", "all.q", "--max-jobs-run", "2", "JOB=1:2", "--gpu", "0"],
    ],
)
def test_options_stand_before_or_after_the_range_and_unknown_ones_are_dropped(run, words):
    silent(run(*words, "a.JOB.log", "echo", "JOB"))
    assert [output(f"a.{i}.log") for i in (1, 2)] == ["1\n", "2\n"]


def test_a_value_that_looks_like_an_option_is_warned_about(run):
    result = run("--mem", "--gpu", "a.log", "true")
    assert result.returncode == 0
    assert result.stderr.startswith("run.py: WARNING: ")


# ---- failures


@pytest.mark.parametrize(
    "words, ending",
    [(["kill", "-9", "$$"], "(code 0; signal 9)"), (["bash", "-c", "kill -9 $$"], "(code 137; signal 9)")],
    ids=["the shell", "its command"],
)
def test_a_death_by_signal_is_not_a_success(run, words, ending):
    words = [word.replace("$$", r"\$\$") if " " in word else word for word in words]
    result = run("a.log", *words)
    assert result.returncode == 1
    assert ending in Path("a.log").read_text().splitlines()[-1]
    assert "code 0)" not in Path("a.log").read_text()


def test_an_impossible_log_is_one_line_before_anything_starts(run):
    Path("file").write_text("")
    refused(run("JOB=1:2", "file/a.JOB.log", "touch", "ran.JOB"), 1, "file/a.1.log")
    Path("dir.2").mkdir()
    Path("dir.1").write_text("old")
    refused(run("JOB=1:2", "dir.JOB", "touch", "ran.JOB"), 1, "dir.2")
    assert sorted(os.listdir()) == ["dir.1", "dir.2", "file"]
    assert Path("dir.1").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line_before_anything_starts(run):
    Path("exp").mkdir(mode=0o555)
    refused(run("exp/a.log", "touch", "ran"), 1, "exp/a.log", "ermission")
    assert os.listdir() == ["exp"]


def test_a_read_only_file_system_is_one_line_before_anything_starts(run):
    # /proc refuses new files and folders even to root.
    refused(run("JOB=1:2", "/proc/exp/a.JOB.log", "touch", "ran.JOB"), 1, "/proc/exp/a.1.log")
    assert os.listdir() == []


def test_a_full_disk_is_a_failed_job(run):
    result = run("/dev/full", "touch", "ran")
    assert result.returncode == 1
    assert "run.py: cannot start a job: /dev/full: No space left" in result.stderr
    assert "run.py: job failed, log is in /dev/full" in result.stderr


def test_the_jobs_of_a_program_without_bash_fail_with_a_line(run):
    result = run("a.log", "true", env={**os.environ, "PATH": "/nowhere"})
    assert result.returncode == 1
    assert "run.py: cannot start a job: bash: No such file" in result.stderr


# ---- how many at a time


def test_as_many_jobs_as_usable_cpus_run_together(most_together):
    assert most_together(n=CPUS + 2) == CPUS


def test_a_restricted_affinity_counts(most_together):
    mask = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert most_together(n=2) == 1
    finally:
        os.sched_setaffinity(0, mask)


def test_threads_reduce_the_jobs_that_run_together_but_never_to_none(most_together, run):
    assert most_together("--num-threads", str(CPUS), n=2) == 1
    silent(run("--num-threads", str(CPUS * 5), "JOB=1:2", "a.JOB.log", "true"))


def test_max_jobs_run_may_exceed_the_cpus(most_together):
    n = CPUS + 2
    assert most_together("--max-jobs-run", str(n), n=n) == n


@pytest.mark.parametrize(
    "options",
    [["--max-jobs-run", "1"], ["-tc", "1"], ["--max-jobs-run", "1", "-tc", "9", "--max-jobs-run", "5"]],
)
def test_the_smallest_max_jobs_run_counts(most_together, options):
    assert most_together(*options, n=2) == 1


# ---- GPUs


SHOW_GPU = ["echo", "${CUDA_VISIBLE_DEVICES-unset};"]


def gpus_of(n):
    return [output(f"a.{i}.log").strip() for i in range(1, n + 1)]


def test_jobs_that_run_together_have_their_own_gpus(run, nvidia_smi):
    nvidia_smi(3)
    silent(run("--gpu", "1", "JOB=1:3", "a.JOB.log", *SHOW_GPU, "sleep", "0.3"))
    assert sorted(gpus_of(3)) == ["0", "1", "2"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU is not shared out")
def test_gpu_jobs_that_run_together_share_the_cpus_out(run, nvidia_smi):
    nvidia_smi(2)
    show_cpus = ["python3", "-c", "import os; print(*os.sched_getaffinity(0))"]
    silent(run("--gpu", "1", "JOB=1:2", "a.JOB.log", *show_cpus))
    first, second = (set(map(int, cpus.split())) for cpus in gpus_of(2))
    assert first and len(first) == len(second) and not first & second
    silent(run("--gpu", "1", "a.1.log", *show_cpus))
    assert set(map(int, gpus_of(1)[0].split())) == os.sched_getaffinity(0)


def test_several_gpus_for_each_job(run, nvidia_smi):
    nvidia_smi(5)
    silent(run("--gpu", "2", "JOB=1:2", "a.JOB.log", *SHOW_GPU, "sleep", "0.3"))
    assert sorted(gpus_of(2)) == ["0,1", "2,3"]


def test_a_gpu_is_never_shared_when_jobs_outnumber_gpus(run, nvidia_smi, here):
    nvidia_smi(2)
    (here / "job.sh").write_text(
        "gpu=$CUDA_VISIBLE_DEVICES; mkdir lock.$gpu; sleep 0.15; rmdir lock.$gpu; echo $gpu"
    )
    silent(run("--gpu", "1", "--max-jobs-run", "6", "JOB=1:6", "a.JOB.log", "bash", "-e", "job.sh"))
    assert set(gpus_of(6)) == {"0", "1"}


def test_max_jobs_run_limits_gpu_jobs_further(run, nvidia_smi):
    nvidia_smi(3)
    silent(run("--gpu", "1", "--max-jobs-run", "1", "JOB=1:3", "a.JOB.log", *SHOW_GPU, "sleep", "0.1"))
    assert gpus_of(3) == ["0", "0", "0"]


@pytest.mark.parametrize("listed, expected", [("5,7", ["5", "7"]), ("GPU-a1, GPU-b2", ["GPU-a1", "GPU-b2"])])
def test_the_parents_cuda_visible_devices_are_shared_out(run, nvidia_smi, listed, expected):
    nvidia_smi(8)
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": listed}
    silent(run("--gpu", "1", "JOB=1:2", "a.JOB.log", *SHOW_GPU, "sleep", "0.3", env=env))
    assert sorted(gpus_of(2)) == expected


def test_the_gpu_pin_overrules_path_sh(run, nvidia_smi):
    nvidia_smi(2)
    Path("path.sh").write_text("export CUDA_VISIBLE_DEVICES=9\n")
    silent(run("--gpu", "1", "a.log", *SHOW_GPU))
    assert output("a.log") == "0\n"


@pytest.mark.parametrize("listed", ["", "-1", "NoDevFiles", "-1,0"])
def test_hidden_gpus_are_no_gpus(run, nvidia_smi, listed):
    nvidia_smi(2)
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": listed}
    refused(run("--gpu", "1", "a.log", "touch", "ran", env=env), 1, "CUDA_VISIBLE_DEVICES offers 0")
    assert os.listdir() == ["bin"]


@pytest.mark.parametrize("gpus, status, wanted", [(0, 0, 1), (2, 0, 3), (2, 9, 1)])
def test_too_few_gpus_is_one_line_before_any_job_starts(run, nvidia_smi, gpus, status, wanted):
    nvidia_smi(gpus, status)
    Path("a.1.log").write_text("old")
    refused(
        run("--gpu", str(wanted), "JOB=1:2", "a.JOB.log", "touch", "ran.JOB"),
        1,
        f"{wanted} GPU",
        "nvidia-smi",
    )
    assert sorted(os.listdir()) == ["a.1.log", "bin"]
    assert Path("a.1.log").read_text() == "old"


@pytest.mark.parametrize("listed, count", [(None, 2), ("1", 1), ("0,1,5", 3), ("", 0), ("-1", 0)])
def test_gpus_are_counted_as_they_are_handed_out(run, nvidia_smi, monkeypatch, listed, count):
    nvidia_smi(2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    answer = run("--count-gpus")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"{count}\n", "")


def test_no_nvidia_smi_is_no_gpu(run, here):
    (here / "bin").mkdir()
    for tool in ("bash", "env"):
        (here / "bin" / tool).symlink_to(f"/bin/{tool}")
    refused(run("--gpu", "1", "a.log", "true", env={"PATH": str(here / "bin")}), 1, "nvidia-smi -L offers 0")


@pytest.mark.parametrize("options", [[], ["--gpu", "0"], ["--gpu", "1", "--gpu", "0"]])
def test_without_gpus_cuda_visible_devices_is_left_alone(run, nvidia_smi, options):
    nvidia_smi(0)
    silent(run(*options, "a.log", *SHOW_GPU))
    assert output("a.log") == "unset\n"
    silent(run(*options, "a.log", *SHOW_GPU, env={**os.environ, "CUDA_VISIBLE_DEVICES": "3"}))
    assert output("a.log") == "3\n"


def test_nothing_to_pick_is_a_success_and_needs_no_gpu(run, nvidia_smi):
    nvidia_smi(0)
    Path("a.log").write_text(DONE)
    silent(run("--gpu", "1", "--pick", "failed", "a.log", "touch", "ran"))
    assert not Path("ran").exists()


# ---- interruption


@pytest.fixture
def started(here):
    """Start run.py in the background; whatever happens, nothing of it survives the test."""
    processes = []

    def start(*words, command=RUN):
        process = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()
    for path in here.glob("pid*"):
        if alive(path.read_text().strip()):
            os.kill(int(path.read_text()), signal.SIGKILL)
            pytest.fail(f"{path.name} survived")


def written(name):
    return Path(name).exists() and Path(name).read_text().endswith("\n")


@pytest.mark.parametrize(
    "number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_kills_the_jobs_with_all_their_processes(started, number, status):
    Path("job.sh").write_text("sleep 60 & echo $! > pid.child.$1; echo $$ > pid.$1; wait\n")
    process = started("--max-jobs-run", "2", "JOB=1:3", "a.JOB.log", "bash", "job.sh", "JOB")
    names = ["pid.1", "pid.2", "pid.child.1", "pid.child.2"]
    wait_for(lambda: all(written(name) for name in names))
    process.send_signal(number)
    assert process.wait(timeout=10) == status
    assert not any(alive(Path(name).read_text().strip()) for name in names)
    assert number.name in process.stderr.read()
    assert not Path("a.3.log").exists()


def test_an_interrupted_job_is_incomplete_and_old_logs_tell_no_lies(started, run):
    for i in (1, 2, 3):
        Path(f"a.{i}.log").write_text(DONE)
    (Path("job.sh")).write_text("[ $1 = 1 ] && exit 0; touch began.$1; sleep 60\n")
    process = started("--max-jobs-run", "1", "JOB=1:3", "a.JOB.log", "bash", "job.sh", "JOB")
    wait_for(Path("began.2").exists)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    assert "# Interrupted by SIGINT" in Path("a.2.log").read_text()
    assert "# Ended" not in Path("a.2.log").read_text()
    silent(run("--pick", "incomplete", "JOB=1:3", "a.JOB.log", "touch", "again.JOB"))
    assert sorted(path.name for path in Path().glob("again.*")) == ["again.2", "again.3"]


def test_a_job_that_ignores_the_request_is_killed_by_a_second_ctrl_c(started):
    Path("job.sh").write_text("trap '' INT TERM; echo $$ > pid.1; while :; do sleep 0.1; done\n")
    process = started("a.log", "bash", "job.sh")
    wait_for(lambda: written("pid.1"))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=2) == 130
    assert not alive(Path("pid.1").read_text().strip())


def test_a_job_that_ignores_the_request_is_killed_in_the_end(started):
    Path("job.sh").write_text("trap '' INT TERM; echo $$ > pid.1; while :; do sleep 0.1; done\n")
    impatient = f"import sys; sys.path.insert(0, {str(UTILS)!r}); import launcher.local as local; "
    impatient += "local.GRACE = 0.3; from launcher.front import main; "
    command = [sys.executable, "-B", "-c", impatient + "sys.exit(main('run.py', '', local.run_here))"]
    process = started("a.log", "bash", "job.sh", command=command)
    wait_for(lambda: written("pid.1"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=2) == 143
    assert not alive(Path("pid.1").read_text().strip())


def test_a_signal_that_was_ignored_stays_ignored(here):
    # As under nohup, and for Ctrl-C in a script's background step.
    words = [*RUN, "a.log", "touch", "began;", "sleep", "0.5"]
    process = subprocess.Popen(["bash", "-c", "trap '' HUP INT; exec \"$@\"", "bash", *words])
    wait_for(Path("began").exists)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 0
    assert "# Ended (code 0)" in Path("a.log").read_text()


def test_a_job_that_outlives_its_launcher_keeps_the_locks_of_the_script(started):
    """As utils/recipe.sh holds them: the next run waits for the job."""
    script = 'exec {lock}<>locked; flock "$lock"; exec "$@"'
    Path("job.sh").write_text("echo $$ > pid.1; sleep 60\n")
    process = started("a.log", "bash", "job.sh", command=["bash", "-c", script, "bash", *RUN])
    wait_for(lambda: written("pid.1"))
    process.kill()
    process.wait()
    taken = ["flock", "-n", "locked", "true"]
    assert subprocess.run(taken).returncode == 1
    os.killpg(os.getpgid(int(Path("pid.1").read_text())), signal.SIGKILL)
    wait_for(lambda: subprocess.run(taken).returncode == 0)
