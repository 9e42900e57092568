"""Self-contained HTML pages from templates, with escaped values and embedded figures."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from parafovea.quality.metric_registry import describe
from parafovea.report.units import counted, metric_text, number_text
from parafovea.storage.store import replacing


def data_uri(path: Path) -> str:
    """Return a JPEG file as a `data:` URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def relative_address(path: Path, page: Path) -> str:
    """Return the address of a file in a page, relative to the page, so that both can be moved."""
    return quote(Path(os.path.relpath(path, page.parent)).as_posix())


def script_hash(name: str) -> str:
    """Return the hash of a script in `templates`, by which a page allows it and no other."""
    text = (Path(__file__).parent / "templates" / name).read_bytes()
    return f"sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode('ascii')}"


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
    environment.filters["counted"] = counted
    environment.filters["metric_text"] = metric_text
    # a figure's own element, in which every text is an outline or escaped
    environment.filters["element"] = Markup
    environment.globals["describe"] = describe
    environment.globals["script_hash"] = script_hash
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
