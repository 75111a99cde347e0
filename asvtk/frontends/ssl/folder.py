"""Model folders of SSL front-ends, as ``save_pretrained`` writes them and the Hugging Face hub gives them.

torch and transformers take seconds to import, so only the functions that need them do.
"""

import functools
import logging
from pathlib import Path

from asvtk.frontends.ssl.architecture import TRUNCATED, Architecture
from asvtk.io import hub
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.fields import field_of
from asvtk.io.stamps import digest, file_digest
from asvtk.io.text import read_json

__all__ = [
    "base_fingerprint",
    "check_preprocessor",
    "find_model",
    "own_fingerprint",
    "wants_normalised_input",
    "weight_files",
]

_log = logging.getLogger(__name__)


def find_model(name: str, revision: str | None) -> Path:
    """A local directory, or the local copy of a Hugging Face repository (fetched if need be).

    Args:
        name: of a directory; ``owner/name`` on the hub; or ``hf:owner/name[@revision]``, never a directory.
        revision: of the repository: a tag, branch or commit.

    Raises:
        AsvtkError: there is no such directory, or the repository cannot be had.
    """
    # Not model.fp32-*.safetensors, which lie beside the same weights.
    wanted = ["*.json", "model.safetensors", "model-*.safetensors", "pytorch_model*.bin"]
    if name.startswith(hub.PREFIX):
        named = hub.HubName.parse(name)
        if revision not in (None, named.revision) and named.revision is not None:
            raise AsvtkError(
                f"frontend.model: {name}: names another revision than frontend.revision, {revision}"
            )
        return hub.fetch_snapshot(named._replace(revision=named.revision or revision), wanted)
    folder = Path(name).expanduser()
    if folder.is_dir():
        _refuse_adapter(folder)
        if not (folder / "config.json").is_file():
            raise AsvtkError(f"{folder}: holds no config.json; expected what save_pretrained() writes")
        return folder
    # A path that is not there must not be looked up on the hub under its own name.
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise AsvtkError(f"frontend.model: {name}: no such directory")
    try:
        return hub.fetch_snapshot(hub.HubName(name, revision), wanted)
    except AsvtkError as error:
        raise AsvtkError(
            f"frontend.model: {name}: neither a local directory nor to be had from the Hugging Face hub "
            f"({error}); without a network, give a directory that save_pretrained() wrote"
        ) from error


def _refuse_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        return
    if not _weights(folder):
        raise AsvtkError(
            f"{folder}: holds an adapter (adapter_config.json) and not the model that it changes; merge it "
            "into the model (merge_and_unload() of peft), save that, and give its folder"
        )
    _log.warning(f"{folder}: the adapter of adapter_config.json is not applied; the model beside it is used")


def _weights(folder: Path) -> list[Path]:
    # Some repositories hold the same weights twice, as model.safetensors and in parts or in float32.
    for pattern in ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin"):
        if files := sorted(path for path in folder.glob(pattern) if path.is_file()):
            return files
    return []


def weight_files(folder: Path) -> list[Path]:
    """The files of weights that are read.

    Raises:
        AsvtkError: there are none, or not all parts that their index names.
    """
    files = _weights(folder)
    if not files:
        raise AsvtkError(f"{folder}: holds no weights (model.safetensors or pytorch_model.bin)")
    index = {".safetensors": "model.safetensors.index.json", ".bin": "pytorch_model.bin.index.json"}
    index = folder / index[files[0].suffix]
    if "-" in files[0].name and index.is_file():
        parts = {str(part) for part in field_of(read_json(index), "weight_map", dict, index).values()}
        if lost := sorted(parts - {path.name for path in files}):
            raise AsvtkError(
                f"{folder}: {len(lost)} of its {len(parts)} parts are missing: {listing(lost, 3)}"
            )
    return files


def _preprocessor(folder: Path) -> tuple[dict, Path] | None:
    """What the folder says of its feature extractor, and where.

    transformers writes a feature extractor to preprocessor_config.json, and from version 5 on that of a
    processor to processor_config.json.
    """
    for name, key in (("processor_config.json", "feature_extractor"), ("preprocessor_config.json", None)):
        path = folder / name
        if not path.exists():
            continue
        content = read_json(path)
        if key is None:
            return content, path
        if key in content:  # version 4 wrote only the processor's class there
            return field_of(content, key, dict, path), path
    return None


def check_preprocessor(folder: Path, architecture: Architecture) -> None:
    """
    Raises:
        AsvtkError: the model wants audio or log-mel frames that it would not be given.
    """
    if (found := _preprocessor(folder)) is None:
        return
    content, path = found
    rate = field_of({"sampling_rate": SAMPLE_RATE} | content, "sampling_rate", int, path)
    if rate != SAMPLE_RATE:
        raise AsvtkError(
            f"{path}: the model hears audio at {rate} Hz (sampling_rate); asvtk gives {SAMPLE_RATE} Hz; "
            "give a model for that"
        )
    wanted = {"whisper": {"feature_size": architecture.mels, "n_fft": 400, "hop_length": 160}}
    wanted["wav2vec2-bert"] = {"num_mel_bins": architecture.mels, "stride": 2}
    for key, value in wanted.get(architecture.kind, {}).items():
        if content.get(key, value) != value:
            raise AsvtkError(f"{path}: {key} is {content[key]!r}; the model of config.json wants {value}")


@functools.cache  # so that its warning comes once
def wants_normalised_input(folder: Path, normalised_stem: bool | None) -> bool:
    """Whether the model hears zero mean and unit variance, as its own preprocessor says.

    Where none is there, the kind of the feature encoder decides, with a warning: models with a
    layer-normalised encoder (Large, XLS-R) were pre-trained on normalised input.

    Args:
        folder: of the model.
        normalised_stem: whether its convolutions of the waveform are layer-normalised; None: it has none,
            and hears log-mel frames of the waveform as it is.
    """
    if normalised_stem is None:
        return False
    if (found := _preprocessor(folder)) is not None:
        content, path = found
        # What both leave out is true by the default of transformers' Wav2Vec2FeatureExtractor.
        return field_of({"do_normalize": True} | content, "do_normalize", bool, path)
    _log.warning(
        f"{folder}: no preprocessor_config.json or processor_config.json says whether the "
        f"model wants zero mean and unit variance; taken to be {'yes' if normalised_stem else 'no'}, as its "
        f"feature encoder is {'layer' if normalised_stem else 'group'}-normalised"
    )
    return normalised_stem


def own_fingerprint(folder: Path) -> dict:
    """What a model is, by the contents of its folder: not who saved it, and with what.

    Raises:
        AsvtkError: there are no weights.
    """
    config = read_json(folder / "config.json")
    bookkeeping = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
    numerical = {key: value for key, value in config.items() if key not in bookkeeping}
    if isinstance(note := config.get(TRUNCATED), dict):
        numerical[TRUNCATED] = [note.get("layers"), note.get("of")]
    return {
        "architecture": digest(numerical),
        "weights": {path.name: file_digest(path) for path in weight_files(folder)},
    }


def base_fingerprint(folder: Path) -> dict:
    """``own_fingerprint`` of a model, or of that which ``asvtk truncate`` cut it from.

    Layers of both are the same numbers, so that they share caches. If anything of the cut folder changed
    since, it is a model of its own.

    Raises:
        AsvtkError: there are no weights.
    """
    own = own_fingerprint(folder)
    note = read_json(folder / "config.json").get(TRUNCATED)
    if isinstance(note, dict) and note.get("own") == own and isinstance(note.get("base"), dict):
        return note["base"]
    return own
