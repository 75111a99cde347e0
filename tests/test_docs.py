"""What the pages for newcomers must say."""

from pathlib import Path

from asvtk.frontends.base import FrontEnd
from asvtk.models.base import System

ROOT = Path(__file__).parents[1]


def test_fault_21_first_commands_are_followed_by_what_puts_asvtk_on_the_path():
    for page in "README.md", "docs/quickstart.md":
        text = (ROOT / page).read_text()
        assert text.index("make mini") < text.index(". .venv/bin/activate") < text.index("asvtk "), page
    assert "activate" in (ROOT / "Makefile").read_text().split("env: $(ENV)")[1].split("mini:")[0]


def test_fault_26_extending_names_what_must_be_written():
    text = (ROOT / "docs/extending.md").read_text()
    for name in (*FrontEnd.__abstractmethods__, *System.__abstractmethods__, *System.__annotations__):
        assert name == "forward" or f"`{name}" in text, name
    assert "(config, device)" in text and "(config, layers, d_in)" in text and "**Corpus**" in text
