"""A page of the site for each notebook in docs/notebooks, with its text and its code."""

from __future__ import annotations

import posixpath

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; the notebooks themselves are copied to the site."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            place = posixpath.splitext(file.src_uri)[0] + ".md"
            files.append(File.generated(config, place, content=notebook_text(file)))
    return files


def notebook_text(file: File) -> str:
    """Return a notebook in Markdown, its cells of code as fenced blocks."""
    notebook = nbformat.reads(file.content_string, as_version=4)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
    name = posixpath.basename(file.src_uri)
    heading, *rest = parts
    link = f'<a href="{name}" download>Download this notebook</a>'
    line = f"{link}; the tests execute it as it stands."
    return "\n\n".join([heading, line, *rest]) + "\n"
