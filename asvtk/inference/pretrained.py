"""Pretrained detectors by name: weights that their authors publish, and packages on the Hugging Face hub."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from asvtk.inference.package import MEMBERS, is_package
from asvtk.io.config import build, load_yaml
from asvtk.io.download import cache_home, download
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.hub import PREFIX, HubName, fetch_snapshot

__all__ = ["PretrainedWeights", "expected_model", "find_pretrained", "list_pretrained", "require_model"]

_TABLE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights that somebody publishes, and what he says of them."""

    title: str
    url: str
    bytes: int
    sha256: str
    licence: str
    trained_on: str
    measured_on: str
    eer_percent: float
    min_tdcf: float  # legacy, 2019
    source: str  # of these figures

    @property
    def path(self) -> Path:
        """Where it lies once it was fetched."""
        return cache_home() / "models" / self.url.rpartition("/")[2]

    def fetch(self) -> Path:
        """The file, fetched where it is not there yet; ``ASVTK_MODELS_URL`` names a mirror, or a folder.

        Raises:
            AsvtkError: it cannot be had, or is another one.
        """
        url = self.url
        if mirror := os.environ.get("ASVTK_MODELS_URL"):
            base = mirror if "://" in mirror else Path(mirror).absolute().as_uri()
            url = f"{base.rstrip('/')}/{self.path.name}"
        download(url, self.path, self.sha256, self.bytes)
        return self.path


@functools.cache
def list_pretrained() -> dict[str, PretrainedWeights]:
    """All that are known, by name."""
    table = load_yaml(_TABLE)
    return {name: build(PretrainedWeights, content, f"{_TABLE}: {name}") for name, content in table.items()}


def expected_model() -> str:
    """What a detector may be loaded from, for messages."""
    return (
        "expected a packed model (NAME.asvtk.tar, or the folder it was unpacked to), the folder of a trained "
        "experiment, published weights (AASIST.pth, AASIST-L.pth), what asvtk export wrote (NAME.onnx), "
        f"hf:OWNER/NAME, or one of the names {', '.join(list_pretrained())}"
    )


def require_model(name) -> None:
    """Make sure that there is something by the name of a model, before torch is imported for it.

    Raises:
        AsvtkError: it is neither a file or folder nor a name that is known.
    """
    text = os.fspath(name)
    if not (text.startswith(PREFIX) or text.lower() in list_pretrained() or Path(text).expanduser().exists()):
        raise AsvtkError(f"{name}: no such file; {expected_model()}")


def find_pretrained(name) -> Path:
    """The local file or folder that a model's name stands for, fetched if need be.

    Args:
        name: a path, which goes before all else; ``hf:owner/name[@revision]``; or a key of `list_pretrained`,
            in letters of any case. Anything else is given back as the path that it may have been meant as.

    Raises:
        AsvtkError: what it names cannot be had, or is no detector.
    """
    text = os.fspath(name)
    if text.startswith(PREFIX):
        return _from_hub(HubName.parse(text))
    path = Path(text).expanduser()
    known = list_pretrained().get(text.lower())
    return path if known is None or path.exists() else known.fetch()


def _from_hub(name: HubName) -> Path:
    """A package in a repository: its members, or one file NAME.asvtk.tar."""
    folder = fetch_snapshot(name, [*MEMBERS, "*.asvtk.tar"])
    if is_package(folder):
        return folder
    packages = sorted(folder.glob("*.asvtk.tar"))
    if len(packages) == 1:
        return packages[0]
    found = listing([path.name for path in packages], 3) if packages else "none"
    raise AsvtkError(
        f"{name}: holds no detector of asvtk: expected what `asvtk push` sends, or one NAME.asvtk.tar; "
        f"found {found}"
    )
