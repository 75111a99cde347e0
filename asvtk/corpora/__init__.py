"""Corpora: from a database's own layout to Kaldi data directories."""
