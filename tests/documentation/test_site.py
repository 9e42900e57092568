"""The site is built offline without a warning, is complete, and asks no other host for anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer

import parafovea
from parafovea.cli.main import app
from parafovea.config.documentation import table_text

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """What a page loads and links to, and the anchors in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()
        self.styles: list[str] = []
        self._in_style = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self._in_style = tag == "style"
        if tag == "a" and "href" in values:
            self.linked.append(values["href"])
        elif tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(values.get("href", ""))
        for name in ("src", "srcset", "data", "poster"):
            if values.get(name):
                self.loaded.append(values[name])
        self.styles.append(values.get("style", ""))

    def handle_data(self, data):
        if self._in_style:
            self.styles.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Return the folder of the site, built as `make docs` builds it, with no way to a network."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    """Return all pages of the site."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_warnings_are_errors():
    assert "\nstrict: true\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_page_of_docs_is_on_the_site_and_in_its_navigation(site, pages):
    home = {link.partition("#")[0] for link in pages[site / "index.html"].linked}
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / place).is_file(), place
        assert place in home or place == "index.html"


def test_no_page_loads_anything_from_another_host(site, pages):
    assert len(pages) > 40
    for path, page in pages.items():
        for address in page.loaded:
            assert not re.match(r"(\w+:)?//", address), (path, address)
        for style in page.styles:
            assert not re.search(r"url\(['\"]?(\w+:)?//|@import", style), path
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?(https?:)?//|@import\s*['\"u]", text), path
    for path in (site / "images").rglob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(href|src)=['\"]https?:|url\(['\"]?https?:|@import", text), path


def test_no_page_has_a_diagram_that_the_browser_would_fetch_a_library_for(site):
    for path in site.rglob("*.html"):
        assert 'class="mermaid"' not in path.read_text(encoding="utf-8"), path


def test_links_between_pages_lead_to_a_page_and_a_place_in_it(site, pages):
    for path, page in pages.items():
        for link in (*page.linked, *page.loaded):
            if re.match(r"\w+:", link) or path.name == "404.html":
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file.partition("?")[0]).resolve() if file else path
            if target.is_dir():
                target /= "index.html"
            assert target.is_file(), (path, link)
            if anchor and not anchor.startswith("__"):
                assert anchor in pages[target].anchors, (path, link)


def test_the_search_finds_pages_and_sections_also_without_a_server(site):
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    entries = {entry["location"]: entry for entry in index["docs"]}
    assert len(entries) > 300
    for location, word in (
        ("failure.html", "Failure"),
        ("reference/command_line.html#predict", "predict"),
        ("reference/python.html#parafovea.open_source", "open_source"),
        ("repository/config/index.html", "sample sheet"),
    ):
        found = entries[location]
        assert word in found["title"] + found["text"], location
    # pages opened from a disk read the index as a script, and search without a worker
    assert (site / "search/search_index.js").read_text("utf-8").startswith("var __index = {")
    home = Page(site / "index.html")
    assert "javascripts/iframe-worker.js" in home.loaded


def test_the_reference_has_every_public_name_with_its_parameters(site):
    text = (site / "reference/python.html").read_text(encoding="utf-8")
    for name in set(parafovea.__all__) - {"__version__"}:
        assert f'id="parafovea.{name}"' in text, name
    for word in ("output_dir", "Number of GPUs", "ClusterError", "NIfTI", "SpacingError"):
        assert word in text


def test_the_reference_has_every_command_with_its_options(site):
    text = (site / "reference/command_line.html").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        assert f'id="{name}"' in text, name
        for parameter in command.params:
            for option in getattr(parameter, "opts", ()):
                assert option == "--help" or option in text, (name, option)


def test_the_reference_has_every_key_of_the_config(site):
    text = (site / "reference/config.html").read_text(encoding="utf-8")
    keys = re.findall(r"^\| `([^`]+)` \|", table_text(), flags=re.MULTILINE)
    assert len(keys) > 100
    for key in keys:
        assert f'id="{key}"' in text, key
    schema = (ROOT / "config/config.schema.json").read_text(encoding="utf-8")
    assert (site / "reference/config.schema.json").read_text(encoding="utf-8") == schema


def test_a_file_of_the_repository_that_a_page_links_to_is_a_page(site):
    page = site / "repository/config/train_cell.yaml.html"
    assert "learning_rate" in page.read_text(encoding="utf-8")
