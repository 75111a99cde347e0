"""The house stands: imports between the floors of asvtk only go down, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "asvtk"
FLOORS = [
    "bin",
    "serve",
    "report",
    "training",
    "inference",
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


def names_of(package: Path) -> dict[str, Path]:
    """Module name -> file; a package is its ``__init__``."""
    names = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def statements_outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs, or a type checker reads, when a module is imported: ``if TYPE_CHECKING`` included."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from statements_outside_functions(child)


def imports(package: Path) -> dict[str, set[str]]:
    """Module -> the modules of the package that it names; a function's own imports are left out."""
    names = names_of(package)
    graph = {name: set() for name in names}
    for name, path in names.items():
        home = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in statements_outside_functions(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = home.split(".")[: len(home.split(".")) + 1 - node.level] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                for alias in node.names:
                    module = f"{source}.{alias.name}"
                    graph[name].add(module if module in names else source)
        graph[name] = (graph[name] & names.keys()) - {name}
    return graph


def find_circle(package: Path) -> list[str]:
    try:
        TopologicalSorter(imports(package)).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_circles_within_a_floor_nor_among_types():
    assert len(imports(PACKAGE)) > 100
    circle = find_circle(PACKAGE)
    assert not circle, (
        f"a circle of imports: {' -> '.join(circle)}; pass plain values, or move what both need"
    )


@pytest.mark.parametrize(
    "a, b, circle",
    [
        ("from house.b import x", "import house.a", True),
        ("from . import b", "from .a import x", True),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.b import X",
            "import house.a",
            True,
        ),
        ("class A:\n    from house import b", "try:\n    import house.a\nexcept ImportError: pass", True),
        ("from house import b", "def f():\n    from house import a", False),
        ("import house.b, os.path", "x = 1", False),
    ],
)
def test_circles_are_found(tmp_path, a, b, circle):
    package = tmp_path / "house"
    package.mkdir()
    for name, source in {"__init__": "", "a": a, "b": b}.items():
        (package / f"{name}.py").write_text(source + "\n")
    assert set(find_circle(package)) == ({"house.a", "house.b"} if circle else set())


def test_of_vocoding_others_see_the_section_of_the_configuration_alone():
    """Training knows vocoded spoofs by the table utt2source; who made them, and how, is nothing to it."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in ("vocoding", "bin"):
            text = path.read_text().replace("from asvtk.vocoding.config import VocodedConfig", "")
            assert "asvtk.vocoding" not in text, path
