"""A data directory as its files: which of them have a line for each utterance, and which for something else.

Kaldi's own tools know their files by name and silently drop all others. Here the name's form decides, so
that ``utt2label utt2attack utt2speaker utt2md5 utt2num_samples`` and any further ``utt2...`` are carried.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from asvtk.io.datadir_rules import kind_of, speakers_to_utterances
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.tables import read_table, write_table
from asvtk.io.text import split_blanks


class Folder:
    """A data directory, read.

    Args:
        path: the directory.
        read: reads one table; ``asvtk.io.tables.read_table``, or a more lenient one.

    Raises:
        AsvtkError: it is missing, has no utt2spk, or a table cannot be read.
    """

    def __init__(self, path, read=read_table) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise AsvtkError(f"{path}: no such data directory")
        names = sorted(entry.name for entry in self.path.iterdir() if entry.is_file())
        names = [name for name in names if not name.startswith(".")]
        if "utt2spk" not in names:
            raise AsvtkError(f"{path}: has no utt2spk, so it is no data directory")
        self.has_segments = "segments" in names
        #: name -> table, for all that have lines for utterances, speakers or recordings
        self.tables: dict[str, dict[str, str]] = {}
        #: what belongs to the data set as a whole: attack2kind, asv_scores ...
        self.of_the_set: list[str] = []
        for name in names:
            if name == "spk2utt":  # follows from utt2spk
                continue
            if kind_of(name, self.has_segments) == "set":
                self.of_the_set.append(name)
            else:
                self.tables[name] = read(self.path / name)

    def named(self, kind: str) -> dict[str, dict[str, str]]:
        """The tables with a line for each utterance, speaker or recording."""
        return {
            name: table for name, table in self.tables.items() if kind_of(name, self.has_segments) == kind
        }

    @property
    def utterances(self) -> list[str]:
        """In the order of LC_ALL=C."""
        return sorted(self.tables["utt2spk"])

    @property
    def speaker_of(self) -> dict[str, str]:
        """The true speakers where they are known, and not the identity that utt2spk may be."""
        return self.tables.get("utt2speaker", self.tables["utt2spk"])

    def subset(self, utterances) -> dict[str, dict[str, str]]:
        """All tables, with the lines of these utterances, their speakers and their recordings.

        Raises:
            AsvtkError: a table lacks one of them.
        """
        keys = {"utterance": list(utterances)}
        keys["speaker"] = {self.tables["utt2spk"][utterance] for utterance in keys["utterance"]}
        segments = self.tables.get("segments", {})
        keys["recording"] = {split_blanks(segments[u])[0] if u in segments else u for u in keys["utterance"]}
        tables = {}
        for name, table in self.tables.items():
            wanted = keys[kind_of(name, self.has_segments)]
            missing = sorted(key for key in wanted if key not in table)
            if missing:
                raise AsvtkError(
                    f"{self.path / name}: has no line for {listing(missing, 3)}; "
                    f"utils/fix_data_dir.sh {self.path} leaves such utterances out"
                )
            tables[name] = {key: table[key] for key in wanted}
        return tables


def write_folder(path, tables: dict, files=()) -> None:
    """Make the data directory ``path``, whole or not at all.

    Args:
        path: replaced if it is a data directory and holds nothing else.
        tables: name -> table; spk2utt is made from utt2spk.
        files: paths of files to copy.

    Raises:
        AsvtkError: ``path`` holds something else, or cannot be written.
    """
    path = Path(path)
    if path.exists():
        held = [entry.name for entry in path.iterdir()] if path.is_dir() else ["no directory"]
        foreign = [name for name in held if (path / name).is_dir() and not name.startswith((".", "split"))]
        if held and ("utt2spk" not in held or foreign):
            raise AsvtkError(f"{path}: holds other things than a data directory; remove it, or name another")
    with replaced_folder(path) as new:
        for name, table in tables.items():
            write_table(new / name, table)
        write_table(new / "spk2utt", speakers_to_utterances(tables["utt2spk"]))
        for file in files:
            shutil.copyfile(file, new / Path(file).name)


@contextlib.contextmanager
def replaced_folder(path: Path):
    """Yield a new folder, which takes the place of ``path`` when all went well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise AsvtkError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        new.chmod(0o777 & ~_umask())
        yield new
        old = new.with_suffix(".old")
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, old)
        os.rename(new, path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise AsvtkError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def evenly_spaced(items: list, count: int) -> list:
    """``count`` of the items, from all over the list."""
    return [items[at * len(items) // count] for at in range(count)]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
