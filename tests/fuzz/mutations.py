"""Changes to sound files, as strategies of hypothesis; each prints as what it does.

Positions are numbers modulo what there is, so that a change fits any file.
"""

import bz2
import copy
import functools
import gzip
import lzma
import os
from typing import NamedTuple

import hypothesis
import yaml
from hypothesis import strategies as st

#: 0: the cases of every day; N: N times as many others
LONG_RUN = int(os.environ.get("ASVTK_FUZZ") or 0)


def fuzz(examples: int, **strategies):
    """``hypothesis.given`` with reproducible cases and no database."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    settings = hypothesis.settings(
        max_examples=examples * max(LONG_RUN, 1),
        derandomize=not LONG_RUN,
        database=None,
        deadline=None,
        phases=phases if LONG_RUN else [*phases, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    def decorate(test):
        test = settings(hypothesis.given(**strategies)(test))
        return hypothesis.seed(LONG_RUN)(test) if LONG_RUN else test

    return decorate


# ---- lines and fields

#: what may stand in a text file where nobody expects it
ODD_TEXT = [
    "\0", "\ufeff", "\r", "\r\n", "\n", "\n\n", "\t", "\xa0", "\u2028", "\x0b", "\x0c", "\x1c", "\x85",
    "\x1b[31m", "#", "# x", "\"", "'", "\"\"", ",", ";", "-", "--", "", " ", "\u202e", "\u200b",
    "\ud83d".encode("utf-8", "surrogatepass"), b"\xff\xfe", b"\xe9", "1_0", "nan", "-nan", "inf", "-inf",
    "1e999", "-1e308", "1e308", "1e-320", "-0", "+1", "0x10", "1,5", "\u0661\u0662", "\uff11", "9" * 30,
    "9" * 5000, "1" + "0" * 400, "x" * 20_000, "x" * 200_000, "\u00e9" * 3000, "bonafide", "spoof",
    "bona-fide", "genuine", "A01", "A99", "A00", "utterance", "score", "key", "None", "True", "../../x",
    "/dev/null", "touch canary |", "|touch canary", "$(touch canary)", "`touch canary`", "canary:12", ":",
]  # fmt: skip
ODD_BYTES = [odd if isinstance(odd, bytes) else odd.encode("utf-8") for odd in ODD_TEXT]
WHOLE_TEXTS = [
    b"", b"\n", b"\r\n", b"\n" * 1000, b" ", b"\xef\xbb\xbf", b"\0" * 100, b"utterance score\n",
    b"utterance,score,key\n", b"a", b"a 1\n", b"a - spoof 1\n", b"a - spoof 1\nb - spoof 2\n",
    b"a - bonafide 1\n", b"{}", b"[]", b"<html><body>404",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0",
    "a - spoof 1\n".encode("utf-16"), b"\x80\x02}q\0.", b"PK\3\4", b"RIFF", b"a b\n" * 3000,
    b"a\t1\n\"b\t2\n",
]  # fmt: skip


class Edit(NamedTuple):
    """One change to the bytes of a file."""

    kind: str
    at: int
    to: int
    what: bytes

    def __repr__(self):
        what = self.what if len(self.what) < 60 else self.what[:20] + b"...%d" % len(self.what)
        return f"{self.kind}({self.at}, {self.to}, {what})"


def _lines(change):
    """An edit of the list of lines: ``change(lines, at, to, what)``."""

    def edit(data, at, to, what):
        lines = data.splitlines(keepends=True)
        if lines:
            change(lines, at % len(lines), to % len(lines), what)
        return b"".join(lines)

    return edit


def _fields(change):
    """An edit of the fields of a line: ``change(fields, to, what)``."""

    def of_line(lines, at, to, what):
        separator = b"," if b"," in lines[at] else b" "
        fields = lines[at].rstrip(b"\n").split(separator)
        change(fields, to % len(fields), what)
        lines[at] = separator.join(fields) + b"\n"

    return _lines(of_line)


def _swap(items, at, to, _=None):
    items[at], items[to] = items[to], items[at]


TEXT_EDITS = {
    "swap lines": _lines(_swap),
    "double line": _lines(lambda lines, at, to, what: lines.insert(to, lines[at])),
    "drop line": _lines(lambda lines, at, to, what: lines.pop(at)),
    "insert line": _lines(lambda lines, at, to, what: lines.insert(at, what + b"\n")),
    "set field": _fields(lambda fields, to, what: fields.__setitem__(to, what)),
    "begin field": _fields(lambda fields, to, what: fields.__setitem__(to, what + fields[to])),
    "end field": _fields(lambda fields, to, what: fields.__setitem__(to, fields[to] + what)),
    "insert field": _fields(lambda fields, to, what: fields.insert(to, what)),
    "drop field": _fields(lambda fields, to, what: fields.pop(to)),
    "swap fields": _fields(lambda fields, to, what: _swap(fields, to, 0)),
}
BYTE_EDITS = {
    "flip": lambda data, at, to, what: data[:at] + bytes([data[at] ^ (1 + to % 255)]) + data[at + 1 :],
    "cut": lambda data, at, to, what: data[:at],
    "insert": lambda data, at, to, what: data[:at] + what + data[at:],
    "overwrite": lambda data, at, to, what: data[:at] + what + data[at + len(what) :],
    "drop": lambda data, at, to, what: data[:at] + data[at + 1 + to % 64 :],
    "repeat": lambda data, at, to, what: data[:at] + data[at // 2 :],
    "append": lambda data, at, to, what: data + what,
}


def apply(edits, data: bytes) -> bytes:
    for edit in edits:
        if edit.kind in TEXT_EDITS:
            data = TEXT_EDITS[edit.kind](data, edit.at, edit.to, edit.what)
        elif edit.kind == "replace":
            data = edit.what
        elif data:
            # Half of them in the first bytes, where formats have their headers.
            at = edit.at % len(data) if edit.at % 2 else edit.at // 2 % min(len(data), 128)
            data = BYTE_EDITS[edit.kind](data, at, edit.to, edit.what)
    return data


def _edits(kinds, whats, most: int):
    number = st.integers(0, 1 << 20)
    return st.lists(
        st.builds(Edit, st.sampled_from(kinds), number, number, st.sampled_from(whats)),
        min_size=1,
        max_size=most,
    )


def text_edits(most: int = 3):
    """Damage to a text file of lines and fields."""
    kinds = [*TEXT_EDITS, *TEXT_EDITS, *BYTE_EDITS]  # lines and fields are what readers look at
    whole = st.builds(Edit, st.just("replace"), st.just(0), st.just(0), st.sampled_from(WHOLE_TEXTS))
    edits = _edits(kinds, ODD_BYTES, most)
    return st.one_of(edits, edits, edits, st.lists(whole, min_size=1, max_size=1))


#: numbers that headers do not expect, in both orders of bytes
_NUMBERS = [0, 1, 2, 7, 8, 127, 128, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**36, 10**9, 2**63, 2**64 - 1]
ODD_NUMBERS = sorted(
    {
        number.to_bytes(size, order)
        for size in (1, 2, 4, 8)
        for number in _NUMBERS
        for order in ("little", "big")
        if number < 1 << 8 * size
    }
)


def byte_edits(most: int = 3):
    """Damage to a binary file, its header above all."""
    kinds = [*BYTE_EDITS, "overwrite", "overwrite", "overwrite"]
    return _edits(kinds, [*ODD_NUMBERS, b"\0" * 64, b"\xff" * 300, b"data", b"fLaC"], most)


# ---- the same content in another wrapping


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


#: ways to store the same table
WRAPPINGS = {
    "plain": lambda data: data,
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR": lambda data: data.replace(b"\n", b"\r"),
    "blank lines at the end": lambda data: data + b"\n\n \n",
    "no newline at the end": lambda data: data.rstrip(b"\n"),
    "tabs": lambda data: data.replace(b" ", b"\t"),
    "wide spaces": lambda data: data.replace(b" ", b"   "),
    "spaces at the ends": lambda data: data.replace(b"\n", b"  \n"),
    "gzip": _gzipped,
    "two gzip members": lambda data: _gzipped(data[: len(data) // 2]) + _gzipped(data[len(data) // 2 :]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
#: and to damage or abuse a container
DAMAGED = {
    "gzip in gzip": lambda data: _gzipped(_gzipped(data)),
    "gzip cut off": lambda data: _gzipped(data)[:-9],
    "gzip with another checksum": lambda data: _gzipped(data)[:-8] + b"\0" * 8,
    "gzip with garbage behind": lambda data: _gzipped(data) + b"garbage",
    "gzip bomb": lambda data: data + bomb(),
    "bzip2 cut off": lambda data: bz2.compress(data)[:-9],
    "xz cut off": lambda data: lzma.compress(data)[:-20],
    "gzip bomb alone": lambda data: bomb(),
}


@functools.lru_cache(maxsize=1)
def bomb() -> bytes:
    """Two MB that unpack to two GB: one line."""
    member = gzip.compress(b"1" * (64 << 20), mtime=0)
    return member * 32


# ---- trees of YAML and JSON

WRONG_VALUES = [
    None, [], {}, "", "x", "\0", True, False, 0, 1, -1, 2, 0.5, 1e308, -0.0, 10**30, 2**63, 10**400,
    float("nan"), float("inf"), float("-inf"), "nan", "1_0", "1e3", [None], [[]], [1, "a"], {"a": 1}, {1: 2},
    {None: None}, [1.0] * 1000, "x" * 100_000, "../../x", "/dev/zero", "canary", "2026-13-45", "moe_mamba",
    "lfcc", "ssl", "a\nb",
]  # fmt: skip


class Change(NamedTuple):
    """One change to a value of a tree, counted in the order of its leaves and branches."""

    kind: str
    at: int
    what: object

    def __repr__(self):
        return f"{self.kind}({self.at}, {repr(self.what)[:60]})"


def changes(most: int = 2):
    kinds = st.sampled_from(["set", "set", "set", "delete", "rename", "wrap", "nest"])
    return st.lists(
        st.builds(Change, kinds, st.integers(0, 1 << 16), st.sampled_from(WRONG_VALUES)),
        min_size=1,
        max_size=most,
    )


def apply_changes(changed, tree):
    for change in changed:
        what = copy.deepcopy(change.what)  # or the next change would be made to the list of wrong values
        places = list(_places(tree))
        if not places or (change.kind == "set" and change.at % 40 == 0):
            tree = what
            continue
        parent, key = places[change.at % len(places)]
        if change.kind == "set":
            parent[key] = what
        elif change.kind == "wrap":
            parent[key] = [parent[key]]
        elif change.kind == "nest":
            parent[key] = {"x": parent[key]}
        else:
            value = parent.pop(key)
            if change.kind == "rename" and isinstance(parent, dict):
                parent[f"{key}s"] = value
    return tree


def _places(tree):
    """Parent and key of every value below the top."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def to_yaml(tree) -> str:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


_ALIASES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
#: whole documents that no reader may trip over, in YAML or JSON
DOCUMENTS = [
    "", "\n", "---\n", "--- {}\n--- {}\n", "null", "42", "[]", "{}", '"text"', "a: b: c", "\t a: 1", "{", "[",
    "]", "&a [*a]", "a: *nothing", "a: 1\na: 2", '{"a": 1, "a": 2}', "? [1, 2]\n: 3", "a: 2026-99-99",
    "a: 2026-01-01T99:99:99", "1:2: 3", "[" * 5000, "{a: " * 3000, '{"a":' * 100_000, "- " * 20_000,
    "[" * 70 + "]" * 70, f"a0: &a0 [x]\n{_ALIASES}", "a: &a {b: *a}",
    "!!python/object/apply:os.system ['touch canary']", "a: !!python/name:os.system", "a: !!binary '===='",
    "!!set {a}", "!!omap [a: 1]", "a: !!float x", "a: !!int ''", "a: 0x" + "f" * 5000, "a: " + "9" * 5000,
    '{"a": NaN}', '{"a": 1e999}', '{"a": Infinity}', "a: .nan", "<<: [1, 2]", "<<: {a: 1}", "\ufeffa: 1",
    "a: '\u2028'", "a: \x0b", "%YAML 9.9\n---\na: 1", "=: 1", "a: =", "a: 190:20:30", "a: 0o9", "a: 1__0",
    "'" * 1001, "|" * 1001, "# only a comment", "x" * 300_000, "true: 1\nyes: 2",
]  # fmt: skip
