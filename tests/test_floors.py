"""The house stands: imports between the floors of asvtk only go down."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "asvtk"
FLOORS = [
    "bin",
    "report",
    "training",
    "models",
    "frontends",
    "nn",
    "augment",
    "vocoding",
    "corpora",
    "metrics",
    "io",
]


def floors_imported_by(path):
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "asvtk" and len(parts) > 1 and parts[1] in FLOORS:
                yield parts[1]


def test_imports_only_go_down():
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        floor = path.relative_to(PACKAGE).parts[0]
        if floor in FLOORS:
            for below in floors_imported_by(path):
                seen += 1
                assert FLOORS.index(below) >= FLOORS.index(floor), f"{path} imports {below}"
    assert seen > 100


def test_of_vocoding_others_see_the_section_of_the_configuration_alone():
    """Training knows vocoded spoofs by the table utt2source; who made them, and how, is nothing to it."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in ("vocoding", "bin"):
            text = path.read_text().replace("from asvtk.vocoding.config import VocodedConfig", "")
            assert "asvtk.vocoding" not in text, path
