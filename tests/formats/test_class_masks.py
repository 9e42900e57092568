import numpy as np
import pytest
import tifffile
from PIL import Image

from parafovea.errors import ConfigError, ParafoveaError, SourceError
from parafovea.formats.class_masks import merge_masks


@pytest.fixture
def masks(tmp_path):
    """Return three planes of two masks that overlap, as 1-bit PNG and as uint8 TIFF slices."""
    random = np.random.default_rng(3)
    first, second = random.random((2, 3, 8, 10)) > 0.5
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    for z in range(3):
        Image.fromarray(first[z]).convert("1").save(tmp_path / "first" / f"m{z}.png")
        image = np.where(second[z], 255, 0).astype(np.uint8)
        tifffile.imwrite(tmp_path / "second" / f"m{z}.tif", image, photometric="minisblack")
    return first, second


def test_later_classes_win_and_the_rest_is_background(tmp_path, masks):
    first, second = masks
    patterns = {"a": str(tmp_path / "first/*.png"), "b": str(tmp_path / "second/m?.tif")}
    counts = merge_masks(patterns, tmp_path / "truth.tif")
    merged = tifffile.imread(tmp_path / "truth.tif")
    assert merged.dtype == np.uint8
    np.testing.assert_array_equal(merged, np.where(second, 2, np.where(first, 1, 0)))
    assert counts == {"a": (1, int((first & ~second).sum())), "b": (2, int(second.sum()))}


def test_the_threshold_decides_what_belongs(tmp_path):
    ramp = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    tifffile.imwrite(tmp_path / "ramp.tif", ramp, photometric="minisblack")
    merge_masks({"a": str(tmp_path / "ramp.tif")}, tmp_path / "out.tif", threshold=20)
    assert tifffile.imread(tmp_path / "out.tif").sum() == 3


def test_the_same_masks_give_the_same_bytes(tmp_path, masks):
    source = {"a": str(tmp_path / "first")}
    merge_masks(source, tmp_path / "1.tif")
    merge_masks(source, tmp_path / "2.tif")
    assert (tmp_path / "1.tif").read_bytes() == (tmp_path / "2.tif").read_bytes()


def test_masks_of_other_shapes_are_refused_and_nothing_is_written(tmp_path, masks):
    patterns = {"a": str(tmp_path / "first/*.png"), "b": str(tmp_path / "second/m[01].tif")}
    with pytest.raises(SourceError, match=r"\(2, 8, 10\), but 'a' has \(3, 8, 10\)"):
        merge_masks(patterns, tmp_path / "truth.tif")
    assert not (tmp_path / "truth.tif").exists()


def test_no_masks_and_a_pattern_without_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="0 masks given"):
        merge_masks({}, tmp_path / "truth.tif")
    with pytest.raises(ParafoveaError, match="matches no file"):
        merge_masks({"a": str(tmp_path / "*.png")}, tmp_path / "truth.tif")
