"""What a client says of its file that the file does not state itself, such as its spacing.

These are the words of the sample sheet's metadata column, but for those that name other files.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

from parafovea.errors import ConfigError, ParafoveaError, describe
from parafovea.formats.metadata.column import KEYS, inline_words, parse_metadata, sidecar_path
from parafovea.service.refusal import Refusal

#: Words of an upload: those that describe the file itself, and none of a truth.
WORDS = tuple(key for key in KEYS if not key.startswith(("truth_", "objects")))

#: An example, as OpenAPI and messages show it.
EXAMPLE = "spacing=2.5,0.7,0.7 unit=millimeter"


def checked_metadata(text: str) -> str:
    """Return the words of a client in one line, empty if there are none.

    Parameters
    ----------
    text : str
        Words such as `spacing=2.5,0.7,0.7 unit=millimeter`.

    Raises
    ------
    Refusal
        422 if they name a file, are of a truth, are unknown or have invalid values.
    """
    line = re.sub(r"[\r\n\t]", " ", text).strip()
    if not line:
        return ""
    if sidecar_path(line, folder=Path()) is not None:
        raise _unfit(f"no file can be named: write words, such as {EXAMPLE}")
    try:
        words = inline_words(line, "metadata")
    except ConfigError:
        raise _unfit(
            f"these are no words key=value, each once: write, for example, {EXAMPLE}"
        ) from None
    of_truth = [key for key in words if key in KEYS and key not in WORDS]
    if of_truth:
        raise _unfit(
            f"{', '.join(of_truth)} {'is' if len(of_truth) == 1 else 'are'} of a truth, and an "
            "upload has none: remove what is said of it"
        )
    unknown = [key for key in words if key not in KEYS]
    if unknown:
        raise _unfit(f"there is no word {unknown[0][:40]!r}: use {', '.join(WORDS)}")
    try:
        parse_metadata(line, folder=Path())
    except ParafoveaError as error:
        raise _unfit(describe(error).removeprefix(f"metadata {line!r}: ")) from error
    return line


def _unfit(reason: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"metadata: {reason}")
