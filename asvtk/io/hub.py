"""The Hugging Face hub: names ``hf:owner/name[@revision]``, and what is fetched from there and sent there.

``huggingface_hub`` does the work, with its own cache (``HF_HOME``), address (``HF_ENDPOINT``) and token
(``HF_TOKEN``, or what ``hf auth login`` wrote).
"""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from asvtk.io.errors import AsvtkError

__all__ = ["PREFIX", "HubName", "commit_files", "fetch_snapshot"]

PREFIX = "hf:"
_PART = r"[A-Za-z0-9][\w.\-]*"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@([\w][\w.\-/]*))?", re.ASCII)
#: packages whose faults are those of the network or of the hub; its HTTP client changes with its version
_CLIENTS = ("huggingface_hub", "httpx", "httpx2", "httpcore", "requests", "urllib3", "hf_xet")


class HubName(NamedTuple):
    """A repository of models on the hub, and a state of it."""

    repository: str  # owner/name
    revision: str | None  # branch, tag or commit; None: the main branch

    @classmethod
    def parse(cls, text: str) -> "HubName":
        """
        Raises:
            AsvtkError: it is not of the form ``hf:owner/name[@revision]``.
        """
        match = _NAME.fullmatch(text.removeprefix(PREFIX))
        if match is None or not text.startswith(PREFIX):
            raise AsvtkError(f"{text}: expected {PREFIX}OWNER/NAME or {PREFIX}OWNER/NAME@REVISION")
        return cls(*match.groups())

    def __str__(self) -> str:
        return PREFIX + self.repository + (f"@{self.revision}" if self.revision else "")


def fetch_snapshot(name: HubName, patterns: list[str]) -> Path:
    """Folder of a repository's files that match one of ``patterns``; without a network that of the last time.

    Raises:
        AsvtkError: it is not to be had.
    """
    from huggingface_hub import snapshot_download

    with _of_the_hub(name):
        return Path(snapshot_download(name.repository, revision=name.revision, allow_patterns=patterns))


def commit_files(
    name: HubName, files: dict[str, bytes], stale: Iterable[str], message: str, private: bool
) -> str:
    """Send files to a repository, made if need be, in one commit: all of them, or nothing.

    Args:
        name: the repository; a revision is a branch, which must exist.
        files: content by name.
        stale: names that are deleted where they are there.
        message: of the commit.
        private: whether a new repository is; one that exists stays what it is.

    Returns:
        address of the commit.

    Raises:
        AsvtkError: there is no token, it may not write there, or the network failed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="asvtk")
    with _of_the_hub(name):
        api.create_repo(name.repository, private=private, exist_ok=True)
        there = set(api.list_repo_files(name.repository, revision=name.revision))
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        operations += [CommitOperationDelete(path) for path in stale if path in there]
        commit = api.create_commit(
            name.repository, operations, commit_message=message, revision=name.revision
        )
    return commit.commit_url


@contextlib.contextmanager
def _of_the_hub(name: HubName):
    try:
        yield
    except Exception as error:
        theirs = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        if not (isinstance(error, OSError) or theirs.intersection(_CLIENTS)):
            raise
        raise AsvtkError(f"{name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    if kind == "RevisionNotFoundError":
        return "the hub knows no such revision of it (branch, tag or commit)"
    if status in (401, 403) or kind in ("RepositoryNotFoundError", "GatedRepoError"):
        return (
            f"the hub shows no such repository, or not to you ({status}); where it is private or you write "
            "there, HF_TOKEN=... or `hf auth login` says who you are"
        )
    cause = f"{kind}: {status}" if status else kind
    if kind in ("LocalEntryNotFoundError", "IncompleteSnapshotError", "OfflineModeIsEnabled"):
        return "is not to be had from the hub now, and is not in its cache here (HF_HOME); give a local path"
    return f"is not to be had from the hub, or cannot be sent there now ({cause}); try again"
