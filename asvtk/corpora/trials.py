"""Trials of a corpus, as its description says: from protocols, tables with a header, or folders of audio."""

import hashlib
import operator
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from asvtk.corpora.corpus import Corpus, find_path
from asvtk.corpora.description import HOLE, CorpusDescription, TrialList
from asvtk.io.datadir import BONAFIDE, NO_ATTACK
from asvtk.io.datadir_rules import unsafe_ids
from asvtk.io.errors import AsvtkError, listing, shown
from asvtk.io.rows import Form, read_rows, split_line
from asvtk.io.text import read_text, split_blanks

__all__ = ["TrialTable", "read_trials"]

_SUFFIXES = frozenset((
    ".flac", ".wav", ".mp3", ".m4a", ".ogg", ".opus", ".mp4", ".aac", ".webm", ".dat", ".wma", ".aif",
    ".aiff", ".sph", ".amr", ".au", ".caf",
))  # fmt: skip
_UNKNOWN = "unknown"  # the attack of spoofs that have no name
_NONE = "-"
_LONGEST_ID = 150  # bytes of an id that is made of a path; longer ones end in their digest
_LOOKED_AT = 100  # files, to see which of several patterns is meant


@dataclass(frozen=True)
class TrialTable:
    """The trials of one set in the order of their ids, column by column, and the files that list them."""

    utterances: list[str]
    wav: list[str]  # empty where nobody asked
    speaker: list[str]
    label: list[str]
    attack: list[str]
    columns: dict[str, list[str]]  # what the description keeps
    lists: list[Path]

    def table(self, values: list[str]) -> dict[str, str]:
        """One of the columns by utterance."""
        return dict(zip(self.utterances, values, strict=True))


def read_trials(corpus: Corpus, name: str, with_audio: bool = True) -> TrialTable:
    """The trials of one set; their audio is not looked at.

    Args:
        with_audio: whether to tell where it lies.

    Raises:
        AsvtkError: a list is missing or malformed, a word of the key is unknown, a name is no id, an attack
            does not fit its key, or an utterance stands twice; with file and line.
    """
    description = corpus.description
    if name not in description.sets:
        there = listing(description.sets, 30)
        raise AsvtkError(f"{description.title} has no set {name!r}; there are: {there}")
    tables: list[list] = [[] for _ in range(5 + len(description.keep))]
    known, lists = set(), []
    for trials, part in _parts(corpus, name):
        lists.append(part.path)
        utterances = _utterances(part)
        _refuse_repeated(part, utterances, known)
        labels = _labels(part, description)
        columns = [
            utterances,
            _paths(corpus, trials, name, part, utterances) if with_audio else [],
            _speakers(part, utterances),
            labels,
            _attacks(part, labels, description),
            *(_words(part.columns.get(column, [_NONE] * len(labels))) for column in description.keep),
        ]
        for table, column in zip(tables, columns, strict=True):
            table.extend(column)
    utterances = tables[0]
    if not utterances:
        raise AsvtkError(f"{listing(lists) or corpus.folder}: lists no trials of the set {name}")
    order = sorted(range(len(utterances)), key=utterances.__getitem__)
    if order != list(range(len(order))):  # a million rows are gathered column by column
        gather = operator.itemgetter(*order)
        tables = [list(gather(table)) if table else table for table in tables]
        # Names in memory in the order of the list: each further pass over them takes a third of the time.
        tables[0] = "\n".join(tables[0]).split("\n")
    return TrialTable(*tables[:5], dict(zip(description.keep, tables[5:], strict=True)), lists)


def _parts(corpus: Corpus, name: str) -> Iterator[tuple[TrialList, "_Part"]]:
    """What each list has of a set."""
    description, named = corpus.description, {}
    where = {column: {value} for column, value in description.sets[name].where}
    for trials in description.lists(name):
        if corpus.path(trials) is None:
            continue
        for part in (_files if trials.files else _tables)(corpus, trials, name):
            part = part.where(trials.only).where(where)
            if trials.named_in:
                wanted = named.get(trials.named_in, set())
                is_named = ["yes" if wanted & _tails(path) else "no" for path in part.columns["path"]]
                if part.rows and "yes" not in is_named:
                    raise AsvtkError(
                        f"{part.path}: none of {len(is_named)} audio files is one that column "
                        f"{trials.named_in!r} names, such as {min(wanted, default='none')}; another folder?"
                    )
                part = part.where({"is named": {"yes"}}, {"is named": is_named})
            for column in {other.named_in for other in description.trials} & part.columns.keys():
                found = named.setdefault(column, set())
                found.update(max(_tails(path), key=len) for path in part.columns[column])
            yield trials, part


@dataclass(frozen=True)
class _Part:
    """Trials of one file, or of one folder: columns by name, and where a row stands."""

    path: Path
    columns: dict[str, list[str]]
    rows: list[int]
    place: Callable[[int], str]  # row -> file:line, or the path of the audio

    def where(self, wanted: dict, beside: dict[str, list[str]] | None = None) -> "_Part":
        """Only the trials whose columns have one of the values wanted; other columns count for nothing."""
        columns, kept = {**self.columns, **(beside or {})}, range(len(self.rows))
        for column in wanted.keys() & columns.keys():
            kept = [row for row in kept if columns[column][row] in wanted[column]]
        if len(kept) == len(self.rows):
            return self
        chosen = {name: [values[row] for row in kept] for name, values in self.columns.items()}
        return _Part(self.path, chosen, [self.rows[row] for row in kept], self.place)

    def where_is(self, row: int) -> str:
        return self.place(self.rows[row])


def _tables(corpus: Corpus, trials: TrialList, name: str) -> Iterator[_Part]:
    pattern = corpus.description.fill(trials.table[0], name)
    if not HOLE.search(pattern):
        yield _table(corpus, trials, find_path(corpus, name, trials.table, "protocol"), {})
        return
    folder, search = corpus.path(trials), _expression(pattern)
    paths = sorted(folder.glob(HOLE.sub("*", pattern)))
    if not paths:
        raise AsvtkError(f"{folder / pattern}: there are no such tables; unpack the corpus again")
    for path in paths:
        yield _table(corpus, trials, path, search.fullmatch(path.relative_to(folder).as_posix()).groupdict())


def _table(corpus: Corpus, trials: TrialList, path: Path, captured: dict[str, str]) -> _Part:
    text, names, start = read_text(path), trials.columns, 0
    if names.in_header:
        start = text.find("\n") + 1 or len(text)
        header = split_line(text[:start].strip(), trials.mark, trials.quoted)
        width, expected = len(header), ""
        place_of = {ours: header.index(theirs) for ours, theirs in names.in_header if theirs in header}
        if absent := [theirs for ours, theirs in names.in_header if ours not in place_of]:
            raise AsvtkError(
                f"{path}: the header has no column {listing(absent)}; it has: {listing(header, 40)}"
            )
    else:
        width, expected = len(names.in_order), " ".join(name.upper() for name in names.in_order)
        place_of = {ours: place for place, ours in enumerate(names.in_order) if ours != "-"}
    if not text[start:].strip():
        raise AsvtkError(f"{path}: lists no trials")
    fields, lines = read_rows(
        path, text, Form(trials.mark, width, (), expected, trials.quoted), start, start > 0
    )
    columns = {ours: _shared(fields[place]) for ours, place in place_of.items()}
    for constant, value in (*captured.items(), *trials.constant.pairs):
        columns[constant] = [value] * len(lines)
    if names.in_header and "attack" in columns:  # names of models, as org/model
        columns["attack"] = [attack.replace("/", "-") for attack in columns["attack"]]
    if "path" in columns:
        columns.setdefault("name", list(map(os.path.basename, columns["path"])))
    return _Part(path, columns, list(range(len(lines))), lambda row: f"{path}:{lines[row]}")


def _files(corpus: Corpus, trials: TrialList, name: str) -> Iterator[_Part]:
    pattern, root = corpus.description.fill(trials.files, name), corpus.path(trials)
    first = root / os.path.dirname(HOLE.split(pattern)[0])
    search, found = _expression(pattern), []
    for folder, folders, names in os.walk(first, followlinks=True):
        folders.sort()
        for file in sorted(names):
            stem, suffix = os.path.splitext(file)
            path = os.path.relpath(os.path.join(folder, file), root)
            match = search.fullmatch(os.path.splitext(path)[0]) if suffix.lower() in _SUFFIXES else None
            if match:
                found.append({"path": path, "name": stem, **match.groupdict()})
    if found:
        columns = {column: [row[column] for row in found] for column in found[0]}
        for constant, value in trials.constant.pairs:
            columns[constant] = [value] * len(found)
        paths = columns["path"]
        yield _Part(first, columns, list(range(len(found))), lambda row: str(root / paths[row]))


def _expression(pattern: str) -> re.Pattern:
    """A regular expression for the paths that fit a pattern; names become its groups."""
    parts, at = [], 0
    for hole in HOLE.finditer(pattern):
        parts.append(re.escape(pattern[at : hole.start()]))
        parts.append(f"(?P<{hole[1]}>[^/]+?)" if hole[1] else ".*" if hole[0] == "**" else "[^/]*")
        at = hole.end()
    return re.compile("".join([*parts, re.escape(pattern[at:])]))


def _utterances(part: _Part) -> list[str]:
    if "utterance" not in part.columns:
        paths = part.columns["path"]
        ids = list(map(_id_of, paths))
        if len(set(ids)) < len(ids):  # x.wav beside x.mp3
            counts = Counter(ids)
            ids = [
                name + os.path.splitext(path)[1] if counts[name] > 1 else name
                for name, path in zip(ids, paths, strict=True)
            ]
        return ids
    return _names(part, "utterance")


def _names(part: _Part, column: str) -> list[str]:
    """A column of ids: each can be a file name and a field of any table."""
    values = part.columns[column]
    if bad := unsafe_ids(values):
        row = next(row for row, value in enumerate(values) if value in bad)
        raise AsvtkError(
            f"{part.where_is(row)}: {values[row][:100]!r} is no id: expected printable characters without '/'"
        )
    return values


def _refuse_repeated(part: _Part, utterances: list[str], known: set) -> None:
    seen = set(utterances)
    if len(seen) == len(utterances) and known.isdisjoint(seen):
        known |= seen
        return
    seen = set()
    for row, utterance in enumerate(utterances):
        if utterance in seen or utterance in known:
            raise AsvtkError(f"{part.where_is(row)}: {utterance} stands here for the second time")
        seen.add(utterance)


def _labels(part: _Part, description: CorpusDescription) -> list[str]:
    keys = part.columns.get("key")
    if keys is None:
        raise AsvtkError(
            f"{part.path}: no column is the key; the description of {description.title} is faulty"
        )
    label_of = {word: description.labels.label_of(word) for word in set(keys)}
    if None in label_of.values():
        row = next(row for row, word in enumerate(keys) if label_of[word] is None)
        raise AsvtkError(
            f"{part.where_is(row)}: the key is {shown(keys[row])}, expected one of {description.labels}"
            + description.labels.hint
        )
    return [label_of[word] for word in keys]


def _attacks(part: _Part, labels: list[str], description: CorpusDescription) -> list[str]:
    """``-`` for bona fide; of spoofs the name, or ``unknown`` where the corpus has none."""
    if "attack" not in part.columns:
        return [NO_ATTACK if label == BONAFIDE else _UNKNOWN for label in labels]
    attacks, none = _words(part.columns["attack"]), set(description.no_attack)
    if "*" in none:  # of bona fide speech any word may stand there
        attacks = [_UNKNOWN if attack == NO_ATTACK else attack for attack in attacks]
    else:
        is_none = {attack: attack in none for attack in set(attacks)}
        for row, (attack, label) in enumerate(zip(attacks, labels, strict=True)):
            if is_none[attack] != (label == BONAFIDE):
                raise AsvtkError(
                    f"{part.where_is(row)}: is {label} with attack {attack!r}; expected "
                    f"{' or '.join(map(repr, description.no_attack))} for bona fide, an attack id for spoof"
                )
    names = _names(_Part(part.path, {"attack": attacks}, part.rows, part.place), "attack")
    return [NO_ATTACK if label == BONAFIDE else name for name, label in zip(names, labels, strict=True)]


def _paths(corpus: Corpus, trials: TrialList, name: str, part: _Part, utterances: list[str]) -> list[str]:
    root = corpus.path(trials)
    if trials.files:
        return [f"{root}/{path}" for path in part.columns["path"]]
    columns = {**part.columns, "utterance": part.columns.get("utterance", utterances)}
    filled = (corpus.description.fill(pattern, name) for pattern in trials.audio)
    candidates = [
        [
            path if path[0] == "/" else f"{root}/{path}"
            for path in _filled(pattern, columns, part, len(utterances))
        ]
        for pattern in filled
    ]
    for paths in candidates:
        if len(candidates) == 1 or any(map(os.path.exists, paths[:_LOOKED_AT])):
            return paths
    return candidates[0]


def _filled(pattern: str, columns: dict[str, list[str]], part: _Part, count: int) -> list[str]:
    pieces = re.split(r"\{(\w+)\}", pattern)
    for column in pieces[1::2]:
        if column not in columns:
            raise AsvtkError(f"{part.path}: has no column {column!r}, which the path {pattern} is made of")
    parts = [columns[piece] if place % 2 else [piece] * count for place, piece in enumerate(pieces) if piece]
    return list(map("".join, zip(*parts, strict=True)))


def _id_of(path: str) -> str:
    """An utterance id from a path: no suffix, no folders, nothing that cannot stand in a table."""
    stem, suffix = os.path.splitext(path.removeprefix("./"))
    name = (stem if suffix.lower() in _SUFFIXES else stem + suffix).strip("/").replace("/", "-")
    name = "".join(c if c.isprintable() and not c.isspace() else "_" for c in name)
    if len(name.encode()) > _LONGEST_ID:
        mark = hashlib.sha256(name.encode()).hexdigest()[:12]
        name = name.encode()[: _LONGEST_ID - 13].decode(errors="ignore") + "-" + mark
    return name


def _words(values: list[str]) -> list[str]:
    """Each value as one word of a Kaldi table; ``-`` for none."""
    together = "".join(values)
    if " " not in together and "\t" not in together and all(values):
        return values
    return ["_".join(split_blanks(value)) or _NONE for value in values]


def _speakers(part: _Part, utterances: list[str]) -> list[str]:
    """Of whom nobody knows the speaker has one of their own, as Kaldi wants it."""
    if "speaker" not in part.columns:
        return utterances
    words = _words(part.columns["speaker"])
    words = [u if word == _NONE else word for u, word in zip(utterances, words, strict=True)]
    return _names(_Part(part.path, {"speaker": words}, part.rows, part.place), "speaker")


def _shared(values: list[str]) -> list[str]:
    """The same, with one object for each word where words come again and again: to pass over quickly."""
    if len(set(values[:_LOOKED_AT])) > _LOOKED_AT // 2:
        return values
    words: dict[str, str] = {}
    return [words.setdefault(value, value) for value in values]


def _tails(path: str) -> set[str]:
    """The last one, two and three parts of a path without its suffix."""
    parts = os.path.splitext(path.removeprefix("./"))[0].split("/")
    return {"/".join(parts[-count:]) for count in (1, 2, 3)}
