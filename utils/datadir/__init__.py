"""Kaldi's data-directory tools: one file for each, called through utils/NAME.sh.

They have Kaldi's names, so that what calls them need not change, and are Python, so that they can share
``asvtk.io`` with the library: the labels are as much part of a data directory as wav.scp is.
"""
