"""What made a result: a small file beside it, from which the next run knows whether it is current.

A record states hashes of the arguments, of the code, of the content of the files that were read,
and the records of the results that it was made from. A result is current if its record is the one
that a run would write now. The record is removed before a stage begins and written after it has
ended, so that there is none for a result of a stage that was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parafovea.errors import SourceError, StoreError
from parafovea.storage.contents import Contents


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a job is to be made from, before anything was read.

    Parameters
    ----------
    place : str
        Path of its record.
    stage : str
        Name of the stage.
    arguments : str
        Hash of the arguments.
    code : str
        Fingerprint of the code.
    files : tuple of str
        Files and folders that it reads and that no stage makes.
    inputs : mapping of str to str
        Results of other jobs that it reads, with the paths of their records.
    """

    place: str
    stage: str
    arguments: str
    code: str
    files: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, for a parameter of a rule."""
        return {
            "place": self.place,
            "stage": self.stage,
            "arguments": self.arguments,
            "code": self.code,
            "files": list(self.files),
            "inputs": dict(self.inputs),
        }


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a job was made from.

    Parameters
    ----------
    stage : str
        Name of the stage.
    arguments : str
        Hash of the arguments.
    code : str
        Fingerprint of the code.
    files : mapping of str to str
        Hash of the content of each file and folder that was read.
    inputs : mapping of str to str
        Identity of the record of each result that was read, by path.
    sources : mapping of str to str
        `files` of this job and of all jobs before it.
    """

    stage: str
    arguments: str
    code: str
    files: Mapping[str, str]
    inputs: Mapping[str, str]
    sources: Mapping[str, str]

    @property
    def identity(self) -> str:
        """Hash of all but the names of files and results, which may be moved together."""
        return identity(
            self.stage,
            self.arguments,
            self.code,
            tuple(self.files.values()),
            tuple(self.inputs.values()),
        )


def identity(
    stage: str,
    arguments: str,
    code: str,
    files: tuple[str, ...],
    inputs: tuple[str, ...],
) -> str:
    """Return the identity of a record from its parts, as 32 hexadecimal digits."""
    parts = [stage, arguments, code, list(files), list(inputs)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def read_record(place: str | Path) -> Record | None:
    """Return a record, None if there is none that can be read."""
    try:
        record = Record(**json.loads(Path(place).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    parts = (record.files, record.inputs, record.sources)
    return record if all(isinstance(part, dict) for part in parts) else None


def forget_record(place: str | Path) -> None:
    """Remove a record, before anything writes the results that it is about."""
    place = Path(place)
    # a linked folder is replaced as a whole, and what is in it belongs to others
    if not place.parent.is_symlink():
        place.unlink(missing_ok=True)


def arguments_digest(arguments: Mapping[str, Any]) -> str:
    """Return a hash of the arguments of a stage, given as plain values."""
    text = json.dumps(arguments, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextlib.contextmanager
def recorded(order: Order, contents: Contents) -> Iterator[None]:
    """Record what a job was made from, if the block ends without an error.

    Parameters
    ----------
    order : Order
        What it is to be made from.
    contents : Contents
        Hashes of files.

    Raises
    ------
    StoreError
        If it is not known what one of its inputs was made from.
    SourceError
        If a file is not the one from which an input was made, or changes during the block.
    """
    made = _taken(order, contents)
    place = Path(order.place)
    forget_record(place)
    yield
    for path, digest in made.files.items():
        if contents.digest(path) != digest:
            raise SourceError(
                f"{path} changed while {order.stage} read it: leave it unchanged and run again"
            )
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.partial")
    partial.write_text(json.dumps(asdict(made), indent=1) + "\n", encoding="utf-8")
    partial.replace(place)


def _taken(order: Order, contents: Contents) -> Record:
    """Return the record of a job that starts now."""
    files = {path: contents.digest(path) for path in order.files}
    sources: dict[str, str] = dict(files)
    inputs = {}
    for path, place in order.inputs.items():
        found = read_record(place)
        if found is None:
            raise StoreError(
                f"it is not known what {path} was made from, since {place} is missing or damaged: "
                "run again, which makes it anew"
            )
        for source, digest in found.sources.items():
            if sources.setdefault(source, digest) != digest:
                raise SourceError(
                    f"{source} is not the one that {path} was made from: it was replaced while "
                    "the workflow ran, so run again"
                )
        inputs[path] = found.identity
    return Record(
        stage=order.stage,
        arguments=order.arguments,
        code=order.code,
        files=files,
        inputs=inputs,
        sources=sources,
    )
