import hashlib
import shutil

import numpy as np
import pandas as pd
import pytest
import zarr
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.image_label import ImageLabel
from scipy import ndimage
from segmented_blocks import segment_in_blocks

from parafovea.errors import ConfigError, StoreError, VoxelError
from parafovea.geometry.grid import Grid
from parafovea.settings.postprocess import ClassSettings
from parafovea.stages.classify_block import classify_block
from parafovea.stages.decide_components import decide_components
from parafovea.stages.segment_objects import segment_objects
from parafovea.storage.store import create, open_stored

NAMES = ("background", "mitochondrion", "membrane")
GRID = Grid((12, 24, 40), (20.0, 5.0, 5.0), (100.0, -5.0, 0.0))
COLUMNS = [
    "id",
    "class",
    "voxels",
    "volume",
    "centroid_z",
    "centroid_y",
    "centroid_x",
    "z0",
    "z1",
    "y0",
    "y1",
    "x0",
    "x1",
]


def write_prediction(path, classes, dtype=np.float16):
    probabilities = np.stack([np.where(classes == k, 0.8, 0.1) for k in range(3)])
    attributes = {"model": {"weights_sha256": "ab" * 32}, "source": {"sha256": "cd" * 32}}
    grid = Grid(classes.shape, GRID.spacing, GRID.origin)
    with create(path, grid, dtype=dtype, channels=NAMES, attributes=attributes) as array:
        array[:] = probabilities.astype(dtype)


def example_classes():
    z, y, x = np.mgrid[tuple(slice(n) for n in GRID.shape)]
    classes = np.zeros(GRID.shape, np.uint8)
    for centre in (10, 22):  # two touching balls
        distance = ((z - 6) * 20) ** 2 + ((y - 12) * 5) ** 2 + ((x - centre) * 5) ** 2
        classes[distance < 40**2] = 1
    classes[6, 12, 10] = 0  # a hole
    classes[:, :, 36] = 2
    classes[0, 0, 0] = 1  # a speck
    return classes


def run(folder, name="a", *, method="argmax", classes=None, **options):
    paths = [folder / name / end for end in ("classes", "objects", "table.tsv")]
    segment_objects(
        folder / "prediction.ome.zarr",
        *paths,
        method=method,
        class_settings=classes or {},
        **options,
    )
    return (open_stored(paths[0]), open_stored(paths[1]), pd.read_csv(paths[2], sep="\t"))


CLEAN = {
    "mitochondrion": ClassSettings(min_voxels=5, fill_holes=True, split_distance=40),
    "membrane": ClassSettings(instances=False),
}


@pytest.fixture
def folder(tmp_path):
    write_prediction(tmp_path / "prediction.ome.zarr", example_classes())
    return tmp_path


def test_specks_go_holes_close_and_touching_objects_part(folder):
    classes, objects, table = run(folder, classes=CLEAN)
    expected = example_classes()
    expected[0, 0, 0], expected[6, 12, 10] = 0, 1
    np.testing.assert_array_equal(classes.read(), expected)
    np.testing.assert_array_equal(objects.read() > 0, expected == 1)
    assert table["id"].tolist() == [1, 2]
    assert table["class"].tolist() == ["mitochondrion"] * 2
    assert (classes.read().dtype, objects.read().dtype) == (np.uint8, np.uint32)


def test_the_table_describes_the_labels_in_world_units(folder):
    _, objects, table = run(folder, classes=CLEAN)
    assert list(table.columns) == COLUMNS
    for row in table.itertuples():
        where = np.argwhere(objects.read() == row.id)
        assert row.voxels == len(where)
        assert row.volume == len(where) * 500.0
        world = np.array(GRID.origin) + where.mean(axis=0) * GRID.spacing
        np.testing.assert_allclose([row.centroid_z, row.centroid_y, row.centroid_x], world)
        box = [row.z0, row.z1, row.y0, row.y1, row.x0, row.x1]
        lows, highs = where.min(axis=0), where.max(axis=0) + 1
        assert box == [v for pair in zip(lows, highs, strict=True) for v in pair]


def test_ids_follow_the_scan_order_of_first_voxels(folder):
    _, objects, table = run(folder, classes={"mitochondrion": ClassSettings(split_distance=40)})
    flat = objects.read().ravel()
    ids, first = np.unique(flat[flat > 0], return_index=True)
    assert ids.tolist() == table["id"].tolist() == list(range(1, len(ids) + 1))
    assert (np.diff(first) > 0).all()


def contents(folder):
    """Return the hash of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def blobs(shape, seed=3):
    """Return touching blobs of two classes with holes and specks, larger than a file of labels."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random(shape, dtype=np.float32), 3)
    smooth = (smooth - smooth.mean()) / smooth.std() + 0.15 * rng.standard_normal(
        shape, dtype=np.float32
    )
    return (smooth > 1).astype(np.uint8) + 2 * (smooth < -1).astype(np.uint8)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a folder with the prediction of a volume of 2 x 2 x 2 files of labels."""
    folder = tmp_path_factory.mktemp("large")
    write_prediction(folder / "prediction.ome.zarr", blobs((70, 270, 300)))
    return folder


@pytest.mark.parametrize(
    ("connectivity", "settings"),
    [
        (6, {}),
        (26, {"mitochondrion": {"fill_holes": True}}),
        (6, {"mitochondrion": {"min_voxels": 30}, "membrane": {"instances": False}}),
        (
            26,
            {
                "mitochondrion": {"min_voxels": 300, "fill_holes": True, "split_distance": 110},
                "membrane": {"fill_holes": True, "instances": False},
            },
        ),
    ],
    ids=["plain", "holes", "small", "all"],
)
def test_one_block_and_many_give_the_same_bytes(large, tmp_path, connectivity, settings):
    prediction = large / "prediction.ome.zarr"
    options = {"connectivity": connectivity, "class_settings": settings}
    whole = [tmp_path / "whole" / end for end in ("classes", "objects", "table.tsv")]
    segment_objects(prediction, *whole, method="argmax", **options)
    expected = contents(tmp_path / "whole")
    assert len(pd.read_csv(whole[2], sep="\t")) > 50
    for blocks in (3, 8, 11):
        folder = tmp_path / str(blocks)
        segment_in_blocks(prediction, folder, blocks, **options)
        shutil.rmtree(folder / "blocks")
        assert contents(folder) == expected


def test_a_second_run_gives_the_same_bytes_and_leaves_nothing_behind(folder):
    run(folder, classes=CLEAN)
    first = contents(folder)
    run(folder, classes=CLEAN)
    assert contents(folder) == first
    assert sorted(p.name for p in (folder / "a").iterdir()) == ["classes", "objects", "table.tsv"]


def test_labels_are_valid_ome_zarr_and_lie_where_the_prediction_lies(folder):
    for stored, name in zip(run(folder, classes=CLEAN), ("classes", "objects"), strict=False):
        group = zarr.open_group(folder / "a" / name, mode="r")
        Image.from_zarr(group)
        assert ImageLabel.from_zarr(group).ome_attributes.image_label is not None
        assert stored.grid == GRID


def test_labels_carry_what_made_them(folder):
    _, objects, _ = run(folder, classes=CLEAN)
    made = objects.attributes
    assert made["model"] == {"weights_sha256": "ab" * 32}
    assert made["postprocess"]["classes"]["mitochondrion"]["min_voxels"] == 5
    assert made["postprocess"]["classes"]["membrane"]["instances"] is False
    assert (made["objects"], made["unsplit_objects"], made["stage"]) == (2, 0, "segment_objects")


def test_an_empty_prediction_gives_an_empty_table_with_its_headers(tmp_path):
    write_prediction(tmp_path / "prediction.ome.zarr", np.zeros((3, 4, 5), np.uint8))
    classes, objects, table = run(tmp_path, classes=CLEAN)
    assert list(table.columns) == COLUMNS
    assert table.empty
    assert not classes.read().any()
    assert not objects.read().any()


def test_thresholds_are_used_by_the_method_threshold_alone(folder):
    high = {"mitochondrion": ClassSettings(threshold=0.9), "membrane": ClassSettings(threshold=0.8)}
    by_threshold, _, _ = run(folder, method="threshold", classes=high)
    assert set(np.unique(by_threshold.read())) == {0, 2}
    by_argmax, _, _ = run(folder, method="argmax", classes=high)
    assert set(np.unique(by_argmax.read())) == {0, 1, 2}


def test_an_unknown_class_is_refused_before_anything_is_written(folder):
    with pytest.raises(ConfigError, match=r"nucleus.*mitochondrion, membrane"):
        run(folder, classes={"nucleus": ClassSettings()})
    assert [p.name for p in folder.iterdir()] == ["prediction.ome.zarr"]


def test_an_array_without_classes_is_refused(tmp_path):
    with create(tmp_path / "prediction.ome.zarr", GRID, dtype=np.float32):
        pass
    with pytest.raises(StoreError, match="no classes"):
        run(tmp_path)


def test_an_object_too_large_to_split_stays_whole_and_is_counted(folder, monkeypatch, caplog):
    monkeypatch.setattr("parafovea.postprocess.segmentation.objects.LARGEST_SPLIT", 10)
    _, objects, table = run(folder, classes=CLEAN)
    assert len(table) == 1
    assert objects.attributes["unsplit_objects"] == 1
    assert "were not split" in caplog.text


def test_a_job_of_a_block_that_fails_leaves_nothing(tmp_path):
    prediction = tmp_path / "prediction.ome.zarr"
    with create(prediction, Grid((8, 300, 8), GRID.spacing), dtype=np.float16, channels=NAMES) as a:
        a[:] = 0.5
        a[0, 0, 299, 0] = np.nan
    settings = {"method": "argmax", "connectivity": 26, "class_settings": {}, "blocks": 2}
    outputs = [tmp_path / "blocks" / end for end in ("2.zarr", "2.npz", "surface.npz")]
    with pytest.raises(VoxelError, match="NaN"):
        classify_block(prediction, *outputs, block=2, **settings)
    assert list((tmp_path / "blocks").iterdir()) == []
    classify_block(prediction, *outputs, block=1, **settings)
    assert all(path.exists() for path in outputs)


def test_a_missing_or_damaged_file_between_jobs_is_named(folder):
    settings = {"connectivity": 26, "class_settings": {"mitochondrion": {"min_voxels": 5}}}
    prediction = folder / "prediction.ome.zarr"
    surface = folder / "surface.npz"
    surface.write_bytes(b"damaged")
    with pytest.raises(StoreError, match=r"surface\.npz is missing or damaged"):
        decide_components(prediction, [surface], folder / "decided", cleaning="small", **settings)
    assert not (folder / "decided").exists()
