"""Self-contained HTML pages from templates, with escaped values and embedded figures."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from parafovea.errors import StoreError
from parafovea.quality.descriptions.registry import describe
from parafovea.report.units import counted, metric_text, number_text
from parafovea.storage.store import replacing

#: A link to a file beside a page; values are escaped, so that there are no other quotes.
_RELATIVE_LINK = re.compile(r'<a href="([^"#:]+)"')


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


def page_inside(page: Path, index: Path) -> Markup:
    """Return a page as the value, in single quotes, of an attribute `srcdoc` of another page.

    Parameters
    ----------
    page : Path
        A page of `write_page`.
    index : Path
        The page that will hold it. Relative links of the inner page then start at the folder of
        this one, and open in its window.

    Raises
    ------
    StoreError
        If the page is missing.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{page} cannot be read ({error}): run its stage again") from error
    folder = relative_address(page.parent, index)
    text = _RELATIVE_LINK.sub(rf'<a target="_top" href="{folder}/\1"', text)
    return Markup(text.replace("&", "&amp;").replace("'", "&#39;"))  # noqa: S704


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
    text = page_text(template, **values)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def page_text(template: str, **values: Any) -> str:
    """Return the text of a page, as `write_page` writes it."""
    return _environment().get_template(template).render(**values)
