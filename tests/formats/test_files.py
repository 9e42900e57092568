import os
from pathlib import Path

import pytest

from parafovea.errors import MissingSourceError, SourceError
from parafovea.formats.location import locate, source_files, stem


def _touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_a_folder_stands_for_itself_and_its_slices_are_in_order(tmp_path):
    _touch(tmp_path / "raw", "10.tif", "9.TIF", "1.tiff", ".hidden.tif", "notes.txt")
    source = str(tmp_path / "raw")
    assert source_files(source) == [source]
    assert [Path(s).name for s in locate(source).slices] == ["1.tiff", "9.TIF", "10.tif"]


def test_a_pattern_stands_for_the_files_that_it_selects(tmp_path):
    _touch(tmp_path, *(f"{n:02}.tif" for n in range(9)))
    files = source_files(f"{tmp_path}/0[0-6].tif")
    assert files == [f"{tmp_path}/{n:02}.tif" for n in range(7)]


def test_a_dataset_stands_for_its_file(tmp_path):
    _touch(tmp_path, "a.h5")
    assert source_files(f"{tmp_path}/a.h5:volumes/raw") == [f"{tmp_path}/a.h5"]
    assert locate(f"{tmp_path}/a.h5:/volumes/raw").dataset == "volumes/raw"
    assert locate(f"{tmp_path}/a.h5").dataset == ""


def test_relative_paths_stay_relative(tmp_path, monkeypatch):
    _touch(tmp_path / "raw", "1.png")
    monkeypatch.chdir(tmp_path)
    assert source_files("raw") == ["raw"]
    assert source_files("raw/*.png") == ["raw/1.png"]


def test_a_name_with_brackets_is_a_file_where_there_is_one(tmp_path):
    _touch(tmp_path, "a[1].tif")
    assert locate(f"{tmp_path}/a[1].tif").format == "tiff"


@pytest.mark.parametrize("name", ["a.tif", "a.nii.gz", "a.h5:raw", "a.zarr", "*.tif", ""])
def test_what_is_not_there_is_a_missing_source(tmp_path, name):
    with pytest.raises(MissingSourceError):
        source_files(f"{tmp_path}/{name}" if name else "")


def test_a_zarr_folder_without_metadata_is_named(tmp_path):
    (tmp_path / "a.zarr" / "0").mkdir(parents=True)
    for source in (tmp_path / "a.zarr", tmp_path / "a.zarr" / "0"):
        with pytest.raises(SourceError, match=r"without the metadata of its format \(zarr\.json"):
            locate(str(source))


def test_a_folder_without_a_volume_is_named(tmp_path):
    with pytest.raises(
        SourceError, match=r"a folder without a volume, it is empty: give an OME-Zarr.*DICOM"
    ):
        locate(str(tmp_path))


def test_tiff_beside_png_asks_for_a_pattern(tmp_path):
    _touch(tmp_path, "1.tif", "1.png")
    with pytest.raises(SourceError, match=r"1 TIFF and 1 PNG.*pattern"):
        locate(str(tmp_path))


def test_a_pattern_of_other_files_names_the_first(tmp_path):
    _touch(tmp_path, "1.tif", "2.txt")
    with pytest.raises(SourceError, match=r"2\.txt, which is not a slice"):
        locate(f"{tmp_path}/*")


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    _touch(tmp_path, "a.npy")
    with pytest.raises(SourceError, match=r"unknown format.*OME-Zarr.*NIfTI.*HDF5"):
        locate(f"{tmp_path}/a.npy")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("scans/a.nii.gz", "a"),
        ("a.ome.zarr", "a"),
        ("b.c/1.3.6.1.4.1.14519.mhd", "1.3.6.1.4.1.14519"),
        ("scans/1.3.6.1", "1.3.6.1"),
        ("export/LIDC 1.zip", "LIDC 1"),
        ("a.h5:volumes/raw", "a"),
        ("a.NRRD", "a"),
        (".nii", ".nii"),
    ],
)
def test_the_stem_of_a_source_keeps_the_dots_of_a_uid(path, name):
    assert stem(path) == name


def test_a_pipe_is_no_source_and_is_not_opened(tmp_path):
    _touch(tmp_path / "raw", "1.tif", "2.tif")
    for name in ("a.tif", "a.nii.gz", "a.h5", "a", "raw/3.tif"):
        os.mkfifo(tmp_path / name)
    for name in ("a.tif", "a.nii.gz", "a.h5:raw", "a"):
        with pytest.raises(SourceError, match="is a pipe, a socket or a device: give"):
            locate(f"{tmp_path}/{name}")
    (tmp_path / "zero.nrrd").symlink_to("/dev/zero")
    with pytest.raises(SourceError, match=r"zero\.nrrd is a pipe, a socket or a device"):
        locate(str(tmp_path / "zero.nrrd"))
    with pytest.raises(SourceError, match=r"raw/3\.tif is no file, although it is"):
        locate(str(tmp_path / "raw"))
    (tmp_path / "raw" / "3.tif").unlink()
    (tmp_path / "raw" / "4.tif").mkdir()
    with pytest.raises(SourceError, match=r"raw/4\.tif is no file"):
        locate(str(tmp_path / "raw"))
