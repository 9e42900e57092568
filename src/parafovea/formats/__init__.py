"""Input formats: every source is read as a lazy array (z, y, x) on a Grid.

There is one module per format, for reading and writing; `registry` lists them, and a format's
module is imported when a source of that format is opened. The names below are imported on first
access; code
of the package imports them from their modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parafovea.formats.location import format_modules, source_files
    from parafovea.formats.metadata.column import parse_metadata
    from parafovea.formats.metadata.source_metadata import SourceMetadata
    from parafovea.formats.opening import open_source, source_grid
    from parafovea.formats.source import LazyArray, Source

__all__ = [
    "LazyArray",
    "Source",
    "SourceMetadata",
    "format_modules",
    "open_source",
    "parse_metadata",
    "source_files",
    "source_grid",
]


def __getattr__(name: str) -> Any:
    """Return one of the names in `__all__`, importing its module on first access."""
    if name in ("format_modules", "source_files"):
        from parafovea.formats import location

        return getattr(location, name)
    if name == "SourceMetadata":
        from parafovea.formats.metadata.source_metadata import SourceMetadata

        return SourceMetadata
    if name == "parse_metadata":
        from parafovea.formats.metadata.column import parse_metadata

        return parse_metadata
    if name in ("open_source", "source_grid"):
        from parafovea.formats import opening

        return getattr(opening, name)
    if name in ("LazyArray", "Source"):
        from parafovea.formats import source

        return getattr(source, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
