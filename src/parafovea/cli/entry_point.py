"""The program `parafovea`, which says what to install where only the client is."""

from __future__ import annotations

import sys

from parafovea import __version__
from parafovea.errors import MissingExtraError
from parafovea.runtime.optional_packages import extras_named


def main() -> None:
    """Run the command line, or end with one readable error if its packages are not installed."""
    if sys.argv[1:] == ["--version"]:
        print(f"parafovea {__version__}")
        return
    try:
        with extras_named():
            from parafovea.cli.main import app
    except MissingExtraError as error:
        sys.exit(f"error {error}")
    app()
