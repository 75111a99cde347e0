"""Folders of self-supervised models, as transformers' ``save_pretrained`` writes them and its hub gives them.

torch and transformers take seconds to import, so only the functions that need them do.
"""

import json
from pathlib import Path

from asvtk.io.errors import AsvtkError

__all__ = [
    "ARCHITECTURES",
    "find_model",
    "load_model",
    "numerical_part",
    "read_architecture",
    "wants_normalised_input",
    "weight_files",
]

ARCHITECTURES = ("wavlm", "wav2vec2", "hubert")


def find_model(name: str, revision: str | None) -> Path:
    """A local directory, or the local copy of a Hugging Face repository (fetched if need be).

    Raises:
        AsvtkError: there is no such directory, or the repository cannot be had.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise AsvtkError(f"{folder}: holds no config.json; expected what save_pretrained() writes")
        return folder
    # A path that is not there must not be looked up on the hub under its own name.
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise AsvtkError(f"frontend.model: {name}: no such directory")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        wanted = ["*.json", "*.safetensors", "pytorch_model*.bin"]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise AsvtkError(
            f"frontend.model: {name}: neither a local directory nor to be had from the Hugging Face hub "
            f"({type(error).__name__}); without a network, give a directory that save_pretrained() wrote"
        ) from error


def weight_files(folder: Path) -> list[Path]:
    """
    Raises:
        AsvtkError: there are none.
    """
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        if files := sorted(folder.glob(pattern)):
            return files
    raise AsvtkError(f"{folder}: holds no weights (model.safetensors or pytorch_model.bin)")


def read_architecture(folder: Path) -> dict:
    """What config.json says; what it leaves to transformers' defaults is asked of transformers."""
    content = json.loads((folder / "config.json").read_text())
    wanted = (
        "model_type",
        "num_hidden_layers",
        "hidden_size",
        "conv_kernel",
        "conv_stride",
        "feat_extract_norm",
    )
    if content.get("model_type") in ARCHITECTURES and not all(key in content for key in wanted):
        from transformers import AutoConfig

        content = AutoConfig.from_pretrained(folder).to_dict()
    return {"model_type": None} | content


def wants_normalised_input(folder: Path, architecture: dict) -> bool:
    """As the model's own preprocessor says; without one, by the kind of its feature encoder.

    Models with a layer-normalised encoder (Large, XLS-R) were pre-trained on normalised input.
    """
    preprocessor = folder / "preprocessor_config.json"
    if preprocessor.is_file():
        return bool(json.loads(preprocessor.read_text()).get("do_normalize", True))
    return architecture["feat_extract_norm"] == "layer"


def numerical_part(folder: Path) -> dict:
    """What of config.json can change the features: not who saved it, and with what."""
    config = json.loads((folder / "config.json").read_text())
    bookkeeping = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
    return {key: value for key, value in config.items() if key not in bookkeeping}


def load_model(folder: Path):
    """Load in float32 and evaluation mode.

    Raises:
        AsvtkError: the weights are damaged, or of another architecture.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except (OSError, RuntimeError) as error:
        raise AsvtkError(f"{folder}: the weights cannot be loaded: {error}") from error
    if report["missing_keys"] or report.get("mismatched_keys"):
        lost = [*report["missing_keys"], *report.get("mismatched_keys", [])]
        raise AsvtkError(
            f"{folder}: the weights are not those of the architecture in config.json; missing: "
            + ", ".join(map(str, lost[:3]))
        )
    return model.eval()
