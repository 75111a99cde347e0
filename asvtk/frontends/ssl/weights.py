"""Weights of speech encoders: only the tensors that the layers asked for need.

A folder may hold more than the encoder: heads of classifiers and recognisers, quantisers, decoders; and its
names may begin in any way (``encoder.``, ``wav2vec2.``, ``model.encoder.``). transformers builds the
encoder's modules, without numbers; the numbers are read here.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from asvtk.frontends.ssl.architecture import ARCHITECTURES, DEPTH_KEYS, Architecture
from asvtk.frontends.ssl.folder import weight_files
from asvtk.io.errors import AsvtkError, listing
from asvtk.nn.construction import construction_limit
from asvtk.nn.weights import read_shapes, read_state_dict, require_finite

__all__ = ["WeightFiles", "build_model", "load_model"]

#: a tensor that each encoder has, by which its names are found among others
_ANCHORS = {"whisper": "conv1.weight", "wav2vec2-bert": "feature_projection.projection.weight"}
_ANCHOR = "feature_extractor.conv_layers.0.conv.weight"
#: what pre-training and heads alone use
_UNUSED = ("masked_spec_embed", "adapter.", "intermediate_ffn.")
#: transformers' names of weight norm, and those of older files
_RENAMED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}


class WeightFiles:
    """Named tensors in a folder's files of weights, each read when it is asked for.

    Attributes:
        shapes: by name; of pickled files too.

    Raises:
        AsvtkError: a file is missing or damaged, or would run code.
    """

    def __init__(self, folder: Path):
        self.folder, self.shapes = folder, {}
        self._places: dict[str, Path] = {}
        self._tensors: dict[str, Tensor] = {}
        for path in weight_files(folder):
            if path.suffix == ".safetensors":
                shapes = read_shapes(path)
                self._places |= dict.fromkeys(shapes, path)
                self.shapes |= shapes
            else:  # mapped into memory, and read where it is looked at
                tensors = read_state_dict(path, "what save_pretrained() writes")[0]
                self._tensors |= tensors
                self.shapes |= {name: tuple(x.shape) for name, x in tensors.items()}

    def read(self, names: list[str]) -> dict[str, Tensor]:
        """The tensors of these names, as they are stored.

        Raises:
            AsvtkError: a file is damaged.
        """
        found = {name: self._tensors[name].clone() for name in names if name in self._tensors}
        for path in sorted(set(self._places.values())):
            try:
                with safe_open(path, framework="pt") as stream:
                    found |= {
                        name: stream.get_tensor(name) for name in names if self._places.get(name) == path
                    }
            except (SafetensorError, OSError, RuntimeError, ValueError) as error:
                raise AsvtkError(f"{path}: is damaged ({str(error)[:200]})") from None
        return found

    def prefix(self, kind: str) -> str:
        """How the names of an encoder's tensors begin in these files.

        Raises:
            AsvtkError: they hold no such encoder.
        """
        anchor = _ANCHORS.get(kind, _ANCHOR)
        endings = [name for name in self.shapes if name == anchor or name.endswith("." + anchor)]
        if not endings:
            raise AsvtkError(
                f"{self.folder}: holds no weights of a {kind} encoder, which has {anchor}; it holds "
                + listing(sorted(self.shapes), 3)
            )
        return min(endings, key=len).removesuffix(anchor)

    def locate(self, names, kind: str) -> dict[str, str]:
        """transformers' name -> the name in these files.

        Raises:
            AsvtkError: one of them is missing.
        """
        prefix, places, missing = self.prefix(kind), {}, []
        for name in names:
            spellings = [prefix + name]
            for new, old in _RENAMED.items():
                if name.endswith(new):
                    spellings.append(prefix + name.removesuffix(new) + old)
            places[name] = next((s for s in spellings if s in self.shapes), None)
            if places[name] is None:
                missing.append(name)
        if missing:
            raise AsvtkError(
                f"{self.folder}: the weights are not those of the architecture in config.json; missing: "
                + listing(missing, 3)
            )
        return places


def build_model(folder: Path, architecture: Architecture, depth: int, shapes: dict) -> nn.Module:
    """transformers' module of the first ``depth`` blocks, on the device ``meta``: without numbers.

    Raises:
        AsvtkError: config.json describes nothing that can be built, or far more than there are weights.
    """
    import transformers
    from transformers.utils import logging as transformers_logging

    kind = architecture.kind
    if kind == "whisper":  # only then: it brings text generation, which takes seconds to import
        from transformers.models.whisper.modeling_whisper import WhisperEncoder as cls
    else:
        cls = getattr(transformers, ARCHITECTURES[kind])
    transformers_logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        setattr(config, DEPTH_KEYS.get(kind, "num_hidden_layers"), depth)
        config.add_adapter = config.use_intermediate_ffn_before_adapter = False
        # transformers registers weights that are factored anew for each part.
        with construction_limit(folder / "config.json", shapes, times=4), torch.device("meta"):
            return cls(config)
    except AsvtkError:
        raise
    except Exception as error:  # a folder from anywhere makes transformers stumble in any way
        first = str(error).strip().partition("\n")[0][:300]
        raise AsvtkError(f"{folder}: the weights cannot be loaded: {first}") from error


def load_model(folder: Path, architecture: Architecture, depth: int) -> nn.Module:
    """Load the first ``depth`` blocks in float32 and evaluation mode.

    Returns:
        transformers' module, cut: deeper blocks are neither built nor read, and where the model goes on,
        the norm behind its last block is None.

    Raises:
        AsvtkError: the weights are damaged, not finite, or of another architecture.
    """
    files = WeightFiles(folder)
    model = build_model(folder, architecture, depth, files.shapes)
    if depth < architecture.full_depth:
        _drop_final_norm(model)
    expected = {
        name: tuple(x.shape) for name, x in model.state_dict().items() if not name.startswith(_UNUSED)
    }
    places = files.locate(expected, architecture.kind)
    for name, shape in expected.items():
        if (actual := files.shapes[places[name]]) != shape:
            raise AsvtkError(
                f"{folder}: the weights are not those of the architecture in config.json: {places[name]} has "
                f"shape {actual}, expected {shape}"
            )
    stored = files.read(list(places.values()))
    state = {name: stored.pop(place) for name, place in places.items()}
    state = {name: x.float() if x.is_floating_point() else x for name, x in state.items()}
    require_finite(folder, state)
    if hasattr(model, "masked_spec_embed"):
        del model.masked_spec_embed
    model.load_state_dict(state, assign=True)
    return model.eval()


def _drop_final_norm(model: nn.Module) -> None:
    """Base models have their one norm before the first block, and w2v-BERT 2.0 has none: those stay."""
    config, encoder = model.config, getattr(model, "encoder", model)
    if config.model_type == "whisper" or getattr(config, "do_stable_layer_norm", False):
        encoder.layer_norm = None
