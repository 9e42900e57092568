"""Pages of the site for files of the repository outside of docs/, and the links to them.

The pages in docs/ link to such files by relative paths, which GitHub follows. On the site, a
Markdown file becomes a page below repository/, any other text file a page that shows it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

log = get_plugin_logger("repository_links")

#: Where files from outside of docs/ are on the site.
SHELF = "repository"

_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".py": "python", ".toml": "toml", ".cff": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file that a page links to, or that the navigation names."""
    root = Path(config.config_file_path).parent
    waiting = [path for path in _named(config.nav) if path.startswith(f"{SHELF}/")]
    waiting = [path.removeprefix(f"{SHELF}/") for path in waiting]
    for file in files.documentation_pages():
        text = file.content_string
        waiting += [_target(_repository_path(file.src_uri), href) for _, href in _links(text)]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or path.startswith(("docs/", "../")) or not (root / path).is_file():
            continue
        seen.add(path)
        text = (root / path).read_text(encoding="utf-8")
        if path.endswith(".md"):
            waiting += [_target(path, href) for _, href in _links(text)]
        else:
            language = _LANGUAGES.get(posixpath.splitext(path)[1], "text")
            text = f"# {path}\n\n````{language}\n{text.rstrip()}\n````\n"
        page = File.generated(
            config, _site_path(path), content=text, inclusion=InclusionLevel.NOT_IN_NAV
        )
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files of the repository at their pages on the site."""
    source = _repository_path(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        path = _target(source, match[2])
        if not path:
            return match[0]
        place = _site_path(path)
        if files.get_file_from_path(place) is None:
            log.warning("%s links to %s, which is not a file of the repository", source, match[2])
            return match[0]
        _, sharp, anchor = match[2].partition("#")
        there = posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{there}{sharp}{anchor}{match[3]}"

    return "\n".join(
        line if in_code else _LINK.sub(moved, line) for line, in_code in _lines(markdown)
    )


def _named(nav: object) -> Iterator[str]:
    """Yield the paths that a navigation names."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from _named(value)
    elif isinstance(nav, list):
        for value in nav:
            yield from _named(value)


def _lines(markdown: str) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it belongs to a fenced block of code."""
    fence = ""
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or fence == mark[1]):
            fence = "" if fence else mark[1]
            yield line, True
        else:
            yield line, bool(fence)


def _links(markdown: str) -> Iterator[tuple[str, str]]:
    for line, in_code in _lines(markdown):
        if not in_code:
            for match in _LINK.finditer(line):
                yield match[1], match[2]


def _target(source: str, href: str) -> str:
    """Return the path in the repository that a link names, "" if it is no relative path."""
    path = href.partition("#")[0]
    if not path or "://" in path or path.startswith("mailto:"):
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))


def _repository_path(src_uri: str) -> str:
    """Return where a page of the site is in the repository."""
    if src_uri.startswith(f"{SHELF}/"):
        return src_uri.removeprefix(f"{SHELF}/")
    return f"docs/{src_uri}"


def _site_path(path: str) -> str:
    """Return the page or file of the site for a file of the repository."""
    if path.startswith("docs/"):
        inside = path.removeprefix("docs/")
        return re.sub(r"\.ipynb$", ".md", inside)
    return f"{SHELF}/{path if path.endswith('.md') else f'{path}.md'}"
