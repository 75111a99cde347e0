"""Stub for tools that still ask for a setup.py; the package is defined in pyproject.toml."""

from setuptools import setup

setup()
