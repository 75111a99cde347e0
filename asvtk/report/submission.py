"""Leaderboard files: scores in the form that a leaderboard takes, and a YAML file that says what they are."""

import hashlib
import re
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import yaml

from asvtk.io.atomic import atomic_path, write_text
from asvtk.io.config import load_yaml
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.metrics.eer import compute_eer
from asvtk.version import __version__

__all__ = ["write_submission"]

#: format -> name of the score file, its header, what parts its columns
_FORMS = {
    "arena": ("scores.txt", "", " "),
    "asvspoof5": ("score.tsv", "filename\tcm-score\n", "\t"),
    "codalab": ("score.txt", "", " "),
}
#: what only the submitter knows, by section, in the Arena's form 4
_ARENA = {
    "system": ("name", "slug", "description", "code", "checkpoint", "paper"),
    "dataset": ("id", "revision", "split"),
    "artifact": ("scores_url",),
    "submitter": ("hf_username", "contact"),
}
_OTHERS = {"system": ("name", "description")}
_MUTABLE = re.compile(r"/resolve/(main|master)/")


def write_submission(
    form: str, table: ScoreTable, out, meta=None, skipped: int | None = None
) -> tuple[list[str], list[str]]:
    """Write the files of a leaderboard.

    Args:
        form: ``arena``, ``asvspoof5`` or ``codalab``.
        table: named trials; where they have labels, the EER stands in the YAML.
        out: folder.
        meta: a YAML file with what scores cannot say; sections as in the form.
        skipped: trials of the set without a score; None: nobody knows.

    Returns:
        Names of the files written, the YAML last, and of what it still lacks.

    Raises:
        AsvtkError: names that the form cannot hold, or a ``meta`` that does not fit.
    """
    out, (name, header, mark) = Path(out), _FORMS[form]
    utterances = table.utterances.tolist()
    if bad := next((u for u in utterances if re.search(r"[\s]", u)), None):
        raise AsvtkError(f"{table.source}: {bad!r} cannot stand in {name}: it has a blank in it")
    rows = zip(utterances, table.scores.tolist(), strict=True)
    text = header + "".join(f"{utterance}{mark}{score!r}\n" for utterance, score in rows)
    write_text(out / name, text)
    written = [name]
    if form != "arena":
        with atomic_path(out / "score.zip") as path, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
        written.append("score.zip")
    content, missing = _describe(form, table, hashlib.sha256(text.encode()).hexdigest(), meta, skipped)
    write_text(out / "submission.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return [*written, "submission.yaml"], missing


def _describe(form: str, table: ScoreTable, sha256: str, meta, skipped: int | None) -> tuple[dict, list[str]]:
    told = load_yaml(meta) if meta is not None else {}
    sections = _ARENA if form == "arena" else _OTHERS
    if unknown := sorted(told.keys() - {*sections, "notes"}):
        raise AsvtkError(
            f"{meta}: unknown section {unknown[0]!r}; there are: {', '.join([*sections, 'notes'])}"
        )
    content, missing = {"schema_version": 4} if form == "arena" else {"format": form}, []
    for section, keys in sections.items():
        values = told.get(section) or {}
        if not isinstance(values, dict):
            raise AsvtkError(f"{meta}: {section}: expected 'key: value' lines")
        content[section] = {key: values.get(key, f"<{key}>") for key in keys} | values
        missing += [f"{section}.{key}" for key in keys if key not in values]
    content["scores"] = {"n_trials": int(table.scores.size), "n_skipped": skipped}
    if skipped is None:
        content["scores"]["n_skipped"] = "<n_skipped>"
        missing.append("scores.n_skipped")
    if table.bonafide is not None and 0 < np.count_nonzero(table.bonafide) < table.scores.size:
        eer = compute_eer(table.scores[table.bonafide], table.scores[~table.bonafide])[0]
        content["scores"] = {"eer_percent": 100 * eer, **content["scores"]}
    artifact = content.pop("artifact", {})
    if _MUTABLE.search(str(artifact.get("scores_url", ""))):
        raise AsvtkError(
            f"{meta}: artifact.scores_url names a branch, whose files change; name the commit: "
            "/resolve/COMMIT/"
        )
    content["artifact"] = {**artifact, "scores_sha256": sha256, "written_by": f"asvtk {__version__}"}
    if form == "arena":
        content["reproduction"] = {}  # the maintainers fill it in
        content["submitted_at"] = date.today().isoformat()
    content["notes"] = told.get("notes", "")
    return content, missing
