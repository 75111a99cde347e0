"""Published facts of databases: attacks, groupings, official counts.

One JSON file per database, beside this module, with the sources of what it says.
"""

import json
from pathlib import Path

import numpy as np

from asvtk.io.errors import AsvtkError

__all__ = ["has_its_attacks", "load_facts", "prefixes_of", "rename_attacks", "split_of", "unofficial"]


def load_facts(database: str = "asvspoof2019_la") -> dict:
    """Read the facts of a database.

    Returns:
        ``attacks`` {id: kind TTS, VC or TTS_VC; description; same_as, the training attack whose
        algorithm it shares}, ``groupings`` {name: {known, unknown: ids}}, ``splits`` {train, dev,
        eval: official counts}, ``attack_aliases`` {old id: id}, ``sources``.

    Raises:
        AsvtkError: no facts of such a database.
    """
    folder = Path(__file__).parent
    try:
        return json.loads((folder / f"{database}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(path.stem for path in folder.glob("*.json")))
        raise AsvtkError(f"no facts about a database {database!r}; there are: {there}") from None


def prefixes_of(facts: dict, utterances: np.ndarray) -> set | None:
    """The prefixes (LA_D_ ...) that utterance ids, strings (n,), begin with; None if some are unknown.

    Only the utterance ids can tell whether the facts are about these trials: other databases count
    their attacks from A01 too.
    """
    found, rest = set(), utterances.astype("U5")
    while rest.size:
        if rest[0] not in facts["utterance_prefixes"]:
            return None
        found.add(str(rest[0]))
        rest = rest[rest != rest[0]]
    return found


def split_of(facts: dict, prefixes: set | None) -> str | None:
    """The split (train, dev, eval) that all utterances with these prefixes are named after."""
    names = (name for name, split in facts["splits"].items() if prefixes == {split["utterance_prefix"]})
    return next(names, None)


def rename_attacks(facts: dict, attacks: np.ndarray) -> np.ndarray:
    """Attack ids, strings (n,), with the pre-release names (SS_1 ...) replaced by the official ones."""
    there = {*attacks.tolist()}
    for old, official in facts["attack_aliases"].items():
        if old in there:
            attacks = np.where(attacks == old, official, attacks)
    return attacks


def unofficial(
    facts: dict, split: str, n_bonafide: int, n_spoof: int, attacks: dict | None = None
) -> str | None:
    """A sentence that says how many trials differ from the official set; None when they agree.

    ``attacks``, where the trials name them, says how many spoofs each has.
    """
    official = facts["splits"][split]
    if (n_bonafide, n_spoof) != (official["bonafide"], official["spoof"]):
        differing = (
            f"{n_bonafide} bona fide and {n_spoof} spoof trials against {official['bonafide']} and "
            f"{official['spoof']} there"
        )
    elif attacks and attacks != official["attacks"]:
        differing = "as many trials as there, but of other attacks"
    else:
        return None
    return f"not the official {facts['name']} {split} set: {differing}. Published results are of that set."


def has_its_attacks(facts: dict, prefixes: set | None, n_bonafide: int, n_spoof: int) -> bool:
    """Whether these are all trials of a later set that says A07 for the same attack, by names and counts."""
    return any(
        prefixes == {of["utterance_prefix"]} and (n_bonafide, n_spoof) == (of["bonafide"], of["spoof"])
        for of in facts["same_attacks"]
    )
