"""One small source of each format, for tests that go over all of them."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
import SimpleITK
import tifffile
import zarr
from dicom_slices import write_series
from PIL import Image
from tile_files import field, write_npz, write_tif

from parafovea.geometry.grid import Grid
from parafovea.storage.store import create

SHAPE = (4, 16, 16)
BANDS = ("B02", "B03", "B04", "B08")

#: What the sheet says of a file that does not state how large its voxels are.
SPACING = "spacing=4,1,1 unit=millimeter"


@dataclass(frozen=True)
class FormatSample:
    """A source of one format.

    Parameters
    ----------
    path : str
        As in the sheet.
    metadata : str
        As in the sheet.
    bands : tuple of str
        Bands that are read of it; none of a volume.
    labels : bool
        Whether its voxels are class indices.
    """

    path: str
    metadata: str = SPACING
    bands: tuple[str, ...] = ()
    labels: bool = False


def voxels(seed: int = 0) -> np.ndarray:
    """Return the voxels of a volume, (z, y, x) uint8."""
    return np.random.default_rng(seed).integers(1, 255, SHAPE, np.uint8)


def _ome_zarr(folder: Path) -> FormatSample:
    path = folder / "image.ome.zarr"
    grid = Grid(SHAPE, (4, 1, 1), unit="millimeter")
    with create(path, grid, dtype=np.uint8, attributes={}) as store:
        store[...] = voxels()
    return FormatSample(str(path), "")


def _zarr(folder: Path) -> FormatSample:
    zarr.create_array(folder / "array.zarr", data=voxels())
    return FormatSample(str(folder / "array.zarr"))


def _n5(folder: Path) -> FormatSample:
    path = folder / "image.n5"
    image = voxels()
    facts = {
        "dimensions": SHAPE[::-1],
        "blockSize": [16, 8, 4],
        "dataType": "uint8",
        "compression": {"type": "gzip"},
    }
    for row in (0, 1):
        block = image[:, 8 * row : 8 * row + 8]
        header = struct.pack(">HHIII", 0, 3, *block.shape[::-1])
        (path / "0" / str(row)).mkdir(parents=True)
        (path / "0" / str(row) / "0").write_bytes(header + gzip.compress(block.tobytes()))
    (path / "attributes.json").write_text(json.dumps(facts))
    return FormatSample(str(path))


def _precomputed(folder: Path) -> FormatSample:
    path = folder / "image"
    image = voxels()
    scale = {
        "key": "4_1_1",
        "size": SHAPE[::-1],
        "resolution": [1e6, 1e6, 4e6],
        "voxel_offset": [0, 0, 0],
        "chunk_sizes": [[16, 8, 4]],
        "encoding": "raw",
    }
    (path / "4_1_1").mkdir(parents=True)
    for start in (0, 8):
        block = image[:, start : start + 8]
        (path / "4_1_1" / f"0-16_{start}-{start + 8}_0-4").write_bytes(block.tobytes())
    facts = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}
    (path / "info").write_text(json.dumps(facts))
    return FormatSample(str(path), "")


def _tiff(folder: Path) -> FormatSample:
    tifffile.imwrite(folder / "stack.tif", voxels(), photometric="minisblack")
    return FormatSample(str(folder / "stack.tif"))


def _tiff_slices(folder: Path) -> FormatSample:
    for number, plane in enumerate(voxels()):
        tifffile.imwrite(folder / f"{number}.tif", plane)
    return FormatSample(str(folder))


def _png_slices(folder: Path) -> FormatSample:
    for number, plane in enumerate(voxels()):
        Image.fromarray(plane).save(folder / f"{number}.png")
    return FormatSample(f"{folder}/*.png")


def _png(folder: Path) -> FormatSample:
    Image.fromarray(voxels()[0]).save(folder / "plane.png")
    return FormatSample(str(folder / "plane.png"))


def _nifti(folder: Path) -> FormatSample:
    image = nibabel.Nifti1Image(voxels().T, np.diag([1, 1, 4, 1]))
    nibabel.save(image, folder / "scan.nii.gz")
    return FormatSample(str(folder / "scan.nii.gz"), "")


def _dicom(folder: Path) -> FormatSample:
    write_series(folder / "series", voxels().astype(np.int16))
    return FormatSample(str(folder / "series"), "")


def _dicom_zip(folder: Path) -> FormatSample:
    write_series(folder / "series", voxels().astype(np.int16))
    return FormatSample(shutil.make_archive(str(folder / "series"), "zip", folder / "series"), "")


def _itk(name: str) -> Callable[[Path], FormatSample]:
    def write(folder: Path) -> FormatSample:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels()), folder / name)
        return FormatSample(str(folder / name), "")

    return write


def _hdf5(folder: Path) -> FormatSample:
    with h5py.File(folder / "file.h5", "w") as file:
        file["raw"] = voxels()
    return FormatSample(f"{folder}/file.h5:raw")


def _npz_tiles(folder: Path) -> FormatSample:
    for name in "ab":
        write_npz(folder, name, opt_v1=field())
    return FormatSample(str(folder), "", BANDS)


def _geotiff_tiles(folder: Path) -> FormatSample:
    for name in "ab":
        write_tif(folder, field(), name)
    return FormatSample(str(folder), "", BANDS)


def _mosaic(folder: Path) -> FormatSample:
    file = write_tif(folder, field(), "mosaic")
    return FormatSample(str(file.path), "", BANDS)


#: What writes a source of each format into an empty folder.
WRITERS: dict[str, Callable[[Path], FormatSample]] = {
    "ome_zarr": _ome_zarr,
    "zarr": _zarr,
    "n5": _n5,
    "precomputed": _precomputed,
    "tiff": _tiff,
    "tiff_slices": _tiff_slices,
    "png_slices": _png_slices,
    "png": _png,
    "nifti": _nifti,
    "dicom": _dicom,
    "dicom_zip": _dicom_zip,
    "nrrd": _itk("scan.nrrd"),
    "nhdr": _itk("scan.nhdr"),
    "metaimage": _itk("scan.mha"),
    "hdf5": _hdf5,
    "npz_tiles": _npz_tiles,
    "geotiff_tiles": _geotiff_tiles,
    "mosaic": _mosaic,
}
