"""Channels of a volume: of one file, by name or by order, and of one file a channel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imageio.v3 as iio
import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
import zarr
from remote_server import serving

from parafovea.errors import ConfigError, MissingSourceError, SourceError
from parafovea.formats.channel_files import channel_files, with_paths
from parafovea.formats.channels import input_grid, open_channels, open_input
from parafovea.formats.location import source_files
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.source import Source

NAMES = ("T1", "FLAIR", "T2")
VALUES = np.random.default_rng(0).integers(0, 4000, (3, 5, 6, 7)).astype(np.int16)
SPACING = (3.0, 0.5, 0.75)
SAID = "spacing=3,0.5,0.75 unit=millimeter"


def _nifti(path: Path, values: np.ndarray[Any, Any]) -> None:
    image = nibabel.Nifti1Image(values, np.diag([*SPACING[::-1], 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


def nifti(folder: Path) -> Path:
    """Write the channels along the fourth axis."""
    _nifti(folder / "a.nii.gz", VALUES.T)
    return folder / "a.nii.gz"


def nifti_vectors(folder: Path) -> Path:
    """Write the channels as the vector of each voxel, along the fifth axis."""
    return itk(folder, "a.nii")


def itk(folder: Path, name: str) -> Path:
    """Write the channels as the vector of each voxel by ITK."""
    image = SimpleITK.GetImageFromArray(np.moveaxis(VALUES, 0, -1), isVector=True)
    image.SetSpacing(SPACING[::-1])
    SimpleITK.WriteImage(image, folder / name)
    return folder / name


def nrrd(folder: Path) -> Path:
    """Write an NRRD whose first axis is that of the channels."""
    return itk(folder, "a.nrrd")


def metaimage(folder: Path) -> Path:
    """Write a MetaImage of several values per voxel."""
    return itk(folder, "a.mha")


def ome_tiff(folder: Path) -> Path:
    """Write an OME-TIFF, which names its channels, in another order than the model."""
    tifffile.imwrite(
        folder / "a.ome.tif",
        VALUES[[1, 2, 0]].swapaxes(0, 1),
        metadata={
            "axes": "ZCYX",
            "Channel": {"Name": ["FLAIR", "T2", "t1"]},
            **{f"PhysicalSize{a}": s for a, s in zip("ZYX", SPACING, strict=True)},
            **{f"PhysicalSize{a}Unit": "mm" for a in "ZYX"},
        },
    )
    return folder / "a.ome.tif"


def imagej(folder: Path) -> Path:
    """Write a hyperstack of ImageJ."""
    path = folder / "a.tif"
    tifffile.imwrite(
        path, VALUES.swapaxes(0, 1).astype(np.uint16), imagej=True, metadata={"axes": "ZCYX"}
    )
    return path


def hdf5(folder: Path) -> str:
    """Write a dataset whose dimensions are labelled."""
    with h5py.File(folder / "a.h5", "w") as file:
        dataset = file.create_dataset("raw", data=np.moveaxis(VALUES, 0, -1))
        for dimension, label in zip(dataset.dims, ("z", "y", "x", "channel"), strict=True):
            dimension.label = label
    return f"{folder / 'a.h5'}:raw"


def plain_zarr(folder: Path) -> Path:
    """Write an array whose attributes name its axes."""
    array = zarr.create_array(folder / "a.zarr", data=VALUES, zarr_format=2)
    array.attrs["_ARRAY_DIMENSIONS"] = ["c", "z", "y", "x"]
    return folder / "a.zarr"


def ome_zarr(folder: Path, *, version: str = "0.5", labels: tuple[str, ...] = NAMES) -> Path:
    """Write an OME-Zarr image with labels of its channels."""
    path = folder / f"a_{version}.ome.zarr"
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    group.create_array("0", data=VALUES)
    space = {"type": "space", "unit": "millimeter"}
    scale = {"type": "scale", "scale": [1.0, *SPACING]}
    image = {
        "axes": [{"name": "c", "type": "channel"}, *({"name": a, **space} for a in "zyx")],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
    omero = {"channels": [{"label": label, "color": "FFFFFF"} for label in labels]}
    if version == "0.5":
        group.attrs["ome"] = {"version": version, "multiscales": [image], "omero": omero}
    else:
        group.attrs.put({"multiscales": [{"version": version, **image}], "omero": omero})
    return path


def old_ome_zarr(folder: Path) -> Path:
    """Write an OME-Zarr image of version 0.4."""
    return ome_zarr(folder, version="0.4")


def colour_slices(folder: Path) -> Path:
    """Write a folder of colour images, one a plane."""
    (folder / "slices").mkdir()
    for number, plane in enumerate((VALUES % 256).astype(np.uint8).swapaxes(0, 1)):
        iio.imwrite(folder / f"slices/{number}.png", np.moveaxis(plane, 0, -1))
    return folder / "slices"


def one_file_each(folder: Path) -> str:
    """Write three NIfTI files."""
    for name, values in zip(NAMES, VALUES, strict=True):
        _nifti(folder / f"{name}.nii.gz", values.T)
    return ";".join(str(folder / f"{name}.nii.gz") for name in NAMES)


def named_files(folder: Path) -> str:
    """Name three files of several formats, in another order than the model."""
    one_file_each(folder)
    image = SimpleITK.GetImageFromArray(VALUES[2])
    image.SetSpacing(SPACING[::-1])
    image.SetDirection(np.diag([-1.0, -1.0, 1.0]).ravel())  # RAS, as the others
    SimpleITK.WriteImage(image, folder / "T2.mha")
    return f"T2={folder}/T2.mha; FLAIR = {folder}/FLAIR.nii.gz;T1={folder}/T1.nii.gz"


FORMS = (
    *(nifti, nifti_vectors, nrrd, metaimage, ome_tiff, imagej, hdf5, plain_zarr),
    *(ome_zarr, old_ome_zarr, colour_slices, one_file_each, named_files),
)


def read(source: Source) -> np.ndarray[Any, Any]:
    """Return all voxels."""
    return source.read(source.grid.box)


@pytest.mark.parametrize("write", FORMS)
def test_the_channels_of_every_format_are_those_that_were_written(
    tmp_path: Path, write: Callable[[Path], Path | str]
) -> None:
    path = str(write(tmp_path))
    found = open_channels(path, NAMES, metadata=parse_metadata(SAID, folder=tmp_path))
    assert tuple(channel.name for channel in found) == NAMES
    wanted = VALUES % 256 if write is colour_slices else VALUES
    np.testing.assert_array_equal([read(channel.source) for channel in found], wanted)
    assert {channel.source.grid for channel in found} == {found[0].source.grid}
    assert found[0].source.grid.spacing == pytest.approx(SPACING)
    said = parse_metadata(SAID, folder=tmp_path)
    assert input_grid(path, channels=NAMES, metadata=said) == found[0].source.grid


def test_some_channels_of_a_file_are_taken_by_their_names(tmp_path: Path) -> None:
    found = open_channels(str(ome_zarr(tmp_path)), ("T2", "T1"))
    np.testing.assert_array_equal([read(each.source) for each in found], VALUES[[2, 0]])


def test_the_user_names_the_channels_of_a_file_that_does_not(tmp_path: Path) -> None:
    said = parse_metadata("bands=t1,flair,t2", folder=tmp_path)
    found = open_channels(str(nifti(tmp_path)), ("FLAIR",), metadata=said)
    np.testing.assert_array_equal(read(found[0].source), VALUES[1])


def test_channels_of_other_names_count_by_their_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(ome_zarr(tmp_path, labels=("T1w", "FLAIR", "T2w")))
    found = open_channels(path, NAMES)
    assert "T1w, FLAIR, T2w, which are taken by their order as T1, FLAIR, T2" in caplog.text
    np.testing.assert_array_equal([read(each.source) for each in found], VALUES)


@pytest.mark.parametrize(
    ("names", "said", "message"),
    [
        (("T1", "PD"), "", r"has 3 channels \(T1, FLAIR, T2\), .* takes 2 \(T1, PD\): .*bands="),
        (NAMES, "bands=T1,T2", "has 3 channels, but bands=T1,T2 names 2"),
        (NAMES, "bands=T1,T2,PD", r"has 3 channels \(T1, T2, PD\), but the model takes 3"),
        (NAMES, "channel=1", "channel=1 chooses one channel, but the model takes T1, FLAIR, T2"),
    ],
)
def test_channels_that_a_file_lacks_are_named(
    tmp_path: Path, names: tuple[str, ...], said: str, message: str
) -> None:
    metadata = parse_metadata(said, folder=tmp_path)
    with pytest.raises((SourceError, ConfigError), match=message):
        open_channels(str(ome_zarr(tmp_path)), names, metadata=metadata)


def test_names_of_a_file_reach_no_terminal_unchanged(tmp_path: Path) -> None:
    path = str(ome_zarr(tmp_path, labels=("T1", "\x1b[31mFLAIR", "T2")))
    with pytest.raises(SourceError) as raised:
        open_channels(path, ("PD",))
    assert "\x1b" not in str(raised.value)


def test_an_order_that_a_name_contradicts_is_an_error(tmp_path: Path) -> None:
    path = str(ome_zarr(tmp_path, labels=("FLAIR", "T1w", "T2")))
    with pytest.raises(SourceError, match=r"3 channels \(FLAIR, T1w, T2\), but the model takes 3"):
        open_channels(path, NAMES)


def test_a_file_of_several_channels_is_not_the_file_of_one(tmp_path: Path) -> None:
    path = f"{nifti(tmp_path)};{nifti(tmp_path)};{nifti(tmp_path)}"
    with pytest.raises(SourceError, match="has 3 channels, but is named as the file of the"):
        open_channels(path, NAMES)


def test_a_position_that_one_file_alone_states_is_an_error(tmp_path: Path) -> None:
    _nifti(tmp_path / "a.nii", VALUES[0].T)
    tifffile.imwrite(tmp_path / "b.tif", VALUES[1], photometric="minisblack")
    path = f"{tmp_path}/a.nii;{tmp_path}/b.tif"
    with pytest.raises(SourceError, match=r"but .*b.tif states no position in the patient"):
        open_channels(path, NAMES[:2], metadata=parse_metadata(SAID, folder=tmp_path))


def test_several_files_are_no_volume_of_one_channel(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="names 3 files, one a channel"):
        open_input(one_file_each(tmp_path))


def test_a_section_of_two_stains_has_one_plane(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 1}
    path = tmp_path / "section.ome.tif"
    tifffile.imwrite(path, VALUES[:2, 0], metadata={**metadata, "Channel": {"Name": ["H", "E"]}})
    found = open_channels(str(path), ("E", "H"))
    np.testing.assert_array_equal([read(each.source)[0] for each in found], VALUES[[1, 0], 0])


def test_channels_at_addresses_are_read_and_their_metadata_are_files_of_the_source(
    tmp_path: Path,
) -> None:
    for number in range(2):
        group = zarr.create_group(tmp_path / f"{number}.zarr", zarr_format=3)
        group.create_array("0", data=VALUES[number])
        scale = {"type": "scale", "scale": [*SPACING]}
        axes = [{"name": a, "type": "space", "unit": "millimeter"} for a in "zyx"]
        datasets = [{"path": "0", "coordinateTransformations": [scale]}]
        image = {"axes": axes, "datasets": datasets}
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    with serving(tmp_path) as server:
        path = f"T1={server.url}/0.zarr;FLAIR={server.url}/1.zarr"
        found = open_channels(path, NAMES[:2])
        np.testing.assert_array_equal([read(each.source) for each in found], VALUES[:2])
        files = source_files(path)
    assert len(files) == len({*files}) >= 4


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = one_file_each(tmp_path)
    (tmp_path / "FLAIR.nii.gz").unlink()
    with pytest.raises(MissingSourceError, match=r"/FLAIR.nii.gz does not exist"):
        open_channels(path, NAMES)


def test_what_exists_is_one_file_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=1").mkdir()
    for name in ("a;b.tif", "x=1/a.nii"):
        (tmp_path / name).touch()
    assert [each.path for each in channel_files("a;b.tif")] == ["a;b.tif"]
    assert [(each.name, each.path) for each in channel_files("x=1/a.nii; T2 = b.nii")] == [
        ("", "x=1/a.nii"),
        ("T2", "b.nii"),
    ]


def test_many_long_paths_are_no_error() -> None:
    paths = [f"{'folder' * 40}/{number}.nii" for number in range(30)]
    assert [each.path for each in channel_files(";".join(paths))] == paths


def test_each_path_is_changed_by_itself() -> None:
    assert with_paths("a;T2= b", str.upper) == "A;T2=B"
    assert with_paths("a", str.upper) == "A"


@pytest.mark.parametrize(
    ("step", "unit", "series"),
    [(2.0, "sec", True), (1.0, "sec", False), (0.0, "sec", False), (1.0, "msec", True)],
)
def test_a_fourth_axis_of_time_is_told_by_its_steps(
    tmp_path: Path, step: float, unit: str, series: bool
) -> None:
    image = nibabel.Nifti1Image(VALUES.T, np.diag([*SPACING[::-1], 1.0]))
    image.header.set_xyzt_units("mm", unit)
    image.header["pixdim"][4] = step
    nibabel.save(image, tmp_path / "a.nii")
    if series:
        with pytest.raises(SourceError, match="is a time series by its header"):
            open_channels(str(tmp_path / "a.nii"), NAMES)
    else:
        assert len(open_channels(str(tmp_path / "a.nii"), NAMES)) == 3
