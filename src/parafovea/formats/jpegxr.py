"""JPEG XR images, decoded in a process of their own.

The only decoder there is, jxrlib, is no longer kept, and ends the program at some damaged images.
Run as a program, this file decodes what it is sent until its input ends; it imports nothing of the
package, so that it starts fast.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import subprocess
import sys
import threading
from typing import IO, Any

import numpy as np

#: Bytes of the length that is sent before an image, an array or a message, and of what it is.
_LENGTH = 8
_ARRAY, _MESSAGE = b"a", b"m"


def decode_jpegxr(data: bytes) -> np.ndarray[Any, Any]:
    """Return the pixels of a JPEG XR image.

    Parameters
    ----------
    data : bytes
        The image, of a size that was checked.

    Returns
    -------
    ndarray
        (y, x) or (y, x, sample).

    Raises
    ------
    ValueError
        If the image is damaged.
    """
    return _DECODER.decode(data)


class _Decoder:
    """The process that decodes, started when it is needed; a fork of this one starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def decode(self, data: bytes) -> np.ndarray[Any, Any]:
        with self._lock:
            process = self._running()
            try:
                _send(process.stdin, data)
                kind, found = _received(process.stdout)
            except (BrokenPipeError, EOFError) as error:
                status = process.wait()
                self.close()
                raise ValueError(
                    f"its JPEG XR image is damaged: the decoder ended with {status}"
                ) from error
        if kind == _MESSAGE:
            raise ValueError(f"its JPEG XR image is damaged: {found.decode()}")
        array: np.ndarray[Any, Any] = np.load(io.BytesIO(found), allow_pickle=False)
        return array

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid():
            # without this folder among those that it imports from
            command = [sys.executable, "-P", __file__]
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self._owner = os.getpid()
        return self._process

    def close(self) -> None:
        """End the process, if it is one of this process."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            process.wait()


_DECODER = _Decoder()
atexit.register(_DECODER.close)


def _send(pipe: IO[bytes] | None, data: bytes, kind: bytes = b"") -> None:
    assert pipe is not None  # noqa: S101  (it was asked for)
    pipe.write(kind + len(data).to_bytes(_LENGTH, "big"))
    pipe.write(data)
    pipe.flush()


def _received(pipe: IO[bytes] | None) -> tuple[bytes, bytes]:
    assert pipe is not None  # noqa: S101  (it was asked for)
    head = pipe.read(1 + _LENGTH)
    data = pipe.read(int.from_bytes(head[1:], "big")) if len(head) > _LENGTH else b""
    if len(head) <= _LENGTH or len(data) < int.from_bytes(head[1:], "big"):
        raise EOFError
    return head[:1], data


def _serve() -> None:
    import imagecodecs

    source, target = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(_LENGTH)) == _LENGTH:
        data = source.read(int.from_bytes(head, "big"))
        try:
            stream = io.BytesIO()
            np.save(stream, imagecodecs.jpegxr_decode(data), allow_pickle=False)
        except (RuntimeError, ValueError, MemoryError) as error:
            _send(target, str(error)[:200].encode(), _MESSAGE)
        else:
            _send(target, stream.getvalue(), _ARRAY)


if __name__ == "__main__":
    _serve()
