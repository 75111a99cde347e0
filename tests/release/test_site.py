"""make docs: a strict build, every page in the navigation, nothing that is fetched from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")
ROOT = Path(__file__).parents[2]
#: the order in which users ask
ORDER = [
    "detect.html",
    "score.html",
    "recipe.html",
    "own_corpus.html",
    "extending.html",
    "corpora.html",
    "cluster.html",
    "benchmarks.html",
    "limits.html",
]


def test_the_site_is_built_without_a_warning(tmp_path):
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = {str(path.relative_to(tmp_path / "site")): path.read_text() for path in tmp_path.rglob("*.html")}
    foreign = re.compile(r"<(?:script|link|img|iframe|source)[^>]*(?:src|href)=[\"\']?(?:https?:)?//")
    assert [name for name, text in pages.items() if foreign.search(text)] == []
    home = pages["index.html"]
    places = [home.index(f'href="{name}"') for name in ORDER]
    assert places == sorted(places)
    assert "Trained detector, as" in pages["api.html"] and "results/asvspoof2019_la.html" in home
