"""slurm.py and sge.py: conf files, what the scheduler is asked, and what is said before it is asked."""

import os
import re
from pathlib import Path

import pytest
from launchers import LAUNCHERS, output

SUBMIT = {"slurm.py": "sbatch", "sge.py": "qsub"}
CONF = {"slurm.py": "slurm", "sge.py": "sge"}


@pytest.fixture(params=list(SUBMIT))
def launcher(request, here, cluster):
    return LAUNCHERS[request.param]


@pytest.fixture
def slurm(here, cluster):
    return LAUNCHERS["slurm.py"]


@pytest.fixture
def sge(here, cluster):
    return LAUNCHERS["sge.py"]


def submissions(cluster) -> list[list[str]]:
    """The words of every submission, less the trial runs before them."""
    calls = [line.split("\t") for line in (cluster / "calls").read_text().splitlines()]
    return [
        words for words in calls if words[0] in SUBMIT.values() and not {"--test-only", "-w"} & set(words)
    ]


def nothing_was_submitted(cluster) -> bool:
    return not (cluster / "calls").exists() or not submissions(cluster)


def after(words, option) -> str:
    """The last value of an option in a command line."""
    return [words[at + 1] for at, word in enumerate(words) if word == option][-1]


# ---- conf files


KALDI_CONF = """\
# As in Kaldi's documentation.
command {submit} {base}
option mem=* {mem} $0   # a comment
option mem=0            # Do not add anything
option num_threads=* {threads} $0
option num_threads=1
option max_jobs_run=* -tc $0
default gpu=0
option gpu=0 -q cpu.q
option gpu=* -q gpu.q
"""
WORDS = {
    "slurm.py": {
        "submit": "sbatch",
        "base": "--export=PATH",
        "mem": "--mem-per-cpu",
        "threads": "--cpus-per-task",
    },
    "sge.py": {"submit": "qsub", "base": "-V -cwd -S /bin/bash -j y", "mem": "-l", "threads": "-pe smp"},
}


@pytest.fixture
def kaldi_conf(launcher):
    folder = Path("conf")
    folder.mkdir()
    path = folder / f"{CONF[launcher.program]}.conf"
    path.write_text(KALDI_CONF.format(**WORDS[launcher.program]))
    return path


def test_a_kaldi_conf_file_is_understood(launcher, cluster, kaldi_conf):
    launcher.silent(launcher("--mem", "4G", "--num-threads", "3", "a.log", "true"))
    words = submissions(cluster)[0]
    assert words[0] == SUBMIT[launcher.program]
    expected = f"-q cpu.q {WORDS[launcher.program]['mem']} 4G {WORDS[launcher.program]['threads']} 3"
    assert expected in " ".join(words)


@pytest.mark.parametrize(
    "given, present, absent",
    [
        (["--mem", "0"], [], ["$0", "4G"]),  # an exact value beats *
        (["--gpu", "2"], ["gpu.q"], ["cpu.q"]),  # the default is only one
        (["--mem", "4G", "--mem", "8G"], ["8G"], ["4G"]),  # the last counts
        (["--num-threads", "1"], [], ["smp", "--cpus-per-task"]),
    ],
)
def test_conf_lines_by_value(launcher, cluster, kaldi_conf, given, present, absent):
    launcher.silent(launcher(*given, "a.log", "true"))
    words = submissions(cluster)[0]
    assert all(word in words for word in present) and not any(word in words for word in absent)


def test_options_are_applied_in_the_order_of_the_command_line(slurm, cluster):
    """Kaldi's slurm.pl took --time from either place, by the order of a Perl hash."""
    Path("conf").mkdir()
    Path("conf/slurm.conf").write_text(
        "command sbatch\noption time=* --time $0\noption gpu=* --gres=gpu:$0 --time 4:0:0\n"
    )
    for _ in range(3):
        slurm.silent(slurm("--time", "1:00", "--gpu", "1", "a.log", "true"))
        slurm.silent(slurm("--gpu", "1", "--time", "1:00", "a.log", "true"))
    times = [after(words, "--time") for words in submissions(cluster)]
    assert times == ["4:0:0", "1:00"] * 3


def test_a_default_may_stand_after_its_option(slurm, cluster):
    Path("my.conf").write_text("command sbatch\noption gpu=0 -p cpu\ndefault gpu=0\n")
    slurm.silent(slurm("--config", "my.conf", "a.log", "true"))
    assert after(submissions(cluster)[0], "-p") == "cpu"


def test_an_option_that_no_conf_describes_is_refused_in_kaldis_words(launcher, cluster, kaldi_conf):
    text = (
        f"Command line option foo_bar not described in conf/{CONF[launcher.program]}.conf (or value 'v' not"
    )
    launcher.refused(launcher("--foo-bar", "v", "a.log", "touch", "ran"), 255, text)
    assert nothing_was_submitted(cluster) and not Path("ran").exists() and not Path("a.log").exists()


def test_settings_of_a_site_come_from_files_outside_the_repository(slurm, cluster, tmp_path, monkeypatch):
    home = tmp_path / ".config" / "asvtk"
    home.mkdir(parents=True)
    (home / "slurm.conf").write_text("default partition=batch\noption partition=* -p $0\n")
    slurm.silent(slurm("--mem", "1G", "a.log", "true"))
    assert after(submissions(cluster)[-1], "-p") == "batch"
    assert after(submissions(cluster)[-1], "--mem-per-cpu") == "1G"  # what was known before stays
    Path("conf").mkdir()
    Path("conf/slurm.local.conf").write_text("default partition=mine\n")
    slurm.silent(slurm("a.log", "true"))
    assert after(submissions(cluster)[-1], "-p") == "mine"
    Path("named.conf").write_text("option partition=mine -p big -A ${ACCOUNT_OF_MINE}\n")
    monkeypatch.setenv("ASVTK_SLURM_CONF", "named.conf")
    monkeypatch.setenv("ACCOUNT_OF_MINE", "speech")
    slurm.silent(slurm("a.log", "true"))
    assert (
        after(submissions(cluster)[-1], "-p") == "big" and after(submissions(cluster)[-1], "-A") == "speech"
    )


def test_a_file_with_a_command_line_replaces_all_before_it(slurm, cluster, tmp_path):
    Path("whole.conf").write_text("command sbatch -A x\n")
    slurm.refused(
        slurm("--config", "whole.conf", "--mem", "1G", "a.log", "true"), 255, "mem not described in whole"
    )


@pytest.mark.parametrize(
    "text, told",
    [
        ("command sbatch\n\noption mem --mem $0\n", "bad.conf:3: expected 'command PROGRAM ...'"),
        ("option\n", "bad.conf:1:"),
        ("default gpu=0 1\n", "bad.conf:1:"),
        ("# x\nsbatch\n", "bad.conf:2:"),
        ('option x=* "open\n', "bad.conf:1:"),
        ("command\n", "bad.conf:1:"),
    ],
)
def test_a_line_that_cannot_be_understood_is_named(launcher, cluster, text, told):
    Path("bad.conf").write_text(text)
    launcher.refused(launcher("--config", "bad.conf", "a.log", "touch", "ran"), 255, told)
    assert nothing_was_submitted(cluster)


def test_a_conf_file_that_was_asked_for_must_be_there(launcher, monkeypatch):
    launcher.refused(launcher("--config", "none.conf", "a.log", "true"), 255, "none.conf (--config)")
    variable = f"ASVTK_{CONF[launcher.program].upper()}_CONF"
    monkeypatch.setenv(variable, "none.conf")
    launcher.refused(launcher("a.log", "true"), 255, f"none.conf (${variable})")


def test_no_text_of_a_conf_file_or_option_is_executed(launcher, cluster):
    Path("my.conf").write_text(
        f"command {SUBMIT[launcher.program]}\noption x=* -q $(touch${{IFS}}ran)$0;`id`\n"
    )
    launcher("--config", "my.conf", "--x", "; touch ran", "a.log", "true")
    assert not Path("ran").exists()


# ---- the command lines


def test_what_slurm_is_asked(slurm, cluster):
    options = "--mem 4G --time 1:0:0 --gpu 1 --num-threads 2 -p big -tc 3 -V"
    slurm.silent(slurm(*options.split(" "), "JOB=1:8", "exp/log/a.JOB.log", "true"))
    (words,) = submissions(cluster)
    assert re.sub(r"a\.JOB\.\w{8,}\.1 ", "a.JOB ", " ".join(words)) == (
        "sbatch --export=ALL --requeue --mem-per-cpu 4G --time 1:0:0 --gres=gpu:1 --cpus-per-task 2 "
        "--ntasks-per-node=1 -p big --parsable --job-name=a.JOB "
        f"--output {os.getcwd()}/exp/q/a.JOB.out --open-mode=append --array=1-8%3 exp/q/a.JOB.sh"
    )


def test_what_grid_engine_is_asked(sge, cluster):
    options = "--mem 4G --time 1:0:0 --gpu 1 --num-threads 2 -q big.q -tc 3"
    sge.silent(sge(*options.split(" "), "JOB=1:8", "exp/log/2a.JOB.log", "true"))
    (words,) = submissions(cluster)
    assert re.sub(r"a\.JOB\.\w{8,}\.1 ", "a.JOB ", " ".join(words)) == (
        "qsub -V -cwd -S /bin/bash -j y -r y -l mem_free=4G -l h_rt=1:0:0 -l gpu=1 -pe smp 2 -q big.q "
        f"-terse -N j2a.JOB -o {os.getcwd()}/exp/q/2a.JOB.out -t 1-8 -tc 3 exp/q/2a.JOB.sh"
    )


def test_options_of_grid_engine_alone(sge, slurm, cluster):
    sge.silent(sge("-V", "-pe", "smp", "4", "-l", "ram=4G", "a.log", "true"))
    assert "-V -pe smp 4 -l ram=4G" in " ".join(submissions(cluster)[0])
    slurm.refused(slurm("-pe", "smp", "4", "b.log", "true"), 255, "--num-threads")


def test_a_job_without_a_number_is_no_array(launcher, cluster):
    launcher.silent(launcher("a.log", "echo", "x"))
    assert not re.search(r"--array| -t ", " ".join(submissions(cluster)[0]))


def test_a_trial_run_with_the_same_options_comes_first(launcher, cluster):
    launcher.silent(launcher("--mem", "4G", "JOB=1:2", "a.JOB.log", "true"))
    calls = [line.split("\t") for line in (cluster / "calls").read_text().splitlines()]
    trial, real = (words for words in calls if words[0] == SUBMIT[launcher.program])
    assert {"--test-only", "-w"} & set(trial)
    assert set(trial) - {"--test-only", "-w", "v"} <= set(real)


def test_picked_jobs_are_an_array_with_gaps_and_keep_their_numbers(launcher, cluster):
    for number, status in enumerate([0, 1, 0, 1, 1], 3):
        Path(f"a.{number}.log").write_text(f"# Finished at Mon with status {status}\n")
    launcher.silent(launcher("--pick", "failed", "JOB=3:7", "a.JOB.log", "echo", "JOB"))
    assert [output(f"a.{number}.log") for number in (4, 6, 7)] == ["4\n", "6\n", "7\n"]
    (words,) = submissions(cluster)
    assert "--array=4,6-7" in words or "1-3" in words


def test_arrays_longer_than_the_site_allows_are_split(launcher, cluster):
    (cluster / "limits").write_text("MaxArraySize = 4\nmax_aj_tasks 3\n")
    launcher.silent(launcher("JOB=2:8", "a.JOB.log", "echo", "JOB"))
    assert [output(f"a.{number}.log") for number in range(2, 9)] == [f"{number}\n" for number in range(2, 9)]
    asked = submissions(cluster)
    assert len(asked) == 3
    assert not any("afterany" in word or word == "-hold_jid" for words in asked for word in words)


def test_a_limit_to_the_jobs_at_a_time_holds_across_arrays(launcher, cluster):
    (cluster / "limits").write_text("MaxArraySize = 4\nmax_aj_tasks 3\n")
    launcher.silent(launcher("--max-jobs-run", "2", "JOB=1:6", "a.JOB.log", "echo", "JOB"))
    first, second = submissions(cluster)
    assert not {"--dependency=afterany:1", "-hold_jid"} & set(first)
    assert "--dependency=afterany:1" in second or after(second, "-hold_jid") == "1"


# ---- the log and the files beside it


def test_the_log_has_a_clusters_header_and_trailer(launcher):
    launcher.silent(launcher("--num-threads", "2", "a.log", "echo", "out;", "echo", "err", ">&2"))
    day = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"
    assert re.fullmatch(
        rf"# Running on \S+\n# Started at {day}\n(# SLURM_\w+=.*\n)*# echo out; echo err >&2\n#\nout\nerr\n"
        r"# Accounting: begin_time=\d+\n# Accounting: end_time=\d+\n# Accounting: time=\d+ threads=2\n"
        rf"# Finished at {day} with status 0\n",
        Path("a.log").read_text(),
    )


@pytest.mark.parametrize(
    "log, folder",
    [
        ("exp/x/log/a.JOB.log", "exp/x/q"),
        ("exp/x/a.JOB.log", "exp/x/q"),
        ("a.JOB.log", "q"),
        ("exp/JOB/log/a.log", "exp/q"),
        ("log/a.JOB.log", "q"),
    ],
)
def test_script_and_scheduler_output_stand_in_q_beside_log(launcher, log, folder):
    launcher.silent(launcher("JOB=1:2", log, "echo", "JOB"))
    name = Path(log).name[:-4]
    assert sorted(os.listdir(folder)) == [f"{name}.out", f"{name}.sh"]


def test_a_restarted_job_keeps_what_it_wrote_before_and_is_no_success_meanwhile(launcher, here):
    """As after the loss of a node: the scheduler starts the same script once more."""
    launcher.silent(launcher("exp/log/a.log", "echo", "first"))
    text = Path("exp/log/a.log").read_text()
    assert text.endswith("with status 0\n")
    Path("exp/log/a.log").write_text(text.replace("first", "before") + "# Started again at Mon\n")
    again = launcher("--pick", "incomplete", "exp/log/a.log", "echo", "second")
    launcher.silent(again)
    assert output("exp/log/a.log") == "second\n"
    assert os.system("bash exp/q/a.sh") == 0
    assert output("exp/log/a.log") == "second\nsecond\n"
    assert "# Started again at " in Path("exp/log/a.log").read_text()


# ---- refusals before anything is submitted


def test_a_host_without_the_scheduler_is_one_line(launcher, cluster, monkeypatch, here):
    (here / "bin").mkdir()
    for tool in ("bash", "env"):
        (here / "bin" / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(here / "bin"))
    launcher.refused(
        launcher("a.log", "touch", "ran"), 1, f"{SUBMIT[launcher.program]}: no such command", "run.py"
    )


def test_what_the_scheduler_says_of_an_impossible_job_is_one_line(launcher, cluster):
    (cluster / "refuse").write_text("Requested node configuration is not available")
    Path("a.1.log").write_text("old")
    launcher.refused(
        launcher("--mem", "900T", "JOB=1:2", "a.JOB.log", "touch", "ran"),
        1,
        "refuses: ",
        "Requested node configuration is not available",
        "900T",
        "nothing was submitted",
    )
    assert nothing_was_submitted(cluster) and Path("a.1.log").read_text() == "old"


def test_nodes_that_are_only_busy_are_no_refusal(slurm, cluster):
    (cluster / "refuse").write_text("Requested nodes are busy")
    slurm.silent(slurm("a.log", "true"))


@pytest.mark.parametrize("log", ["/proc/exp/log/a.JOB.log", "file/a.JOB.log", "dir.JOB"])
def test_a_log_that_cannot_be_written_is_one_line(launcher, cluster, log):
    Path("file").write_text("")
    Path("dir.2").mkdir()
    launcher.refused(launcher("JOB=1:2", log, "touch", "ran.JOB"), 1, "cannot write")
    assert nothing_was_submitted(cluster)


def test_jobs_of_another_command_that_still_write_these_logs_are_one_line(slurm, cluster):
    slurm.silent(slurm("JOB=1:2", "exp/log/a.JOB.log", "echo", "JOB"))
    Path("exp/q/a.JOB.ids").write_text("0123456789abcdef\n7 1-2 1-2\n")
    (cluster / "states").write_text("7|1|RUNNING|node1|None\n7|2|PENDING||Priority\n")
    result = slurm("JOB=1:2", "exp/log/a.JOB.log", "echo", "other", "JOB")
    slurm.refused(result, 1, "job 7", "scancel 7")
    assert output("exp/log/a.1.log") == "1\n"


def test_a_note_of_jobs_that_have_ended_is_no_obstacle(launcher, cluster):
    Path("exp/q").mkdir(parents=True)
    Path("exp/q/a.JOB.ids").write_text("0123456789abcdef\n7 1-2 1-2\n")
    launcher.silent(launcher("JOB=1:2", "exp/log/a.JOB.log", "echo", "JOB"))
    assert not Path("exp/q/a.JOB.ids").exists()


# ---- submissions without a clear answer

BANNERS = {
    "slurm.py": [
        ("Welcome to the cluster\nid\n", ""),
        ("id;big_cluster\n** 3 jobs left **\n", "sbatch: 12 nodes are down\n"),
        ("", "sbatch: Submitted batch job id on cluster big\n"),
        ("Submitted batch job id\nsee ticket\n4711\n", ""),
    ],
    "sge.py": [
        ("Welcome\nid\nBye\n", ""),
        ('Your job id ("a.JOB") has been submitted\n', ""),
        ("", 'Your job-array id.1-2:1 ("a.JOB") has been submitted\n'),
    ],
}


def test_fault_13_a_banner_around_the_id_is_no_refusal(launcher, cluster):
    for number, (out, err) in enumerate(BANNERS[launcher.program]):
        (cluster / "banner").write_text(f"{out}\0{err}")
        launcher.silent(launcher("JOB=1:2", f"{number}.JOB.log", "echo", "JOB"))
        assert output(f"{number}.2.log") == "2\n"
    assert len(submissions(cluster)) == len(BANNERS[launcher.program])


@pytest.mark.parametrize("fault", ["mute", "late"])
def test_fault_13_what_was_taken_without_an_id_is_looked_up(launcher, cluster, fault):
    """``mute``: no id is printed; ``late``: no answer comes in time; the job runs once all the same."""
    (cluster / fault).write_text("")
    result = launcher("JOB=1:2", "a.JOB.log", "echo", "JOB", ">>", "ran")
    assert result.returncode == 0, result.stderr
    assert " has it, as job 1" in launcher.said(result)[0]
    assert sorted(Path("ran").read_text().split()) == ["1", "2"] and len(submissions(cluster)) == 1


def test_fault_13_nobody_says_more_than_is_known(launcher, cluster):
    (cluster / "lost").write_text("")
    result = launcher("a.log", "touch", "ran")
    launcher.refused(
        result, 1, "it is not known whether", "look for jobs named a.", "printed no job's id: Welcome"
    )
    assert "nothing was submitted" not in result.stderr
    assert len(submissions(cluster)) == 2 and not Path("ran").exists()


# ---- endings


def test_a_job_that_left_no_trailer_is_a_failure_and_told_as_one(launcher, cluster):
    result = launcher("JOB=1:2", "a.JOB.log", "[", "JOB", "=", "1", "]", "||", "kill", "-9", "$PPID")
    assert result.returncode == 1
    said = launcher.said(result)
    assert said[0] == f"{launcher.program}: 1 / 2 failed, log is in a.*.log"
    assert said[1].startswith(f"{launcher.program}: job 2 ")


def test_lists_of_numbers():
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("ranges", Path(__file__).parents[2] / "utils" / "launcher" / "ranges.py")
    ranges = module_from_spec(spec)
    spec.loader.exec_module(ranges)
    for numbers, text in (([1], "1"), ([1, 2, 3, 7], "1-3,7"), ([2, 4, 5], "2,4-5")):
        assert ranges.compress(numbers) == text and ranges.expand(text) == numbers
    assert ranges.expand("4-6%3") == [4, 5, 6] and ranges.expand("1-7:3") == [1, 4, 7]
