"""The reference of the site: the Python interface, the command line and the config.

All three are made from the code whenever the site is built, so none can be out of date.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import parafovea
from parafovea.config.documentation import schema_text, table_text

#: What the public functions return or take, beside the public names themselves.
RETURNED = (
    "parafovea.formats.source.Source",
    "parafovea.storage.store.Stored",
    "parafovea.drivers.predict_scans.ScanResult",
    "parafovea.drivers.predict_tile_folder.TileSummary",
    "parafovea.drivers.ray.distributed.DistributedResult",
    "parafovea.inference.volume.VolumeInference",
    "parafovea.settings.recipe.ModelSpec",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference and the JSON schema of the config."""
    for name, text in (
        ("reference/python.md", python_page()),
        ("reference/command_line.md", command_page()),
        ("reference/config.md", config_page()),
        ("reference/config.schema.json", schema_text()),
    ):
        files.append(File.generated(config, name, content=text))
    return files


def python_page() -> str:
    """Return the page of the Python interface, whose text mkdocstrings takes from docstrings."""
    names = [name for name in parafovea.__all__ if not name.startswith("_")]
    functions = [f"parafovea.{name}" for name in names if name[0].islower()]
    classes = [f"parafovea.{name}" for name in names if name[0].isupper()]
    return "\n".join(
        [
            "# Python interface",
            "",
            "The names below are the whole public interface. The page",
            "[Python](../python_api.md) shows them at work.",
            "",
            "## Functions",
            "",
            *(f"::: {name}" for name in functions),
            "",
            "## Grids",
            "",
            *(f"::: {name}" for name in classes),
            "",
            "## What they return",
            "",
            *(f"::: {name}" for name in RETURNED),
            "",
            "## Errors",
            "",
            "::: parafovea.errors",
            "    options:",
            "      show_root_heading: false",
            "      show_root_toc_entry: false",
            "      show_bases: true",
            "",
        ]
    )


def command_page() -> str:
    """Return the page of the command line, from the help of every command."""
    command = [sys.executable, "-m", "typer", "parafovea.cli.main", "utils", "docs"]
    done = subprocess.run(
        [*command, "--name", "parafovea"], check=True, capture_output=True, text=True
    )
    _, *sections = re.split(r"^## ", html.unescape(done.stdout), flags=re.MULTILINE)
    title = "# Command line\n\nThe workflow is run with `snakemake`; `parafovea` does the rest."
    rows = ["| command | |", "|---|---|"]
    pages = []
    for section in sections:
        heading, _, text = section.partition("\n")
        name = heading.strip("`").removeprefix("parafovea ")
        summary = text.strip().partition("\n")[0]
        rows.append(f"| [`{name}`](#{name}) | {summary} |")
        pages.append(f"## `{name}` {{ #{name} }}\n\n{_options(text)}")
    return "\n\n".join([title, "\n".join(rows), *pages]) + "\n"


def _options(text: str) -> str:
    """Return the text of a command; what angle brackets enclose is no element of a page."""
    lines = []
    for line in text.strip().split("\n"):
        match = re.match(r"\* `([^`]*)`: ?(.*)", line)
        if match and match[1] != "--help":
            lines.append(f"* `{match[1]}`: {html.escape(match[2], quote=False)}")
        elif not match:
            lines.append(line)
    return "\n".join(lines).strip().removesuffix("**Options**:").strip()


def config_page() -> str:
    """Return the page of the config: a table for each block, and a heading for each key."""
    blocks: dict[str, list[tuple[str, ...]]] = {}
    for key, *cells in _rows():
        block, _, name = key.rpartition(".")
        blocks.setdefault(block, []).append((key, name, *cells))
    lines = [
        "# Config",
        "",
        "Every key of the config, by block, made from the models that check it. `NAME` stands for",
        "a name of your own. Editors that know YAML schemas complete and check a config with",
        "[config.schema.json](config.schema.json), which the first line of `config/config.yaml`",
        "names. [Config and sample sheet](../repository/config/README.md) explains how files are",
        "laid over each other.",
    ]
    for block, rows in blocks.items():
        lines += ["", f"## {f'`{block}`' if block else 'Top level'}", ""]
        lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
        for key, name, *cells in rows:
            lines.append(f'| <a id="{key}"></a>`{name}` | {" | ".join(cells)} |')
    return "\n".join(lines) + "\n"


def _rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield key, value, default and meaning of every row of the parameter table."""
    for line in table_text().splitlines()[2:]:
        key, kind, default, meaning = (cell.strip() for cell in line[2:-2].split(" | ", 3))
        yield key.strip("`"), kind, default, meaning
