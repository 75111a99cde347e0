"""What an experiment was trained on, for the record."""

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch

from asvtk.io.atomic import write_text
from asvtk.io.datadir import LABELS, DataDirectory
from asvtk.io.environment import command_line, git_revision, package_versions
from asvtk.training import parallel
from asvtk.version import __version__

__all__ = ["write_environment"]

PACKAGES = ("torch", "transformers", "numpy", "scipy", "soundfile", "safetensors", "mamba-ssm")


def write_environment(folder, device: str, seed: int, data: dict[str, DataDirectory]) -> None:
    """Record versions, git revision, command, processor and data sets in ``folder/environment.json``.

    Where the source differs from its revision, ``folder/diff.patch`` says how.
    """
    on_gpu = device == "cuda"
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "asvtk": __version__,
        "git_revision": git_revision(),
        "command": command_line(),
        "seed": seed,
        "data": {name: dict(zip(LABELS, of.count_classes(), strict=True)) for name, of in data.items()},
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "cuda": torch.version.cuda,
        "processes": parallel.size(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "host": platform.node(),
    }
    write_text(Path(folder) / "environment.json", json.dumps(record, indent=1) + "\n")
    patch = Path(folder) / "diff.patch"
    if difference := _git_difference():
        write_text(patch, difference)
    else:
        patch.unlink(missing_ok=True)


def _git_difference() -> str:
    """What was changed since the revision, new files included; empty outside git."""
    source = str(Path(__file__).parents[2])
    git = ["git", "-C", source]
    try:
        changed = subprocess.run([*git, "diff", "HEAD"], capture_output=True, check=True).stdout
        new = subprocess.run(
            [*git, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py"],
            capture_output=True,
            check=True,
        ).stdout
        for path in filter(None, new.decode(errors="replace").split("\0")):
            # git says by status 1 that the file differs from nothing
            added = [*git, "diff", "--no-index", "--", os.devnull, path]
            changed += subprocess.run(added, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return changed.decode(errors="replace")
