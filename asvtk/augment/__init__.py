"""Augmentation of training speech."""
