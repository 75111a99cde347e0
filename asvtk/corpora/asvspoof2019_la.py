"""The ASVspoof 2019 logical-access database, in the layout in which it is distributed.

    LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{train.trn,dev.trl,eval.trl}.txt
    LA/ASVspoof2019_LA_{train,dev,eval}/flac/<utterance>.flac
    LA/ASVspoof2019_LA_asv_scores/ASVspoof2019.LA.asv.{dev,eval}.gi.trl.scores.txt      (optional)

A protocol line is ``SPEAKER UTTERANCE - ATTACK KEY``. Any corpus in this layout is taken, whatever
its counts; one with other spoofing systems says so in ``attacks.tsv`` (columns attack, kind, system),
in LA/ or beside it. Source: Wang et al., "ASVspoof 2019: A large-scale public database of synthesized,
converted and replayed speech", Computer Speech & Language 64, 2020, arXiv 1911.01601.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from asvtk.corpora.facts import load_facts
from asvtk.io.atomic import atomic_path
from asvtk.io.audio import inspect_audio
from asvtk.io.datadir import BONAFIDE, LABELS, NO_ATTACK, DataDirectory
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.stamps import file_digest, read_stamp, write_stamp
from asvtk.io.tables import write_table

__all__ = ["SPLITS", "difference_from_official", "find_corpus", "prepare_split"]

SPLITS = ("train", "dev", "eval")

_PROTOCOLS = "ASVspoof2019_LA_cm_protocols"
_PROTOCOL = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}


def find_corpus(folder) -> Path:
    """The folder that holds the protocols: ``folder`` itself or ``folder/LA``.

    Raises:
        AsvtkError: there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AsvtkError(f"{folder}: no such folder; --corpus is the LA/ folder of the unpacked database")
    for candidate in (folder, folder / "LA"):
        if (candidate / _PROTOCOLS).is_dir():
            return candidate.absolute()
    raise AsvtkError(
        f"{folder}: holds no {_PROTOCOLS}/; --corpus is the LA/ folder of the unpacked database, "
        f"with {_PROTOCOLS}/ and ASVspoof2019_LA_{{train,dev,eval}}/flac/ in it"
    )


def prepare_split(corpus: Path, split: str, out, jobs: int = 4, force: bool = False) -> DataDirectory:
    """Write the data directory of one split, unless it stands there already.

    Args:
        corpus: the folder that ``find_corpus`` returned.
        split: ``train``, ``dev`` or ``eval``.
        out: the data directory to write.
        jobs: threads that read audio headers.
        force: write it even if it is up to date or was made from another corpus.

    Raises:
        AsvtkError: a malformed protocol, missing or unusable audio (all of it is listed), or a data
            directory made from other protocols stands in the way.
    """
    out = Path(out)
    protocol = corpus / _PROTOCOLS / f"ASVspoof2019.LA.cm.{_PROTOCOL[split]}.txt"
    if not protocol.is_file():
        raise AsvtkError(f"{protocol}: no such protocol; unpack the database again")
    audio = corpus / f"ASVspoof2019_LA_{split}" / "flac"
    asv_scores = corpus / "ASVspoof2019_LA_asv_scores" / f"ASVspoof2019.LA.asv.{split}.gi.trl.scores.txt"
    legend = _find_legend(corpus)
    inputs = {
        "split": split,
        "protocol": str(protocol),
        "protocol_sha256": file_digest(protocol),
        "audio": str(audio),
        "asv_scores_sha256": file_digest(asv_scores) if asv_scores.is_file() else None,
        "attacks_sha256": file_digest(legend) if legend else None,
    }
    stamp = read_stamp(out / ".done")
    if stamp == inputs and not force:
        return DataDirectory.read(out)
    if stamp and stamp["protocol_sha256"] != inputs["protocol_sha256"] and not force:
        raise AsvtkError(
            f"{out}: was made from {stamp['protocol']}, which lists other trials than {protocol}; "
            "name another --datadir, --dumpdir and --expdir for this corpus, or give --force to replace it"
        )
    trials = _read_protocol(protocol)
    num_samples, md5 = _inspect_all(audio, list(trials), protocol, jobs)
    data = DataDirectory(
        path=out,
        wav={utterance: str(audio / f"{utterance}.flac") for utterance in trials},
        speaker={utterance: speaker for utterance, (speaker, _, _) in trials.items()},
        label={utterance: label for utterance, (_, _, label) in trials.items()},
        attack={utterance: attack for utterance, (_, attack, _) in trials.items()},
        num_samples=num_samples,
        md5=md5,
    )
    (out / ".done").unlink(missing_ok=True)
    data.write()
    write_table(out / "attack2kind", _attack_kinds(legend, set(data.attack.values())))
    _copy_asv_scores(asv_scores, data)
    write_stamp(out / ".done", inputs)
    return data


def difference_from_official(data: dict[str, DataDirectory]) -> str | None:
    """One line that says how a corpus differs from the official database; None when it does not."""
    facts = load_facts("asvspoof2019_la")["splits"]
    official = {split: (facts[split]["bonafide"], facts[split]["spoof"]) for split in data}
    found = {split: directory.count_classes() for split, directory in data.items()}
    if found == official:
        return None
    ours, theirs = (
        ", ".join(f"{split} {bonafide}+{spoof}" for split, (bonafide, spoof) in counts.items())
        for counts in (found, official)
    )
    return (
        f"not the official ASVspoof 2019 LA database: bona fide + spoof trials are {ours} here and "
        f"{theirs} there; never quote its results as ASVspoof 2019 results"
    )


def _read_protocol(path: Path) -> dict[str, tuple[str, str, str]]:
    """utterance -> (speaker, attack, label), sorted by utterance."""
    trials = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        fields = line.split()
        if len(fields) != 5:
            raise AsvtkError(
                f"{path}:{number}: expected 5 fields 'SPEAKER UTTERANCE - ATTACK KEY', "
                f"found {len(fields)}: {line!r}"
            )
        speaker, utterance, _, attack, label = fields
        if label not in LABELS:
            raise AsvtkError(f"{path}:{number}: the key is {label!r}, expected one of {' '.join(LABELS)}")
        if (attack == NO_ATTACK) != (label == BONAFIDE):
            raise AsvtkError(
                f"{path}:{number}: {utterance} is {label} with attack {attack!r}; "
                f"expected {NO_ATTACK!r} for bona fide and an attack id for spoof"
            )
        if utterance in trials:
            raise AsvtkError(f"{path}:{number}: {utterance} stands here for the second time")
        trials[utterance] = (speaker, attack, label)
    if not trials:
        raise AsvtkError(f"{path}: lists no trials")
    return dict(sorted(trials.items()))


def _inspect_all(
    folder: Path, utterances: list[str], protocol: Path, jobs: int
) -> tuple[dict[str, int], dict[str, str]]:
    """Number of samples and checksum of every utterance."""
    if not folder.is_dir():
        raise AsvtkError(f"{folder}: no such folder; the trials of {protocol} need its audio")
    # One listing of the folder instead of 71,237 look-ups, which a network disk would feel.
    present = {entry.name for entry in os.scandir(folder)}
    missing = [utterance for utterance in utterances if f"{utterance}.flac" not in present]
    if missing:
        raise AsvtkError(
            f"{folder}: {len(missing)} of the {len(utterances)} utterances in {protocol} have no .flac "
            f"file: {listing(missing)}; unpack the database again"
        )

    def inspect(utterance):
        try:
            return inspect_audio(folder / f"{utterance}.flac")
        except AsvtkError as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        found = list(
            tqdm(
                pool.map(inspect, utterances),
                total=len(utterances),
                desc=f"{folder.parent.name}: audio headers",
                unit="file",
                disable=None,
            )
        )
    faults = [str(outcome) for outcome in found if isinstance(outcome, AsvtkError)]
    if faults:
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise AsvtkError(
            f"{len(faults)} of {len(utterances)} audio files cannot be used:\n  "
            + "\n  ".join(faults[:10])
            + more
        )
    num_samples, md5 = zip(*found, strict=True)
    return dict(zip(utterances, num_samples, strict=True)), dict(zip(utterances, md5, strict=True))


def _find_legend(corpus: Path) -> Path | None:
    """The corpus's own ``attacks.tsv``."""
    places = (corpus / "attacks.tsv", corpus.parent / "attacks.tsv")
    return next((place for place in places if place.is_file()), None)


def _attack_kinds(legend: Path | None, attacks: set[str]) -> dict[str, str]:
    """attack -> TTS, VC, vocoder ..., by the corpus's own legend or else by the official database's."""
    if legend:
        rows = [line.split("\t") for line in legend.read_text(encoding="utf-8").splitlines()]
        kinds = {row[0]: row[1] for row in rows if len(row) > 1}
    else:
        kinds = {attack: facts["kind"] for attack, facts in load_facts("asvspoof2019_la")["attacks"].items()}
    return {attack: kinds[attack] for attack in attacks if attack in kinds}


def _copy_asv_scores(source: Path, data: DataDirectory) -> None:
    """Put the ASV scores beside the trials they belong to, so that dev never meets eval's."""
    if source.is_file():
        with atomic_path(data.asv_scores) as temporary:
            shutil.copyfile(source, temporary)
    else:
        data.asv_scores.unlink(missing_ok=True)  # those of another corpus
