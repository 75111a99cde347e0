"""Pre-trained speech encoders as front-ends: WavLM, wav2vec 2.0 / XLS-R, HuBERT, Whisper and others."""
