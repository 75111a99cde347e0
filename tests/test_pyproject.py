"""The package definition: what is installed holds every file that the code reads."""

from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11
ROOT = Path(__file__).parents[1]
DEFINITION = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_data_file_of_the_package_is_installed():
    package = ROOT / "asvtk"
    named = {
        path
        for glob in DEFINITION["tool"]["setuptools"]["package-data"]["asvtk"]
        for path in package.glob(glob)
    }
    present = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert named == {path for path in present if path.suffix != ".py"}
    assert package / "py.typed" in named


def test_every_extra_is_documented():
    text = (ROOT / "docs" / "install.md").read_text()
    extras = DEFINITION["project"]["optional-dependencies"]
    assert [extra for extra in extras if f"| `{extra}` |" not in text] == []


def test_every_folder_with_modules_is_a_package():
    folders = {path.parent for path in (ROOT / "asvtk").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
