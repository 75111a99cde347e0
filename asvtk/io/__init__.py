"""Files: audio, Kaldi arks, data directories, score files, configurations, atomic writes."""
