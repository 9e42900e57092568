"""A part of a source as the sample: the same voxels at the same place as in the whole."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from format_samples import WRITERS
from hypothesis import given
from hypothesis import strategies as st

from parafovea.errors import ConfigError, SourceError
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.recorded_place import place_of
from parafovea.formats.region import region_box
from parafovea.formats.truth import open_truth
from parafovea.geometry.grid import Box, Grid

SAID = "spacing=8,2,2 unit=nm"
VOXELS = np.random.default_rng(0).integers(1, 200, (10, 12, 14), np.uint8)


@pytest.fixture
def stack(tmp_path):
    """Return a TIFF stack without a stated place."""
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, photometric="minisblack")
    return str(tmp_path / "a.tif")


def test_a_region_of_every_volume_format_is_the_part_of_the_whole(tmp_path):
    for name, make in WRITERS.items():
        (tmp_path / name).mkdir()
        sample = make(tmp_path / name)
        if sample.bands or sample.labels:
            continue
        whole = open_source(sample.path, metadata=sample.metadata)
        stop = min(3, whole.grid.shape[0])
        part = Box((min(1, stop - 1), 2, 3), (stop, 9, 16))
        said = f"{sample.metadata} region={part.start[0]}:{stop},2:9,3:16"
        found = open_source(sample.path, metadata=said)
        np.testing.assert_array_equal(found.read(found.grid.box), whole.read(part), name)
        assert found.grid == whole.grid.crop(part), name
        planned = source_grid(sample.path, metadata=parse_metadata(said, folder=tmp_path))
        assert planned == found.grid, name
        if whole.affine is not None:
            first = whole.affine @ [3, 2, part.start[0], 1]
            np.testing.assert_allclose(found.affine @ [0, 0, 0, 1], first)


def test_a_roi_takes_the_voxels_whose_centres_lie_in_it(stack):
    # along z, voxels 0 to 9 at 100, 108, … nm
    said = f"{SAID} origin=100,0,0 roi=104:124,-1:3,:"
    found = open_source(stack, metadata=said)
    assert found.grid == Grid((2, 2, 14), (8, 2, 2), (108, 0, 0))
    np.testing.assert_array_equal(found.read(found.grid.box), VOXELS[1:3, :2])


def test_a_roi_is_in_the_unit_of_the_sample(stack):
    said = "spacing=0.008,0.002,0.002 unit=um roi=0.016:0.04,:,:"
    assert open_source(stack, metadata=said).grid.shape == (3, 12, 14)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("region=0:11,:,:", "has 10 voxels along z, and region= takes 0 to 11"),
        ("region=:,:,20:", "has 14 voxels along x, and region= takes 20 to 14"),
        ("roi=-5:8,:,:", r"reaches from -4 to 76 nanometer along z"),
        ("roi=0.5:1,:,:", "no voxel of 8 nanometer has its centre"),
    ],
)
def test_a_part_outside_or_without_a_voxel_is_an_error(stack, words, problem):
    with pytest.raises(SourceError, match=problem):
        open_source(stack, metadata=f"{SAID} {words}")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("region=3:3,:,:", "empty"),
        ("region=5:3,:,:", "reversed"),
        ("roi=5:3,:,:", "reversed"),
        ("region=-1:3,:,:", "counts voxels"),
        ("region=0.5:3,:,:", "counts voxels"),
        ("region=0:3,0:4", "three parts"),
        ("region=0:3:2,0:4,0:4", "three parts"),
        ("region=a:3,0:4,0:4", "three parts"),
        ("roi=nan:3,:,:", "three parts"),
        ("region=0:3,:,: roi=0:3,:,:", "both given"),
    ],
)
def test_words_that_are_no_part_are_an_error(tmp_path, words, problem):
    with pytest.raises(ConfigError, match=problem):
        parse_metadata(words, folder=tmp_path)


def test_a_part_can_stand_in_a_metadata_file(tmp_path, stack):
    (tmp_path / "a.json").write_text('{"region": [[2, 4], [null, 5], "3:6"], "spacing": [8, 2, 2]}')
    said = parse_metadata("a.json", folder=tmp_path)
    found = open_source(stack, metadata=said.model_copy(update={"unit": "nanometer"}))
    np.testing.assert_array_equal(found.read(found.grid.box), VOXELS[2:4, :5, 3:6])


def _pyramid(path, coarse):
    group = zarr.create_group(path, zarr_format=3)
    levels = [VOXELS, coarse]
    for number, voxels in enumerate(levels):
        group.create_array(str(number), data=voxels, chunks=(4, 4, 4))
    scales = [[8, 2, 2], [8, 4, 4]]
    datasets = [
        {
            "path": str(n),
            "coordinateTransformations": [
                {"type": "scale", "scale": scale},
                {"type": "translation", "translation": [0, (scale[1] - 2) / 2, (scale[2] - 2) / 2]},
            ],
        }
        for n, scale in enumerate(scales)
    ]
    axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
    multiscale = {"axes": axes, "datasets": datasets}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    return str(path)


def test_a_region_counts_voxels_of_the_finest_level_and_is_cut_from_the_one_that_is_read(tmp_path):
    coarse = VOXELS[:, ::2, ::2]
    path = _pyramid(tmp_path / "a.zarr", coarse)
    said = parse_metadata("region=2:6,4:8,2:12", folder=tmp_path)
    fine = open_source(path, metadata=said, finer_than=(8, 2, 2), unit="nanometer")
    np.testing.assert_array_equal(fine.read(fine.grid.box), VOXELS[2:6, 4:8, 2:12])
    found = open_source(path, metadata=said, finer_than=(8, 4, 4), unit="nanometer")
    np.testing.assert_array_equal(found.read(found.grid.box), coarse[2:6, 2:4, 1:6])
    assert found.grid.origin == (16, 9, 5)
    planned = source_grid(path, metadata=said, finer_than=(8, 4, 4), unit="nanometer")
    assert planned == found.grid
    # both begin at the same outer face
    assert fine.grid.resampled((8, 4, 4)).same_place(found.grid)


@given(st.data())
def test_the_levels_of_a_part_cover_each_other_to_half_a_voxel(data):
    shape = data.draw(st.tuples(*[st.integers(4, 40)] * 3))
    finest = Grid(shape, (3.0, 2.0, 1.0), (5.0, -7.0, 0.25))
    grid = finest.coarsened((1, 2, 2))
    ends = [sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in shape]
    words = ",".join(f"{a}:{b}" for a, b in ends)
    said = parse_metadata(f"region={words}", folder=None)
    try:
        box = region_box("a", grid, finest, said)
    except SourceError:
        # a part that lies between the centres of the coarse voxels
        assert any(b - a < 2 for a, b in ends)
        return
    part = grid.crop(box)
    for axis, (start, stop) in enumerate(ends):
        low = finest.origin[axis] + (start - 0.5) * finest.spacing[axis]
        high = finest.origin[axis] + (stop - 0.5) * finest.spacing[axis]
        centres = part.origin[axis] + part.spacing[axis] * np.arange(part.shape[axis])
        assert low - 1e-6 <= centres.min()
        assert centres.max() < high


def _like(path, words):
    said = parse_metadata(words, folder=None)
    return place_of(open_source(path, metadata=said), said)


def test_a_truth_of_the_whole_source_is_cut_alike(tmp_path, stack):
    words = f"{SAID} region=2:6,3:9,4:14"
    tifffile.imwrite(tmp_path / "truth.tif", VOXELS, photometric="minisblack")
    truth = open_truth(str(tmp_path / "truth.tif"), metadata=words, like=_like(stack, words))
    np.testing.assert_array_equal(truth.read(truth.grid.box), VOXELS[2:6, 3:9, 4:14])
    assert truth.grid == Grid((4, 6, 10), (8, 2, 2), (16, 6, 8))


def test_a_coarser_truth_is_cut_to_the_voxels_that_reach_into_the_part(tmp_path, stack):
    words = f"{SAID} region=2:6,3:9,4:14 truth_spacing=8,4,4 truth_unit=nm truth_origin=0,1,1"
    coarse = np.ascontiguousarray(VOXELS[:, ::2, ::2])
    tifffile.imwrite(tmp_path / "truth.tif", coarse, photometric="minisblack")
    truth = open_truth(str(tmp_path / "truth.tif"), metadata=words, like=_like(stack, words))
    np.testing.assert_array_equal(truth.read(truth.grid.box), coarse[2:6, 1:5, 2:7])
    assert truth.grid.origin == (16, 5, 9)


def test_a_truth_of_the_part_alone_states_its_place(tmp_path, stack):
    words = f"{SAID} region=2:6,3:9,4:14"
    part = np.ascontiguousarray(VOXELS[2:6, 3:9, 4:14])
    path = tmp_path / "truth.tif"
    tifffile.imwrite(path, part, photometric="minisblack")
    with pytest.raises(SourceError, match="truth_origin="):
        open_truth(str(path), metadata=words, like=_like(stack, words))
    words += " truth_origin=16,6,8"
    truth = open_truth(str(path), metadata=words, like=_like(stack, words))
    np.testing.assert_array_equal(truth.read(truth.grid.box), part)


def test_a_truth_beside_the_part_is_an_error(tmp_path, stack):
    words = f"{SAID} region=0:2,:,: truth_spacing=8,2,2 truth_unit=nm truth_origin=40,0,0"
    path = tmp_path / "truth.tif"
    tifffile.imwrite(path, VOXELS[5:], photometric="minisblack")
    with pytest.raises(SourceError, match="lies beside the part"):
        open_truth(str(path), metadata=words, like=_like(stack, words))


def test_a_truth_with_an_affine_is_turned_and_then_cut(tmp_path):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (-10, 5, 7)
    stored = np.ascontiguousarray(VOXELS.T)
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "a.nii")
    turned = np.diag([-1.0, 1, 1, 1])
    turned[0, 3] = stored.shape[0] - 1
    nibabel.save(nibabel.Nifti1Image(stored[::-1], affine @ turned), tmp_path / "t.nii")
    words = "region=1:4,2:8,3:10"
    truth = open_truth(
        str(tmp_path / "t.nii"), metadata=words, like=_like(str(tmp_path / "a.nii"), words)
    )
    np.testing.assert_array_equal(truth.read(truth.grid.box), VOXELS[1:4, 2:8, 3:10])
    source = open_source(str(tmp_path / "a.nii"), metadata=words)
    assert truth.grid.same_place(source.grid)


def test_images_with_bands_have_no_region(tmp_path):
    sample = WRITERS["mosaic"](tmp_path)
    with pytest.raises(SourceError, match="gdal_translate"):
        open_source(sample.path, metadata=f"{sample.metadata} region=:,0:4,:", bands=sample.bands)
