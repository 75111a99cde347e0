"""What an experiment was trained on, for the record."""

import json
import os
import platform
from datetime import datetime, timezone

import torch

from asvtk.io.atomic import write_text
from asvtk.io.environment import command_line, git_revision, package_versions
from asvtk.version import __version__

__all__ = ["write_environment"]

PACKAGES = ("torch", "transformers", "numpy", "scipy", "soundfile", "safetensors", "mamba-ssm")


def write_environment(path, device: str) -> None:
    """Record versions, git revision, command and processor as JSON."""
    on_gpu = device == "cuda"
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "asvtk": __version__,
        "git_revision": git_revision(),
        "command": command_line(),
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "host": platform.node(),
    }
    write_text(path, json.dumps(record, indent=1) + "\n")
