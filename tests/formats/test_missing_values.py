"""Packed and missing values by the CF conventions, decoded by their formula."""

import base64
import struct

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from parafovea.errors import SourceError
from parafovea.formats.opening import open_source
from parafovea.formats.truth import open_truth

SAID = "spacing=4,2,2 unit=nanometer"
STORED = np.random.default_rng(4).integers(-20, 20, (4, 5, 6))


def _hdf5(folder, dtype, attributes, values=STORED):
    with h5py.File(folder / "a.h5", "w") as file:
        dataset = file.create_dataset("raw", data=values.astype(dtype))
        dataset.attrs.update(attributes)
    return f"{folder}/a.h5:raw"


def _zarr(folder, dtype, attributes, *, values=STORED, zarr_format=3, fill=0):
    array = zarr.create_array(
        folder / "a.zarr", shape=values.shape, dtype=dtype, chunks=(4, 5, 6), fill_value=fill,
        zarr_format=zarr_format, attributes=attributes,
    )  # fmt: skip
    array[...] = values
    return str(folder / "a.zarr")


def _read(path, **options):
    source = open_source(path, metadata=SAID, **options)
    return source.read(source.grid.box)


@pytest.mark.parametrize(
    ("dtype", "attributes", "missing"),
    [
        ("i2", {"_FillValue": -3}, STORED == -3),
        ("i2", {"missing_value": [-3, 7]}, (STORED == -3) | (STORED == 7)),
        ("i4", {"_FillValue": 5, "missing_value": 6}, (STORED == 5) | (STORED == 6)),
        ("i2", {"valid_range": [-5, 8]}, (STORED < -5) | (STORED > 8)),
        ("f4", {"_FillValue": -3.0, "valid_max": 11.0}, (STORED == -3) | (STORED > 11)),
        ("i2", {"_FillValue": -9999}, STORED > 99),
    ],
)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("write", [_hdf5, _zarr])
def test_values_follow_the_formula_and_missing_ones_are_nan(
    tmp_path, write, dtype, attributes, missing, scaled
):
    line = {"scale_factor": 0.25, "add_offset": 100.0} if scaled else {}
    values = _read(write(tmp_path, dtype, {**attributes, **line}))
    wanted = np.where(missing, np.nan, STORED * 0.25 + 100 if scaled else STORED)
    np.testing.assert_allclose(values, wanted, rtol=1e-6)


def test_limits_of_the_values_are_told_from_limits_of_the_numbers(tmp_path):
    words = {"scale_factor": 0.25, "valid_range": np.array([-1.5, 2.25])}
    values = _read(_hdf5(tmp_path, "i2", words))
    wanted = np.where((STORED < -6) | (STORED > 9), np.nan, STORED * 0.25)
    np.testing.assert_allclose(values, wanted)


def test_unsigned_numbers_in_signed_ones_have_unsigned_marks(tmp_path):
    values = np.arange(120, dtype=np.uint8).reshape(4, 5, 6) + 100
    words = {"_Unsigned": "true", "_FillValue": np.int8(-56)}
    read = _read(_hdf5(tmp_path, "i1", words, values.view(np.int8)))
    np.testing.assert_array_equal(read, np.where(values == 200, np.nan, values.astype(float)))


def test_marks_as_xarray_writes_them(tmp_path):
    # floats in Zarr 3 in base64; in Zarr 2 as the fill value of the array
    coded = base64.b64encode(struct.pack("<d", -3.0)).decode()
    wanted = np.where(STORED == -3, np.nan, STORED.astype(float))
    for number, (zarr_format, words, fill) in enumerate(
        [(3, {"_FillValue": coded}, 0), (2, {"_ARRAY_DIMENSIONS": ["z", "y", "x"]}, -3)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = _zarr(folder, "f4", words, zarr_format=zarr_format, fill=fill)
        np.testing.assert_array_equal(_read(path), wanted)
    words = {"_ARRAY_DIMENSIONS": ["z", "y", "x"]}
    (tmp_path / "plain").mkdir()
    path = _zarr(tmp_path / "plain", "i2", words, zarr_format=2, fill=0)
    np.testing.assert_array_equal(_read(path), STORED)


def test_a_mark_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(SourceError, match="attribute _FillValue = 'none', which is not numbers"):
        _read(_hdf5(tmp_path, "i2", {"_FillValue": "none"}))


LABELS = np.random.default_rng(5).integers(0, 4, (4, 5, 6))
UNKNOWN = LABELS == 3


@pytest.mark.parametrize("write", [_hdf5, _zarr])
@pytest.mark.parametrize(
    ("dtype", "mark"), [("u1", 255), ("u8", 2**64 - 1), ("i2", -1), ("f4", np.nan)]
)
def test_missing_labels_are_those_that_nobody_has_labelled(tmp_path, write, dtype, mark):
    if write is _zarr and dtype == "f4":
        mark = "NaN"
    values = LABELS.astype(dtype)
    values[UNKNOWN] = np.array(mark).astype(dtype)
    truth = open_truth(write(tmp_path, dtype, {"_FillValue": mark}, values=values), metadata=SAID)
    found = truth.read(truth.grid.box)
    np.testing.assert_array_equal(found == truth.ignored, UNKNOWN)
    np.testing.assert_array_equal(found[~UNKNOWN], LABELS[~UNKNOWN])
    own = open_truth(truth.path, metadata=f"{SAID} truth_ignore=9")
    assert own.ignored == 9


def test_a_truth_whose_background_is_missing_needs_a_word(tmp_path):
    path = _hdf5(tmp_path, "u1", {"_FillValue": np.uint8(0)}, LABELS)
    with pytest.raises(SourceError, match=r"truth_background=0.*truth_ignore=0"):
        open_truth(path, metadata=SAID)
    assert open_truth(path, metadata=f"{SAID} truth_background=0").ignored is None
    assert open_truth(path, metadata=f"{SAID} truth_ignore=0").ignored == 0
    # for an image, 0 is missing
    assert np.isnan(_read(path)).sum() == (LABELS == 0).sum()


def test_scaled_labels_with_missing_ones_are_refused(tmp_path):
    words = {"_FillValue": np.uint8(255), "scale_factor": 2.0}
    with pytest.raises(SourceError, match="so they are no labels"):
        open_truth(_hdf5(tmp_path, "u1", words, LABELS), metadata=SAID)


@pytest.mark.parametrize("mark", [7, "nan"])
def test_the_nodata_number_of_gdal_holds_for_volumes(tmp_path, mark):
    values = np.arange(120).reshape(4, 5, 6).astype("u1" if mark == 7 else "f4")
    tag = (42113, "s", 0, str(mark), True)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", extratags=[tag])
    wanted = np.where(values == mark, np.nan, values) if mark == 7 else values
    np.testing.assert_array_equal(_read(str(tmp_path / "a.tif")), wanted)
    truth = open_truth(str(tmp_path / "a.tif"), metadata=SAID)
    assert truth.ignored == (7 if mark == 7 else -1)
