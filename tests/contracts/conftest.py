"""What the contract tests share."""

import os

import launchers
import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, and an environment that says nothing about threads, GPUs and sites."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in (*launchers.OF_THE_JOB, *launchers.OF_THE_SITE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


@pytest.fixture
def cluster(here, tmp_path, monkeypatch):
    """The folder of the stand-in for Slurm and Grid Engine, whose commands are first on PATH."""
    folder = tmp_path / "cluster"
    (folder / "bin").mkdir(parents=True)
    launchers.install(folder / "bin")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return folder
