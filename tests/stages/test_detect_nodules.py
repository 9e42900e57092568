import hashlib
import json
import shutil

import nibabel
import numpy as np
import pytest
from chest_scan import Nodule, chest, heat

from parafovea.errors import CalibrationError, StoreError, VoxelError
from parafovea.geometry.grid import Box, Grid
from parafovea.postprocess.detection.calibration import (
    Calibration,
    Fit,
    Measures,
    Owner,
    calibration_text,
)
from parafovea.postprocess.detection.detection_files import load_detections, load_detections_table
from parafovea.postprocess.detection.heatmap import open_heatmap
from parafovea.settings.postprocess import DetectionSettings
from parafovea.settings.recipe import Normalization
from parafovea.stages.calibrate_scores import calibrate_file
from parafovea.stages.detect_nodules import detect_nodules
from parafovea.stages.resample_volume import resample_volume
from parafovea.storage.provenance import Clock
from parafovea.storage.store import create

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


def scanned_chest():
    """Return HU of the chest, each voxel the mean of 27 parts, as a scanner sees it."""
    spacing = tuple(s / 3 for s in CHEST.spacing)
    origin = tuple(o - s for o, s in zip(CHEST.origin, spacing, strict=True))
    fine = Grid(tuple(3 * n for n in CHEST.shape), spacing, origin, "millimeter")
    parts = chest(fine, NODULES).reshape([k for n in CHEST.shape for k in (n, 3)])
    return np.rint(parts.mean(axis=(1, 3, 5))).astype(np.int16)


def write_inputs(folder, values, *, channels=("background", "nodule"), affine=AFFINE, hu=None):
    hu = scanned_chest() if hu is None else hu
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine), folder / "scan.nii.gz")
    # the world of the scan's grid begins at its first voxel
    start = [a - b for a, b in zip(LOCAL.origin, CHEST.origin, strict=True)]
    grid = Grid(LOCAL.shape, LOCAL.spacing, tuple(start), "millimeter")
    made = {"model": {"name": "chest", "sha256": "ab" * 32}}
    write_volume(folder)
    path = folder / "prediction.ome.zarr"
    with create(path, grid, dtype=np.float16, channels=channels, attributes=made) as array:
        array[:] = np.stack([1 - values] * (len(channels) - 1) + [values]).astype(np.float16)


def write_volume(folder):
    """Write the scan's volume with its body; no voxel of it is read here."""
    resample_volume(
        folder / "volume.ome.zarr",
        source=str(folder / "scan.nii.gz"),
        spacing=(8.0, 8.0, 8.0),
        unit="millimeter",
        normalization=Normalization(method="window", low=-1000, high=400),
        check_hounsfield=True,
        find_body=True,
    )


def run(folder, name="out", **options):
    choices = {"settings": {}, "calibration": None, "limits": {}, **options}
    return detect_nodules(
        folder / "prediction.ome.zarr",
        folder / "volume.ome.zarr",
        folder / name / "detections.json",
        folder / name / "detections.csv",
        sample="patient_001",
        source=str(folder / "scan.nii.gz"),
        **choices,
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
        if nodule.radius > 4:
            assert measured.mean_intensity == pytest.approx(nodule.hu, abs=1)
            assert measured.std_intensity == pytest.approx(0, abs=1)
        else:
            # too small for voxels that are no lung at all
            assert (nodule.hu - 850) / 2 < measured.mean_intensity < nodule.hu
        assert measured.sphericity == pytest.approx(1, abs=0.05)
        assert measured.longest_axial_diameter_mm == pytest.approx(2 * nodule.radius, rel=0.06)
        assert measured.lung_border_distance_mm > 5


def test_the_files_say_what_is_returned_and_give_the_same_bytes_again(folder, found):
    again = run(folder, "again", settings=DetectionSettings())
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
    assert values["timestamp"] == "1970-01-01T00:00:00Z"
    assert values["summary"] == {"num_detections": 3, "outside_body_count": 0}
    assert all("triage" not in d for d in values["detections"])


def write_calibration(path, *, owner="ab" * 32):
    """Write a calibration that halves the odds of every score."""
    measures = Measures(ece=0, log_loss=0, brier=0)
    fit = Fit(
        candidates=2, positives=1, bins=10, before=measures, after=measures, held_out=measures
    )
    calibration = Calibration(
        method="platt",
        parameters={"slope": 1.0, "intercept": -np.log(2)},
        model=Owner(name="chest", weights_sha256=owner),
        fit=fit,
        version="1",
    )
    path.write_text(calibration_text(calibration))
    return path


LIMITS = {"low": 0.0, "intermediate": 0.7, "high": 0.9}


def test_a_calibration_gives_every_detection_its_score_and_risk(folder, found):
    calibration = write_calibration(folder / "calibration.json")
    clock = Clock(STAMP, lambda: 3.21)
    scored = run(folder, "scored", calibration=str(calibration), limits=LIMITS, clock=clock)
    assert scored.timestamp == STAMP
    for detection in scored.detections:
        odds = detection.confidence / (1 - detection.confidence) / 2
        assert detection.triage.malignancy_score == pytest.approx(odds / (1 + odds), abs=1e-4)
    risks = [d.triage.risk_category for d in scored.detections]
    assert risks == ["high", "intermediate", "low"]
    assert scored.summary.model_dump(exclude_none=True) == {
        "num_detections": 3,
        "outside_body_count": 0,
        "high_risk_count": 1,
        "intermediate_risk_count": 1,
        "low_risk_count": 1,
        "processing_time_seconds": 3.2,
    }
    without = [d.model_copy(update={"triage": None}) for d in scored.detections]
    assert tuple(without) == found.detections


def test_a_calibration_that_was_fitted_to_labels_gives_the_triage(folder):
    # Synthetic labels, stated as such: a phantom has no malignancy. A score p is true for a share
    # p / (2 - p) of candidates, which halves the odds; that is what the triage has to say.
    scores = np.repeat(np.linspace(0.05, 0.95, 19), 400)
    shares = scores / (2 - scores)
    labels = np.tile((np.arange(400) + 0.5) / 400, 19) < shares
    lines = [f"{p:.4f},{int(y)}" for p, y in zip(scores, labels, strict=True)]
    (folder / "scored.csv").write_text("\n".join(["probability,label", *lines]) + "\n")
    fitted = folder / "fitted.json"
    made = calibrate_file(folder / "scored.csv", fitted, method="platt")
    assert made.fit.after.ece < 0.01 < made.fit.before.ece
    triaged = run(folder, "triaged", calibration=fitted, limits=LIMITS)
    for detection in triaged.detections:
        odds = detection.confidence / (1 - detection.confidence) / 2
        assert detection.triage.malignancy_score == pytest.approx(odds / (1 + odds), abs=0.01)
    assert triaged.detections[0].triage.risk_category == "high"


def test_sizes_are_filtered_as_they_are_measured_and_not_as_the_heatmap_has_them(folder, found):
    largest = max(each.diameter_mm for each in found.detections)
    for limits, count in (({"min_diameter": largest}, 1), ({"max_diameter": largest - 0.01}, 2)):
        kept = run(folder, f"sized{count}", settings={"size_filter": limits})
        assert len(kept.detections) == count
    # of regions over twice the largest diameter, none is measured
    settings = {"size_filter": {"min_diameter": 0, "max_diameter": 3.0}}
    assert not run(folder, "tiny", settings=settings).detections


def test_the_calibration_of_a_models_confidences_comes_before_the_filter(folder, found):
    confidence = write_calibration(folder / "confidence.json")
    sure = run(folder, "sure", confidence=confidence)
    odds = [d.confidence / (1 - d.confidence) / 2 for d in found.detections]
    assert [d.confidence for d in sure.detections] == pytest.approx(
        [each / (1 + each) for each in odds], abs=1e-4
    )
    # all else is measured in the heatmap
    assert [d.coordinates for d in sure.detections] == [d.coordinates for d in found.detections]
    assert [d.properties for d in sure.detections] == [d.properties for d in found.detections]
    least = sure.detections[1].confidence - 1e-5
    settings = {"confidence_filter": {"min_confidence": least}}
    kept = run(folder, "kept", confidence=confidence, settings=settings)
    assert len(kept.detections) == 2 < len(run(folder, "raw", settings=settings).detections)


def test_a_calibration_of_another_model_or_wrong_limits_are_refused(folder):
    other = write_calibration(folder / "other.json", owner="cd" * 32)
    with pytest.raises(CalibrationError, match="belongs to the model 'chest'"):
        run(folder, "none", calibration=other, limits=LIMITS)
    with pytest.raises(CalibrationError, match="belongs to the model 'chest'"):
        run(folder, "none", confidence=other)
    own = write_calibration(folder / "calibration.json")
    with pytest.raises(CalibrationError, match="names the risk 'dire': use low, intermediate"):
        run(folder, "none", calibration=own, limits={"low": 0, "dire": 0.5})
    with pytest.raises(CalibrationError, match="must start at 0"):
        run(folder, "none", calibration=own, limits={})
    assert not (folder / "none").exists()


def test_the_heatmap_lies_on_the_scans_own_voxels(folder):
    run(folder, "mapped", heatmap=folder / "mapped" / "heatmap.nii.gz")
    image = nibabel.load(folder / "mapped" / "heatmap.nii.gz")
    assert image.shape == SCAN.shape[::-1]
    assert image.affine == pytest.approx(AFFINE, abs=1e-4)
    values = image.get_fdata()
    assert values.min() >= 0
    assert values.max() <= 1
    for nodule in NODULES:
        place = tuple(np.rint(world(nodule)[1]).astype(int))
        assert values[place] > 0.5


def test_filters_act_after_suppression(folder):
    small = {"size_filter": {"min_diameter": 3, "max_diameter": 9}}
    kept = run(folder, "small", settings=small)
    assert [d.id for d in kept.detections] == [0]
    assert kept.detections[0].diameter_mm < 9
    sure = {"confidence_filter": {"min_confidence": 0.85}}
    assert len(run(folder, "sure", settings=sure).detections) == 2


def test_what_lies_outside_of_the_body_is_counted_and_not_detected(tmp_path):
    # in the air beside the body, and in the table below it: the chest's flank is 120 mm from it
    beside, below = Nodule((0, -60, 110), 5.0, heat=0.99), Nodule((10, 90, 0), 6.0, heat=0.99)
    at_the_skin = Nodule((0, 0, 119), 4.0, heat=0.7)
    write_inputs(tmp_path, heat(LOCAL, [*NODULES, beside, below, at_the_skin]))
    found = run(tmp_path)
    assert found.summary.outside_body_count == 2
    places = [each.coordinates for each in found.detections]
    expected = [world(nodule)[0] for nodule in (*NODULES, at_the_skin)]
    np.testing.assert_allclose(places, expected, atol=0.3)
    text = (tmp_path / "out" / "detections.json").read_text()
    assert json.loads(text)["summary"] == {"num_detections": 4, "outside_body_count": 2}
    off = {"body_filter": {"enabled": False}}
    everything = run(tmp_path, "all", settings=off)
    assert len(everything.detections) == 6
    assert everything.summary.outside_body_count is None


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
    with pytest.raises(StoreError, match=r"has 3 channels \(background, a, b\), not one heatmap"):
        run(tmp_path)
    values[0, 0, 0] = np.nan
    write_inputs(tmp_path, values)
    with pytest.raises(VoxelError, match="probabilities"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()


def test_what_is_no_ct_is_refused_before_anything_is_written(tmp_path):
    values = heat(LOCAL, NODULES)
    for hu, problem in ((-1000, "soft tissue"), (7, "air and lungs"), (9000, "not a CT")):
        with pytest.raises(
            VoxelError, match=rf"is not a CT in Hounsfield units.*{problem}|{problem}"
        ):
            write_inputs(tmp_path, values, hu=np.full(SCAN.shape, hu, np.int16))
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_a_volume_without_body_and_lungs_is_refused_and_nothing_is_written(tmp_path):
    write_inputs(tmp_path, heat(LOCAL, NODULES))
    shutil.rmtree(tmp_path / "volume.ome.zarr" / "labels")
    with pytest.raises(StoreError, match=r"volume\.ome\.zarr has no label image 'lungs'"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
