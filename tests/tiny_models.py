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


def save_model(folder, architecture="WavLM", **options):
    """Write a model with the same weights every time; returns the folder's name."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**{**SMALL, **options})
    getattr(transformers, f"{architecture}Model")(config).save_pretrained(folder)
    return str(folder)
