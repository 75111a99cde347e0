"""Self-supervised speech models as front-ends: WavLM, wav2vec 2.0 / XLS-R, HuBERT."""
