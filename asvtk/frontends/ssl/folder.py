"""Model folders of SSL front-ends, as ``save_pretrained`` writes them and the Hugging Face hub gives them.

torch and transformers take seconds to import, so only the functions that need them do.
"""

import functools
import logging
from pathlib import Path

from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.text import read_json

__all__ = [
    "ARCHITECTURES",
    "find_model",
    "load_model",
    "numerical_part",
    "read_architecture",
    "wants_normalised_input",
    "weight_files",
]

_log = logging.getLogger(__name__)

ARCHITECTURES = ("wavlm", "wav2vec2", "hubert")


def find_model(name: str, revision: str | None) -> Path:
    """A local directory, or the local copy of a Hugging Face repository (fetched if need be).

    Raises:
        AsvtkError: there is no such directory, or the repository cannot be had.
    """
    folder = Path(name).expanduser()
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
        if files := sorted(path for path in folder.glob(pattern) if path.is_file()):
            return files
    raise AsvtkError(f"{folder}: holds no weights (model.safetensors or pytorch_model.bin)")


def read_architecture(folder: Path) -> dict:
    """What config.json says; what it leaves to transformers' defaults is asked of transformers.

    Raises:
        AsvtkError: it is no JSON, or describes no model of a size that there is.
    """
    path = folder / "config.json"
    content = {"model_type": None} | read_json(path)
    if content["model_type"] not in ARCHITECTURES:
        return content
    wanted = ("num_hidden_layers", "hidden_size", "conv_kernel", "conv_stride", "feat_extract_norm")
    if not all(key in content for key in wanted):
        from transformers import AutoConfig

        try:
            content = AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict()
        except Exception as error:  # values of any kind make it stumble in any way
            raise AsvtkError(f"{path}: transformers refuses it: {_first_line(error)}") from None
    for key, most in (("num_hidden_layers", 1000), ("hidden_size", 1 << 16)):
        if not 1 <= field_of(content, key, int, path) <= most:
            raise AsvtkError(f"{path}: {key} is {content[key]}, expected 1 to {most}")
    strides = [field_of(content, key, list, path) for key in ("conv_kernel", "conv_stride")]
    if len(strides[0]) != len(strides[1]) or not all(
        type(number) is int and 1 <= number <= 1000 for number in (*strides[0], *strides[1])
    ):
        raise AsvtkError(f"{path}: conv_kernel and conv_stride must be lists of one length")
    return content


@functools.cache  # so that its warning comes once
def wants_normalised_input(folder: Path, encoder_norm: str) -> bool:
    """Whether the model hears zero mean and unit variance, as its own preprocessor says.

    transformers writes a feature extractor to preprocessor_config.json, and from version 5 on that of a
    processor to processor_config.json. Where neither is there, the kind of the feature encoder decides, with
    a warning: models with a layer-normalised encoder (Large, XLS-R) were pre-trained on normalised input.

    Args:
        folder: of the model.
        encoder_norm: ``feat_extract_norm`` of its architecture.
    """
    for name, key in (("processor_config.json", "feature_extractor"), ("preprocessor_config.json", None)):
        path = folder / name
        if not path.exists():
            continue
        content = read_json(path)
        if key is not None:
            if key not in content:  # version 4 wrote only the processor's class there
                continue
            content = field_of(content, key, dict, path)
        # What both leave out is true by the default of transformers' Wav2Vec2FeatureExtractor.
        return field_of({"do_normalize": True} | content, "do_normalize", bool, path)
    normalised = encoder_norm == "layer"
    _log.warning(
        f"{folder}: no preprocessor_config.json or processor_config.json says whether the "
        f"model wants zero mean and unit variance; taken to be {'yes' if normalised else 'no'}, as its "
        f"feature encoder is {'layer' if normalised else 'group'}-normalised"
    )
    return normalised


def numerical_part(folder: Path) -> dict:
    """What of config.json can change the features: not who saved it, and with what."""
    config = read_json(folder / "config.json")
    bookkeeping = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")
    return {key: value for key, value in config.items() if key not in bookkeeping}


def load_model(folder: Path):
    """Load in float32 and evaluation mode.

    Raises:
        AsvtkError: the weights are damaged, not finite, or of another architecture.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    from asvtk.nn.construction import construction_limit
    from asvtk.nn.weights import check_archive, read_shapes, require_finite

    shapes = {}
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            shapes |= read_shapes(path)
        else:
            check_archive(path)
            shapes[path.name] = (path.stat().st_size // 2,)  # numbers of 16 bits, at the most
    transformers_logging.disable_progress_bar()
    try:
        # transformers registers each parameter when it is made and when it is loaded.
        with construction_limit(folder / "config.json", shapes, times=4):
            model, report = AutoModel.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
    except AsvtkError:
        raise
    except Exception as error:  # a folder from anywhere makes transformers stumble in any way
        raise AsvtkError(f"{folder}: the weights cannot be loaded: {_first_line(error)}") from error
    if report["missing_keys"] or report.get("mismatched_keys"):
        lost = [*report["missing_keys"], *report.get("mismatched_keys", [])]
        raise AsvtkError(
            f"{folder}: the weights are not those of the architecture in config.json; missing: "
            + ", ".join(map(str, lost[:3]))
        )
    require_finite(folder, model.state_dict())
    return model.eval()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
