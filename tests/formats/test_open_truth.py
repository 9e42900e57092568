from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile

from parafovea.errors import SourceError, SpacingError
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source
from parafovea.formats.recorded_place import place_of
from parafovea.formats.truth import followed, open_truth, open_truth_objects
from parafovea.geometry.grid import Box, Grid
from parafovea.geometry.scan_space import ScanSpace
from parafovea.quality.truth_on_grid import IGNORED, SampledTruth
from parafovea.storage.store import create

METADATA = "spacing=50,4,4 unit=nanometer channel=1"


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "truth.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    return str(path)


def test_a_truth_without_spacing_lies_where_its_source_does(plain):
    truth = open_truth(plain, metadata=METADATA)
    assert truth.grid == Grid((3, 8, 8), (50, 4, 4))


def test_a_truth_that_states_its_spacing_keeps_it(tmp_path):
    grid = Grid((3, 4, 4), (50, 8, 8))
    path = tmp_path / "truth.ome.zarr"
    with create(path, grid, dtype=np.uint8):
        pass
    assert open_truth(str(path), metadata=METADATA).grid.spacing == (50, 8, 8)


def test_no_truth_is_none_and_a_truth_without_any_spacing_is_refused(plain):
    assert open_truth(None, metadata="") is None
    assert open_truth_objects("spacing=1,1,1") is None
    with pytest.raises(SpacingError):
        open_truth(plain, metadata="")


def test_true_objects_are_those_that_the_metadata_names(plain):
    objects = open_truth_objects(f"{METADATA} objects={plain}")
    assert objects.path == plain
    assert objects.grid.spacing == (50, 4, 4)


LABELS = np.random.default_rng(0).integers(0, 4, (4, 5, 6)).astype(np.uint8)  # z, y, x
RAS = np.diag([2.0, 3.0, 4.0, 1.0])


def _nifti(path, orientation, *, values=LABELS, affine=RAS):
    """Write labels in another orientation; nibabel keeps every voxel in its place."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.T), affine)
    wanted = nibabel.orientations.axcodes2ornt(orientation)
    nibabel.save(image.as_reoriented(nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), wanted
    )), path)  # fmt: skip
    return str(path)


@pytest.mark.parametrize("raw", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("turned", ["RAS", "LAS", "LPS", "SAR", "IPL"])
def test_a_truth_is_turned_like_its_source_by_the_affines(tmp_path, raw, turned):
    source = open_source(_nifti(tmp_path / "raw.nii.gz", raw))
    like = {"grid": source.grid.to_dict(), "affine": source.affine.tolist()}
    path = _nifti(tmp_path / "truth.nii.gz", turned)
    truth = open_truth(path, metadata="", like=like)
    # SimpleITK brings the truth onto the source by the places of the voxels
    wanted = SimpleITK.Resample(
        SimpleITK.ReadImage(path), SimpleITK.ReadImage(str(tmp_path / "raw.nii.gz")),
        SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor,
    )  # fmt: skip
    sampled = SampledTruth(truth, source.grid, classes=4).read(source.grid.box)
    np.testing.assert_array_equal(sampled, SimpleITK.GetArrayFromImage(wanted))
    np.testing.assert_array_equal(sampled, source.read(source.grid.box))
    box = Box((1, 0, 2), (3, 4, 5)).intersection(truth.grid.box)
    np.testing.assert_array_equal(truth.read(box), truth.read(truth.grid.box)[box.slices])


def test_a_truth_of_a_part_lies_where_its_affine_says(tmp_path):
    source = open_source(_nifti(tmp_path / "raw.nii.gz", "LPS"))
    part = RAS.copy()
    part[:3, 3] = (2 * 3, 3 * 1, 4 * 1)  # from voxel x 3, y 1, z 1 on
    path = _nifti(tmp_path / "part.nii.gz", "RAS", values=LABELS[1:3, 1:4, 3:5], affine=part)
    like = {"grid": source.grid.to_dict(), "affine": source.affine.tolist()}
    truth = open_truth(path, metadata="", like=like)
    found = SampledTruth(truth, source.grid, classes=4).read(source.grid.box)
    known = found != IGNORED
    assert known.sum() == 2 * 3 * 2
    np.testing.assert_array_equal(found[known], source.read(source.grid.box)[known])


def test_a_truth_at_an_angle_is_refused_and_so_is_one_whose_source_is_not_known(tmp_path):
    source = open_source(_nifti(tmp_path / "raw.nii.gz", "RAS"))
    tilted = RAS.copy()
    tilted[:2, :2] = 2 * np.array([[0.9, -0.436], [0.436, 0.9]])
    path = _nifti(tmp_path / "tilted.nii.gz", "RAS", affine=tilted)
    like = {"grid": source.grid.to_dict(), "affine": source.affine.tolist()}
    with pytest.raises(
        SourceError, match=r"tilted\.nii\.gz is rotated or sheared against its source"
    ):
        open_truth(path, metadata="", like=like)
    other = open_truth(_nifti(tmp_path / "left.nii.gz", "LAS"), metadata="")
    with pytest.raises(SourceError, match="whose axis x does not point along x"):
        SampledTruth(other, source.grid, classes=4)


def test_a_truth_has_metadata_of_its_own(tmp_path):
    channels = np.stack([LABELS, LABELS[::-1]], axis=1)
    path = tmp_path / "truth.tif"
    tifffile.imwrite(path, channels, imagej=True, metadata={"axes": "ZCYX"})
    words = "truth_spacing=100,8,8 truth_unit=nm truth_channel=1 truth_origin=50,0,0"
    truth = open_truth(str(path), metadata=f"{METADATA} {words}")
    assert truth.grid == Grid((4, 5, 6), (100, 8, 8), (50, 0, 0))
    np.testing.assert_array_equal(truth.read(truth.grid.box), LABELS[::-1])
    # what the truth does not state is as its source
    truth = open_truth(str(path), metadata=f"{METADATA} truth_channel=0")
    assert truth.grid == Grid((4, 5, 6), (50, 4, 4))


def _place(path, words):
    said = parse_metadata(words, folder=Path())
    source = open_source(str(path), metadata=said)
    return source, place_of(source, said)


MOVED = "spacing=8,6,4 origin=70,60,50 unit=millimeter"


@pytest.mark.parametrize("turned", ["RAS", "LAS", "SAR"])
def test_a_truth_with_the_place_of_its_source_follows_the_words_that_move_it(tmp_path, turned):
    raw = _nifti(tmp_path / "raw.nii.gz", "LPS")
    path = _nifti(tmp_path / "truth.nii.gz", turned)
    source, like = _place(raw, MOVED)
    # SimpleITK with the same correction; its axes are those of the patient, x, y, z
    image = SimpleITK.ReadImage(raw)
    image.SetSpacing((4, 6, 8))
    image.SetOrigin((50, 60, 70))
    space = ScanSpace(source.grid, source.affine)
    for index in ((0, 0, 0), (3, 4, 5)):
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(space.world_of_voxel(index), there, atol=1e-4)
    truth = open_truth(path, metadata=MOVED, like=like)
    sampled = SampledTruth(truth, source.grid, classes=4).read(source.grid.box)
    np.testing.assert_array_equal(sampled, source.read(source.grid.box))
    # as findings, by an affine of its own
    moved = followed(open_truth(path, metadata=MOVED), like)
    stored = ScanSpace(moved.grid, moved.affine)
    values = moved.read(moved.grid.box)
    for index in ((0, 0, 0), (1, 2, 3), (3, 4, 5)):
        there = stored.voxel_of_world(space.world_of_voxel(index)).round().astype(int)
        assert values[tuple(there)] == source.read(source.grid.box)[index]


def test_a_truth_that_is_placed_right_stays_where_the_words_put_its_source(tmp_path):
    raw = _nifti(tmp_path / "raw.nii.gz", "RAS")
    source, like = _place(raw, MOVED)
    path = _nifti(tmp_path / "truth.nii.gz", "LAS", affine=source.affine)
    truth = open_truth(path, metadata=MOVED, like=like)
    sampled = SampledTruth(truth, source.grid, classes=4).read(source.grid.box)
    np.testing.assert_array_equal(sampled, source.read(source.grid.box))


def test_a_truth_of_a_part_follows_the_words_too(tmp_path):
    raw = _nifti(tmp_path / "raw.nii.gz", "RAS")
    source, like = _place(raw, MOVED)
    part = RAS.copy()
    part[:3, 3] = (2 * 3, 3 * 1, 4 * 1)
    path = _nifti(tmp_path / "part.nii.gz", "LAS", values=LABELS[1:3, 1:4, 3:5], affine=part)
    truth = open_truth(path, metadata=MOVED, like=like)
    found = SampledTruth(truth, source.grid, classes=4).read(source.grid.box)
    known = found != IGNORED
    assert known.sum() == 2 * 3 * 2
    np.testing.assert_array_equal(found[known], source.read(source.grid.box)[known])


def _zarr(path, grid):
    with create(path, grid, dtype=np.uint8, attributes={}) as array:
        array[...] = 1
    return str(path)


def test_a_truth_of_a_grid_follows_spacing_and_origin_too(tmp_path):
    wrong = Grid((4, 8, 8), (1, 1, 1), (5, 0, 0), "micrometer")
    raw = _zarr(tmp_path / "raw.ome.zarr", wrong)
    source, like = _place(raw, "spacing=50,4,4 origin=0,8,8 unit=nanometer")
    assert source.grid == Grid((4, 8, 8), (50, 4, 4), (0, 8, 8))
    coarse = Grid((4, 4, 4), (1, 2, 2), (5, 0.5, 0.5), "micrometer")
    path = _zarr(tmp_path / "truth.ome.zarr", coarse)
    truth = open_truth(path, metadata="", like=like)
    assert truth.grid.same_place(Grid((4, 4, 4), (50, 8, 8), (0, 10, 10)))
    # a truth of its own place, and one that the user places
    right = _zarr(tmp_path / "right.ome.zarr", source.grid)
    assert open_truth(right, metadata="", like=like).grid == source.grid
    said = open_truth(path, metadata="truth_spacing=100,8,8 truth_unit=nm", like=like)
    assert said.grid.spacing == (100, 8, 8)


def test_a_truth_and_a_source_that_lack_different_slices_do_not_belong_together(tmp_path):
    for name, missing in (("raw", 3), ("truth", 5), ("same", 3)):
        (tmp_path / name).mkdir()
        for z in {*range(8)} - {missing}:
            tifffile.imwrite(tmp_path / name / f"z{z}.tif", np.full((4, 5), z, np.uint8))
    source, like = _place(tmp_path / "raw", METADATA.replace(" channel=1", ""))
    assert source.gaps == ((2, 1),)
    open_truth(str(tmp_path / "same"), metadata=METADATA, like=like)
    with pytest.raises(SourceError, match=r"lack different slices .* first after plane 2"):
        open_truth(str(tmp_path / "truth"), metadata=METADATA, like=like)


def test_classes_and_objects_may_be_channels_of_one_file(tmp_path):
    channels = np.stack([LABELS, LABELS[::-1]], axis=1)
    path = tmp_path / "truth.tif"
    tifffile.imwrite(path, channels, imagej=True, metadata={"axes": "ZCYX"})
    words = f"spacing=50,4,4 unit=nm objects={path} truth_channel=0"
    objects = open_truth_objects(f"{words} objects_channel=1")
    np.testing.assert_array_equal(objects.read(objects.grid.box), LABELS[::-1])
    np.testing.assert_array_equal(open_truth_objects(words).read(objects.grid.box), LABELS)
    with pytest.raises(SourceError, match="2 channels") as error:
        open_truth(str(path), metadata="spacing=50,4,4 unit=nm channel=1")
    assert "truth_channel=" in error.value.__notes__[0]


def test_a_truth_that_lacks_a_plane_of_its_source_is_refused(tmp_path):
    grid = Grid((4, 8, 8), (50, 4, 4))
    _, like = _place(_zarr(tmp_path / "raw.ome.zarr", grid), "")
    short = _zarr(tmp_path / "short.ome.zarr", Grid((3, 8, 8), (50, 4, 4)))
    with pytest.raises(SourceError, match="3 of them along z instead of 4"):
        open_truth(short, metadata="", like=like)
    # of a part that states its place, and of coarser voxels
    placed = open_truth(short, metadata="truth_origin=50,0,0", like=like)
    assert placed.grid.origin == (50, 0, 0)
    coarse = _zarr(tmp_path / "coarse.ome.zarr", Grid((4, 4, 3), (50, 8, 12)))
    assert open_truth(coarse, metadata="", like=like).grid.shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("signs", "fits"),
    [((1, 1, 1), True), ((-1, -1, 1), True), ((-1, 1, 1), False), ((1, 1, -1), False)],
)
def test_axes_that_a_truth_alone_reverses_are_not_passed_over(tmp_path, signs, fits):
    raw = tmp_path / "raw.tif"
    tifffile.imwrite(raw, LABELS, photometric="minisblack")
    words = "spacing=4,3,2 unit=mm"
    like = place_of(open_source(str(raw), metadata=words), parse_metadata(words, folder=tmp_path))
    path = tmp_path / "truth.nii"
    nibabel.save(nibabel.Nifti1Image(LABELS.T, RAS * [*signs, 1]), path)
    if not fits:
        with pytest.raises(SourceError, match=r"turns or reverses its axes.*truth_origin=0,0,0"):
            open_truth(str(path), metadata=words, like=like)
        words = f"{words} truth_origin=0,0,0"
    truth = open_truth(str(path), metadata=words, like=like)
    np.testing.assert_array_equal(truth.read(truth.grid.box), LABELS)
    assert truth.affine is None


def test_a_truth_without_an_origin_is_not_compared_at_another_place(tmp_path):
    path = tmp_path / "raw.ome.zarr"
    with create(path, Grid((4, 5, 6), (50, 4, 4), (100, 8, 12)), dtype=np.uint8):
        pass
    like = place_of(open_source(str(path)), parse_metadata("", folder=tmp_path))
    truth = tmp_path / "truth.tif"
    imagej = {"axes": "ZYX", "spacing": 0.05, "unit": "um"}
    tifffile.imwrite(truth, LABELS, imagej=True, resolution=(250, 250), metadata=imagej)
    with pytest.raises(SourceError, match=r"no origin.*\(100.0, 8.0, 12.0\) nanometer"):
        open_truth(str(truth), metadata="", like=like)
    words = "truth_origin=100,8,12 truth_unit=nm"
    with pytest.raises(SourceError, match="no origin"):
        open_truth(str(truth), metadata="channel=0", like=like)
    placed = open_truth(str(truth), metadata=f"truth_spacing=50,4,4 {words}", like=like)
    assert placed.grid == Grid((4, 5, 6), (50, 4, 4), (100, 8, 12))
