"""The console script: quick where nothing needs torch, one line for a user's fault."""

import importlib
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asvtk.bin.arguments import Parser
from asvtk.bin.main import CALLED, TYPED, VERBS, main
from asvtk.io.config import to_mapping
from asvtk.training.config import load_config

REPOSITORY = Path(__file__).parents[2]


def modules_after(*argv):
    """Which of the slow packages a command imports."""
    program = (
        "import sys; from asvtk.bin.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'transformers', 'scipy') if name in sys.modules], file=sys.stderr)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, check=True
    )
    return answer.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "argv", [["--help"], ["evaluate", "--help"], ["prepare", "--help"], ["validate", "none"]]
)
def test_what_needs_no_torch_does_not_import_it(argv):
    assert modules_after(*argv) == "[]"


def test_fault_25_no_verb_imports_anything_slow_for_its_arguments():
    """All of them in one process: each is told what it does not know, and says so at once."""
    program = (
        "import sys; from asvtk.bin.main import VERBS, main\n"
        "for verb in VERBS:\n"
        "    try: main([verb, '--nonsense'])\n"
        "    except SystemExit as ended: assert ended.code == 2, verb\n"
        "    slow = {'torch', 'transformers', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "    assert not slow, (verb, slow)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-300:]


def test_fault_25_what_needs_no_torch_and_what_the_user_mistook_import_nothing_slow(tmp_path):
    """All in one process: verbs that look at files, then what is wrong with the arguments of others."""
    config, none = REPOSITORY / "egs/asvspoof2019_la/conf/lfcc_moe_mamba.yaml", tmp_path / "none"
    for name in "ab":
        (tmp_path / "exp" / name).mkdir(parents=True)
        (tmp_path / "exp" / name / "config.yaml").write_text(yaml.safe_dump(to_mapping(load_config(config))))
    exp, model = tmp_path / "exp", ["--model", none]
    stage = ["--config", config, "--dump", none]
    right = [
        ["exp", "ls", exp],
        ["exp", "show", exp / "a"],
        ["exp", "diff", exp / "a", exp / "b"],
        ["cache", "ls", "--dump", tmp_path],
        ["cache", "verify", "--dump", tmp_path],
        ["cache", "prune", "--dump", tmp_path],
        *(
            ["config", path]
            for path in sorted(config.parent.glob("*.yaml"))
            if path.name != "robustness.yaml"
        ),
        ["vocode", "name", "--config", config, "--data", none],
        ["corpora", "ls"],
        ["models", "ls"],
    ]
    wrong = [
        ["config", none],
        ["prepare", none, tmp_path / "data"],
        ["validate", none],
        ["evaluate", "--exp", exp / "a", "--sets", "dev"],
        ["extract", "begin", *stage, "--data", none],
        ["train", *stage, "--exp", exp / "a", "--train-data", none, "--dev-data", none],
        ["detect", *model, tmp_path / "none.wav"],
        ["score", *model, "--audio", none],
        ["serve", *model],
        ["export", none, tmp_path / "none.onnx"],
        ["pack", "--exp", none],
        ["unpack", none, tmp_path / "unpacked"],
        ["push", none, "hf:owner/name"],
        ["truncate", none, tmp_path / "cut", "--layers", "3"],
        ["analyse", "--exp", none, "--dump", none, "--data", none],
    ]
    program = (
        "import json, sys; from asvtk.bin.main import main\n"
        "for words, status in json.loads(sys.argv[1]):\n"
        "    ended = main(words)\n"
        "    assert ended == status, (words, ended)\n"
        "    slow = {'torch', 'transformers', 'matplotlib', 'sklearn', 'scipy.signal'} & set(sys.modules)\n"
        "    assert not slow, (words, slow)"
    )
    cases = [([*map(str, words)], status) for status, of in enumerate((right, wrong)) for words in of]
    answer = subprocess.run(
        [sys.executable, "-c", program, json.dumps(cases)], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-600:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_fault_19_interrupted_while_it_imports_it_says_one_line(number):
    program = (
        "import os, signal, sys; from asvtk.bin import main\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        f"        if name == 'torch': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder)\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    answer = subprocess.run([sys.executable, "-c", program, "doctor"], capture_output=True, text=True)
    assert answer.returncode == 128 + number
    assert answer.stderr == f"asvtk doctor: ended by {number.name}; run the same command to go on\n"


@pytest.mark.parametrize("code", ["ascii", "utf-8"])
def test_fault_15_names_that_are_no_text_are_told_with_an_escape(code):
    command = [sys.executable, "-m", "asvtk", "validate", os.fsdecode(b"/none/\xff\xc3\xa4")]
    answer = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": code})
    assert answer.returncode == 1 and b"/none/\\udcff" in answer.stderr + answer.stdout
    assert b"Traceback" not in answer.stderr


def test_help_lists_every_verb_in_two_groups(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    typed, _, called = said.partition("called by run.sh")
    assert [line.split()[0] for line in typed.splitlines() if line.startswith("  ")] == list(TYPED)
    assert [line.split()[0] for line in called.splitlines() if line.startswith("  ")] == list(CALLED)
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0 and f"usage: asvtk {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_every_verb_are_commands_that_it_takes(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    _, _, block = capsys.readouterr().out.partition("\nexamples:\n")
    commands = re.findall(r"^  (?! )(?:.*\\\n)*.*", block, re.MULTILINE)
    assert commands
    module = importlib.import_module(f"asvtk.bin.{verb}")
    for command in commands:
        words = shlex.split(command.replace("\\\n", " ").rpartition(" | ")[2])
        parser = Parser(allow_abbrev=False)
        module.add_arguments(parser)
        begin = words.index("asvtk")
        assert words[begin + 1] == verb, command
        parser.parse_args(words[begin + 2 : words.index(">") if ">" in words else None])


def test_unknown_verb_is_a_usage_error(capsys):
    assert main(["evalute"]) == 2
    assert "no verb 'evalute'" in capsys.readouterr().err


def test_fault_of_the_user_is_told_without_a_traceback(capsys):
    assert main(["prepare", "/none", "/tmp/none"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("asvtk prepare: error: /none: no such folder") and "Traceback" not in said


def test_fault_14_home_is_expanded_in_any_option(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["validate", "~/data"]) == 1
    said = capsys.readouterr()
    assert str(tmp_path / "data") in said.out + said.err


def test_messages_of_the_library_are_plain_lines(capsys):
    """Those of training, which reports on itself, apart from those that may come before a verb's answer."""
    for name in ("asvtk.training.logger", "asvtk.io.locks"):
        logging.getLogger(name).debug("nothing")
        logging.getLogger(name).info("5 % done")
        logging.getLogger(name).warning("careful")
    out, err = capsys.readouterr()
    assert out == "5 % done\nwarning: careful\n"
    assert err == "5 % done\nasvtk: warning: careful\n"


def test_a_former_verb_is_told_its_name(capsys):
    assert main(["cues", "data/eval"]) == 2
    assert capsys.readouterr().err == "asvtk: the verb cues is called shortcuts now\n"
