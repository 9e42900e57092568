"""Whether results can be written as DICOM objects: of a kind, and of a sample before its jobs."""

from __future__ import annotations

from pathlib import Path

from parafovea.chain.dicom_stage import export_dicom
from parafovea.errors import ParafoveaError, describe
from parafovea.formats.channel_files import paths_of
from parafovea.formats.location import locate
from parafovea.formats.metadata.column import parse_metadata
from parafovea.kinds import Kind
from parafovea.runtime.optional_packages import extras_named


def writes_dicom(kind: Kind) -> bool:
    """Return whether results of a kind can be DICOM objects."""
    return export_dicom in kind.stages.get("volume", ())


def output_problem(source: str, metadata: str) -> str | None:
    """Return why results of a source cannot be DICOM objects, None if they can.

    Parameters
    ----------
    source : str
        Path of the source, or of one source a channel, of which the first counts.
    metadata : str
        The sheet's `metadata` of the sample.

    Raises
    ------
    MissingExtraError
        If the packages are not installed that read DICOM.
    """
    path = paths_of(source)[0]
    try:
        if locate(path).format != "dicom":
            return (
                f"dicom_output is for DICOM series, but {path} is none: give the folder or the zip "
                "file of a series, or leave DICOM results out"
            )
        with extras_named():
            from parafovea.formats.dicom.source_series import check_output
        check_output(path, parse_metadata(metadata, folder=Path()))
    except ParafoveaError as error:
        return describe(error)
    return None
