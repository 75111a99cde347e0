#!/usr/bin/env python3
"""Write a small WavLM with random weights: untrained_ssl.py FOLDER

A stand-in for systems that need several layers of a speech model where no pre-trained one is at hand. Its
layers are random functions of the audio, equal on every run with the same versions of torch and transformers.
"""

import sys

import torch
from transformers import WavLMConfig, WavLMModel


def main(folder: str) -> None:
    torch.manual_seed(1)
    config = WavLMConfig(
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(64,) * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",  # as the Large models
        do_stable_layer_norm=True,
        conv_bias=True,
    )
    WavLMModel(config).save_pretrained(folder)
    print(f"{folder}: a WavLM with random weights")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
