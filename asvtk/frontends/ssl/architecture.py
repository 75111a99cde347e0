"""Architectures of speech encoders, as config.json of a transformers folder describes them.

What an encoder hears and how many frames it makes of it is a chain of windows: 320 samples a frame in all of
them, by convolutions over the waveform (wav2vec 2.0 and its relatives) or by log-mel frames of 10 ms, of
which two become one (Whisper, w2v-BERT 2.0).
"""

from dataclasses import dataclass
from pathlib import Path

from asvtk.io.errors import AsvtkError
from asvtk.io.fields import field_of
from asvtk.io.text import read_json

__all__ = ["ARCHITECTURES", "DEPTH_KEYS", "TRUNCATED", "Architecture", "read_architecture"]

#: model_type of config.json -> the class of transformers that holds the encoder
ARCHITECTURES = {
    "wavlm": "WavLMModel",
    "wav2vec2": "Wav2Vec2Model",
    "hubert": "HubertModel",
    "unispeech": "UniSpeechModel",
    "unispeech-sat": "UniSpeechSatModel",
    "data2vec-audio": "Data2VecAudioModel",
    "wav2vec2-bert": "Wav2Vec2BertModel",
    "whisper": "WhisperEncoder",
}
#: where config.json says how many blocks there are, and how wide they are
DEPTH_KEYS = {"whisper": "encoder_layers"}
_WIDTH_KEYS = {"whisper": "d_model"}
_FURTHER_KEYS = {"whisper": ("num_mel_bins", "max_source_positions"), "wav2vec2-bert": ()}
_STEM_KEYS = ("conv_kernel", "conv_stride")
#: where ``asvtk truncate`` notes in config.json what a folder was cut from
TRUNCATED = "asvtk_truncated"


@dataclass(frozen=True)
class Architecture:
    """Architecture of an encoder.

    Attributes:
        kind: ``model_type`` of config.json.
        depth: blocks that the folder holds.
        full_depth: blocks of the model that it was cut from; the same where it was not.
        width: numbers a frame.
        steps: (window, shift) from samples to frames, one after the other.
        min_samples: fewest samples that give a frame.
        max_samples: most that it can hear; None: any number.
        normalised_stem: whether the convolutions of the waveform are layer-normalised; None: there are none.
        mels: bands of the log-mel spectrogram; None: it hears the waveform.
    """

    kind: str
    depth: int
    full_depth: int
    width: int
    steps: tuple[tuple[int, int], ...]
    min_samples: int
    max_samples: int | None = None
    normalised_stem: bool | None = None
    mels: int | None = None

    def frames(self, samples):
        """Frames of so many samples (a number or a tensor)."""
        for window, shift in self.steps:
            samples = (samples - window) // shift + 1
        return samples


def read_architecture(folder: Path, name: str) -> Architecture:
    """What config.json says; what it leaves to transformers' defaults is asked of transformers.

    Args:
        folder: of the model.
        name: of the model, for messages.

    Raises:
        AsvtkError: it is no JSON, describes no encoder that we know, or none of a size that there is.
    """
    path = folder / "config.json"
    content = {"model_type": None} | read_json(path)
    kind = content["model_type"]
    if kind not in ARCHITECTURES:
        raise AsvtkError(f"{name}: is a {kind!r} model; expected one of " + ", ".join(ARCHITECTURES))
    keys = DEPTH_KEYS.get(kind, "num_hidden_layers"), _WIDTH_KEYS.get(kind, "hidden_size")
    further = _FURTHER_KEYS.get(kind, _STEM_KEYS)
    if kind not in _FURTHER_KEYS and kind != "data2vec-audio":  # whose stem is always layer-normalised
        further = (*further, "feat_extract_norm")
    if kind == "wav2vec2-bert" or not all(key in content for key in (*keys, *further)):
        from transformers import AutoConfig

        try:
            content = content | AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict()
        except Exception as error:  # values of any kind make it stumble in any way
            first = str(error).strip().partition("\n")[0][:300]
            raise AsvtkError(f"{path}: transformers refuses it: {first}") from None
    depth, width = (
        _number(content, key, most, path) for key, most in zip(keys, (1000, 1 << 16), strict=True)
    )
    shape = {"kind": kind, "depth": depth, "full_depth": _full_depth(content, depth, path), "width": width}
    if kind == "whisper":
        positions = _number(content, "max_source_positions", 1 << 16, path)
        mels = _number(content, "num_mel_bins", 1024, path)
        # A frame wants 160 samples, and its window of 400 something to mirror at the ends.
        steps = ((160, 160), (1, 2))
        return Architecture(**shape, steps=steps, min_samples=400, max_samples=320 * positions, mels=mels)
    if kind == "wav2vec2-bert":
        _require(content, "position_embeddings_type", ("relative_key", None), path)
        stacked = field_of(content, "feature_projection_input_dim", int, path)
        if stacked < 2 or stacked % 2 or stacked > 2048:
            raise AsvtkError(
                f"{path}: feature_projection_input_dim is {stacked}, expected two frames of mels"
            )
        steps = ((400, 160), (2, 2))
        return Architecture(**shape, steps=steps, min_samples=560, mels=stacked // 2)
    if content.get("adapter_attn_dim") is not None:
        raise AsvtkError(
            f"{path}: adapter_attn_dim: adapters of languages in each block are not computed; give the model "
            "they were made for"
        )
    steps = tuple(zip(*_strides(content, path), strict=True))
    return Architecture(
        **shape,
        steps=steps,
        min_samples=_receptive_field(steps),
        normalised_stem=kind == "data2vec-audio" or content["feat_extract_norm"] == "layer",
    )


def _number(content: dict, key: str, most: int, path: Path) -> int:
    value = field_of(content, key, int, path)
    if not 1 <= value <= most:
        raise AsvtkError(f"{path}: {key} is {value}, expected 1 to {most}")
    return value


def _full_depth(content: dict, depth: int, path: Path) -> int:
    if TRUNCATED not in content:
        return depth
    if field_of(content, f"{TRUNCATED}.layers", int, path) != depth:
        raise AsvtkError(f"{path}: {TRUNCATED} speaks of another number of blocks than there are ({depth})")
    full = field_of(content, f"{TRUNCATED}.of", int, path)
    if not depth <= full <= 1000:
        raise AsvtkError(f"{path}: {TRUNCATED}.of is {full}, expected {depth} to 1000")
    return full


def _require(content: dict, key: str, known: tuple, path: Path) -> None:
    if content.get(key) not in known:
        expected = " or ".join(repr(value) for value in known if value is not None)
        raise AsvtkError(f"{path}: {key} is {content.get(key)!r}; only {expected} is computed here")


def _strides(content: dict, path: Path) -> list[list[int]]:
    strides = [field_of(content, key, list, path) for key in _STEM_KEYS]
    if len(strides[0]) != len(strides[1]) or not all(
        type(number) is int and 1 <= number <= 1000 for number in (*strides[0], *strides[1])
    ):
        raise AsvtkError(f"{path}: conv_kernel and conv_stride must be lists of one length")
    return strides


def _receptive_field(steps: tuple[tuple[int, int], ...]) -> int:
    samples = 1
    for window, shift in reversed(steps):
        samples = (samples - 1) * shift + window
    return samples
