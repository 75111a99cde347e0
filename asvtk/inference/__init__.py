"""Trained detectors on any audio: packages, published weights, and `asvtk.load`."""
