"""What others install: the contents of wheel and sdist, and the wheel at work outside this repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from asvtk.version import __version__

ROOT = Path(__file__).parents[2]
pytest.importorskip("setuptools", "77", reason="setuptools < 77 knows no licence by its SPDX name")


def modules_and_data() -> set[str]:
    files = (path for path in (ROOT / "asvtk").rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and sdist; the wheel is built of the sdist alone, as pip builds it."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in ("LICENSE", "MANIFEST.in", "README.md", "constraints.txt", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
    for name in ("asvtk", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))

    def build(what, where):
        program = f"from setuptools import build_meta; print(build_meta.build_{what}({str(folder)!r}))"
        answer = subprocess.run([sys.executable, "-c", program], cwd=where, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr[-2000:]
        return folder / answer.stdout.splitlines()[-1]

    sdist = build("sdist", source)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked")  # ours; Python 3.10 has no filters
    (unpacked,) = (folder / "unpacked").iterdir()
    return build("wheel", unpacked), sdist


def test_they_hold_the_package_and_its_data_and_nothing_else(built):
    wheel, sdist = built
    assert (
        wheel.name == f"asvtk-{__version__}-py3-none-any.whl" and sdist.name == f"asvtk-{__version__}.tar.gz"
    )
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        (about,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    assert inside == modules_and_data()
    assert "License-Expression: Apache-2.0" in about and "Requires-Python: >=3.10" in about
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    others = {name for name in files if not name.startswith(("asvtk/", "asvtk.egg-info/"))}
    assert modules_and_data() <= files
    assert others == {
        *("LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "constraints.txt"),
        *("pyproject.toml", "setup.cfg", "setup.py"),
    }


def test_an_installed_wheel_judges_a_recording(built, shared_data, tmp_path):
    """In an environment of its own, which sees the other packages here by a path, and not this repository."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", built[0]]
    subprocess.run(pip, check=True, capture_output=True)
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    (clip, *_) = sorted((shared_data / "asvspoof2019_genuine").rglob("LA_E_*.flac"))
    weights = shared_data / "aasist" / "AASIST.pth"

    def run(*words):
        answer = subprocess.run(words, cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    assert Path(run(python, "-c", "import asvtk; print(asvtk.__file__)").strip()).is_relative_to(environment)
    asvtk = environment / "bin" / "asvtk"
    assert run(asvtk, "--version") == f"asvtk {__version__}\n"
    detection = json.loads(run(asvtk, "detect", "--model", weights, clip, "--json"))
    assert detection["model"] == "AASIST" and detection["speech"] > 1
    assert "in_the_wild" in run(asvtk, "corpora", "ls") and "aasist-l" in run(asvtk, "models", "ls")


def test_the_image_is_made_of_what_is_sent_to_its_builder():
    """What the Dockerfile copies is there, and .dockerignore lets it through, and nothing else."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = {
        word for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored[0] == "*" and {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)
    user = dockerfile.index("\nUSER asvtk")
    assert dockerfile.rindex("\nRUN ") < user < dockerfile.index("\nENTRYPOINT ")
    assert '"asvtk", "serve"' in dockerfile and "/healthz" in dockerfile
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
