"""The pages read the same on GitHub and on the site."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import markdown
import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "config/README.md",
    ROOT / "benchmarks/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def elements(html: str) -> Counter[str]:
    return Counter(re.findall(r"<(li|ul|ol|table|tr|pre|h\d|img)\b", html))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lists_tables_and_blocks_are_the_same_for_github_and_the_site(page):
    text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    github = MarkdownIt("commonmark").enable("table").render(text)
    converter = markdown.Markdown(extensions=["tables", "pymdownx.superfences"])
    assert elements(converter.convert(text)) == elements(github)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_a_file_of_the_repository(page):
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:|#", link):
            assert (page.parent / link.partition("#")[0]).exists(), link
