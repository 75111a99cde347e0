"""The console script: quick where nothing needs torch, one line for a user's fault."""

import importlib
import logging
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest

from asvtk.bin.arguments import Parser
from asvtk.bin.main import CALLED, TYPED, VERBS, main


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
