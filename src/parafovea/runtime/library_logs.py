"""Which messages of libraries reach the log and the terminal."""

from __future__ import annotations

import logging

#: Libraries of image files: they log errors that they also raise, and tags that they cannot read
#: and that are taken care of here, such as a nodata number that the type of a file cannot hold.
QUIET = ("tifffile", "rasterio")


def quiet_libraries() -> None:
    """Keep the messages of `QUIET` libraries out of the log: what goes wrong is raised as well.

    They still reach handlers of the libraries' own loggers, by which `formats.library_logs` finds
    out what a library passes over.
    """
    for name in QUIET:
        log = logging.getLogger(name)
        log.propagate = False
        if not any(isinstance(handler, logging.NullHandler) for handler in log.handlers):
            # without any handler, warnings would go to stderr
            log.addHandler(logging.NullHandler())
