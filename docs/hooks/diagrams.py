"""Diagrams of the site, drawn in advance from the Mermaid text of the pages.

Browsers would have to fetch Mermaid from another host, so `make diagrams` draws each text to a
file named by its hash. A text without its drawing stops the build.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

FOLDER = "images/diagrams"

_BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def drawing(text: str) -> str:
    """Return the path of the drawing of a Mermaid text, below docs/."""
    return f"{FOLDER}/{hashlib.sha256(text.encode()).hexdigest()[:12]}.svg"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the drawings in the place of the texts; a missing one is a broken link."""

    def drawn(match: re.Match[str]) -> str:
        place = drawing(match[1])
        there = posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")
        return f"![Diagram]({there}){{ .diagram }}"

    return _BLOCK.sub(drawn, markdown)


def draw(docs: Path) -> None:
    """Draw every Mermaid text of the pages, top down, and remove drawings without a text."""
    import merman

    client = merman.Merman()
    pages = [page.read_text(encoding="utf-8") for page in sorted(docs.rglob("*.md"))]
    texts = [text for page in pages for text in _BLOCK.findall(page)]
    (docs / FOLDER).mkdir(parents=True, exist_ok=True)
    wanted = {docs / drawing(text): text for text in texts}
    for path in set((docs / FOLDER).glob("*.svg")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        # a page is higher than wide
        narrow = re.sub(r"^flowchart LR$", "flowchart TB", text, flags=re.MULTILINE)
        path.write_text(client.render_svg(narrow, None) + "\n", encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
