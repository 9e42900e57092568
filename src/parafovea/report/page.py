"""Self-contained HTML pages from templates, with escaped values and embedded figures."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from parafovea.report.units import number_text
from parafovea.storage.store import replacing


def data_uri(path: Path) -> str:
    """Return a PNG file as a `data:` URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


@cache
def _environment() -> Environment:
    # Names of samples and classes are untrusted: everything is escaped.
    environment = Environment(
        loader=PackageLoader("parafovea.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["number"] = number_text
    return environment


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template to a self-contained HTML file.

    Parameters
    ----------
    path : Path
        File to write, atomically.
    template : str
        Name of a file in `report/templates`.
    **values
        Values of the template; texts are escaped.
    """
    text = _environment().get_template(template).render(**values)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
