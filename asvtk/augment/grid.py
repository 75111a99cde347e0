"""Grids of degradations: families of cells, each of them one degraded copy of a set.

    MP3: [mp3:64k, mp3:16k]
    a call: [[telephone, "noise:20", "amr:12.2k"], gsm]      # a list in the list: one after the other

A family has a mean in the table, and a chart of its own.
"""

from typing import NamedTuple

import yaml

from asvtk.augment.degradations import Degradation, parse_degradation
from asvtk.io.config import load_yaml
from asvtk.io.errors import AsvtkError, listing

__all__ = ["DEFAULT", "Cell", "chain", "read_grid"]

DEFAULT = "default"  #: the name of the grid that asvtk brings

#: egs/asvspoof2019_la/conf/robustness.yaml is the same, to be changed
_DEFAULT = """
MP3: [mp3:128k, mp3:64k, mp3:32k, mp3:16k, mp3:8k]
AAC: [aac:64k, aac:32k, aac:24k, aac:16k]
Opus: [opus:64k, opus:32k, opus:16k, opus:8k, opus:6k]
telephone codecs: [g722, alaw, ulaw, g726:32k, gsm, amr:12.2k, amr:7.4k, amr:4.75k]
telephone line: [telephone, [telephone, alaw], [telephone, noise:20, amr:12.2k]]
noise: [noise:30, noise:20, noise:10, noise:0, pink:30, pink:20, pink:10, pink:0]
reverberation: [reverb:0.2, reverb:0.4, reverb:0.7, reverb:1]
resampling: [resample:8000, resample:11025, resample:22050, resample:44100]
level, silence, bandwidth: [level:-20, level:-30, level:-40, trim, lowpass]
simulated replay: [replay:good, replay:fair, replay:poor]
"""
_LONGEST = 200  # bytes of a name; folders, and score files named after them, take 255


class Cell(NamedTuple):
    """A degraded copy of a set; all of it can be pickled."""

    how: tuple[Degradation, ...]  # one after the other
    family: str = ""

    @property
    def title(self) -> str:
        """For people: ``telephone alaw``."""
        return " ".join(of.text for of in self.how)

    @property
    def name(self) -> str:
        """For folders and files: ``telephone_alaw``, ``mp3-32k``."""
        return "_".join(of.text.replace(":", "-") for of in self.how)

    @property
    def place(self) -> tuple[str, str, float] | None:
        """What it is, title of the axis, value there: of a single degradation that has a quantity."""
        if len(self.how) != 1 or (place := self.how[0].place) is None:
            return None
        return self.how[0].kind, *place


def chain(texts, family: str = "") -> Cell:
    """The cell of degradations by name, one after the other.

    Raises:
        AsvtkError: there is none of such a name, or none are named.
    """
    if not texts:
        raise AsvtkError("no degradation is named")
    cell = Cell(tuple(map(parse_degradation, texts)), family)
    if len(cell.name) > _LONGEST:
        raise AsvtkError(f"{cell.title}: its folder's name would be too long; chain fewer")
    return cell


def read_grid(path) -> list[Cell]:
    """Cells in the order of a grid file.

    Args:
        path: YAML, a mapping of families to lists; or ``DEFAULT``.

    Raises:
        AsvtkError: it is no such file, a degradation is unknown, or a cell stands in it twice.
    """
    content = yaml.safe_load(_DEFAULT) if path == DEFAULT else load_yaml(path)
    if not isinstance(content, dict) or not content:
        raise AsvtkError(f"{path}: expected families of degradations, such as 'MP3: [mp3:64k, mp3:16k]'")
    cells = [cell for family, listed in content.items() for cell in _read_family(path, family, listed)]
    names = [cell.name for cell in cells]
    if twice := [cell.title for cell in cells if names.count(cell.name) > 1]:
        raise AsvtkError(f"{path}: {listing(dict.fromkeys(twice))}: stands there twice")
    return cells


def _read_family(path, family, listed) -> list[Cell]:
    if not isinstance(family, str) or not isinstance(listed, list) or not listed:
        raise AsvtkError(f"{path}: {family}: expected a name and a list of degradations, as 'MP3: [mp3:64k]'")
    cells = []
    for entry in listed:
        texts = entry if isinstance(entry, list) else [entry]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise AsvtkError(
                f"{path}: {family}: {entry!r}: expected a degradation, such as mp3:64k, or a list of some"
            )
        try:
            cells.append(chain(texts, family))
        except AsvtkError as fault:
            raise AsvtkError(f"{path}: {family}: {fault}") from None
    return cells
