"""Stage report_failures: the error of a run whose samples could not all be planned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parafovea.errors import SourceError


def report_failures(unmade: Path, *, failed: Mapping[str, str]) -> None:
    """Raise the error of the samples that have no jobs, after those of the others.

    A sample whose header cannot be read is left out of the plan, so that none of its results is
    removed and all others are made. The run fails nevertheless, by this stage.

    Parameters
    ----------
    unmade : Path
        File that is never written, so that the next run fails as well.
    failed : mapping of str to str
        Reason by sample, which is named with its line in the sheet.

    Raises
    ------
    SourceError
        Always, with a line for each sample.
    """
    lines = [f"{name}: {reason}" for name, reason in failed.items()]
    raise SourceError("\n  ".join([f"{len(lines)} sample(s) could not be run:", *lines]))
