"""What a Kaldi user expects of utils/parse_options.sh, and Kaldi's defects that it does not share."""

import subprocess
from pathlib import Path

import pytest

PARSE_OPTIONS = Path(__file__).resolve().parents[2] / "utils" / "parse_options.sh"

# Both kinds of script source it: careful ones and Kaldi's own.
STRICT = "set -euo pipefail"
LOOSE = ":"
both = pytest.mark.parametrize("mode", [STRICT, LOOSE], ids=["strict", "loose"])

DECLARATIONS = """
nj=4
stage=1
train_set=train
skip_train=false
use_gpu=true
config=
train_cmd=run.py
cmd=run.py
help_message="Usage: demo [options] DATA"
"""
SHOW = r"""
for name in nj stage train_set skip_train use_gpu config train_cmd cmd; do
    printf '%s=%s\n' "$name" "${!name}"
done
echo "x=${x-unset}"
printf '<%s>' "$@"
"""


@pytest.fixture
def demo(tmp_path):
    """Run a script that sources parse_options.sh with the given words; its folder is tmp_path."""

    def run(*words, mode=STRICT, declarations=DECLARATIONS, show=SHOW, env=None):
        path = tmp_path / "demo.sh"
        path.write_text(f"{mode}\n{declarations}\n. {PARSE_OPTIONS}\n{show}")
        return subprocess.run(
            ["bash", str(path), *words], capture_output=True, text=True, cwd=tmp_path, timeout=5, env=env
        )

    return run


def values(result):
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return dict(line.split("=", 1) for line in result.stdout.splitlines() if not line.startswith("<"))


def positionals(result):
    return result.stdout.splitlines()[-1]


def refused(result, *texts):
    assert result.returncode == 1
    assert result.stdout == ""
    for text in texts:
        assert text in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


# ---- setting options


@both
def test_no_words_leave_every_default(demo, mode):
    result = demo(mode=mode)
    assert values(result)["nj"] == "4"
    assert positionals(result) == "<>"


@both
@pytest.mark.parametrize("option", ["--train-set", "--train_set"])
def test_dashes_and_underscores_name_the_same_variable(demo, option, mode):
    assert values(demo(option, "dev", mode=mode))["train_set"] == "dev"


def test_the_last_of_repeated_options_wins(demo):
    assert values(demo("--nj", "1", "--nj", "2"))["nj"] == "2"


@pytest.mark.parametrize(
    "value", ["run.py --mem 4G --gpu 1", "a  'b' \"c\" \\ * ?", "x\ny", "-1", "--max_epoch 3"]
)
def test_a_value_arrives_as_it_was_given(demo, value):
    result = demo("--train-set", value, show='printf "%s" "$train_set"')
    assert (result.returncode, result.stdout) == (0, value)


def test_an_ordinary_option_may_be_emptied(demo):
    assert values(demo("--train-set", ""))["train_set"] == ""


def test_a_variable_declared_empty_may_be_set(demo):
    assert values(demo("--x", "1", declarations=DECLARATIONS + "x="))["x"] == "1"


def test_options_work_inside_a_function_with_locals(demo):
    result = demo(
        declarations="", show="", mode=f"f() {{ local nj=1; . {PARSE_OPTIONS}; echo $nj $1; }}; f --nj 2 w"
    )
    assert result.stdout == "2 w\n"


# ---- positionals


@both
def test_the_words_after_the_options_are_left_as_positionals(demo, mode):
    assert positionals(demo("--nj", "2", "data dir", "exp", mode=mode)) == "<data dir><exp>"


@both
def test_parsing_stops_at_the_first_word_without_dashes(demo, mode):
    result = demo("--stage", "2", "data", "--nj", "9", "--bogus", mode=mode)
    assert values(result)["nj"] == "4"
    assert positionals(result) == "<data><--nj><9><--bogus>"


def test_an_empty_word_and_a_single_dash_word_are_positionals(demo):
    assert positionals(demo("--nj", "2", "", "-x")) == "<><-x>"


# ---- refusals


@both
@pytest.mark.parametrize("words", [("--bogus", "1"), ("--bogus",), ("--",), ("--n.j", "1"), ("---nj", "1")])
def test_an_undeclared_option_is_invalid(demo, words, mode):
    refused(demo(*words, mode=mode), f"demo.sh: invalid option {words[0]}")


@both
def test_the_form_with_an_equals_sign_is_refused(demo, mode):
    refused(demo("--nj=8", mode=mode), "--nj=8", "--name value")


@both
@pytest.mark.parametrize("option", ["--nj", "--skip-train", "--config", "--cmd"])
def test_a_missing_value_is_an_error_and_never_a_loop(demo, option, mode):
    refused(demo("--stage", "2", option, mode=mode), f"option {option} needs a value")


def test_a_missing_value_at_a_config_that_the_script_does_not_declare(demo):
    refused(demo("--config", declarations="nj=1"), "option --config needs a value")


@both
@pytest.mark.parametrize("following", ["--stage", "--skip-train", "--help"])
def test_another_option_in_place_of_a_value_is_a_missing_value(demo, following, mode):
    refused(demo("--nj", following, "3", mode=mode), f"option --nj needs a value; got the option {following}")


# ---- switches


@both
def test_a_default_of_true_or_false_makes_a_switch(demo, mode):
    got = values(demo("--skip-train", "true", "--use_gpu", "false", mode=mode))
    assert (got["skip_train"], got["use_gpu"]) == ("true", "false")


@both
@pytest.mark.parametrize("value", ["yes", "1", "True", ""])
def test_a_switch_takes_only_true_or_false(demo, value, mode):
    refused(demo("--skip-train", value, mode=mode), f'expected "true" or "false": --skip-train {value}')


def test_true_is_an_ordinary_value_of_an_option_that_is_no_switch(demo):
    assert values(demo("--nj", "true"))["nj"] == "true"


# ---- help


@both
@pytest.mark.parametrize("words", [("--help",), ("-h",), ("--nj", "2", "--help")])
def test_help_goes_to_stderr_with_status_0(demo, words, mode):
    result = demo(*words, mode=mode)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "Usage: demo [options] DATA\n"


def test_help_keeps_percent_signs_and_understands_newlines(demo):
    result = demo("--help", declarations=r'help_message="50 %s\nline 2"')
    assert result.stderr == "50 %s\nline 2\n"


@both
def test_help_of_a_script_without_a_help_text(demo, mode):
    result = demo("--help", declarations="nj=1", mode=mode)
    assert result.returncode == 0
    assert "no help text" in result.stderr


# ---- cmd


@both
@pytest.mark.parametrize("option", ["--cmd", "--train-cmd"])
def test_an_empty_command_is_an_error(demo, option, mode):
    refused(demo(option, "", mode=mode), f"empty argument to {option} option")


def test_a_cmd_that_a_config_emptied_is_an_error(demo, tmp_path):
    (tmp_path / "my.conf").write_text("cmd=\n")
    refused(demo("--config", "my.conf"), "empty argument to --cmd option")


# ---- config files


@both
def test_a_config_file_sets_variables(demo, tmp_path, mode):
    (tmp_path / "my.conf").write_text("nj=7\ntrain_set='a b'\n")
    result = demo("--config", "my.conf", "data", mode=mode)
    got = values(result)
    assert (got["nj"], got["train_set"]) == ("7", "a b")
    assert positionals(result) == "<data>"


def test_the_command_line_beats_a_config_file_wherever_it_stands(demo, tmp_path):
    (tmp_path / "my.conf").write_text("nj=7\nstage=5\n")
    got = values(demo("--nj", "2", "--config", "my.conf"))
    assert (got["nj"], got["stage"]) == ("2", "5")


def test_config_files_are_sourced_left_to_right(demo, tmp_path):
    (tmp_path / "a.conf").write_text("nj=1\nstage=1\n")
    (tmp_path / "b.conf").write_text("nj=2\ntrain_set=n$nj$stage\n")
    got = values(demo("--config", "a.conf", "--config", str(tmp_path / "b.conf")))
    assert (got["nj"], got["stage"], got["train_set"]) == ("2", "1", "n21")


def test_a_shell_config_works_in_a_script_that_declares_no_config(demo, tmp_path):
    (tmp_path / "my.conf").write_text("nj=7\n")
    result = demo("--config", "my.conf", declarations="nj=1", show='echo "$nj ${config-unset}"')
    assert result.stdout == "7 unset\n"


def test_many_words_before_a_config_file(demo, tmp_path):
    (tmp_path / "my.conf").write_text("train_set=found\n")
    words = ["--nj", "2"] * 8
    assert values(demo(*words, "--config", "my.conf"))["train_set"] == "found"


def test_a_bare_config_name_is_a_file_here_and_not_a_program_on_path(demo, tmp_path):
    (tmp_path / "ls").write_text("nj=7\n")
    assert values(demo("--config", "ls"))["nj"] == "7"


@both
@pytest.mark.parametrize("name", ["conf/none.conf", "", "."])
def test_a_missing_config_file_is_named(demo, name, mode):
    refused(demo("--config", name, mode=mode), f"missing config '{name}'")


@both
def test_a_failing_config_file_is_named(demo, tmp_path, mode):
    (tmp_path / "bad.conf").write_text("false\n")
    refused(demo("--config", "bad.conf", mode=mode), "bad.conf")


def test_config_after_the_positionals_is_not_read(demo, tmp_path):
    (tmp_path / "my.conf").write_text("nj=7\n")
    assert values(demo("data", "--config", "my.conf"))["nj"] == "4"


def test_config_as_the_value_of_an_undeclared_option_is_not_read(demo, tmp_path):
    (tmp_path / "my.conf").write_text("touch read\n")
    assert demo("--bogus", "--config", "my.conf").returncode == 1
    assert not (tmp_path / "read").exists()


@both
@pytest.mark.parametrize("name", ["conf/a.yaml", "a.yml", "a.json"])
def test_a_data_config_is_the_value_of_config_and_never_sourced(demo, tmp_path, name, mode):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("touch sourced\n")
    got = values(demo("--config", name, mode=mode))
    assert got["config"] == name
    assert not (tmp_path / "sourced").exists()


def test_a_data_config_and_a_shell_config_together(demo, tmp_path):
    (tmp_path / "my.conf").write_text("nj=7\nconfig=default.yaml\n")
    got = values(demo("--config", "mine.yaml", "--config", "my.conf"))
    assert (got["nj"], got["config"]) == ("7", "mine.yaml")
    assert values(demo("--config", "my.conf"))["config"] == "default.yaml"


def test_a_data_config_needs_a_script_that_declares_config(demo):
    refused(demo("--config", "a.yaml", declarations="nj=1"), "invalid option --config")


# ---- safety


@both
@pytest.mark.parametrize("text", ["$(touch x)", "`touch x`", "a[$(touch x)]", '"; touch x; "', "x\ntouch x"])
def test_a_value_is_never_executed(demo, tmp_path, text, mode):
    result = demo("--nj", text, mode=mode, show='printf "%s" "$nj"')
    assert (result.returncode, result.stdout) == (0, text)
    assert not (tmp_path / "x").exists()


@both
@pytest.mark.parametrize("text", ["a[$(touch x)]", "$(touch x)", "7;touch x", ""])
def test_a_value_for_an_integer_variable_is_never_evaluated(demo, tmp_path, text, mode):
    refused(demo("--nj", text, mode=mode, declarations="declare -i nj=4"), "expected an integer")
    assert not (tmp_path / "x").exists()


def test_an_integer_variable_takes_integers(demo):
    assert demo("--nj", "-12", declarations="declare -i nj=4", show="echo $nj").stdout == "-12\n"


@both
@pytest.mark.parametrize("option", ["--a[$(touch x)]", "--nj;touch x", "--$(touch x)", "--nj[0]"])
def test_an_option_name_is_never_executed(demo, tmp_path, option, mode):
    refused(demo(option, "1", mode=mode), "invalid option")
    assert not (tmp_path / "x").exists()


@both
@pytest.mark.parametrize(
    "option", ["--PATH", "--IFS", "--HOME", "--BASH-ENV", "--RANDOM", "--Nj", "--MY_SETTING", "--_", "--1"]
)
def test_shell_and_environment_variables_are_out_of_reach(demo, option, mode):
    env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "MY_SETTING": "1", "Nj": "1"}
    refused(demo(option, "x", mode=mode, env=env), f"invalid option {option}")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.UTF-8"])
def test_letters_are_ascii_in_every_locale(demo, locale):
    result = demo("--nJ", "x", declarations="nJ=1", env={"PATH": "/usr/bin:/bin", "LC_ALL": locale})
    assert result.returncode == 1
    assert "invalid option --nJ" in result.stderr


@pytest.mark.parametrize("option", ["---po-at", "--_po_name"])
def test_the_parsers_own_variables_are_out_of_reach(demo, option):
    refused(demo(option, "x"), f"invalid option {option}")


@both
def test_a_readonly_variable_is_an_error_and_not_ignored(demo, mode):
    refused(demo("--nj", "2", mode=mode, declarations="readonly nj=1"), "--nj", "read-only")


@both
def test_nothing_of_the_parser_is_left_behind(demo, mode):
    show = "compgen -v _po_ || true; compgen -A function || true; echo end"
    assert demo("--nj", "2", "data", mode=mode, show=show).stdout == "end\n"
