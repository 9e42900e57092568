"""Stage report_failures: the error of a run whose samples could not all be planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parafovea.errors import SourceError


def report_failures(unmade: Path, *, failed: Sequence[str]) -> None:
    """Raise the error of the samples that have no jobs, after those of the others.

    A sample whose header cannot be read is left out of the plan, so that none of its results is
    removed and all others are made. The run fails nevertheless, by this stage.

    Parameters
    ----------
    unmade : Path
        File that is never written, so that the next run fails as well.
    failed : sequence of str
        A line for each sample, with the reason.

    Raises
    ------
    SourceError
        Always, with a line for each sample.
    """
    count = "1 sample" if len(failed) == 1 else f"{len(failed)} samples"
    raise SourceError("\n  ".join([f"{count} could not be run:", *failed]))
