"""mkdocs hooks: README and the recipes' results as pages; links between the repository's files kept right.

On a host of repositories Markdown files are read where they lie; here a link to one leads to its page.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)")


def _outside() -> dict[str, str]:
    """Files outside docs/ that are pages, and what these are called."""
    results = ROOT.glob("egs/*/RESULTS.md")
    return {"README.md": "index.md"} | {
        f"egs/{path.parent.name}/RESULTS.md": f"results/{path.parent.name}.md" for path in results
    }


def on_files(files, config):
    for source, page in _outside().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    pages = _outside()
    sources = {name: source for source, name in pages.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def replace(link):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        name = pages.get(target, target.removeprefix("docs/"))
        label, there = link[1], files.get_file_from_path(name)
        if label.endswith(".md") and there and there.page and there.page.title:  # the name of a file
            label = there.page.title
        return f"[{label}]({posixpath.relpath(name, posixpath.dirname(page.file.src_uri) or '.')}"

    return _LINK.sub(replace, markdown)
