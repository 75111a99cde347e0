"""Types of command-line arguments."""

import importlib
from argparse import ArgumentParser, ArgumentTypeError, _SubParsersAction

import pytest

from asvtk.bin.arguments import assignments, between, finite, pairs, seed_range, whole_number
from asvtk.bin.main import VERBS, main


@pytest.mark.parametrize(
    "kind, text, value",
    [
        (whole_number(), "0", 0),
        (whole_number(1), "12", 12),
        (whole_number(-2), "-2", -2),
        (whole_number(0, 8), "8", 8),
        (finite, "-1e3", -1000.0),
        (between(0, 1), ".25", 0.25),
        (between(0, 1, ends=True), "1", 1.0),
        (seed_range, "2:4", [2, 3, 4]),
        (seed_range, "7", [7]),
        (assignments, "utterance=path, score=logit", {"utterance": "path", "score": "logit"}),
        (pairs, "bonafide=1,bonafide=2,spoof=0", [("bonafide", "1"), ("bonafide", "2"), ("spoof", "0")]),
    ],
)
def test_good_values(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    "kind, bad, words",
    [
        (whole_number(1), ["0", "-1", "1_0", "1.0", "", "\u0663", "9" * 20], "whole number from 1 upwards"),
        (whole_number(0, 8), ["9"], "whole number from 0 to 8"),
        (finite, ["nan", "inf", "1_0", "one", "1e999"], "expected a finite number"),
        (between(0, 1), ["0", "1", "2", "-0.1"], "between 0 and 1, these excluded"),
        (between(0, 1, ends=True), ["1.5"], "from 0 to 1"),
        (seed_range, ["", "5:1", "1:", ":3", "1:2:3", "0:1000", "1_0"], "expected A:B, A not above B"),
        (pairs, ["a", "a=", "=b", "a=b,,c=d"], "expected NAME=VALUE"),
        (assignments, ["a=b,a=c"], "a stands twice"),
    ],
)
def test_fault_19_values_out_of_range_are_one_line(kind, bad, words):
    for text in bad:
        with pytest.raises(ArgumentTypeError, match=words):
            kind(text)
    with pytest.raises(ArgumentTypeError) as fault:
        kind("x" * 10_000)
    assert len(str(fault.value)) < 200


class Options(ArgumentParser):
    """Notes what a verb asks for, those of its actions included."""

    def numeric(self):
        """(words that lead to the option, option) of all whose default is a number."""
        for action in self._actions:
            if isinstance(action, _SubParsersAction):
                for name, parser in action.choices.items():
                    yield from (([name, *words], option) for words, option in parser.numeric())
            elif action.option_strings and type(action.default) is int:
                yield [], action.option_strings[0]


@pytest.mark.parametrize("verb", VERBS)
def test_fault_19_every_number_of_every_verb_is_checked_before_anything_else(verb, capsys):
    module = importlib.import_module(f"asvtk.bin.{verb}")
    parser = Options()
    module.add_arguments(parser)
    for words, option in parser.numeric():
        bad = ["-3", "1_0", "1.5", "", "nan", "9" * 20]
        for value in [*bad, "0"] if option in ("--nj", "--job") else bad:
            with pytest.raises(SystemExit) as ended:
                main([verb, *words, f"{option}={value}"])
            said = capsys.readouterr().err
            assert ended.value.code == 2 and said.count("\n") == 1, (option, value, said)
            assert f"argument {option}: {value!r}: expected a whole number" in said
    known = {"extract": 3, "score": 3, "vocode": 1, "train": 1, "prepare": 1, "evaluate": 2, "perturb": 1}
    assert len([*parser.numeric()]) >= known.get(verb, 0)


@pytest.mark.parametrize(
    "words",
    [
        ["extract", "job", "--config", "c", "--data", "d", "--dump", "d"],
        ["score", "job", "--exp", "e", "--data", "d", "--dump", "d"],
    ],
)
def test_fault_19_a_job_beyond_the_number_of_jobs_is_a_usage_error(words, capsys):
    assert main([*words, "--job", "5", "--nj", "2"]) == 2
    assert capsys.readouterr().err == f"asvtk {words[0]}: error: --job 5 --nj 2: expected a job from 1 to 2\n"
