"""What a run ran on, for the record."""

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import torch

from asvtk.io.atomic import write_text
from asvtk.version import __version__

__all__ = ["write_environment"]

PACKAGES = ("torch", "transformers", "numpy", "scipy", "soundfile", "safetensors", "mamba-ssm")


def write_environment(path, device: str) -> None:
    """Record versions, git revision, command and processor as JSON."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "asvtk": __version__,
        "git_revision": _git_revision(),
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "packages": versions,
        "device": torch.cuda.get_device_name()
        if device == "cuda"
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "host": platform.node(),
    }
    write_text(path, json.dumps(record, indent=1) + "\n")


def _git_revision() -> str | None:
    repository = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None  # installed without its repository
    return answer.stdout.strip()
