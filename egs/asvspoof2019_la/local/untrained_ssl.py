#!/usr/bin/env python3
"""Write a small speech encoder with random weights: untrained_ssl.py FOLDER [KIND]

A stand-in for systems that need several layers of a speech model where no pre-trained one is at hand. Its
layers are random functions of the audio, equal on every run with the same versions of torch and transformers.
KIND is WavLM, the default, or another class of transformers without Model at its end: Wav2Vec2, Hubert,
UniSpeechSat, Data2VecAudio, Wav2Vec2Bert, Whisper.
"""

import sys

import torch
import transformers

LARGE = dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)  # as the Large models
STEM = dict(conv_dim=(64,) * 7, num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=4)
SIZE = dict(hidden_size=64, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128)
OWN = {
    "Data2VecAudio": SIZE | STEM | dict(num_conv_pos_embeddings=5),
    "Wav2Vec2Bert": SIZE,
    "Whisper": dict(d_model=64, encoder_layers=4, encoder_attention_heads=4, encoder_ffn_dim=128)
    | dict(decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=128),
}


def main(folder: str, kind: str = "WavLM") -> None:
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(**OWN.get(kind, SIZE | STEM | LARGE))
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    print(f"{folder}: a {kind} with random weights")


if __name__ == "__main__":
    kind = sys.argv[2] if len(sys.argv) == 3 else "WavLM"
    if len(sys.argv) not in (2, 3) or not hasattr(transformers, f"{kind}Model"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
