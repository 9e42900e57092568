"""The errors that a user can cause, each a subclass of the fitting built-in.

A message says what is wrong, where, and what to do; context that only a caller knows (which
sample, which file) is added with `add_note`. Scripts and the command line print these without a
traceback.
"""

import reprlib
import unicodedata


class ParafoveaError(Exception):
    """Base of every error that is the input's fault, not the program's."""


class ConfigError(ParafoveaError, ValueError):
    """A config file or a sample sheet that cannot be right."""


class SourceError(ParafoveaError, ValueError):
    """A source volume that cannot be read or makes no sense."""


class MissingSourceError(SourceError, FileNotFoundError):
    """A source that is not there."""


class SpacingError(SourceError):
    """A source whose voxel size nobody states."""


class VoxelError(SourceError):
    """Voxels that are not finite, or a volume without any."""


class TileError(SourceError):
    """A tile that cannot be read or makes no sense; the other tiles of its folder go on."""


class TableError(ParafoveaError, ValueError):
    """A table of candidates, findings or scores that cannot be scored."""


class CalibrationError(ParafoveaError, ValueError):
    """A calibration that cannot be fitted or read, or that belongs to another model."""


class GridError(ParafoveaError, ValueError):
    """Grids, boxes or windows that do not fit each other."""


class ModelError(ParafoveaError, ValueError):
    """A model folder that is incomplete, altered or does not fit the data."""


class TrainingError(ParafoveaError, ArithmeticError):
    """A training that has diverged."""


class ScoreError(ParafoveaError, ArithmeticError):
    """Features or scores of a network that are not finite."""


class MemoryLimitError(ParafoveaError, MemoryError):
    """A computation that needs more memory than there is."""


class MissingExtraError(ParafoveaError, ImportError):
    """An optional package that a choice needs and that is not installed."""


class ClusterError(ParafoveaError, ConnectionError):
    """A cluster that is not there, has gone away, or has less than is asked of it."""


class StoreError(ParafoveaError, OSError):
    """A result of an earlier stage that is missing or damaged."""


#: Most characters of a text from a file in a message.
LONGEST_QUOTE = 200
#: Most characters of a line, and most lines, of a message.
LONGEST_LINE = 1000
MOST_LINES = 60


def shown(value: object, *, longest: int = LONGEST_QUOTE) -> str:
    """Return a value of a file, or of another library, as it can stand in a message.

    Parameters
    ----------
    value : object
        A text, or anything else with one; nested values are abbreviated.
    longest : int
        Most characters of the result; what is longer is cut.

    Returns
    -------
    str
        One line: line ends and control characters are escaped.
    """
    text = value if isinstance(value, str) else reprlib.repr(value)
    cut = text[: longest + 1]
    plain = "".join(map(_visible, cut))
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def quoted(value: object, *, longest: int = LONGEST_QUOTE) -> str:
    """Return a value as `shown`, with a text in quotes."""
    if not isinstance(value, str):
        return shown(value, longest=longest)
    return repr(value) if len(value) <= longest else f"{value[:longest]!r}…"


def _visible(character: str) -> str:
    """Return a character, or its escape if it is a control character or invisible."""
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


def describe(error: BaseException) -> str:
    """Return the one readable text of an error: its message, then its notes, a line each.

    Control characters are escaped. Very long lines are cut in the middle, since the fix is at
    their end; very long lists are cut at their end.

    Parameters
    ----------
    error : BaseException
        Any error; its notes say where it happened.

    Returns
    -------
    str
        The text for the terminal and the log, without a traceback.
    """
    notes = getattr(error, "__notes__", [])
    lines = "\n  ".join([str(error), *notes]).split("\n")
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"  … and {len(lines) - MOST_LINES} more lines"]
    return escaped("\n".join(map(_cut, lines)))


def escaped(text: str) -> str:
    """Return a text of several lines for the terminal, its control characters escaped."""
    return "".join(c if c == "\n" else _visible(c) for c in text)


def _cut(line: str) -> str:
    """Return a line of a message, cut in the middle if it is very long."""
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} … {line[-half:]}"
