"""Types of command-line arguments; one out of range is a usage error: one line, exit 2.

parser.add_argument("--nj", type=whole_number(1))
parser.add_argument("--seed", type=whole_number())
parser.add_argument("--prior", type=between(0, 1))
parser.add_argument("--where", type=assignments)
"""

import math
import os
from argparse import ArgumentParser, ArgumentTypeError

from asvtk.io.errors import AsvtkError
from asvtk.io.text import parse_float, parse_int

__all__ = [
    "Parser",
    "UsageError",
    "assignments",
    "between",
    "check_share",
    "finite",
    "key_words",
    "pairs",
    "seed_range",
    "table_axes",
    "whole_number",
]

_LARGEST = 2**31 - 1  # of a seed, a number of jobs ...: what C programs and random generators take too
_SHOWN = 40  # characters of a bad value in a message
_SEEDS = 1000  # in a range


class UsageError(AsvtkError):
    """Options that do not go together: exit 2."""


class Parser(ArgumentParser):
    """Tells a usage error in one line; argparse's own lists all options before it.

    An empty word is one: it is what a script leaves of a variable that was not set. ``~`` is the home folder
    also where no shell expands it.
    """

    def parse_args(self, *words):
        args = super().parse_args(*words)
        for name, value in vars(args).items():
            if value == "" or isinstance(value, list) and "" in value:
                self.error(f"{name.replace('_', '-')}: is an empty word, expected a value")
            is_list = isinstance(value, list)
            setattr(args, name, [_expand_home(item) for item in value] if is_list else _expand_home(value))
        return args

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message}; --help lists the options\n")


def _expand_home(value):
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~") else value


def check_share(job: int, num_jobs: int) -> None:
    """Raises UsageError unless job ``job`` is one of 1 ... ``num_jobs``."""
    if not 1 <= job <= num_jobs:
        raise UsageError(f"--job {job} --nj {num_jobs}: expected a job from 1 to {num_jobs}")


def whole_number(minimum: int = 0, maximum: int = _LARGEST):
    """Type of whole numbers from ``minimum`` to ``maximum``, both allowed, in plain ASCII digits."""

    def parse(text: str) -> int:
        try:
            number = parse_int(text)
        except ValueError:
            number = None
        if number is None or not minimum <= number <= maximum:
            until = "upwards" if maximum == _LARGEST else f"to {maximum}"
            raise ArgumentTypeError(f"{text[:_SHOWN]!r}: expected a whole number from {minimum} {until}")
        return number

    return parse


def seed_range(text: str) -> list[int]:
    """Type of ``A:B``, the seeds from A to B, or of one seed."""
    first, colon, last = text.partition(":")
    try:
        first, last = whole_number()(first), whole_number()(last if colon else first)
    except ArgumentTypeError:
        first, last = 0, -1
    if not 0 <= last - first < _SEEDS:
        raise ArgumentTypeError(f"{text[:_SHOWN]!r}: expected A:B, A not above B, at most {_SEEDS} seeds")
    return list(range(first, last + 1))


def finite(text: str) -> float:
    """Type of finite numbers: neither nan nor infinity, nor ``1_0`` for ten."""
    try:
        number = parse_float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ArgumentTypeError(f"{text[:_SHOWN]!r}: expected a finite number")
    return number


def between(low: float, high: float, ends: bool = False):
    """Type of numbers between two bounds; ``ends`` tells whether the bounds themselves are allowed."""

    def parse(text: str) -> float:
        number = finite(text)
        if not (low <= number <= high if ends else low < number < high):
            how = f"from {low} to {high}" if ends else f"between {low} and {high}, these excluded"
            raise ArgumentTypeError(f"{text[:_SHOWN]!r}: expected a number {how}")
        return number

    return parse


def pairs(text: str) -> list:
    """Type of ``NAME=VALUE,NAME=VALUE``: ``[(name, value), ...]``, in which a name may stand twice."""
    found = [tuple(part.strip() for part in pair.partition("=")[::2]) for pair in text.split(",")]
    if not all(name and value for name, value in found):
        raise ArgumentTypeError(f"{text[:_SHOWN]!r}: expected NAME=VALUE,NAME=VALUE")
    return found


def table_axes(text: str) -> tuple:
    """Type of ``ROWS,COLUMNS`` of a two-way table, or ``official``: (rows, columns)."""
    rows, comma, columns = (part.strip() for part in text.partition(","))
    if text != "official" and not (rows and columns and "," not in columns):
        raise ArgumentTypeError(f"{text[:_SHOWN]!r}: expected ROWS,COLUMNS as attack,codec, or official")
    return rows, columns


def assignments(text: str) -> dict:
    """Type of ``NAME=VALUE,NAME=VALUE`` in which each name stands once."""
    found = pairs(text)
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ArgumentTypeError(f"{text[:_SHOWN]!r}: {twice[:_SHOWN]} stands twice")
    return dict(found)


def key_words(text: str) -> dict:
    """Type of ``bonafide=WORD,spoof=WORD``, each as often as needed: ``{word: is it bona fide?}``.

    ``target=WORD,nontarget=WORD`` are the two kinds of bona fide speech in a key of speaker verification;
    such words mean "target" or "nontarget" instead of True.
    """
    meanings = {"bonafide": True, "spoof": False, "target": "target", "nontarget": "nontarget"}
    words = {}
    for ours, word in pairs(text):
        if ours not in meanings:
            raise ArgumentTypeError(
                f"{ours[:_SHOWN]!r}: expected bonafide=WORD,spoof=WORD, or target=WORD and nontarget=WORD too"
            )
        meaning = words.setdefault(word, meanings[ours])
        if meaning != meanings[ours]:
            other = next(name for name, said in meanings.items() if said == meaning)
            first, second = sorted((other, ours), key=list(meanings).index)
            raise ArgumentTypeError(f"{word[:_SHOWN]!r} is said to mean both {first} and {second}")
    return words
