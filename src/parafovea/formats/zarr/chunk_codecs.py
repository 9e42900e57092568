"""Decoding of the chunks of foreign Zarr arrays, bounded and exact.

The codecs of the libraries trust a chunk: they unpack whatever it holds, ignore what follows, and
some read past its end. Here, the metadata of the array say how many bytes a chunk has to give, and
no more than that is unpacked. `CheckedPipeline` does it for all arrays that are opened with it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import zarr
from numcodecs.compat import ensure_contiguous_ndarray
from zarr.abc.codec import ArrayBytesCodec, BytesBytesCodec, Codec
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec
from zarr.codecs._v2 import V2Codec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from parafovea.errors import SourceError
from parafovea.formats.blosc_frames import check_frame
from parafovea.formats.unpacking import LARGEST_PIECE, check_size, unpacked

#: Codecs of numcodecs that unpack, and those that only rearrange, convert or check.
_UNPACKING = ("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd")
_CHECKSUMS = ("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3")
_CONVERTING = ("astype", "delta", "fixedscaleoffset", "quantize")
_KEEPING = ("bitround", "shuffle")
_KNOWN = (*_UNPACKING, *_CHECKSUMS, *_CONVERTING, *_KEEPING, "packbits")

_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}


def decode(codec: Any, data: Any, size: int, *, exact: bool, elements: Sequence[int]) -> Any:
    """Return the content of a chunk by a codec of numcodecs.

    Parameters
    ----------
    codec : numcodecs.abc.Codec
        One of the known ones.
    data : buffer
        All bytes of the chunk.
    size : int
        Number of bytes of the content, or at most that many.
    exact : bool
        Whether `size` is exact.
    elements : sequence of int
        Possible bytes of an element.

    Raises
    ------
    ValueError
        If the chunk does not hold that, or the codec is not a known one.
    """
    name = str(codec.codec_id)
    if name not in _KNOWN:
        raise ValueError(f"the codec {name!r} is not supported")
    raw = memoryview(ensure_contiguous_ndarray(data)).cast("B")
    if name in ("gzip", "zlib", "bz2", "zstd"):
        return unpacked(name, raw, size, exact=exact)
    if name == "lzma":
        return unpacked(name, raw, size, exact=exact, format=codec.format, filters=codec.filters)
    if name in ("blosc", "lz4"):
        # both state the size of their content
        at = 4 if name == "blosc" else 0
        stated = int.from_bytes(raw[at : at + 4], "little")
        if not exact and stated <= size:
            size = stated
        if name == "blosc":
            check_frame(raw, size, shuffle=codec.shuffle, elements=elements)
        elif stated != size:
            raise ValueError(f"it unpacks to {stated} instead of {size} bytes")
    try:
        found = codec.decode(data)
    except (RuntimeError, SystemError) as error:
        raise ValueError(f"its {name} stream is damaged: {error}") from error
    if exact and name in _UNPACKING and len(memoryview(found).cast("B")) != size:
        raise ValueError(f"it unpacks to another size than {size} bytes")
    return found


@dataclass(frozen=True)
class CheckedV2Codec(V2Codec):
    """Compressor and filters of an array of format version 2."""

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        chain = [*(self.filters or ()), *([self.compressor] if self.compressor else ())]
        dtype = chunk_spec.dtype.to_native_dtype()
        # bytes after each step of the writer, and the elements that the next step may have seen
        sizes, elements = [math.prod(chunk_spec.shape) * dtype.itemsize], [dtype.itemsize]
        for step in chain:
            size, element = _encoded(step, sizes[-1], elements[-1])
            sizes.append(size)
            elements.append(element)
        chunk: Any = chunk_bytes.as_array_like()
        if sizes[-1] >= 0 and len(chunk) != sizes[-1]:
            raise ValueError(f"it has {len(chunk)} instead of {sizes[-1]} bytes")
        for step, size, element in reversed([*zip(chain, sizes, elements, strict=False)]):
            exact = size >= 0
            limit = size if exact else LARGEST_PIECE
            seen = (element, dtype.itemsize)
            chunk = await asyncio.to_thread(decode, step, chunk, limit, exact=exact, elements=seen)
        plain = replace(self, filters=None, compressor=None)
        buffer = chunk_spec.prototype.buffer.from_array_like(
            np.frombuffer(memoryview(ensure_contiguous_ndarray(chunk)).cast("B"), np.uint8)
        )
        return await V2Codec._decode_single(plain, buffer, chunk_spec)


def _encoded(codec: Any, size: int, element: int) -> tuple[int, int]:
    """Return the bytes that a codec makes of `size` bytes, -1 if it depends, and of an element."""
    name = str(codec.codec_id)
    if size < 0 or name in _UNPACKING:
        return -1, 1
    if name in _CHECKSUMS:
        return size + 4, 1
    if name == "packbits":
        return -(-size // 8) + 1, 1
    if name in ("delta", "fixedscaleoffset", "quantize"):
        made = np.dtype(codec.astype).itemsize
        return size // np.dtype(codec.dtype).itemsize * made, made
    if name == "astype":
        made = np.dtype(codec.encode_dtype).itemsize
        return size // np.dtype(codec.decode_dtype).itemsize * made, made
    return size, element


@dataclass(frozen=True)
class CheckedBytes(BytesBytesCodec):
    """A codec of bytes of format version 3.

    Parameters
    ----------
    inner : BytesBytesCodec
        The codec that the metadata state.
    added : int or None
        Bytes that the codecs before add to those of the array; None if their number depends.
    """

    inner: BytesBytesCodec
    added: int | None

    is_fixed_size = False

    def evolve_from_array_spec(self, array_spec: Any) -> Self:
        """Return the codec for an array."""
        return replace(self, inner=self.inner.evolve_from_array_spec(array_spec))

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata of the codec."""
        return self.inner.to_dict()

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Return the size after encoding, as the codec does."""
        return int(self.inner.compute_encoded_size(input_byte_length, chunk_spec))

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        if isinstance(self.inner, Crc32cCodec):
            return await self.inner._decode_single(chunk_bytes, chunk_spec)
        codec = _numcodec(self.inner)
        if codec is None:
            raise ValueError(f"the codec {self.inner.to_dict().get('name')!r} is not supported")
        element = chunk_spec.dtype.to_native_dtype().itemsize
        exact = self.added is not None
        size = math.prod(chunk_spec.shape) * element + (self.added or 0)
        elements = [element]
        if isinstance(self.inner, BloscCodec):
            elements.append(self.inner.typesize)
        found = await asyncio.to_thread(
            decode,
            codec,
            chunk_bytes.as_array_like(),
            size if exact else LARGEST_PIECE,
            exact=exact,
            elements=elements,
        )
        raw = np.frombuffer(memoryview(ensure_contiguous_ndarray(found)).cast("B"), np.uint8)
        return chunk_spec.prototype.buffer.from_array_like(raw)

    async def _encode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return await self.inner._encode_single(chunk_bytes, chunk_spec)


def _numcodec(codec: BytesBytesCodec) -> Any:
    """Return the codec of numcodecs that decodes what a codec of Zarr wrote, or None."""
    from numcodecs import Blosc, GZip, Zstd

    if isinstance(codec, GzipCodec):
        return GZip()
    if isinstance(codec, ZstdCodec):
        return Zstd()
    if isinstance(codec, BloscCodec):
        return Blosc(cname=codec.cname.value, shuffle=_SHUFFLES[codec.shuffle.value])
    found = getattr(codec, "_codec", None)
    return found if getattr(found, "codec_id", None) in _KNOWN else None


@dataclass(frozen=True)
class _WholeRanges:
    """A file, or a chunk in a shard, of which a range is read whole or not at all.

    zarr takes what is missing of a shard for chunks that were never written.
    """

    inner: Any

    async def get(self, prototype: Any, byte_range: Any = None) -> Any:
        """Return the bytes of a range; None if there is no such file."""
        found = await self.inner.get(prototype=prototype, byte_range=byte_range)
        if found is None:
            return None
        wanted = 1
        if isinstance(byte_range, RangeByteRequest):
            wanted = byte_range.end - byte_range.start
        elif isinstance(byte_range, SuffixByteRequest):
            wanted = byte_range.suffix
        if len(found) < wanted:
            raise ValueError(f"it ends after {len(found)} of {wanted} bytes of a range")
        return found


class CheckedShardingCodec(ShardingCodec):
    """A shard, of which no part may be missing."""

    async def _decode_partial_single(
        self, byte_getter: Any, selection: Any, shard_spec: Any
    ) -> Any:
        whole: Any = _WholeRanges(byte_getter)
        return await super()._decode_partial_single(whole, selection, shard_spec)


class CheckedPipeline(BatchedCodecPipeline):
    """The pipeline of zarr with codecs that are bounded and exact."""

    @classmethod
    def from_codecs(cls, codecs: Iterable[Codec], *, batch_size: int | None = None) -> Self:
        """Return a pipeline of codecs, each replaced by its checked form."""
        return super().from_codecs(_checked(codecs), batch_size=batch_size)

    def __reduce__(self) -> tuple[Any, ...]:
        # a sharding codec is pickled as its metadata, without the checks
        return type(self).from_codecs, (tuple(self),)


def _checked(codecs: Iterable[Codec]) -> list[Codec]:
    found: list[Codec] = []
    added: int | None = 0
    for codec in codecs:
        if isinstance(codec, ShardingCodec):
            added = None
            found.append(
                CheckedShardingCodec(
                    chunk_shape=codec.chunk_shape,
                    codecs=_checked(codec.codecs),
                    index_codecs=codec.index_codecs,
                    index_location=codec.index_location,
                )
            )
        elif isinstance(codec, V2Codec):
            found.append(CheckedV2Codec(codec.filters, codec.compressor))
        elif isinstance(codec, CheckedBytes):
            found.append(codec)
        elif isinstance(codec, BytesBytesCodec):
            found.append(CheckedBytes(codec, added))
            more = _adds(codec)
            added = None if added is None or more is None else added + more
        else:
            if isinstance(codec, ArrayBytesCodec) and not isinstance(codec, BytesCodec):
                added = None
            found.append(codec)
    return found


def _adds(codec: BytesBytesCodec) -> int | None:
    """Return the bytes that a codec adds, or None if that depends on the chunk."""
    if isinstance(codec, Crc32cCodec):
        return 4
    name = getattr(_numcodec(codec), "codec_id", None)
    return 4 if name in _CHECKSUMS else 0 if name in _KEEPING else None


PIPELINE = f"{__name__}.{CheckedPipeline.__name__}"
register_pipeline(CheckedPipeline)


def check_codecs(path: str, array: zarr.Array[Any]) -> None:
    """Raise `SourceError` if a chunk of an array is too large, or packed in an unknown way.

    Parameters
    ----------
    path : str
        Used in the error message.
    array : zarr.Array
        The array; nothing of it is read.
    """
    dtype = np.dtype(array.dtype)
    size = math.prod(array.chunks) * dtype.itemsize
    check_size(path, size, f"each chunk {tuple(array.chunks)} of {dtype}")
    metadata: Any = array.metadata
    if metadata.zarr_format == 2:
        stated = [*(metadata.filters or ()), *filter(None, [metadata.compressor])]
        names = [str(codec.codec_id) for codec in stated if codec.codec_id not in _KNOWN]
    else:
        names = [
            str(codec.inner.to_dict().get("name"))
            for codec in _flat(_checked(metadata.codecs))
            if isinstance(codec, CheckedBytes)
            and not isinstance(codec.inner, Crc32cCodec)
            and _numcodec(codec.inner) is None
        ]
    if names:
        raise SourceError(
            f"{path} is stored by the codec {names[0]!r}, which is not supported: write it again "
            "with blosc, zstd, gzip or without compression"
        )


def _flat(codecs: Iterable[Codec]) -> Iterable[Codec]:
    for codec in codecs:
        yield codec
        if isinstance(codec, ShardingCodec):
            yield from _flat(codec.codecs)
