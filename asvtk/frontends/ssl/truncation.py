"""Truncated speech encoders: transformers folders of the first blocks alone.

Detectors hear a middle layer or two; the blocks above are most of a model's bytes. What is left is a folder
that transformers and this toolkit load like any other. Its states are those of the whole model to the bit.
A norm behind the last block of a model belongs to that block: config.json notes that this one was cut, so
that the norm, which transformers wants in the file, is not applied to the last layer that is left.
"""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save_file

from asvtk.frontends.ssl.architecture import ARCHITECTURES, DEPTH_KEYS, TRUNCATED, read_architecture
from asvtk.frontends.ssl.folder import base_fingerprint, check_preprocessor, own_fingerprint, weight_files
from asvtk.frontends.ssl.weights import WeightFiles, build_model
from asvtk.io.atomic import atomic_path, write_text
from asvtk.io.errors import AsvtkError
from asvtk.io.text import read_json
from asvtk.nn.weights import require_finite

__all__ = ["Truncated", "truncate"]

#: what says how audio is prepared, and what may be done with the weights
_COPIED = (
    "preprocessor_config.json",
    "processor_config.json",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
)


class Truncated(NamedTuple):
    """What ``truncate`` wrote."""

    layers: int
    full_depth: int
    bytes_before: int
    bytes_after: int
    sha256: str  # of model.safetensors


def truncate(folder: Path, layers: int, out: Path) -> Truncated:
    """Write the first blocks of a model as a folder of their own.

    Args:
        folder: of the whole model, or of one that was cut before.
        layers: blocks to keep; layers 0 to this one can be had from what is written.
        out: folder to write; must not exist, or be empty.

    Raises:
        AsvtkError: there is no such model, it has fewer blocks, or ``out`` holds something.
    """
    architecture = read_architecture(folder, str(folder))
    check_preprocessor(folder, architecture)
    if not 1 <= layers <= architecture.depth:
        raise AsvtkError(
            f"--layers {layers}: {folder} has {architecture.depth} layers (1 ... {architecture.depth})"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AsvtkError(f"{out}: is there already; name a folder that is new or empty")
    kind, files = architecture.kind, WeightFiles(folder)
    model = build_model(folder, architecture, layers, files.shapes)
    # What pre-training alone uses is not needed, but transformers would make up what it misses.
    names = [name for name in model.state_dict() if name != "masked_spec_embed"]
    prefix = files.prefix(kind)
    places = files.locate(names, kind)
    if prefix + "masked_spec_embed" in files.shapes:
        places["masked_spec_embed"] = prefix + "masked_spec_embed"
    stored = files.read(list(places.values()))
    require_finite(folder, stored)
    # transformers keeps Whisper's encoder in a model that has one.
    begin = "encoder." if kind == "whisper" else ""
    tensors = {begin + place.removeprefix(prefix): stored[place].contiguous() for place in places.values()}

    config = read_json(folder / "config.json")
    for key in {DEPTH_KEYS.get(kind, "num_hidden_layers"), "num_hidden_layers"}:
        if key in config or key == DEPTH_KEYS.get(kind, "num_hidden_layers"):
            config[key] = layers
    config["architectures"] = ["WhisperForAudioClassification" if kind == "whisper" else ARCHITECTURES[kind]]
    config |= {"add_adapter": False} if "add_adapter" in config else {}
    base = base_fingerprint(folder)
    note = {"layers": layers, "of": architecture.full_depth}
    config[TRUNCATED] = note
    out.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    with atomic_path(out / "model.safetensors") as path:
        save_file(tensors, path, metadata={"format": "pt"})
    _write_config(out, config)
    own = own_fingerprint(out)
    config[TRUNCATED] = note | {"base": base, "own": own}  # see base_fingerprint
    _write_config(out, config)
    return Truncated(
        layers,
        architecture.full_depth,
        sum(path.stat().st_size for path in weight_files(folder)),
        (out / "model.safetensors").stat().st_size,
        own["weights"]["model.safetensors"],
    )


def _write_config(out: Path, config: dict) -> None:
    write_text(out / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
