"""What a run ran on, as far as it can be told without importing anything large."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

__all__ = ["command_line", "git_revision", "package_versions"]


def command_line() -> str:
    """The command a person typed: run.sh's, where a recipe runs this verb, else the verb itself."""
    return os.environ.get("ASVTK_COMMAND") or shlex.join(["asvtk", *sys.argv[1:]])


def git_revision() -> str | None:
    """Revision of the source that runs, with ``-dirty`` when it was changed since; None outside git."""
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def package_versions(packages) -> dict[str, str | None]:
    """Installed versions; None for what is not installed."""
    from importlib import metadata  # which reads mail headers, and brings all that they need

    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions
