"""Sources for the fuzz run: those of each format, and further encodings of them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import SimpleITK
import tifffile
import zarr
from dicom_slices import write_series
from format_samples import BANDS, SPACING, WRITERS, FormatSample, voxels
from n5_files import write_dataset
from numcodecs import Blosc
from PIL import Image
from pydicom import dcmread
from pydicom.uid import RLELossless
from tile_files import field, write_npz

Writer = Callable[[Path], FormatSample]


def _stack(name: str, **words: Any) -> Writer:
    def write(folder: Path) -> FormatSample:
        words.setdefault("photometric", "minisblack")
        tifffile.imwrite(folder / name, voxels(), **words)
        return FormatSample(str(folder / name))

    return write


def _palette(folder: Path) -> FormatSample:
    table = np.random.default_rng(1).integers(0, 2**16, (3, 256), np.uint16)
    tifffile.imwrite(folder / "p.tif", voxels() % 4, photometric="palette", colormap=table)
    return FormatSample(str(folder / "p.tif"), labels=True)


def _zarr_2(folder: Path) -> FormatSample:
    blosc = Blosc("lz4", shuffle=Blosc.BITSHUFFLE)
    path, chunks = folder / "a.zarr", (2, 8, 8)
    zarr.create_array(path, data=voxels(), zarr_format=2, chunks=chunks, compressors=blosc)
    return FormatSample(str(path))


def _zarr_shards(folder: Path) -> FormatSample:
    path = folder / "a.zarr"
    zarr.create_array(path, data=voxels(), chunks=(2, 8, 8), shards=(4, 16, 16))
    return FormatSample(str(path))


def _hdf5_chunks(**filters: Any) -> Writer:
    def write(folder: Path) -> FormatSample:
        with h5py.File(folder / "file.h5", "w") as file:
            file.create_dataset("group/raw", data=voxels(), chunks=(2, 8, 8), **filters)
        return FormatSample(f"{folder}/file.h5:group/raw")

    return write


def _tiff_webp(folder: Path) -> FormatSample:
    colours = np.stack([voxels()] * 3, -1)
    tifffile.imwrite(folder / "a.tif", colours, photometric="rgb", compression="webp")
    return FormatSample(str(folder / "a.tif"), f"{SPACING} channel=1")


def _nifti_plain(folder: Path) -> FormatSample:
    image = nibabel.Nifti1Image(voxels().astype(np.int16).T, np.diag([1, 1, 4, 1]))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a comment"))
    nibabel.save(image, folder / "scan.nii")
    return FormatSample(str(folder / "scan.nii"), "")


def _nifti_2(folder: Path) -> FormatSample:
    nibabel.save(nibabel.Nifti2Image(voxels().T, np.diag([1, 1, 4, 1])), folder / "scan.nii")
    return FormatSample(str(folder / "scan.nii"), "")


def _dicom_rle(folder: Path) -> FormatSample:
    for file in write_series(folder / "series", voxels().astype(np.int16)):
        dataset = dcmread(file)
        dataset.compress(RLELossless)
        dataset.save_as(file)
    return FormatSample(str(folder / "series"), "")


def _itk_compressed(name: str) -> Writer:
    def write(folder: Path) -> FormatSample:
        image = SimpleITK.GetImageFromArray(voxels())
        SimpleITK.WriteImage(image, folder / name, useCompression=True)
        return FormatSample(str(folder / name), "")

    return write


def _npz_deflated(folder: Path) -> FormatSample:
    place = {"crs": "EPSG:32633", "transform": [10, 0, 500000, 0, -10, 5000000]}
    for name in "ab":
        np.savez_compressed(folder / f"{name}.npz", opt_v1=field())
        text = json.dumps({"month": 6, "biome_code": 4, "date": "2020-06-01", **place})
        (folder / f"{name}.json").write_text(text)
    return FormatSample(str(folder), "", BANDS)


def _n5_levels(folder: Path) -> FormatSample:
    path = folder / "a.n5"
    for number, spacing in enumerate(([4, 1, 1], [4, 2, 2])):
        step = number + 1
        transform = {"axes": ["z", "y", "x"], "scale": spacing, "units": ["mm"] * 3}
        write_dataset(path / f"s{number}", voxels()[:, ::step, ::step], transform=transform)
    (path / "attributes.json").write_text('{"axes": ["x", "y", "z"]}')
    return FormatSample(str(path), "")


def _compressed_labels(values: np.ndarray) -> bytes:
    """Return labels (z, y, x) as one block with an index of 8 bits for each voxel."""
    table, indices = np.unique(values, return_inverse=True)
    words = [1, 2 + values.size // 4 | 8 << 24, 2]
    return b"".join(
        (
            np.array(words, "<u4").tobytes(),
            indices.astype(np.uint8).tobytes(),
            table.astype("<u4").tobytes(),
        )
    )


def _precomputed_shard(folder: Path) -> FormatSample:
    """Write one shard with one chunk of compressed labels."""
    values = voxels()
    data = gzip.compress(_compressed_labels(values))
    index = np.array([0, 0, len(data)], "<u8").tobytes()
    place = np.array([len(data), len(data) + len(index)], "<u8").tobytes()
    scale = {
        "key": "a",
        "size": values.shape[::-1],
        "resolution": [1e6, 1e6, 4e6],
        "chunk_sizes": [values.shape[::-1]],
        "encoding": "compressed_segmentation",
        "compressed_segmentation_block_size": values.shape[::-1],
        "sharding": {
            "@type": "neuroglancer_uint64_sharded_v1",
            "preshift_bits": 0,
            "hash": "identity",
            "minishard_bits": 0,
            "shard_bits": 0,
            "data_encoding": "gzip",
        },
    }
    facts = {"type": "segmentation", "data_type": "uint32", "num_channels": 1, "scales": [scale]}
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "0.shard").write_bytes(place + data + index)
    (folder / "info").write_text(json.dumps(facts))
    return FormatSample(str(folder), "")


def _metadata(suffix: str, text: str) -> Writer:
    def write(folder: Path) -> FormatSample:
        tifffile.imwrite(folder / "stack.tif", voxels(), photometric="minisblack")
        (folder / f"about{suffix}").write_text(text)
        return FormatSample(str(folder / "stack.tif"), str(folder / f"about{suffix}"))

    return write


def _png_deep(folder: Path) -> FormatSample:
    Image.fromarray(voxels()[0].astype(np.uint16) * 200).save(folder / "plane.png")
    return FormatSample(str(folder / "plane.png"))


def _class_tiles(folder: Path) -> FormatSample:
    for name in "ab":
        write_npz(folder, name, classes=voxels()[0] % 4)
    return FormatSample(str(folder), SPACING)


_SAID = {"spacing": [4, 1, 1], "unit": "millimeter", "origin": [0, 0, 0]}

#: What writes a source into an empty folder, by name.
FUZZED: dict[str, Writer] = {
    **WRITERS,
    "tiff_deflate": _stack("a.tif", compression="zlib", predictor=True, rowsperstrip=4),
    "tiff_lzw_tiles": _stack("a.tif", compression="lzw", tile=(16, 16)),
    "tiff_jpeg": _stack("a.tif", compression="jpeg"),
    "tiff_zstd": _stack("a.tif", compression="zstd"),
    "tiff_jpegxl": _stack("a.tif", compression="jpegxl"),
    "tiff_jpegxr": _stack("a.tif", compression="jpegxr"),
    "tiff_jpeg2000": _stack("a.tif", compression="jpeg2000"),
    "tiff_lerc": _stack("a.tif", compression="lerc"),
    "tiff_webp": _tiff_webp,
    "tiff_lzma": _stack("a.tif", compression="lzma"),
    "tiff_big": _stack("a.tif", bigtiff=True, compression="packbits"),
    "tiff_ome": _stack("a.ome.tif", metadata={"axes": "ZYX", "PhysicalSizeX": 1.0}),
    "tiff_imagej": _stack(
        "a.tif", imagej=True, photometric=None, metadata={"axes": "ZYX", "spacing": 4.0}
    ),
    "tiff_palette": _palette,
    "zarr_2": _zarr_2,
    "zarr_shards": _zarr_shards,
    "n5_levels": _n5_levels,
    "precomputed_shard": _precomputed_shard,
    "hdf5_chunks": _hdf5_chunks(compression="gzip", shuffle=True, fletcher32=True),
    "hdf5_szip": _hdf5_chunks(compression="szip"),
    "hdf5_scale_offset": _hdf5_chunks(scaleoffset=0),
    "nifti_plain": _nifti_plain,
    "nifti_2": _nifti_2,
    "dicom_rle": _dicom_rle,
    "nrrd_gzip": _itk_compressed("scan.nrrd"),
    "metaimage_zlib": _itk_compressed("scan.mha"),
    "npz_deflated": _npz_deflated,
    "class_tiles": _class_tiles,
    "png_deep": _png_deep,
    "metadata_json": _metadata(".json", json.dumps(_SAID)),
    "metadata_yaml": _metadata(".yaml", "spacing: [4, 1, 1]\nunit: millimeter\n"),
}

#: Ranges of bytes, from and to.
Ranges = list[tuple[int, int]]


def _whole(_: Path, data: bytes) -> Ranges:
    return [(0, len(data))]


def _after(mark: bytes) -> Callable[[Path, bytes], Ranges]:
    return lambda _, data: [(data.index(mark) + len(mark), len(data))]


def _members(path: Path, data: bytes) -> Ranges:
    """Return where the contents of the members of an archive are."""
    if not zipfile.is_zipfile(path):
        return []
    found = []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            start = info.header_offset
            lengths = (
                int.from_bytes(data[start + at : start + at + 2], "little") for at in (26, 28)
            )
            start += 30 + sum(lengths)
            found.append((start, start + info.compress_size))
    return found


def _hdf5_ranges(_: Path, data: bytes) -> Ranges:
    with h5py.File(io.BytesIO(data), "r") as file:
        dataset = file["group/raw"].id
        infos = [dataset.get_chunk_info(k) for k in range(dataset.get_num_chunks())]
    return [(info.byte_offset, info.byte_offset + info.size) for info in infos]


def _strips(_: Path, data: bytes) -> Ranges:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return [
            (start, start + size)
            for page in file.pages
            for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]


def _shards(path: Path, data: bytes) -> Ranges:
    return [(0, len(data))] if path.name != "zarr.json" else []


#: Bytes of a file that a checksum of its format covers, by the name of the format. Whatever happens
#: to them, the file gives the same voxels or none.
COVERED: dict[str, Callable[[Path, bytes], Ranges]] = {
    "ome_zarr": _shards,
    "png": _whole,
    "png_deep": _whole,
    "png_slices": _whole,
    "nifti": _whole,
    "dicom_zip": _members,
    "nrrd_gzip": _after(b"\n\n"),
    "metaimage_zlib": _after(b"ElementDataFile = LOCAL\n"),
    "hdf5_chunks": _hdf5_ranges,
    "npz_tiles": _members,
    "npz_deflated": _members,
    "class_tiles": _members,
    "tiff_deflate": _strips,
    "tiff_lzma": _strips,
}
