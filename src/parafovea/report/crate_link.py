"""What the index says of the run crate: where it is, or which command writes it."""

from __future__ import annotations

from markupsafe import Markup

from parafovea.storage.layout import CRATE

#: The page of a crate, relative to the results folder.
PREVIEW = f"{CRATE}/ro-crate-preview.html"

_COMMAND = Markup(
    '<p class="note" id="crate">What was made from what: <code>parafovea crate</code> writes it '
    "as an RO-Crate.</p>"
)
_LINK = Markup(
    '<p class="note" id="crate">What was made from what: '
    '<a href="{}">this run as an RO-Crate</a>.</p>'
).format(PREVIEW)


def crate_words(*, there: bool) -> Markup:
    """Return the paragraph of the index, a link if a crate is there, else the command."""
    return _LINK if there else _COMMAND


def with_crate(page: str) -> str:
    """Return the text of an index with a link to the crate instead of the command."""
    return page.replace(_COMMAND, _LINK)
