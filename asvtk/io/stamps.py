"""Stamps (``.done`` files): a finished stage is skipped only while its inputs are what they were.

A stamp holds the inputs in words beside their digest, so that a person can read why a stage ran
again, and a program can say what changed.
"""

import hashlib
import json

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError
from asvtk.io.text import read_json

__all__ = ["digest", "file_digest", "read_stamp", "write_stamp"]


def digest(description) -> str:
    """Hash anything that JSON can hold; the order of a mapping's keys does not matter."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_digest(path) -> str:
    """SHA-256 of a file's bytes."""
    sha = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def read_stamp(path) -> dict | None:
    """The inputs a stamp was written for; None when there is no (readable) stamp."""
    try:
        return read_json(path)
    except AsvtkError:
        return None


def write_stamp(path, inputs: dict) -> None:
    """Mark a stage as finished for these inputs."""
    write_text(path, json.dumps(inputs, indent=1, sort_keys=True) + "\n")
