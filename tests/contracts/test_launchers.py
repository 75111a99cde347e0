"""What a Kaldi user expects of run.pl, slurm.pl and queue.pl alike, of each of the three launchers here.

slurm.py and sge.py run over a stand-in for the scheduler that really runs the jobs (``fake_cluster``);
tests/recipes/test_slurm_lab.py has the real Slurm.
"""

import os
import subprocess
from pathlib import Path

import pytest
from launchers import LAUNCHERS, PYTHON, UTILS, output

SHOW_THREADS = ["echo", "${OMP_NUM_THREADS-no}", "${MKL_NUM_THREADS-no}", "${OPENBLAS_NUM_THREADS-no}"]


@pytest.fixture(params=list(LAUNCHERS))
def launcher(request, here, cluster):
    return LAUNCHERS[request.param]


@pytest.mark.parametrize("program", list(LAUNCHERS))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_goes_to_stdout(here, program, option):
    result = subprocess.run([UTILS / program, option], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("--max-jobs-run", "--num-threads", "--gpu", "--pick", "JOB=1:n"):
        assert word in result.stdout


@pytest.mark.parametrize("program", list(LAUNCHERS))
def test_it_runs_by_its_name_from_any_folder_without_site_packages(here, cluster, program):
    for command in ([UTILS / program], [*PYTHON, UTILS / program]):
        result = subprocess.run([*command, "a.log", "echo", "x"], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert output("a.log") == "x\n"


# ---- the log


def test_the_log_folder_is_made(launcher):
    launcher.silent(launcher("JOB=1:2", "exp/x/JOB/log/a.log", "echo", "JOB"))
    assert output("exp/x/2/log/a.log") == "2\n"


def test_an_old_log_is_replaced(launcher):
    Path("a.log").write_text("old " * 1000)
    launcher.silent(launcher("a.log", "true"))
    assert "old" not in Path("a.log").read_text()


def test_the_trailer_starts_a_line_of_its_own(launcher):
    launcher.silent(launcher("a.log", "printf", "no-newline"))
    assert "\nno-newline\n# Accounting" in Path("a.log").read_text()


def test_every_line_of_a_long_command_is_a_comment_in_the_log(launcher):
    launcher.silent(launcher("a.log", "true", "one\n# Ended (code 0) at\ntwo"))
    assert '\n# true "one\n# # Ended (code 0) at\n# two"\n#' in "\n" + Path("a.log").read_text()


def test_bytes_that_are_no_utf8_pass_unchanged(launcher):
    launcher.silent(launcher(b"a.log", b"echo", b"\xff\xe9"))
    assert b"\n\xff\xe9\n" in Path("a.log").read_bytes()


# ---- the grammar


def test_options_of_the_command_are_the_commands(launcher):
    launcher.silent(launcher("--mem", "4G", "a.log", "echo", "--gpu", "7", "JOB=1:2"))
    assert output("a.log") == "--gpu 7 JOB=1:2\n"


@pytest.mark.parametrize("name", ["JOB", "LMWT", "x_1", "_n", "job"])
def test_any_identifier_is_the_job_name(launcher, name):
    launcher.silent(
        launcher(f"{name}=2:3", f"a.{name}.log", "echo", f"<{name}>".replace("<", "[").replace(">", "]"))
    )
    assert [output(f"a.{i}.log") for i in (2, 3)] == ["[2]\n", "[3]\n"]


def test_a_single_job_number(launcher):
    launcher.silent(launcher("JOB=7", "a.JOB.log", "echo", "JOB"))
    assert output("a.7.log") == "7\n"


def test_substitution_is_blind_text_in_log_and_command(launcher):
    launcher.silent(launcher("JOB=1:1", "JOBS/a.JOB.log", "echo", "/data/JOBS/x", "myJOBJOB"))
    assert output("1S/a.1.log") == "/data/1S/x my11\n"
    assert "# echo /data/1S/x my11\n" in Path("1S/a.1.log").read_text()


def test_without_a_range_nothing_is_substituted(launcher):
    launcher.silent(launcher("a.JOB.log", "echo", "JOB"))
    assert output("a.JOB.log") == "JOB\n"


def test_one_job_may_have_a_log_without_the_job_name(launcher):
    launcher.silent(launcher("JOB=1:1", "a.log", "echo", "JOB"))


def test_many_jobs_must_not_share_a_log(launcher):
    launcher.refused(launcher("JOB=1:2", "a.log", "touch", "ran"), 1, "a.log", "JOB")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "word", ["JOB=0:2", "JOB=0", "JOB=3:2", "JOB=1:", "JOB=:3", "JOB=", "JOB=1:x", "JOB=1-4"]
)
def test_a_bad_range_is_a_usage_error(launcher, word):
    launcher.refused(launcher(word, "a.JOB.log", "touch", "ran"), 255, f"invalid job range {word}")
    assert os.listdir() == []


def test_a_second_range_is_a_usage_error(launcher):
    launcher.refused(launcher("JOB=1:12", "--mem", "1G", "JOB=1:2", "a.JOB.log", "true"), 255, "JOB=1:2")


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
def test_a_bad_option_is_a_usage_error(launcher, options):
    launcher.refused(
        launcher(*options, "a.log", "touch", "ran"), 255, options[0] if options[0] != "-tc" else "-1"
    )
    assert os.listdir() == []


@pytest.mark.parametrize(
    "words", [[], ["a.log"], ["JOB=1:2"], ["JOB=1:2", "a.JOB.log"], ["--mem"], ["-pe", "smp"]]
)
def test_missing_words_are_a_usage_error(launcher, words):
    launcher.refused(launcher(*words), 255)
    assert os.listdir() == []


@pytest.mark.parametrize("words", [["--mem=4G", "JOB=1:2"], ["JOB=1:2", "--num-threads=2"]])
def test_an_option_with_an_equals_sign_is_refused_and_swallows_nothing(launcher, words):
    launcher.refused(launcher(*words, "a.JOB.log", "touch", "ran"), 255, "two words")
    assert os.listdir() == []


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
def test_quoting_raw_then_double_then_single(launcher, words, command, printed):
    result = launcher("a.log", *words)
    assert f"# {command}\n" in Path("a.log").read_text()
    if printed is not None:
        assert result.returncode == 0, result.stderr
        assert output("a.log") == printed


@pytest.mark.parametrize(
    "words, printed",
    [
        (["awk", "BEGIN { print JOB }"], "2"),  # in double quotes
        (["awk", 'BEGIN { print "J" JOB }'], "J2"),  # in single quotes, where no $SGE_TASK_ID would do
        (["echo", "$((JOB", "+", "1))", "x/JOB/JOB.y"], "3 x/2/2.y"),
        (["X=JOB;", "echo", "${X}${X}"], "22"),
    ],
)
def test_the_job_name_is_replaced_inside_every_kind_of_quotes(launcher, words, printed):
    launcher.silent(launcher("JOB=2:2", "a.JOB.log", *words))
    assert output("a.2.log") == printed + "\n"


def test_a_command_longer_than_one_argument_may_be(launcher):
    words = [f"{i:09}" for i in range(20000)]  # 200 kB: more than `bash -c` could take
    launcher.silent(launcher("a.log", "echo", *words))
    assert output("a.log") == " ".join(words) + "\n"


# ---- what a job runs in


def test_a_job_runs_in_this_folder_under_its_logical_name(launcher, here, monkeypatch):
    (here / "real").mkdir()
    (here / "name").symlink_to("real")
    monkeypatch.chdir(here / "real")
    launcher.silent(launcher("a.log", "pwd", env={**os.environ, "PWD": str(here / "name")}))
    assert output("a.log") == f"{here}/name\n"
    launcher.silent(launcher("a.log", "pwd", env={**os.environ, "PWD": "/wrong"}))
    assert output("a.log") == f"{here}/real\n"


def test_path_sh_is_read_first(launcher):
    Path("path.sh").write_text('export FROM_PATH="yes"\nfalse\n')
    launcher.silent(launcher("a.log", "echo", "$FROM_PATH"))
    assert output("a.log") == "yes\n"


def test_a_path_sh_that_gives_up_fails_the_job(launcher):
    Path("path.sh").write_text('echo "no tools"; exit 3\n')
    result = launcher("a.log", "touch", "ran")
    assert result.returncode == 1
    assert "no tools" in Path("a.log").read_text()
    assert launcher.ended("a.log", 3)
    assert not Path("ran").exists()


def test_neither_path_sh_nor_the_command_reads_this_programs_input(launcher):
    Path("path.sh").write_text("cat\n")
    launcher.silent(launcher("a.log", "cat;", "echo", "end", input="secret\n"))
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
def test_a_failing_command_fails_the_job(launcher, words, code):
    assert launcher("a.log", *words).returncode == 1
    assert launcher.ended("a.log", code)
    assert "\non\n" not in Path("a.log").read_text()


def test_a_command_that_execs_or_exits_is_contained(launcher):
    launcher.silent(launcher("a.log", "exec", "echo", "x"))
    launcher.silent(launcher("b.log", "exit", "0"))
    assert launcher.ended("b.log", 0)


# ---- failures


def test_one_failed_job_without_a_range(launcher):
    result = launcher("exp/a.log", "echo", "cause;", "false")
    assert result.returncode == 1
    assert launcher.said(result)[0] == f"{launcher.program}: job failed, log is in exp/a.log"
    result = launcher("JOB=3:3", "a.JOB.log", "false")
    assert launcher.said(result)[0] == f"{launcher.program}: job failed, log is in a.3.log"


def test_a_forgotten_range_is_hinted_at(launcher):
    assert "JOB=1:n" in launcher("a.JOB.log", "false").stderr


def test_a_command_killed_by_a_signal_is_a_failed_job(launcher):
    assert launcher("a.log", "bash", "-c", r"kill -9 \$\$").returncode == 1
    assert not launcher.ended("a.log", 0)


def test_some_failed_jobs(launcher):
    result = launcher("JOB=1:3", "exp/JOB/a.JOB.log", "test", "JOB", "-eq", "2")
    assert result.returncode == 1
    assert launcher.said(result)[0] == f"{launcher.program}: 2 / 3 failed, log is in exp/*/a.*.log"


def test_the_other_jobs_run_although_one_failed(launcher):
    launcher("--max-jobs-run", "1", "JOB=1:3", "a.JOB.log", "touch", "ran.JOB;", "test", "JOB", "-gt", "1")
    assert sorted(path.name for path in Path().glob("ran.*")) == ["ran.1", "ran.2", "ran.3"]


def test_the_end_of_the_first_failing_log_is_shown(launcher):
    result = launcher("JOB=1:3", "a.JOB.log", "seq", "1JOB01", "1JOB50;", "exit", "$((JOB/2))")
    lines = launcher.said(result)
    assert lines[0] == f"{launcher.program}: 2 / 3 failed, log is in a.*.log"
    assert lines[1] == f"{launcher.program}: the end of a.2.log:"
    shown = lines[2:]
    assert len(shown) == 20
    assert all(line.startswith("    ") for line in shown)
    numbers = [line for line in shown if "#" not in line]
    assert numbers == [f"    {n}" for n in range(1251 - len(numbers), 1251)] and len(numbers) > 15
    assert launcher.trailer(1) in shown[-1]


def test_a_progress_bar_is_shown_as_its_last_state(launcher):
    result = launcher("a.log", "printf", r"'1%%\r2%%\r3%%\r\nend\r\n';", "false")
    assert "    3%\n    end\n" in result.stderr


# ---- threads


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
def test_the_thread_variables_of_a_job(launcher, options, environment, shown):
    launcher.silent(launcher(*options, "a.log", *SHOW_THREADS, env={**os.environ, **environment}))
    assert output("a.log") == shown + "\n"


def test_num_threads_overrules_path_sh_and_the_default_does_not(launcher):
    Path("path.sh").write_text("export OMP_NUM_THREADS=5\n")
    launcher.silent(launcher("--num-threads", "2", "a.log", *SHOW_THREADS))
    assert output("a.log") == "2 2 2\n"
    launcher.silent(launcher("a.log", *SHOW_THREADS))
    assert output("a.log") == "5 1 1\n"


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
def test_pick_chooses_by_the_trailers_of_both_kinds(launcher, options, runs, status):
    for number, text in LOGS.items():
        if text is not None:
            Path(f"a.{number}.log").write_text(text)
    result = launcher(*options, "JOB=1:13", "a.JOB.log", "touch", "ran.JOB")
    assert {int(path.suffix[1:]) for path in Path().glob("ran.*")} == runs
    assert result.returncode == status
    if status:
        assert f"{launcher.program}: 4 / 13 failed, log is in a.*.log\n" in result.stderr
    for number in set(LOGS) - runs:
        assert Path(f"a.{number}.log").read_text() == LOGS[number]


def test_pick_understands_the_logs_written_here(launcher):
    launcher(
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
    launcher.silent(launcher("--pick", "failed", "JOB=1:3", "a.JOB.log", "touch", "ran.JOB"))
    assert sorted(path.name for path in Path().glob("ran.*")) == ["ran.2", "ran.3"]
