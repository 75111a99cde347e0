"""Model card of the Hugging Face hub: a package's card behind the metadata that the hub reads.

https://huggingface.co/docs/hub/model-cards
"""

import json
import re

from asvtk.inference.package import Package, package_files
from asvtk.io.config import parse_yaml
from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.text import parse_json
from asvtk.metrics.results import WRITTEN, check_results
from asvtk.report.markdown import plain_text

__all__ = ["hub_files"]

#: licences that the hub has by these names; of others it wants license: other and a name
_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 bsd-2-clause bsd-3-clause cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0
    cc-by-nc-4.0 cc-by-nc-nd-4.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0
    gpl-2.0 gpl-3.0 isc lgpl-3.0 mit mpl-2.0 odbl odc-by openrail unlicense
"""
_ALIASES = {"cc0": "cc0-1.0", "apache-2": "apache-2.0", "apache": "apache-2.0"}
_TAGS = ["asvtk", "audio-anti-spoofing", "audio-deepfake-detection", "speech"]

_USE = """\
```bash
asvtk detect --model {name} recording.wav
```"""


def hub_files(package: Package, name: str, licence: str | None = None) -> tuple[dict[str, bytes], str | None]:
    """What a repository of the hub holds of a package.

    Args:
        package: to be sent.
        name: of the repository, ``hf:owner/name``.
        licence: of the weights, where another one is to be stated than the package does.

    Returns:
        content of the files by name: README.md and the members of the package; and the licence, if there is
        one.

    Raises:
        AsvtkError: the package's results or configuration are not what asvtk writes.
    """
    licence = licence or package.about.get("licence")
    if licence is not None and not isinstance(licence, str):
        raise AsvtkError(f"{package.source}: package.json: expected a text as 'licence'")
    card = package.text("card.md")
    about = dict(package.about)
    if licence:
        about["licence"] = licence
        card = re.sub(r"(?m)^- licence: .*$", lambda _: f"- licence: {plain_text(licence)}", card, count=1)
    files = package_files(about, {**package.members, "card.md": card.encode()})
    title, _, body = card.partition("\n")
    page = f"---\n{_metadata(package, licence)}\n---\n{title}\n\n{_USE.format(name=name)}\n{body}"
    return {"README.md": page.encode(), **files}, licence


def _metadata(package: Package, licence: str | None) -> str:
    from huggingface_hub import ModelCardData

    where = f"{package.source}: config.yaml"
    config = parse_yaml(package.text("config.yaml"), where)
    parts = [field_of(config, f"{section}.name", str, where) for section in ("frontend", "model")]
    where = f"{package.source}: environment.json"
    environment = parse_json(package.text("environment.json"), where)
    corpora = field_of({"corpora": [], **environment}, "corpora", list, where)
    facts = ModelCardData(
        library_name="asvtk",
        pipeline_tag="audio-classification",
        tags=[*_TAGS, *(part.replace("_", "-") for part in parts)],
        datasets=[str(corpus) for corpus in corpora] or None,
        metrics=["eer"],
        model_name=package.about["name"],
        eval_results=_measured(package),
        **_licence(licence),
    )
    return facts.to_yaml()


def _licence(licence: str | None) -> dict:
    if not licence:
        return {}
    slug = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
    slug = _ALIASES.get(slug, slug)
    return (
        {"license": slug}
        if slug in _LICENCES.split()
        else {"license": "other", "license_name": slug or "other"}
    )


def _measured(package: Package) -> list:
    """EER of each set, and of official sets the min t-DCF: elsewhere the ASV system's errors are borrowed."""
    from huggingface_hub import EvalResult

    where = f"{package.source}: results.json"
    results = check_results(parse_json(package.text("results.json"), where), where, needs=WRITTEN)
    found = []
    for name, of_set in results.items():
        corpus = of_set.get("corpus") or {}
        official = bool(of_set.get("official"))
        title = (
            " ".join(filter(None, (corpus.get("title"), corpus.get("version"), corpus.get("set")))) or name
        )
        if not official:
            title = f"{name} ({of_set['n_bonafide']} bona fide and {of_set['n_spoof']} spoof trials)"
            title += f", not the official {corpus['title']}" if corpus.get("difference") else ""
        metrics = {"eer": ("EER (%)", of_set["eer_percent"])}
        if official and of_set.get("min_tdcf") is not None:
            metrics["min_tdcf"] = ("min t-DCF (legacy, 2019)", of_set["min_tdcf"])
        found += [
            EvalResult(
                task_type="audio-classification",
                task_name="Audio anti-spoofing",
                dataset_type=corpus.get("corpus", name) if official else name,
                dataset_name=title,
                dataset_split=name,
                metric_type=kind,
                metric_name=label,
                metric_value=json.loads(f"{value:.6g}"),
            )
            for kind, (label, value) in metrics.items()
        ]
    return found
