"""Pickles that ask for more than they are, and seeded damage; read in a process with little memory.

Run as a script, this reads them all under a limit and prints one line for each that ends otherwise
than a checkpoint or a refused file.
"""

from __future__ import annotations

import io
import itertools
import pickle
import random
import resource
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

#: Memory that reading any of the small files here may take, in bytes.
ROOM = 512 << 20
#: Processor time of all files together, in seconds.
PATIENCE = 240


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, function: str) -> bytes:
    return f"c{module}\n{function}\n".encode()


def shared(inner: bytes, *, levels: int, kind: bytes = b"]e") -> bytes:
    """Return a pickle's instructions for containers of ten references each to the one before."""
    start, end = (b"](", b"e") if kind == b"]e" else (b"(", b"t")
    body = inner + b"q\x000"
    for level in range(levels):
        body += start + (b"h" + bytes([level])) * 10 + end + b"q" + bytes([level + 1]) + b"0"
    return body + b"h" + bytes([levels])


def archive(body: bytes, *storages: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as pack:
        pack.writestr("archive/data.pkl", body)
        for number, raw in enumerate(storages):
            pack.writestr(f"archive/data/{number}", raw)
    return file.getvalue()


def tensor(count: int, size: bytes, stride: bytes, *, kind: str = "FloatStorage") -> bytes:
    """Return the instructions of a tensor of one storage beside the pickle."""
    storage = text("storage") + name("torch", kind) + text("0") + text("cpu")
    storage = b"(" + storage + b"\x8a\x08" + struct.pack("<q", count) + b"tQ"
    rest = name("collections", "OrderedDict") + b")R"
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return rebuild + b"(" + storage + b"K\x00" + size + stride + b"\x89" + rest + b"tR"


def config(value: bytes) -> bytes:
    return b"\x80\x02}" + text("model_config") + b"}" + text("a") + value + b"ss."


#: Whole numbers that have the same hash.
ALIKE = [b"\x8a\x08" + struct.pack("<q", 5 + turn * (2**61 - 1)) for turn in range(4)]
BIG = b"(\x8a\x08" + struct.pack("<q", 1 << 26) + b"t"
ONE = b"(K\x01t"

#: Files that must be refused, or read for what they are, within the memory of their bytes.
CASES: dict[str, bytes] = {
    "a memo of 100 million places": b"\x80\x02Nr" + struct.pack("<I", 100_000_000) + b".",
    "a memo of 2 thousand million places": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a memo of 200 million places in letters": b"Np200000000\n.",
    "lists of lists": config(shared(text("lol"), levels=9)),
    "tuples as a key": b"\x80\x02}" + shared(text("lol"), levels=9, kind=b"()") + b"K\x01s.",
    "lists in an external id": b"\x80\x02" + shared(text("lol"), levels=9) + b"Q.",
    "lists as text to encode": b"\x80\x02" + name("_codecs", "encode")
    + shared(text("lol"), levels=9) + b"\x85R.",
    "lists as a path": config(
        name("pathlib", "PosixPath") + b"(" + shared(text("lol"), levels=9) + b"tR"
    ),
    "paths of paths": b"\x80\x02" + text("long" * 500) + b"q\x00" + b"".join(
        name("pathlib", "PosixPath") + b"(" + b"h" + bytes([k]) + b"h" + bytes([k]) + b"tR"
        + b"q" + bytes([k + 1]) for k in range(40)
    ) + b".",
    "many copies of a list": b"\x80\x02](" + b"N" * 20_000 + b"e" + b"q\x00(" + b"".join(
        name("builtins", "list") + b"h\x00\x85R" for _ in range(20_000)
    ) + b"t.",
    "a list that holds itself": config(b"]q\x01h\x01a"),
    "a dictionary that holds itself": b"\x80\x02}q\x00" + text("model_config") + b"h\x00s.",
    "lists 100000 deep": config(b"]" * 100_000 + b"a" * 99_999),
    "a number of 200000 bits": pickle.dumps({"epoch": 1 << 200_000}),
    "a long number as a key": pickle.dumps({1 << 900: 1}),
    "a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a number of 2 GiB": b"\x80\x02\x8b\xff\xff\xff\x7f12345.",
    "bytes of 2 ** 62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
    "a text of 2 ** 62": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"abc.",
    "an array of bytes of 2 ** 62": b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"abc.",
    "a frame of 2 ** 62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "a million marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
    "five million sets": b"\x80\x04" + b"\x8f" * 5_000_000 + b".",
    "a tensor whose state is another storage": archive(
        b"\x80\x02" + tensor(0, b"(K\x00t", ONE) + b"q\x01(h\x01K\x00" + BIG + ONE + b"tb.", b""
    ),
    "a tensor of a storage that is not there": archive(
        b"\x80\x02" + tensor(1 << 26, BIG, ONE) + b".", b"1234"
    ),
    "a tensor of one element many times": archive(
        b"\x80\x02" + tensor(1, BIG, b"(K\x00t") + b".", b"1234"
    ),
    "a tensor of 20 dimensions without elements": archive(
        b"\x80\x02" + tensor(1, b"(K\x00" + b"J\xff\xff\xff\x7f" * 20 + b"t", b"(" + b"K\x01" * 21
        + b"t") + b".", b"1234"
    ),
    "storage as two types": archive(
        b"\x80\x02" + tensor(1, ONE, ONE) + tensor(1, ONE, ONE, kind="IntStorage") + b"\x86.",
        b"1234",
    ),
    "keys of one hash": b"\x80\x02}(" + b"".join(
        b"(" + b"".join(ALIKE[digit] for digit in digits) + b"tK\x00"
        for digits in itertools.islice(itertools.product(range(4), repeat=8), 40_000)
    ) + b"u.",
    "views of one hash": archive(
        b"\x80\x02](" + b"".join(
            tensor(1, b"(" + b"K\x01" * 8 + b"t", b"(" + b"".join(map(ALIKE.__getitem__, d)) + b"t")
            for d in itertools.islice(itertools.product(range(4), repeat=8), 20_000)
        ) + b"e.", b"1234",
    ),
    "an array of type f8 with a shape inside": pickle.dumps(np.zeros(2)).replace(b"f8", b"V9"),
}  # fmt: skip


def zip_of_overlapping_storages(folder: Path) -> Path:
    """Write an archive in whose directory 200 storages of 8 MiB are the same bytes."""
    path = folder / "overlap.pt"
    views = {f"t{k}": torch.zeros(1) for k in range(200)}
    torch.save({**views, "big": torch.zeros(2 << 20)}, path)
    with zipfile.ZipFile(path) as pack:
        (large,) = (info for info in pack.infolist() if info.file_size == 8 << 20)
    raw = path.read_bytes()
    place = struct.pack("<II", large.compress_size, large.file_size)
    # the directory says of all storages what it says of the large one
    small = struct.pack("<II", 4, 4)
    start = raw.rindex(b"PK\x05\x06")
    directory = raw.index(b"PK\x01\x02")
    path.write_bytes(raw[:directory] + raw[directory:start].replace(small, place) + raw[start:])
    return path


def whole_files() -> list[bytes]:
    """Return checkpoints as they are written, in each format."""
    weights = {f"layer{k}.weight": torch.arange(6.0).reshape(2, 3) + k for k in range(3)}
    weights["view"] = weights["layer0.weight"][1:, ::2]
    content = {
        "state_dict": weights,
        "model_config": {"size": (16, 16, 32), "rate": np.float64(0.5), "path": Path("a/b")},
        "losses": [0.5, np.float64(0.25)],
        "class_weights": np.ones(3, np.float32),
        "kinds": {"labels"},
        "epoch": 3,
    }
    files = [pickle.dumps(content, protocol=protocol) for protocol in (0, 2, 4, 5)]
    saved = io.BytesIO()
    torch.save(content, saved)
    return [*files, saved.getvalue()]


def damaged(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield whole files with seeded damage: bytes changed, cut, repeated, moved and inserted."""
    chance = random.Random(seed)  # noqa: S311
    files = whole_files()
    codes = b"(.012FIJKLMNPQRSTUVXabcdehijlopqrstu})]G\x80\x81\x85\x86\x8a\x8b\x8c\x8d\x8e\x93\x94"
    for number in range(count):
        raw = bytearray(chance.choice(files))
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            place = chance.randrange(len(raw))
            length = chance.choice((1, 1, 2, 4, 8, 64))
            way = chance.randrange(6)
            if way == 0:
                raw[place] = chance.randrange(256)
            elif way == 1:
                raw[place] = chance.choice(codes)
            elif way == 2:
                raw[place : place + length] = bytes([255]) * length
            elif way == 3:
                raw[place:place] = raw[place : place + length] * chance.choice((1, 10))
            elif way == 4:
                raw[place : place + length] = b""
            else:
                raw[place:place] = bytes([chance.choice(codes)]) * chance.choice((1, 100))
        if chance.random() < 0.1:
            raw = raw[: chance.randrange(len(raw))]
        yield f"damage {seed}/{number}", bytes(raw)


def _virtual_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(count: int, seed: int) -> None:
    from parafovea.errors import ParafoveaError, describe
    from parafovea.upstream.importing import open_upstream

    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))
    resource.setrlimit(resource.RLIMIT_AS, (_virtual_memory() + ROOM,) * 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.pkl"
        overlapping = zip_of_overlapping_storages(Path(folder)).read_bytes()
        cases = {**CASES, "storages that share bytes": overlapping}
        for what, raw in (*cases.items(), *damaged(count, seed)):
            path.write_bytes(raw)
            try:
                open_upstream(path)
                print(f"{what}: was accepted")
            except MemoryError as error:
                print(f"{what}: took too much memory: {error}")
            except ParafoveaError as error:
                if len(describe(error)) > 1000:
                    print(f"{what}: said {len(describe(error))} characters")
            except Exception as error:
                print(f"{what}: {type(error).__name__}: {error}")
    print("read all")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
