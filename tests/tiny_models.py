"""Randomly initialised speech models that save_pretrained() wrote: true architectures, small shapes."""

import torch
import transformers

SMALL = dict(
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    conv_dim=(16,) * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)
#: what makes a Large model of one: layer-normalised encoder, normalisation before each block
LARGE = dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)

#: of each architecture what it calls otherwise, and Base models' own parts
OWN = {
    "Data2VecAudio": dict(num_conv_pos_embeddings=3, conv_pos_kernel_size=5),
    "Wav2Vec2Bert": dict(
        feature_projection_input_dim=160,
        conv_depthwise_kernel_size=7,
        left_max_position_embeddings=8,
        right_max_position_embeddings=3,
    ),
    "Whisper": dict(
        d_model=32,
        encoder_layers=3,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        max_source_positions=60,
    ),
}


def make_config(architecture="WavLM", **options):
    """Configuration of a small model of transformers."""
    shared = {} if architecture == "Whisper" else SMALL
    return getattr(transformers, f"{architecture}Config")(
        **{**shared, **OWN.get(architecture, {}), **options}
    )


def save_model(folder, architecture="WavLM", head="Model", **options):
    """Write a model with the same weights every time; returns the folder's name."""
    torch.manual_seed(0)
    config = make_config(architecture, **options)
    model = getattr(transformers, f"{architecture}{head}")(config)
    if architecture in OWN:
        _liven(model)
    model.save_pretrained(folder)
    return str(folder)


def _liven(model):
    """New models have weak blocks, and norms and biases alike in all channels: a fault there would hide."""
    with torch.no_grad():
        for name, x in model.named_parameters():
            if x.ndim == 1:
                x.add_(0.1 * torch.randn(x.shape))
            elif "embed_positions" not in name:
                x.mul_(4)


def hidden_states(name, prepared):
    """What transformers gives of prepared audio: every hidden state, the last behind the final norm."""
    model = transformers.AutoModel.from_pretrained(name).eval()
    audio = torch.from_numpy(prepared)
    with torch.no_grad():
        if model.config.model_type == "whisper":
            output = _whisper(model.encoder, prepared)
        elif model.config.model_type == "wav2vec2-bert":
            mels = model.config.feature_projection_input_dim // 2
            extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=mels, num_mel_bins=mels)
            features = extractor(prepared, sampling_rate=16000, return_tensors="pt")
            output = model(**features, output_hidden_states=True)
        else:
            output = model(audio[None], output_hidden_states=True)
    return [state[0].numpy() for state in (*output.hidden_states[:-1], output.last_hidden_state)]


def _whisper(encoder, prepared):
    """Whisper's encoder on the real length: its position embeddings are cut to that."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins)
    mel = extractor(prepared, sampling_rate=16000, padding="do_not_pad", return_tensors="pt").input_features
    assert mel.shape[2] % 2 == 0, "transformers wants an even number of frames"
    frames = mel.shape[2] // 2
    encoder.config.max_source_positions = frames
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[:frames])
    return encoder(mel, output_hidden_states=True)
