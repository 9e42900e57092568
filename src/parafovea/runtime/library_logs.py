"""Which messages of libraries reach the log and the terminal."""

from __future__ import annotations

import logging

#: Libraries of image files: they log errors that they also raise, and tags that they cannot read
#: and that are taken care of here, such as a nodata number that the type of a file cannot hold.
QUIET = ("tifffile", "rasterio")


def quiet_libraries() -> None:
    """Keep the messages of `QUIET` libraries out of the log: what goes wrong is raised as well."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
