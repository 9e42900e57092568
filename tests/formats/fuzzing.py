"""Mutates small files of one format, and reads each in a child process within bounds.

A file that was cut short, or changed where a checksum of its format covers it alone, gives the
values of the whole file or none.

Run as a program, `fuzzing.py FORMAT FOLDER SEED FIRST COUNT [END]` prints what went wrong as JSON;
`fuzzed.py` calls it for each format, until the END of its time as a reading of the monotonic clock.
A mutation follows from format, seed and number alone, so that one of them can be read again.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from format_samples import FormatSample
from fuzz_samples import COVERED, FUZZED, Ranges

from parafovea.errors import ParafoveaError, describe
from parafovea.formats.location import format_modules, locate
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.tiles.census import tile_census
from parafovea.formats.tiles.npz import INPUT_KEYS
from parafovea.formats.tiles.reading import OpenedTile
from parafovea.formats.tiles.tile_folder import list_tiles
from parafovea.geometry.grid import Box
from parafovea.inference.window_plan import planned_layout, shard_count
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import Recipe

#: Of one reading: seconds of computing, seconds in all, bytes of memory that it may take.
COMPUTING, IN_ALL, MEMORY = 10, 60, 2**29

#: Address space of a reading beyond that of the process: more is a `MemoryError`.
ADDRESSES = 2**33

#: Voxels of a source that are read as a whole; of a larger one its corners.
WHOLE = 2**21

#: Numbers that sizes, counts and offsets are replaced by.
NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1)
WORDS = (
    *("0", "-1", "1e999", "NaN", "99999999999999", "0.1", "null", "[]", "{}", '""', '"x"', "true"),
    *("[" * 5000, "\x00", "\u0661", "1" * 5000, "\\ud800", "../x"),
)

#: Number of the files as they were written, which have to be read.
UNCHANGED = -1

Mutation = Callable[[bytes, np.random.Generator], bytes]


def _place(data: bytes, random: np.random.Generator) -> int:
    """Return a place in a file, mostly in its first or last bytes, where headers are."""
    size = max(1, len(data))
    kind = random.integers(4)
    if kind == 0:
        return int(random.integers(size))
    near = int(min(size - 1, random.exponential(100)))
    return size - 1 - near if kind == 1 else near


def _flipped(data: bytes, random: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(random.integers(1, 5)):
        out[_place(data, random)] ^= 1 << int(random.integers(8))
    return bytes(out)


def _cut(data: bytes, random: np.random.Generator) -> bytes:
    return data[: _place(data, random)]


def _overwritten(data: bytes, random: np.random.Generator) -> bytes:
    start, length = _place(data, random), int(random.integers(1, 33))
    filler = (bytes(length), b"\xff" * length, random.bytes(length))[random.integers(3)]
    return data[:start] + filler + data[start + length :]


def _numbered(data: bytes, random: np.random.Generator) -> bytes:
    width = int(random.choice([1, 2, 4, 8]))
    start = _place(data, random) // 2 * 2
    number = int(random.choice(NUMBERS)) if random.integers(2) else int(random.integers(len(data)))
    order = "little" if random.integers(4) else "big"
    value = (number % 2 ** (8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
    return data[:start] + value + data[start + width :]


def _moved(data: bytes, random: np.random.Generator) -> bytes:
    """Return the bytes with some of them taken out, put in twice, or added."""
    start, length = _place(data, random), int(random.exponential(20)) + 1
    part = data[start : start + length]
    kind = random.integers(3)
    if kind == 0:
        return data[:start] + data[start + length :]
    return data[:start] + (part if kind == 1 else random.bytes(length)) + data[start:]


def _reworded(data: bytes, random: np.random.Generator) -> bytes:
    """Return a text with one of its words replaced; of other bytes, what looks like a word."""
    words = list(re.finditer(rb'"[^"]*"|[-+.\w]+|[{}\[\],:]', data[:65536]))
    if not words:
        return _overwritten(data, random)
    word = words[random.integers(len(words))]
    new = str(random.choice(WORDS)).encode("utf-8", "replace") if random.integers(5) else b""
    return data[: word.start()] + new + data[word.end() :]


MUTATIONS: tuple[Mutation, ...] = (_flipped, _cut, _overwritten, _numbered, _moved, _reworded)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Return the bytes of a file with one to three things changed."""
    for _ in range(random.integers(1, 4)):
        if data:
            data = MUTATIONS[random.integers(len(MUTATIONS))](data, random)
    return data


def has_to_read_the_same(data: bytes, changed: bytes, covered: Ranges) -> bool:
    """Return whether a changed file gives the same voxels as the whole one if it gives any.

    It does if it was cut short, or is changed where checksums cover it alone.
    """
    if data.startswith(changed):
        return True
    for start, stop in covered:
        after = len(data) - stop
        if (
            len(changed) >= start + after
            and changed[:start] == data[:start]
            and changed[len(changed) - after :] == data[stop:]
        ):
            return True
    if len(changed) != len(data):
        return False
    places = np.flatnonzero(np.frombuffer(data, "u1") != np.frombuffer(changed, "u1"))
    return all(any(start <= place < stop for start, stop in covered) for place in places)


def read_everything(sample: FormatSample) -> dict[str, np.ndarray[Any, Any]]:
    """Read a source as the workflow does: while it plans, and while it runs.

    Returns
    -------
    dict of str to ndarray
        The values that were read, by the box or tile.
    """
    found: dict[str, np.ndarray[Any, Any]] = {}
    metadata = parse_metadata(sample.metadata, folder=Path())
    unit = "meter" if sample.bands else "millimeter"
    words: dict[str, Any] = {"metadata": metadata, "bands": sample.bands, "unit": unit}
    words["finer_than"] = (4.0, 1.0, 1.0)
    format_modules(sample.path, bands=bool(sample.bands))
    for path in locate(sample.path, bands=bool(sample.bands)).files:
        Path(path).stat()
    if Path(sample.path).is_dir() and sample.bands:
        found |= _read_tiles(sample)
    if not sample.labels:
        grid = source_grid(sample.path, **words)
        settings = InferenceSettings()
        shard_count(planned_layout(grid.shape, _RECIPE, settings), settings)
    source = open_source(sample.path, **words, labels=sample.labels)
    if not sample.labels and grid != source.grid:
        raise AssertionError(f"{grid} while planning, {source.grid} while running")
    for box in _boxes(source.grid.box):
        values = source.read(box)
        if values.shape[-3:] != box.shape or values.dtype.kind not in "uif":
            raise AssertionError(f"{values.dtype} {values.shape} of {box}")
        found[str(box)] = values
    if source.check is not None:
        source.check()
    return found


_RECIPE = Recipe.model_validate(
    {
        "spacing": (4, 1, 1),
        "unit": "millimeter",
        "classes": ("a", "b"),
        "window": (16, 32, 32),
        "network": {"fusion": "none"},
    }
)


def _boxes(box: Box) -> list[Box]:
    if box.size <= WHOLE:
        return [box]
    side = [min(n, 16) for n in box.shape]
    return [
        Box((0, 0, 0), (side[0], side[1], side[2])),
        Box((box.stop[0] - side[0], box.stop[1] - side[1], box.stop[2] - side[2]), box.stop),
    ]


def _read_tiles(sample: FormatSample) -> dict[str, np.ndarray[Any, Any]]:
    """Read the tiles of a folder one by one: a damaged one is an error of its own."""
    tile_census(sample.path)
    found = {}
    for file in list_tiles(Path(sample.path)):
        try:
            with OpenedTile(file) as tile:
                tile.digest()
                key = tile.key(INPUT_KEYS)
                tile.place(key)
                found[file.name] = tile.read(bands=sample.bands, key=key).values
        except ParafoveaError as error:
            _require_named(error, file.path.with_suffix(""))
    return found


def _require_named(error: ParafoveaError, path: Path) -> None:
    if str(path) not in describe(error):
        raise AssertionError(f"{path} is not named: {describe(error)}") from error


class Fuzzer:
    """Mutated files of one format.

    Parameters
    ----------
    name : str
        Key of `FUZZED`.
    folder : Path
        Folder to work in.
    seed : int
        Seed of the mutations.
    """

    def __init__(self, name: str, folder: Path, seed: int) -> None:
        self._name, self._folder, self._seed = name, folder / "source", seed
        self._folder.mkdir(parents=True)
        self._sample = _written(name, self._folder)
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        self._files = {path: path.read_bytes() for path in files}
        ranges = COVERED.get(name, lambda *_: [])
        self._covered = {path: ranges(path, data) for path, data in self._files.items()}
        self._values: dict[str, np.ndarray[Any, Any]] = {}

    def restore(self) -> None:
        """Put back the whole files."""
        for path, data in self._files.items():
            if not path.is_file() or path.read_bytes() != data:
                self._write(path, data)

    def _write(self, path: Path, data: bytes) -> None:
        # another file: the old one may be mapped into memory
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def mutate(self, number: int) -> Path:
        """Mutate one of the files, and return which."""
        random = np.random.default_rng([self._seed, number, *self._name.encode()])
        files = list(self._files)
        path = files[random.integers(len(files))]
        data = mutated(self._files[path], random)
        if random.integers(50) == 0:
            path.unlink()
        else:
            self._write(path, data)
        return path

    def run(self, number: int) -> str:
        """Read a mutated file, and return what is wrong with that; "" for nothing."""
        path = next(iter(self._files)) if number == UNCHANGED else self.mutate(number)
        try:
            _reset_peak()
            before = _peak()
            try:
                found = read_everything(self._sample)
                if path.is_file():
                    self._compare(path, found)
            except ParafoveaError as error:
                if number == UNCHANGED:
                    raise
                _require_named(error, self._folder)
            taken = _peak() - before
            return "" if taken <= MEMORY else f"{taken} bytes of memory"
        except BaseException as error:
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = (
                "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
            )
            return f"{type(error).__name__}: {str(error)[:300]} at {where}"
        finally:
            self._write(path, self._files[path])

    def _compare(self, path: Path, found: dict[str, np.ndarray[Any, Any]]) -> None:
        """Raise `AssertionError` if a file that reads the same or not at all reads otherwise."""
        if not has_to_read_the_same(self._files[path], path.read_bytes(), self._covered[path]):
            return
        for name, values in found.items():
            if name not in self._values or not np.array_equal(values, self._values[name]):
                raise AssertionError(f"other values of {name} than those of the whole file")

    def child(self, numbers: range, pipe: int) -> None:
        """Read mutated files one by one, and write what happens into a pipe, a line each."""
        limit = _addresses() + ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        self._values = read_everything(self._sample)
        for number in numbers:
            os.write(pipe, f"{number}\t\n".encode())
            # ends the process, whatever library it is in
            signal.setitimer(signal.ITIMER_PROF, COMPUTING)
            wrong = self.run(number)
            signal.setitimer(signal.ITIMER_PROF, 0)
            os.write(pipe, f"{number}\t{json.dumps(wrong)}\n".encode())
        os._exit(0)

    def batch(self, numbers: range, until: float) -> tuple[int, dict[int, str]]:
        """Return the number after the last mutation that was tried, and what was wrong."""
        self.restore()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self.child(numbers, writer)
        os.close(writer)
        wrong: dict[int, str] = {}
        begun, done, text = numbers.start - 1, numbers.start - 1, b""
        fate = ""
        while True:
            ready, _, _ = select.select([reader], [], [], IN_ALL)
            if not ready:
                fate = f"no answer within {IN_ALL} s"
                break
            some = os.read(reader, 65536)
            if not some:
                break
            *lines, text = (text + some).split(b"\n")
            for line in lines:
                number, _, answer = line.decode().partition("\t")
                begun = int(number)
                if answer:
                    done = begun
                    if json.loads(answer):
                        wrong[done] = json.loads(answer)
            if time.monotonic() > until and begun == done:
                break
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if begun != done:
            code = os.waitstatus_to_exitcode(status)
            hung = code == -signal.SIGPROF
            ended = f"{COMPUTING} s of computing" if hung else f"ended with {code}"
            wrong[begun] = fate or ended
        return begun + 1, wrong


def _written(name: str, folder: Path) -> FormatSample:
    """Write a source in a process of its own, since threads of a library do not outlive a fork."""
    said = folder.with_name("sample.json")
    child = os.fork()
    if child == 0:
        said.write_text(json.dumps(asdict(FUZZED[name](folder))))
        os._exit(0)
    os.waitpid(child, 0)
    sample = json.loads(said.read_text())
    return FormatSample(**{**sample, "bands": tuple(sample["bands"])})


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Return the most memory that this process has held since the last reset, in bytes."""
    return _status("VmHWM")


def _addresses() -> int:
    return _status("VmSize")


def _status(key: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{key}:")[2].split()[0]) * 1024


def main(name: str, folder: str, seed: str, first: str, count: str, end: str = "inf") -> None:
    """Print as JSON how many mutations were tried, and what was wrong by number."""
    until = float(end)
    place = Path(folder)
    shutil.rmtree(place, ignore_errors=True)
    fuzzer = Fuzzer(name, place, int(seed))
    number, last = int(first), int(first) + int(count)
    _, wrong = fuzzer.batch(range(UNCHANGED, 0), until)
    while number < last and (time.monotonic() < until or number == int(first)):
        number, found = fuzzer.batch(range(number, last), until)
        wrong |= found
    fuzzer.restore()
    print(json.dumps({"tried": number - int(first), "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
