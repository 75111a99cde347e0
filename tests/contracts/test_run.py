"""What a Kaldi user expects of run.pl, kept by utils/run.py, and what it does better."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "utils" / "run.py"
# -I -S: the standard library is all it may need, and it starts in a third of the time.
COMMAND = [sys.executable, "-I", "-S", str(RUN)]
CPUS = len(os.sched_getaffinity(0))
OF_THE_JOB = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PWD")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, and an environment that says nothing about threads and GPUs."""
    monkeypatch.chdir(tmp_path)
    for name in OF_THE_JOB:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(here):
    def run(*words, **options):
        return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=20, **options)

    return run


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


def output(log):
    """What the job itself wrote: the log less its header and trailer lines."""
    return "".join(
        line + "\n"
        for line in Path(log).read_text().splitlines()
        if not line.startswith("# ") and line != "#"
    )


def silent(result):
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def refused(result, status, *texts):
    assert result.returncode == status
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("run.py: ")
    for text in texts:
        assert text in result.stderr


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
    silent(subprocess.run([RUN, "log", "true"], capture_output=True, text=True))


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


def test_the_log_folder_is_made(run):
    silent(run("JOB=1:2", "exp/x/JOB/log/a.log", "echo", "JOB"))
    assert output("exp/x/2/log/a.log") == "2\n"


def test_an_old_log_is_replaced(run):
    Path("a.log").write_text("old " * 1000)
    silent(run("a.log", "true"))
    assert "old" not in Path("a.log").read_text()


def test_the_trailer_starts_a_line_of_its_own(run):
    silent(run("a.log", "printf", "no-newline"))
    assert "\nno-newline\n# Accounting" in Path("a.log").read_text()


def test_every_line_of_a_long_command_is_a_comment_in_the_log(run):
    silent(run("a.log", "true", "one\n# Ended (code 0) at\ntwo"))
    assert Path("a.log").read_text().startswith('# true "one\n# # Ended (code 0) at\n# two"\n# Started')


def test_a_log_may_be_no_file(run):
    silent(run("/dev/null", "echo", "x"))
    result = run("/dev/stdout", "echo", "x")
    assert result.returncode == 0
    assert "\nx\n# Accounting" in result.stdout


def test_bytes_that_are_no_utf8_pass_unchanged(run):
    silent(run(b"a.log", b"echo", b"\xff\xe9"))
    assert b"\n\xff\xe9\n" in Path("a.log").read_bytes()


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


def test_options_of_the_command_are_the_commands(run):
    silent(run("--mem", "4G", "a.log", "echo", "--gpu", "7", "JOB=1:2"))
    assert output("a.log") == "--gpu 7 JOB=1:2\n"


def test_a_value_that_looks_like_an_option_is_warned_about(run):
    result = run("--mem", "--gpu", "a.log", "true")
    assert result.returncode == 0
    assert result.stderr.startswith("run.py: WARNING: ")


@pytest.mark.parametrize("name", ["JOB", "LMWT", "x_1", "_n", "job"])
def test_any_identifier_is_the_job_name(run, name):
    silent(run(f"{name}=2:3", f"a.{name}.log", "echo", f"<{name}>".replace("<", "[").replace(">", "]")))
    assert [output(f"a.{i}.log") for i in (2, 3)] == ["[2]\n", "[3]\n"]


def test_a_single_job_number(run):
    silent(run("JOB=7", "a.JOB.log", "echo", "JOB"))
    assert output("a.7.log") == "7\n"


def test_substitution_is_blind_text_in_log_and_command(run):
    silent(run("JOB=1:1", "JOBS/a.JOB.log", "echo", "/data/JOBS/x", "myJOBJOB"))
    assert output("1S/a.1.log") == "/data/1S/x my11\n"
    assert Path("1S/a.1.log").read_text().startswith("# echo /data/1S/x my11\n")


def test_without_a_range_nothing_is_substituted(run):
    silent(run("a.JOB.log", "echo", "JOB"))
    assert output("a.JOB.log") == "JOB\n"


def test_one_job_may_have_a_log_without_the_job_name(run):
    silent(run("JOB=1:1", "a.log", "echo", "JOB"))


def test_many_jobs_must_not_share_a_log(run):
    refused(run("JOB=1:2", "a.log", "touch", "ran"), 1, "a.log", "JOB")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "word", ["JOB=0:2", "JOB=0", "JOB=3:2", "JOB=1:", "JOB=:3", "JOB=", "JOB=1:x", "JOB=1-4"]
)
def test_a_bad_range_is_a_usage_error(run, word):
    refused(run(word, "a.JOB.log", "touch", "ran"), 255, f"invalid job range {word}")
    assert os.listdir() == []


def test_a_second_range_is_a_usage_error(run):
    refused(run("JOB=1:12", "--mem", "1G", "JOB=1:2", "a.JOB.log", "true"), 255, "JOB=1:2")


@pytest.mark.parametrize(
    "options",
    [
        ["--max-jobs-run", "0"],
        ["--max-jobs-run", "many"],
        ["-tc", "-1"],
        ["--num-threads", "0"],
        ["--num-threads", "1.5"],
        ["--gpu", "-1"],
        ["--gpu", "all"],
        ["--pick", "some"],
    ],
)
def test_a_bad_option_is_a_usage_error(run, options):
    refused(run(*options, "a.log", "touch", "ran"), 255, options[0] if options[0] != "-tc" else "-1")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "words", [[], ["a.log"], ["JOB=1:2"], ["JOB=1:2", "a.JOB.log"], ["--mem"], ["-pe", "smp"]]
)
def test_missing_words_are_a_usage_error(run, words):
    refused(run(*words), 255)
    assert os.listdir() == []


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_goes_to_stdout(run, option):
    result = run(option)
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("--max-jobs-run", "--num-threads", "--gpu", "--pick", "JOB=1:n"):
        assert word in result.stdout


# ---- quoting


@pytest.mark.parametrize(
    "words, command, printed",
    [
        (["echo", "a", "|", "tr", "a", "b"], "echo a | tr a b", "b\n"),
        (["echo", "a;", "echo", "b"], "echo a; echo b", "a\nb\n"),
        (["X=5;", "echo", "$X"], "X=5; echo $X", "5\n"),
        (["X=5;", "echo", "a  $X"], 'X=5; echo "a  $X"', "a  5\n"),
        (["echo", 'a  "$X"'], "echo 'a  \"$X\"'", 'a  "$X"\n'),
        (["echo", 'it\'s  "so"'], "echo 'it'\\''s  \"so\"'", 'it\'s  "so"\n'),
        (["echo", "it's  so"], 'echo "it\'s  so"', "it's  so\n"),
        (["printf", "<%s>", "", "x"], 'printf <%s> "" x', None),
        (["printf", "[%s]", "", "x\n"], 'printf [%s] "" "x', "[][x\n]\n"),
        (["echo", "no", "#comment"], "echo no #comment", "no\n"),
    ],
)
def test_quoting_raw_then_double_then_single(run, words, command, printed):
    result = run("a.log", *words)
    assert Path("a.log").read_text().splitlines()[0] == f"# {command}"
    if printed is not None:
        assert result.returncode == 0, result.stderr
        assert output("a.log") == printed


def test_a_command_longer_than_one_argument_may_be(run):
    words = [f"{i:09}" for i in range(20000)]  # 200 kB: more than `bash -c` could take
    silent(run("a.log", "echo", *words))
    assert output("a.log") == " ".join(words) + "\n"


# ---- what a job runs in


def test_a_job_runs_in_this_folder_under_its_logical_name(run, here, monkeypatch):
    (here / "real").mkdir()
    (here / "name").symlink_to("real")
    monkeypatch.chdir(here / "real")
    silent(run("a.log", "pwd", env={**os.environ, "PWD": str(here / "name")}))
    assert output("a.log") == f"{here}/name\n"
    silent(run("a.log", "pwd", env={**os.environ, "PWD": "/wrong"}))
    assert output("a.log") == f"{here}/real\n"


def test_path_sh_is_read_first(run):
    Path("path.sh").write_text('export FROM_PATH="yes"\nfalse\n')
    silent(run("a.log", "echo", "$FROM_PATH"))
    assert output("a.log") == "yes\n"


def test_a_path_sh_that_gives_up_fails_the_job(run):
    Path("path.sh").write_text('echo "no tools"; exit 3\n')
    result = run("a.log", "touch", "ran")
    assert result.returncode == 1
    assert "no tools" in Path("a.log").read_text()
    assert "# Ended (code 3)" in Path("a.log").read_text()
    assert not Path("ran").exists()


def test_neither_path_sh_nor_the_command_reads_this_programs_input(run):
    Path("path.sh").write_text("cat\n")
    silent(run("a.log", "cat;", "echo", "end", input="secret\n"))
    assert output("a.log") == "end\n"


@pytest.mark.parametrize(
    "words, code",
    [
        (["exit", "3"], 3),
        (["false;", "true"], 1),
        (["false", "|", "true"], 1),
        (["(exit", "7);", "echo", "on"], 7),
        (["no-such-program-here"], 127),
        (["echo", "$(("], 2),
    ],
)
def test_a_failing_command_fails_the_job(run, words, code):
    assert run("a.log", *words).returncode == 1
    text = Path("a.log").read_text()
    assert text.splitlines()[-1].startswith(f"# Ended (code {code}) at ")
    assert "\non\n" not in text


def test_a_command_that_execs_or_exits_is_contained(run):
    silent(run("a.log", "exec", "echo", "x"))
    silent(run("b.log", "exit", "0"))
    assert "# Ended (code 0)" in Path("b.log").read_text()


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


def test_one_failed_job_without_a_range(run):
    result = run("exp/a.log", "echo", "cause;", "false")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "run.py: job failed, log is in exp/a.log"
    result = run("JOB=3:3", "a.JOB.log", "false")
    assert result.stderr.splitlines()[0] == "run.py: job failed, log is in a.3.log"


def test_a_forgotten_range_is_hinted_at(run):
    assert "JOB=1:n" in run("a.JOB.log", "false").stderr


def test_some_failed_jobs(run):
    result = run("JOB=1:3", "exp/JOB/a.JOB.log", "test", "JOB", "-eq", "2")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "run.py: 2 / 3 failed, log is in exp/*/a.*.log"


def test_the_other_jobs_run_although_one_failed(run):
    run("--max-jobs-run", "1", "JOB=1:3", "a.JOB.log", "touch", "ran.JOB;", "test", "JOB", "-gt", "1")
    assert sorted(path.name for path in Path().glob("ran.*")) == ["ran.1", "ran.2", "ran.3"]


def test_the_end_of_the_first_failing_log_is_shown(run):
    result = run("JOB=1:3", "a.JOB.log", "seq", "1JOB01", "1JOB50;", "exit", "$((JOB/2))")
    lines = result.stderr.splitlines()
    assert lines[0] == "run.py: 2 / 3 failed, log is in a.*.log"
    assert lines[1] == "run.py: the end of a.2.log:"
    shown = lines[2:]
    assert len(shown) == 20
    assert all(line.startswith("    ") for line in shown)
    assert shown[:18] == [f"    {n}" for n in range(1233, 1251)]
    assert shown[-1].startswith("    # Ended (code 1) at ")


def test_a_progress_bar_is_shown_as_its_last_state(run):
    result = run("a.log", "printf", r"'1%%\r2%%\r3%%\r\nend\r\n';", "false")
    assert "    3%\n    end\n" in result.stderr


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


# ---- threads


SHOW_THREADS = ["echo", "${OMP_NUM_THREADS-no}", "${MKL_NUM_THREADS-no}", "${OPENBLAS_NUM_THREADS-no}"]


@pytest.mark.parametrize(
    "options, environment, shown",
    [
        ([], {}, "1 1 1"),
        ([], {"OMP_NUM_THREADS": "6"}, "6 no no"),
        ([], {"MKL_NUM_THREADS": "6"}, "1 6 1"),
        (["--num-threads", "3"], {}, "3 3 3"),
        (["--num-threads", "3"], {"OMP_NUM_THREADS": "6", "MKL_NUM_THREADS": "7"}, "3 3 3"),
        (["--num-threads", "1"], {"OMP_NUM_THREADS": "6"}, "1 1 1"),
    ],
)
def test_the_thread_variables_of_a_job(run, options, environment, shown):
    silent(run(*options, "a.log", *SHOW_THREADS, env={**os.environ, **environment}))
    assert output("a.log") == shown + "\n"


def test_num_threads_overrules_path_sh_and_the_default_does_not(run):
    Path("path.sh").write_text("export OMP_NUM_THREADS=5\n")
    silent(run("--num-threads", "2", "a.log", *SHOW_THREADS))
    assert output("a.log") == "2 2 2\n"
    silent(run("a.log", *SHOW_THREADS))
    assert output("a.log") == "5 1 1\n"


# ---- GPUs


SHOW_GPU = ["echo", "${CUDA_VISIBLE_DEVICES-unset};"]


def gpus_of(n):
    return [output(f"a.{i}.log").strip() for i in range(1, n + 1)]


def test_jobs_that_run_together_have_their_own_gpus(run, nvidia_smi):
    nvidia_smi(3)
    silent(run("--gpu", "1", "JOB=1:3", "a.JOB.log", *SHOW_GPU, "sleep", "0.3"))
    assert sorted(gpus_of(3)) == ["0", "1", "2"]


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


# ---- --pick


LOGS = {
    1: "x\n# Accounting: time=0 threads=1\n# Ended (code 0) at Mon, elapsed time 0 seconds\n",
    2: "x\n# Accounting: time=0 threads=1\n# Ended (code 1) at Mon, elapsed time 0 seconds\n",
    3: "x\n# Accounting: time=0 threads=1\n# Ended (code 0; signal 9) at Mon, elapsed time 0 seconds\n",
    4: "x\n",
    5: None,
    6: "x\n# Accounting: time=1 threads=1\n# Finished at Mon Jan  1 with status 0\n",
    7: "x\n# Accounting: time=1 threads=1\n# Finished at Mon Jan  1 with status 137\n",
    8: "x\n# Finished at Mon Jan  1 with status 0\nslurmstepd: a last word\n",
    9: "x\n# Ended (code 0) at Mon, elapsed time 0 seconds\n" + "more output\n" * 20,
    10: "no newline# Ended (code 0) at Mon, elapsed time 0 seconds\n",
    11: "# Ended (code 1) at Mon, elapsed time 0 seconds\n# Ended (code 0) at Tue, elapsed time 0 seconds\n",
    12: "",
    13: "x\n# Ended (code 137; signal 9) at Mon, elapsed time 0 seconds\n",
}
FAILED = {2, 3, 7, 13}
INCOMPLETE = {4, 5, 9, 12}


@pytest.mark.parametrize(
    "options, runs, status",
    [
        ([], set(LOGS), 0),
        (["--pick", "all"], set(LOGS), 0),
        (["--pick", "failed"], FAILED | INCOMPLETE, 0),
        (["--pick", "incomplete"], INCOMPLETE, 1),
    ],
    ids=["default", "all", "failed", "incomplete"],
)
def test_pick_chooses_by_the_trailers_of_both_kinds(run, options, runs, status):
    for number, text in LOGS.items():
        if text is not None:
            Path(f"a.{number}.log").write_text(text)
    result = run(*options, "JOB=1:13", "a.JOB.log", "touch", "ran.JOB")
    assert {int(path.suffix[1:]) for path in Path().glob("ran.*")} == runs
    assert result.returncode == status
    if status:
        assert result.stderr.startswith("run.py: 4 / 13 failed, log is in a.*.log\n")
    for number in set(LOGS) - runs:
        assert Path(f"a.{number}.log").read_text() == LOGS[number]


def test_pick_understands_the_logs_written_here(run):
    run(
        "JOB=1:3",
        "a.JOB.log",
        "[",
        "JOB",
        "!=",
        "3",
        "]",
        "||",
        "kill",
        "-9",
        "$$;",
        "[",
        "JOB",
        "!=",
        "2",
        "]",
    )
    silent(run("--pick", "failed", "JOB=1:3", "a.JOB.log", "touch", "ran.JOB"))
    assert sorted(path.name for path in Path().glob("ran.*")) == ["ran.2", "ran.3"]


def test_nothing_to_pick_is_a_success_and_needs_no_gpu(run, nvidia_smi):
    nvidia_smi(0)
    Path("a.log").write_text(LOGS[1])
    silent(run("--gpu", "1", "--pick", "failed", "a.log", "touch", "ran"))
    assert not Path("ran").exists()


# ---- interruption


@pytest.fixture
def started(here):
    """Start run.py in the background; whatever happens, nothing of it survives the test."""
    processes = []

    def start(*words, command=COMMAND):
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
        Path(f"a.{i}.log").write_text(LOGS[1])
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
    impatient = f"import sys; sys.path.insert(0, {str(RUN.parent)!r}); import run; run.GRACE = 0.3; "
    command = [sys.executable, "-B", "-c", impatient + "sys.exit(run.main())"]
    process = started("a.log", "bash", "job.sh", command=command)
    wait_for(lambda: written("pid.1"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=2) == 143
    assert not alive(Path("pid.1").read_text().strip())


def test_a_signal_that_was_ignored_stays_ignored(here):
    # As under nohup, and for Ctrl-C in a script's background step.
    words = [*COMMAND, "a.log", "touch", "began;", "sleep", "0.5"]
    process = subprocess.Popen(["bash", "-c", "trap '' HUP INT; exec \"$@\"", "bash", *words])
    wait_for(Path("began").exists)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 0
    assert "# Ended (code 0)" in Path("a.log").read_text()
