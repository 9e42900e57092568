import hashlib
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from chest_scan import Nodule, chest, heat

from parafovea.errors import GridError, StoreError, VoxelError
from parafovea.grid import Box, Grid
from parafovea.postprocess.detections import Triage, load_detections, load_detections_table
from parafovea.postprocess.settings import DetectionSettings
from parafovea.stages.detect_nodules import detect_nodules, open_heatmap
from parafovea.store import create

#: The scan: origin 0, as the reader of NIfTI has it; the chest is drawn around its middle.
SCAN = Grid((44, 92, 136), (2.8, 2.3, 2.2), unit="millimeter")
CHEST = Grid(SCAN.shape, SCAN.spacing, (-60.0, -104.0, -150.0), "millimeter")
LOCAL = CHEST.resampled((1.6, 1.6, 1.6))

NODULES = (
    Nodule((10, 5, 60), 7.0, hu=-50, heat=0.97),
    Nodule((-20, 20, -50), 5.0, hu=-300, heat=0.9),
    Nodule((-30, -10, 65), 4.0, hu=50, heat=0.8),
)

#: From voxel (x, y, z) to RAS millimetres: turned by 10 degrees, x and y flipped.
TURN = np.deg2rad(10)
AFFINE = np.array(
    [
        [-2.2 * np.cos(TURN), 2.3 * np.sin(TURN), 0, 130.0],
        [-2.2 * np.sin(TURN), -2.3 * np.cos(TURN), 0, 80.0],
        [0, 0, 2.8, -1200.5],
        [0, 0, 0, 1],
    ]
)

STAMP = "2026-01-31T12:00:00Z"


def write_inputs(folder, values, *, channels=("background", "nodule"), affine=AFFINE, hu=None):
    # a voxel wider than their heat, so that no voxel of a region lies outside
    wide = [replace(each, radius=each.radius + 2.9) for each in NODULES]
    hu = chest(CHEST, wide).astype(np.int16) if hu is None else hu
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine), folder / "scan.nii.gz")
    # the world of the scan's grid begins at its first voxel
    start = [a - b for a, b in zip(LOCAL.origin, CHEST.origin, strict=True)]
    grid = Grid(LOCAL.shape, LOCAL.spacing, tuple(start), "millimeter")
    made = {"model": {"weights_sha256": "ab" * 32}}
    path = folder / "prediction.ome.zarr"
    with create(path, grid, dtype=np.float16, channels=channels, attributes=made) as array:
        array[:] = np.stack([1 - values] * (len(channels) - 1) + [values]).astype(np.float16)


def run(folder, name="out", **options):
    choices = {
        "scan_id": "patient_001",
        "model": "chest",
        "timestamp": STAMP,
        "settings": DetectionSettings(),
        **options,
    }
    outputs = (folder / name / "detections.json", folder / name / "detections.csv")
    return detect_nodules(
        folder / "prediction.ome.zarr", str(folder / "scan.nii.gz"), *outputs, **choices
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("detect")
    write_inputs(path, heat(LOCAL, NODULES))
    return path


@pytest.fixture(scope="module")
def found(folder):
    return run(folder)


def world(nodule):
    """Return where the affine puts a nodule, x, y, z in LPS, and its voxel x, y, z."""
    index = np.array(CHEST.index(nodule.centre))[::-1]
    ras = AFFINE[:3, :3] @ index + AFFINE[:3, 3]
    return ras * [-1, -1, 1], index


def test_nodules_are_found_where_the_affine_puts_them_most_confident_first(found):
    assert len(found.detections) == 3
    for detection, nodule in zip(found.detections, NODULES, strict=True):
        place, voxel = world(nodule)
        assert detection.coordinates == pytest.approx(place, abs=0.2)
        assert np.abs(np.array(detection.coordinates_voxel) - voxel).max() <= 0.6
        assert detection.diameter_mm == pytest.approx(2 * nodule.radius, rel=0.06)
        assert detection.confidence == pytest.approx(nodule.heat, abs=0.05)


def test_properties_are_in_the_scans_own_units(found):
    for detection, nodule in zip(found.detections, NODULES, strict=True):
        measured = detection.properties
        sphere = np.pi / 6 * detection.diameter_mm**3
        assert measured.volume_mm3 == pytest.approx(sphere, rel=1e-3)
        assert measured.mean_intensity == pytest.approx(nodule.hu, abs=1)
        assert measured.std_intensity == pytest.approx(0, abs=1)
        assert measured.sphericity == pytest.approx(1, abs=0.03)
        assert measured.longest_axial_diameter_mm == pytest.approx(2 * nodule.radius, rel=0.06)
        assert measured.lung_border_distance_mm > 5


def test_the_files_say_what_is_returned_and_give_the_same_bytes_again(folder, found):
    again = run(folder, "again", seconds=None)
    assert load_detections(folder / "out" / "detections.json") == found == again
    table = load_detections_table(folder / "out" / "detections.csv")
    assert table["coord_x"].tolist() == [d.coordinates[0] for d in found.detections]
    for name in ("detections.json", "detections.csv"):
        digests = [
            hashlib.sha256((folder / run / name).read_bytes()).hexdigest()
            for run in ("out", "again")
        ]
        assert digests[0] == digests[1]
    assert sorted(p.name for p in (folder / "out").iterdir()) == [
        "detections.csv",
        "detections.json",
    ]


def test_spacing_and_shape_are_written_x_y_z_and_triage_is_left_out(folder, found):
    values = json.loads((folder / "out" / "detections.json").read_text())
    assert values["metadata"] == {"spacing": [2.2, 2.3, 2.8], "shape": [136, 92, 44]}
    assert values["timestamp"] == STAMP
    assert values["summary"] == {"num_detections": 3}
    assert all("triage" not in d for d in values["detections"])


def test_a_calibration_sees_the_candidates_and_gives_the_triage(folder):
    seen = []

    def score(table):
        seen.append(table)
        high = table["diameter_mm"] > 12
        return [
            Triage(malignancy_score=0.75 if h else 0.25, risk_category="high" if h else "low")
            for h in high
        ]

    found = run(folder, "scored", score=score, seconds=3.21)
    assert [d.triage.risk_category for d in found.detections] == ["high", "low", "low"]
    assert found.summary.model_dump(exclude_none=True) == {
        "num_detections": 3,
        "high_risk_count": 1,
        "low_risk_count": 2,
        "processing_time_seconds": 3.2,
    }
    assert list(seen[0]["probability"]) == [d.confidence for d in found.detections]
    assert all(kind.kind == "f" for kind in seen[0].dtypes)


def test_filters_act_after_suppression(folder):
    small = {"size_filter": {"min_diameter": 3, "max_diameter": 9}}
    kept = run(folder, "small", settings=DetectionSettings.model_validate(small))
    assert [d.id for d in kept.detections] == [0]
    assert kept.detections[0].diameter_mm < 9
    sure = {"confidence_filter": {"min_confidence": 0.85}}
    assert len(run(folder, "sure", settings=DetectionSettings.model_validate(sure)).detections) == 2


def test_a_heatmap_without_peaks_gives_files_without_detections(tmp_path):
    write_inputs(tmp_path, np.zeros(LOCAL.shape, np.float32), channels=("nodule",))
    found = run(tmp_path)
    assert found.detections == ()
    assert load_detections(tmp_path / "out" / "detections.json") == found
    assert len(load_detections_table(tmp_path / "out" / "detections.csv")) == 0


def test_any_box_of_a_heatmap_is_read(tmp_path):
    grid = Grid((40, 70, 80), (1.0, 1.0, 1.0), unit="millimeter")
    values = np.random.default_rng(0).random((2, *grid.shape)).astype(np.float16)
    path = tmp_path / "prediction.ome.zarr"
    with create(path, grid, dtype=np.float16, channels=("background", "nodule")) as array:
        array[:] = values
    heatmap = open_heatmap(path)
    for box in (Box((3, 4, 5), (9, 11, 30)), Box((30, 60, 62), (40, 66, 80)), grid.box):
        np.testing.assert_array_equal(heatmap.read(box), values[1][box.slices])


def test_what_is_no_heatmap_is_refused_and_nothing_is_written(tmp_path):
    values = heat(LOCAL, NODULES)
    write_inputs(tmp_path, values, channels=("background", "a", "b"))
    with pytest.raises(StoreError, match="has no one heatmap: its channels are background, a, b"):
        run(tmp_path)
    with pytest.raises(StoreError, match="no channel 'nodule'"):
        run(tmp_path, channel="nodule")
    assert len(run(tmp_path, "named", channel="b").detections) == 3
    values[0, 0, 0] = np.nan
    write_inputs(tmp_path, values)
    with pytest.raises(VoxelError, match="probabilities"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_scan_without_a_body_and_a_calibration_that_forgets_are_refused(tmp_path):
    values = heat(LOCAL, NODULES)
    write_inputs(tmp_path, values, hu=np.full(SCAN.shape, -1000, np.int16))
    with pytest.raises(VoxelError, match="give a CT"):
        run(tmp_path)
    write_inputs(tmp_path, values)
    with pytest.raises(GridError, match="gave 0 scores for 3 candidates"):
        run(tmp_path, score=lambda _: [])
    assert not (tmp_path / "out").exists()
