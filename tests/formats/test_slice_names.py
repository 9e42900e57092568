import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from parafovea.errors import SourceError
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.opening import open_source
from parafovea.formats.slice_names import Gap, gaps, in_order

NM = SourceMetadata(spacing=(50.0, 4.6, 4.6), unit="nanometer")


@settings(max_examples=30)
@given(st.lists(st.integers(0, 10**6), unique=True, min_size=2))
def test_slices_sort_by_their_numbers(numbers):
    names = [f"slice{n}.tif" for n in numbers]
    assert in_order(names, "raw") == [f"slice{n}.tif" for n in sorted(numbers)]


@settings(max_examples=30)
@given(st.lists(st.integers(-100, 100), unique=True, min_size=2), st.sampled_from([1, 0.25, 0.1]))
def test_signs_and_decimals_are_parts_of_numbers(steps, step):
    values = sorted(n * step for n in steps)
    if len({v < 0 for v in values}) == 1:  # a minus that all names have stands between two words
        values = [abs(v) for v in sorted(values, key=abs)]
    names = [f"z{v:g}um.tif" for v in values]
    if len({"." in name.removesuffix(".tif") for name in names}) == 2 or step == 1:
        assert in_order(names[::-1], "raw") == names


@pytest.mark.parametrize(
    "names",
    [
        ["a-1.tif", "a-2.tif", "a-10.tif"],
        ["s.001.tif", "s.002.tif", "s.010.tif"],
        ["v1.9.tif", "v1.10.tif", "v1.11.tif"],
        ["b0.25.tif", "b0.50.tif", "b1.00.tif"],
        ["z-1.5.tif", "z-1.tif", "z0.tif", "z+0.5.tif", "z1.tif"],
        ["z-0.25um.tif", "z0um.tif"],
        ["z-1.5um.tif", "z-1.0um.tif", "z-0.5um.tif", "z0.0um.tif", "z0.5um.tif"],
        ["z-1,50.tif", "z-1,25.tif", "z0,25.tif", "z0,50.tif"],
        ["s1.tif", "s2.tiff", "s3.TIF"],
        ["w1_s001.tif", "w1_s002.tif", "w2_s001.tif", "w2_s002.tif"],
        ["2023-01-03_001.tif", "2023-01-03_002.tif"],
        ["a1.tif", "b1.tif"],
        ["front.tif", "rear.tif"],
    ],
)
def test_names_come_in_the_order_that_they_mean(names):
    assert in_order(names[::-1], "raw") == names


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["z0_c0.tif", "z0_c1.tif", "z1_c0.tif", "z1_c1.tif"], "2 channels.*counted after 'c'"),
        (["z0_t0.tif", "z0_t1.tif", "z1_t0.tif", "z1_t1.tif"], "2 channels, times or series"),
        (["a0_dapi.tif", "a0_gfp.tif", "a1_dapi.tif", "a1_gfp.tif"], "2 channels or series"),
        (["a_0.tif", "a_1.tif", "b_0.tif", "b_1.tif"], "a_0.tif and b_0.tif: choose one"),
        (["1.11.tif", "1.9.tif", "2.5.tif"], "as decimals or as two counters"),
        (["s1.tif", "s01.tif", "s2.tif"], r"s01.tif and s1.tif, two slices of the same number"),
        (["s1.tif", "s2.tif", "s2 (1).tif"], r"s2 \(1\).tif, which is named like a copy of s2.tif"),
        (["s1.tif", "s2.tif", "s2.tiff"], "s2.tiff, which is named like a copy of s2.tif"),
        (["s1.tif", "s2.tif", "s2 - Copy.tif"], "named like a copy of s2.tif"),
        (["s1.tif", "s2.tif", "s2_mask.tif"], "named like a copy of s2.tif"),
        (["s1.tif", "s2.tif", "AVG_s.tif"], "AVG_s.tif, which has no number"),
        ([f"s{n:x}.tif" for n in range(8, 18)], "sa.tif, which has no number"),
        (["img.tif", "img (1).tif", "img (2).tif"], "img.tif, which has no number"),
    ],
)
def test_names_that_mean_several_volumes_are_refused(names, says):
    with pytest.raises(SourceError, match=says):
        in_order(names, "raw")


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [([0, 1, 2, 3], []), ([0, 10, 20], []), ([1, 2, 5, 6, 8], [("2", 2), ("6", 1)]), ([4, 9], [])],
)
def test_gaps_are_counted_by_the_smallest_step(numbers, missing):
    names = [f"2023_{n}.tif" for n in numbers]
    assert gaps(names, "raw") == [Gap(f"2023_{after}.tif", count) for after, count in missing]


def test_a_gap_and_a_second_counter_are_said(tmp_path, caplog):
    for folder, names in (
        ("gap", ["s1", "s2", "s5"]),
        ("twice", ["w1_s1", "w1_s2", "w2_s1", "w2_s2"]),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            tifffile.imwrite(tmp_path / folder / f"{name}.tif", np.zeros((4, 5), np.uint8))
    assert open_source(str(tmp_path / "gap"), metadata=NM).grid.shape[0] == 3
    assert "2 of 5 slices are missing" in caplog.text
    assert "s2.tif" in caplog.text
    assert open_source(str(tmp_path / "twice"), metadata=NM).grid.shape[0] == 4
    assert "contain several counters" in caplog.text


def _with_palette(path, indices, colours):
    image = Image.fromarray(indices)
    image.putpalette(colours)
    image.save(path)


def test_slices_of_labels_share_one_palette(tmp_path):
    indices = np.arange(20, dtype=np.uint8).reshape(4, 5) % 3
    red, green = [0, 0, 0, 255, 0, 0, 9, 9, 9], [0, 0, 0, 0, 255, 0, 9, 9, 9]
    for number, colours in enumerate((red, [*red, 1, 2, 3])):
        _with_palette(tmp_path / f"{number}.png", indices, colours)
    source = open_source(str(tmp_path), metadata=NM, labels=True)
    np.testing.assert_array_equal(source.read(source.grid.box), [indices] * 2)
    with pytest.raises(SourceError, match="colour palette"):
        open_source(str(tmp_path), metadata=NM)
    _with_palette(tmp_path / "2.png", indices, green)
    with pytest.raises(SourceError, match=r"2\.png has a different palette"):
        open_source(str(tmp_path), metadata=NM, labels=True)


def test_slices_with_gray_palettes_of_their_own_are_one_volume(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (3, 8, 9), dtype=np.uint8)
    for number, plane in enumerate(values):
        Image.fromarray(plane).quantize(256).save(tmp_path / f"{number}.png")
    seen = [np.asarray(Image.open(tmp_path / f"{n}.png").convert("L")) for n in range(3)]
    source = open_source(str(tmp_path), metadata=NM)
    np.testing.assert_array_equal(source.read(source.grid.box), seen)
    np.testing.assert_array_equal(seen, values)
