"""A corpus on this disk: its folder, version, and the other corpora that belong to it."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from asvtk.corpora.description import HOLE, CorpusDescription, TrialList, load_description
from asvtk.io.errors import AsvtkError, listing

__all__ = ["Corpus", "audio_folder", "find_path", "open_corpus"]

#: line ends, and bytes that are no UTF-8 as Python keeps them
_UNWRITABLE = re.compile(r"[\n\r\ud800-\udfff]")


@dataclass(frozen=True)
class Corpus:
    """A corpus on this disk."""

    name: str  # of its description
    description: CorpusDescription
    folder: Path
    version: str  # one of the description's, or empty
    also: dict[str, Path] = field(default_factory=dict)  # folders of other corpora that belong to it

    def path(self, trials: TrialList) -> Path | None:
        """The folder that a list is in; None: it is not at hand."""
        return self.also.get(trials.root) if trials.root else self.folder


def open_corpus(name: str, folder, version: str | None = None, also: dict | None = None) -> Corpus:
    """Find a corpus in a folder.

    Args:
        name: as of ``load_description``.
        folder: the corpus's, or one around it.
        version: which one it is; needed where the description knows several and the folder's name tells none.
        also: folders of other corpora that belong to it.

    Raises:
        AsvtkError: the folder is not there or holds no such corpus, its path cannot stand in a wav.scp, the
            version is unknown or missing, or ``also`` names what does not belong to it.
    """
    description = load_description(name)
    name = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    also = {other: Path(path).absolute() for other, path in (also or {}).items()}
    if unknown := also.keys() - description.also.keys():
        there = listing(description.also) or "none"
        raise AsvtkError(f"{description.title}: {listing(unknown)} does not belong to it; there are: {there}")
    folder = Path(folder)
    for path in (folder, *also.values()):
        if _UNWRITABLE.search(str(path.absolute())):
            raise AsvtkError(
                f"{str(path.absolute())!r}: a path that has a line end or is not UTF-8 cannot stand in "
                "wav.scp; rename it, or make a link to it: ln -s"
            )
        if not path.is_dir():
            raise AsvtkError(f"{path}: no such folder; expected {description.folder}")
    inside = sorted(description.inside, key=lambda part: part != version)  # the one asked for before others
    places = [folder, *(folder / part for part in inside)]
    found = next((place for place in places if _has_marker(description, place)), None)
    if found is None:
        raise AsvtkError(
            f"{folder}: holds no {' or '.join(description.marker)}; expected {description.folder}"
            f" ({description.title}: {description.source or 'see its paper'})"
        )
    return Corpus(name, description, found.absolute(), _version(description, found, version), also)


def _has_marker(description: CorpusDescription, folder: Path) -> bool:
    return not description.marker or any(next(folder.glob(marker), None) for marker in description.marker)


def _version(description: CorpusDescription, folder: Path, told: str | None) -> str:
    known = description.versions
    if told is not None:
        if known and told not in known:
            raise AsvtkError(
                f"{description.title}: no version {told!r} is known; there are: {listing(known, 20)}"
            )
        if folder.name != told and folder.name in known:
            raise AsvtkError(f"{folder}: is {folder.name!r} by its name, and --version says {told!r}")
        return told
    if len(known) < 2:
        return known[0] if known else ""
    names = {part.lower() for part in folder.absolute().parts[-2:]}
    named = [version for version in known if version.lower() in names]
    if len(named) != 1:
        raise AsvtkError(
            f"{description.title} has several versions, and {folder} does not say which it is: give "
            f"--version {'|'.join(known)}; results are of one version only"
        )
    return named[0]


def find_path(corpus: Corpus, name: str, patterns, what: str) -> Path:
    """The first of several files, plain or packed by gzip, that is there.

    Raises:
        AsvtkError: none is.
    """
    wanted = [corpus.folder / corpus.description.fill(pattern, name) for pattern in patterns]
    for path in wanted:
        for candidate in (path, path.with_name(path.name + ".gz")):
            if candidate.is_file():
                return candidate
    raise AsvtkError(
        f"{wanted[0]}: no such {what}; unpack the corpus again, or leave the set out: --sets ..."
    )


def audio_folder(corpus: Corpus, name: str) -> Path:
    """The folder that the audio of a set lies in, as far as its description says; it need not be there."""
    folders = []
    for trials in corpus.description.lists(name):
        root = corpus.path(trials)
        for pattern in ((trials.files,) if trials.files else trials.audio) if root else ():
            folders.append(root / os.path.dirname(HOLE.split(corpus.description.fill(pattern, name))[0]))
    return next((folder for folder in folders if folder.is_dir()), folders[0])
