"""The names of the inference guide do what the guide says, by this package's own functions."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import nibabel
import numpy as np
import pytest
import torch
import yaml
from chest_scan import ellipsoid
from monai.inferers import sliding_window_inference as monai_inference
from monai.networks.nets import UNet
from tiny_detector import SHAPE, SPACING, save_detector
from typer.testing import CliRunner

import parafovea.compat
from parafovea.cli.main import app
from parafovea.compat import (
    DetectionList,
    InferencePipeline,
    batch_inference,
    calibrate_scores,
    detect_peaks,
    extract_properties,
    generate_report,
    load_detections,
    load_scan,
    non_maximum_suppression,
    optimize_model,
    plot_confidence_distribution,
    render_3d_volume,
    sliding_window_inference,
    visualize_detections,
)
from parafovea.errors import (
    CalibrationError,
    ConfigError,
    GridError,
    ModelError,
    ScoreError,
    SourceError,
    StoreError,
    TableError,
)
from parafovea.geometry.grid import Grid
from parafovea.models.export import StandaloneUNet, random_inputs
from parafovea.models.folder import load_model
from parafovea_phantoms import chest_phantom
from parafovea_phantoms.phantom_files import write_volume

#: The guide's config, at the voxels and windows of the small detector.
CONFIG = {
    "model": {
        "checkpoint": "checkpoints/best_model.pth",
        "architecture": "unet",
        "device": "cuda",
        "mixed_precision": False,
    },
    "input": {
        "spacing": list(SPACING),
        "clip_range": [-1000, 400],
        "normalize": True,
        "normalization_method": "minmax",
    },
    "inference": {
        "mode": "sliding_window",
        "patch_size": [16, 32, 32],
        "stride": [8, 16, 16],
        "batch_size": 4,
        "blending": {"method": "gaussian", "sigma": 0.125},
        "tta": {"enabled": False, "num_augmentations": 8},
    },
    "post_processing": {
        "peak_detection": {"threshold": 0.5, "min_distance": 10, "method": "local_maxima"},
        "nms": {"enabled": True, "iou_threshold": 0.3},
        "size_filter": {"min_diameter": 3.0, "max_diameter": 500.0},
        "confidence_filter": {"min_confidence": 0.3},
    },
    "output": {
        "save_heatmap": True,
        "save_detections": True,
        "save_visualization": True,
        "save_report": True,
        "formats": {"detections": "json", "heatmap": "nifti"},
    },
    "visualization": {
        "num_slices": 5,
        "colormap": "hot",
        "overlay_alpha": 0.5,
        "save_3d": False,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with the guide's files: a model, a config and a scan."""
    place = tmp_path_factory.mktemp("guide")
    save_detector(place / "checkpoints/best_model.pth")
    (place / "configs").mkdir()
    (place / "configs/inference.yaml").write_text(yaml.safe_dump(CONFIG))
    (place / "data/test").mkdir(parents=True)
    phantom = chest_phantom(1, shape=SHAPE, spacing=SPACING)
    write_volume(place / "data/test/patient_001.nii.gz", phantom.image, phantom.grid, attributes={})
    return place


@pytest.fixture(scope="module")
def example(folder):
    """Run the guide's complete example in its folder, and return what it has at its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        pipeline = InferencePipeline(
            checkpoint="checkpoints/best_model.pth", config="configs/inference.yaml", device="cuda"
        )
        scan_path = "data/test/patient_001.nii.gz"
        scan, spacing = load_scan(scan_path)
        results = pipeline.predict(scan, spacing)
        output_dir = Path("results/patient_001")
        output_dir.mkdir(parents=True, exist_ok=True)
        pipeline.save_detections(results, output_dir / "detections.json")
        pipeline.save_heatmap(results["heatmap"], output_dir / "heatmap.nii.gz")
        visualize_detections(
            scan=scan,
            detections=results["detections"],
            spacing=spacing,
            output_path=output_dir / "visualization.png",
        )
        generate_report(
            scan_path=scan_path,
            detections=results["detections"],
            output_path=output_dir / "report.pdf",
        )
    return pipeline, scan, spacing, results


@pytest.fixture(scope="module")
def made(folder, example) -> Path:
    """Return the folder of the example's results."""
    return folder / "results/patient_001"


@pytest.fixture(scope="module")
def predicted(folder) -> Path:
    """Return the results of the command line for the same scan and config."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        done = CliRunner().invoke(
            app,
            [
                "predict",
                "data/test/patient_001.nii.gz",
                "--guide-config",
                "configs/inference.yaml",
                "--output",
                "predicted/patient_001",
            ],
        )
    assert done.exit_code == 0, done.stderr
    # a sentence for each key without effect
    for key in ("model.architecture", "output.formats.detections", "visualization.save_3d"):
        assert f"{key} has no effect" in " ".join(done.stderr.split())
    return folder / "predicted/patient_001"


def test_the_example_of_the_guide_finds_what_the_command_finds(example, made, predicted):
    _, _, _, results = example
    assert len(results["detections"]) > 0
    own, other = ((folder / "detections.json").read_bytes() for folder in (made, predicted))
    assert own == other
    assert json.loads(own)["scan_id"] == "patient_001"
    heat, file = (nibabel.load(f / "heatmap.nii.gz") for f in (made, predicted))
    np.testing.assert_array_equal(heat.get_fdata(), file.get_fdata())
    np.testing.assert_allclose(heat.affine, file.affine, atol=1e-6)
    assert heat.shape == SHAPE[::-1]


def test_the_figures_of_the_example_are_those_of_the_command(made, predicted):
    own, other = (matplotlib.image.imread(f / "visualization.png") for f in (made, predicted))
    # the guide's is drawn from the file of the heatmap, whose values have 4096 steps
    np.testing.assert_allclose(own, other, rtol=0, atol=2.5 / 255)
    document = (made / "report.pdf").read_bytes()
    assert b"(Detections of patient_001)" in document
    # the table, the slices and the confidences
    assert document.count(b"/Type /Page ") == 3


def test_results_are_dictionaries_as_in_the_file(example, made):
    _, scan, spacing, results = example
    document = json.loads((made / "detections.json").read_text())
    assert list(results["detections"]) == document["detections"]
    assert {k: v for k, v in results.items() if k not in ("detections", "heatmap")} == {
        k: v for k, v in document.items() if k != "detections"
    }
    assert spacing == SPACING
    assert results["heatmap"].shape == scan.shape == SHAPE
    assert results["heatmap"].dtype == np.float32
    loaded = load_detections(made / "detections.json")
    assert loaded == document["detections"]
    assert loaded.facts["scan_id"] == "patient_001"


def test_coordinates_are_those_of_the_patient_only_for_a_scan_with_its_place(
    folder, example, caplog, monkeypatch
):
    monkeypatch.chdir(folder)
    pipeline, scan, spacing, results = example
    with caplog.at_level(logging.WARNING):
        plain = pipeline.predict(np.array(scan), spacing)
    assert "no place in the patient" in caplog.text
    assert plain["scan_id"] == "scan"
    np.testing.assert_allclose(plain["heatmap"], results["heatmap"], atol=1e-5)
    pairs = list(zip(plain["detections"], results["detections"], strict=True))
    for own, other in pairs:
        assert own["coordinates_voxel"] == other["coordinates_voxel"]
        assert own["diameter_mm"] == other["diameter_mm"]
        # x, y, z in mm from the first voxel
        near = np.array(own["coordinates_voxel"]) * spacing[::-1]
        assert np.abs(near - own["coordinates"]).max() <= max(spacing) / 2 + 1e-6
    assert any(own["coordinates"] != other["coordinates"] for own, other in pairs)


def test_a_gpu_that_is_not_there_is_said_and_the_cpu_takes_its_place(folder, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING):
        pipeline = InferencePipeline(folder / "checkpoints/best_model.pth", device="cuda:1")
    assert pipeline.device == "cpu"
    assert "device cuda:1 is not available here" in caplog.text


def test_a_folder_of_scans_is_predicted_and_a_broken_one_stops_no_other(
    folder, tmp_path, predicted
):
    scans = tmp_path / "scans"
    scans.mkdir()
    content = (folder / "data/test/patient_001.nii.gz").read_bytes()
    (scans / "patient_001.nii.gz").write_bytes(content)
    (scans / "broken.nii.gz").write_bytes(content[:2000])
    results = batch_inference(
        checkpoint=folder / "checkpoints/best_model.pth",
        input_dir=scans,
        output_dir=tmp_path / "results",
        config=folder / "configs/inference.yaml",
        num_workers=1,
        batch_size=4,
    )
    assert results["num_scans"] == 1
    assert results["avg_time"] > 0
    assert list(results["failed"]) == ["broken"]
    found = load_detections(tmp_path / "results/patient_001/detections.json")
    assert found == load_detections(predicted / "detections.json")
    assert results["total_detections"] == len(found)
    with pytest.raises(ConfigError, match="num_workers 0 must be at least 1"):
        batch_inference(folder / "checkpoints/best_model.pth", scans, tmp_path, num_workers=0)


def small_unet() -> UNet:
    """Return a seeded network with one input and two output channels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(3, 1, 2, channels=(4, 8), strides=(2,), norm="batch").eval()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_windows_are_blended_as_by_monai(batch_size):
    network = torch.nn.Sequential(small_unet(), torch.nn.Softmax(dim=1)).eval()
    scan = np.random.default_rng(0).normal(size=(30, 40, 28)).astype(np.float32)
    found = sliding_window_inference(
        model=network,
        scan=scan,
        patch_size=[16, 16, 16],
        stride=[8, 8, 8],
        batch_size=batch_size,
        device="cpu",
    )
    with torch.inference_mode():
        expected = monai_inference(
            torch.from_numpy(scan)[None, None], (16, 16, 16), 1, network, 0.5, "gaussian"
        )
    assert found.shape == (2, 30, 40, 28)
    np.testing.assert_allclose(found, expected[0].numpy(), atol=1e-5)


def test_a_function_is_a_model_too_and_training_mode_comes_back():
    # parts have a mode of their own
    network = torch.nn.Sequential(small_unet(), torch.nn.Dropout().train()).train()
    network[0].eval()
    scan = np.random.default_rng(0).normal(size=(16, 16, 20)).astype(np.float32)
    sliding_window_inference(network, scan, [16, 16, 16], [16, 16, 8], device="cpu")
    assert [part.training for part in (network, *network)] == [True, False, True]
    same = sliding_window_inference(
        lambda batch: batch, scan, (8, 8, 8), (4, 8, 5), device="cpu", blending="average"
    )
    np.testing.assert_allclose(same[0], scan, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        ("resources/models/nodule", {}, ModelError, "use InferencePipeline"),
        (lambda b: (b, b), {}, ModelError, "returns a tuple, not one tensor"),
        (lambda b: b[..., 1:], {}, ModelError, r"must return \(N, class, z, y, x\)"),
        (lambda b: b * 1e9, {}, ModelError, "let it return probabilities"),
        (lambda b: b * torch.nan, {}, ScoreError, "NaN or infinite"),
        (lambda b: b, {"stride": (9, 8, 8)}, GridError, "so that windows cover every voxel"),
        (lambda b: b, {"batch_size": 0}, GridError, "batch_size 0"),
        (lambda b: b, {"scan": np.ones((8, 8))}, GridError, "single volume"),
    ],
)
def test_a_model_that_does_not_fit_is_one_error(model, options, error, message):
    given = {
        "scan": np.ones((8, 8, 8), np.float32),
        "patch_size": (8, 8, 8),
        "stride": (8, 8, 8),
        "device": "cpu",
        **options,
    }
    with pytest.raises(error, match=message):
        sliding_window_inference(model, **given)


GRID = Grid((40, 60, 60), (2.0, 1.0, 1.0), unit="millimeter")


def bumps(*centres, width=3.0):
    """Return a heatmap on GRID with a Gaussian at each centre (z, y, x in mm)."""
    z, y, x = (np.arange(n) * s for n, s in zip(GRID.shape, GRID.spacing, strict=True))
    heat = np.zeros(GRID.shape)
    for height, (a, b, c) in zip((0.95, 0.9, 0.8), centres, strict=False):
        squares = (z[:, None, None] - a) ** 2 + (y[:, None] - b) ** 2 + (x - c) ** 2
        heat = np.maximum(heat, height * np.exp(-squares / (2 * width**2)))
    return heat


def test_peaks_are_where_the_heatmap_is_highest():
    centres = [(20.0, 15.0, 40.0), (50.0, 30.0, 12.0)]
    peaks = detect_peaks(
        heatmap=bumps(*centres), threshold=0.5, min_distance=10, spacing=[2.0, 1.0, 1.0]
    )
    assert [p["confidence"] for p in peaks] == [0.95, 0.9]
    for peak, (z, y, x) in zip(peaks, centres, strict=True):
        np.testing.assert_allclose(peak["coordinates"], (x, y, z), atol=0.05)
        assert peak["coordinates_voxel"] == [x, y, z / 2]
    # half of the height is reached at this radius
    radius = 3.0 * np.sqrt(2 * np.log(0.95 / 0.5))
    assert peaks[0]["diameter_mm"] == pytest.approx(2 * radius, rel=0.06)
    assert detect_peaks(bumps(), spacing=(2, 1, 1)) == []


def test_of_overlapping_spheres_the_most_confident_one_stays():
    def ball(x, confidence, diameter=10.0):
        return {"coordinates": [x, 0, 0], "diameter_mm": diameter, "confidence": confidence}

    given = [ball(0, 0.6), ball(1, 0.9), ball(30, 0.7), ball(7, 0.5)]
    kept = non_maximum_suppression(detections=given, iou_threshold=0.3)
    assert [d["coordinates"][0] for d in kept] == [1, 30, 7]
    assert [d["id"] for d in kept] == [0, 1, 2]
    # spheres of 10 mm whose centres are 6 mm apart share 0.208 of their volume, 0.116 of the union
    assert len(non_maximum_suppression(given, iou_threshold=0.1)) == 2
    assert len(non_maximum_suppression(given, iou_threshold=1.0)) == 4
    assert non_maximum_suppression([]) == []
    assert "id" not in given[0]


def test_what_is_known_of_detections_stays_with_them(example):
    found = example[3]["detections"]
    kept = non_maximum_suppression(found, 0.3)
    assert isinstance(kept, DetectionList)
    assert (kept.facts, kept.heatmap) == (found.facts, found.heatmap)


def test_the_steps_of_the_guide_follow_each_other(tmp_path):
    hu = np.full(GRID.shape, -850, np.float32)
    centres = [(40.0, 30.0, 20.0), (40.0, 30.0, 45.0)]
    for centre, radius in zip(centres, (8.0, 5.0), strict=True):
        hu[ellipsoid(GRID, centre, (radius,) * 3)] = 30
    spacing = GRID.spacing
    peaks = detect_peaks(bumps(*centres, width=6.0), spacing=spacing)
    detections = non_maximum_suppression(peaks)
    assert len(detections) == 2
    for detection in detections:
        detection["properties"] = extract_properties(
            scan=hu,
            coordinates=detection["coordinates"],
            diameter=detection["diameter_mm"],
            spacing=spacing,
        )
        assert detection["properties"]["mean_intensity"] == pytest.approx(30, abs=1)
        assert 0.85 < detection["properties"]["sphericity"] <= 1
    large = detections[0]["properties"]["volume_mm3"]
    # within the quarter of a radius that a nodule may reach beyond its sphere
    assert large == pytest.approx(np.count_nonzero(hu[:, :, :34] == 30) * 2, rel=0.1)
    path = visualize_detections(hu, detections, spacing, tmp_path / "a.png", num_slices=1)
    assert path.is_file()


def test_properties_of_a_detection_are_near_those_of_the_pipeline(example):
    _, scan, spacing, results = example
    for each in results["detections"][:3]:
        properties = extract_properties(scan, each["coordinates"], each["diameter_mm"], spacing)
        assert set(properties) <= set(each["properties"])
    with pytest.raises(GridError, match="lies outside of the scan"):
        extract_properties(scan, (9999, 0, 0), 5)


def calibration_file(path, model=None):
    """Write a Platt calibration of slope 2 and intercept -1."""
    measures = {"ece": 0.1, "log_loss": 0.5, "brier": 0.2}
    fit = dict.fromkeys(("before", "after", "held_out"), measures)
    owner = None if model is None else {"name": model, "weights_sha256": "0" * 64}
    path.write_text(
        json.dumps(
            {
                "method": "platt",
                "parameters": {"slope": 2.0, "intercept": -1.0},
                "model": owner,
                "fit": {"candidates": 20, "positives": 10, "bins": 15, **fit},
                "version": "0",
            }
        )
    )
    return path


def test_scores_are_calibrated_by_the_formula_of_platt(tmp_path):
    file = calibration_file(tmp_path / "triage.json")
    scores = [0.9, 0.5, 0.2]
    given = [{"confidence": score} for score in scores]
    found = calibrate_scores(detections=given, calibration_file=file)
    for each, score in zip(found, scores, strict=True):
        logit = np.log(score / (1 - score))
        expected = 1 / (1 + np.exp(-(2 * logit - 1)))
        assert each["triage"]["malignancy_score"] == pytest.approx(expected, abs=1e-6)
    assert [d["triage"]["risk_category"] for d in found] == ["high", "low", "low"]
    assert "triage" not in given[0]
    assert calibrate_scores([], file) == []


def test_a_calibration_of_another_model_is_refused(example, made, tmp_path):
    file = calibration_file(tmp_path / "triage.json", model="other")
    for detections in (example[3]["detections"], load_detections(made / "detections.json")):
        with pytest.raises(CalibrationError, match="belongs to the model 'other'"):
            calibrate_scores(detections, file)


def test_detections_that_were_changed_are_saved_and_counted_anew(example, tmp_path):
    pipeline, _, _, results = example
    file = calibration_file(tmp_path / "triage.json")
    first = calibrate_scores(results["detections"], file)[0]
    best = [first, {**first, "id": 7, "confidence": 0.4}]
    changed = {**results, "detections": best}
    path = pipeline.save_detections(changed, tmp_path / "some.json")
    document = json.loads(path.read_text())
    assert [d["id"] for d in document["detections"]] == list(range(len(best)))
    summary = document["summary"]
    assert summary["num_detections"] == len(best)
    counted = sum(summary.get(f"{r}_risk_count", 0) for r in ("high", "intermediate", "low"))
    assert counted == len(best)
    table = pipeline.save_detections(changed, tmp_path / "some.csv").read_text().splitlines()
    assert table[0].startswith("scan_id,detection_id,coord_x")
    assert len(table) == len(best) + 1
    assert table[1].startswith("patient_001,0,")


def test_a_heatmap_is_saved_with_its_place_or_as_an_array(example, tmp_path):
    pipeline, _, spacing, results = example
    heatmap = results["heatmap"]
    pipeline.save_heatmap(heatmap, tmp_path / "heat.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "heat.npy"), heatmap)
    with pytest.raises(GridError, match="does not know its voxel size"):
        pipeline.save_heatmap(heatmap * 0.5, tmp_path / "half.nii.gz")
    pipeline.save_heatmap(heatmap * 0.5, tmp_path / "half.nii.gz", spacing=spacing)
    assert nibabel.load(tmp_path / "half.nii.gz").header.get_zooms() == spacing[::-1]


def test_files_of_the_guide_are_drawn_from_files(folder, made, tmp_path):
    scan, detections = folder / "data/test/patient_001.nii.gz", made / "detections.json"
    page = render_3d_volume(
        scan=str(scan),
        heatmap=str(made / "heatmap.nii.gz"),
        detections=str(detections),
        output_path=tmp_path / "3d_rendering.html",
        interactive=True,
    )
    text = page.read_text()
    first = load_detections(detections)[0]
    assert f'"diameter_mm":{first["diameter_mm"]}' in text
    assert '"name":"body"' in text
    assert '"name":"heatmap"' in text
    picture = plot_confidence_distribution(
        detections=str(detections), output_path=tmp_path / "confidences.png"
    )
    again = plot_confidence_distribution(
        list(load_detections(detections)), tmp_path / "plain.png", min_confidence=0.5
    )
    assert picture.read_bytes() != again.read_bytes()
    report = generate_report(scan, detections, tmp_path / "report.pdf")
    assert b"(Detections of patient_001)" in report.read_bytes()
    # without a heatmap, the slices are others
    assert report.read_bytes() != (made / "report.pdf").read_bytes()
    shown = generate_report(
        scan, detections, tmp_path / "shown.pdf", heatmap=made / "heatmap.nii.gz"
    )
    assert shown.read_bytes() == (made / "report.pdf").read_bytes()


def test_without_a_heatmap_slices_are_drawn_bare_and_it_is_said(example, made, tmp_path, caplog):
    _, scan, spacing, results = example
    loaded = load_detections(made / "detections.json")
    bare, cold, full, same = (tmp_path / f"{n}.png" for n in ("bare", "cold", "full", "same"))
    with caplog.at_level(logging.WARNING):
        visualize_detections(
            scan=scan,
            detections=loaded,
            spacing=spacing,
            output_path=bare,
            num_slices=5,
            colormap="hot",
            alpha=0.5,
        )
    assert "colormap and alpha have no effect" in caplog.text
    caplog.clear()
    visualize_detections(scan, results["detections"], spacing, full)
    visualize_detections(scan, loaded, spacing, same, heatmap=made / "heatmap.nii.gz")
    nothing = np.zeros(scan.shape, np.float32)
    visualize_detections(scan, loaded, spacing, cold, heatmap=nothing)
    assert caplog.text == ""
    pictures = [matplotlib.image.imread(path)[..., :3] for path in (bare, cold, full, same)]
    # all but the line below the slices, where the colours of the heatmap are explained
    slices = [picture[:-140] for picture in pictures]
    np.testing.assert_array_equal(slices[0], slices[1])
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(slices[0], slices[2])
    np.testing.assert_allclose(pictures[2], pictures[3], atol=0.02)


@pytest.fixture(scope="module")
def network(folder, tmp_path_factory):
    """Return the small detector as TorchScript, and its file."""
    file = tmp_path_factory.mktemp("script") / "optimized_model.pt"
    shape = [1, load_model(folder / "checkpoints/best_model.pth")[0].input_channels, 16, 32, 32]
    made = optimize_model(
        checkpoint=folder / "checkpoints/best_model.pth",
        output_path=file,
        example_input_shape=shape,
    )
    return made, file


def test_an_optimized_model_returns_the_same_probabilities(folder, network):
    spec, plain = load_model(folder / "checkpoints/best_model.pth")
    inputs = random_inputs(spec, (16, 48, 32), count=2)
    loaded = network[0]
    with torch.inference_mode():
        expected = StandaloneUNet(plain, spec.activation, spec.base).eval()(*inputs)
        np.testing.assert_allclose(loaded(*inputs), expected, atol=1e-5)
    assert network[1].is_file()


@pytest.mark.parametrize("shape", [[1, 1, 128, 128, 128], [1, 17, 30, 32, 32], [1, 17, 32, 32]])
def test_an_input_that_the_network_does_not_take_is_told(folder, tmp_path, shape):
    with pytest.raises(ModelError, match=r"takes \d+ channels .* use \[1, \d+, 16, 32, 32\]"):
        optimize_model(folder / "checkpoints/best_model.pth", tmp_path / "a.pt", shape)
    assert not (tmp_path / "a.pt").exists()


def test_what_the_guide_asks_for_and_is_not_here_is_refused(example, folder, made, tmp_path):
    pipeline, scan, spacing, results = example
    scan_path, found = folder / "data/test/patient_001.nii.gz", results["detections"]
    weights = tmp_path / "best.pth"
    weights.write_bytes(b"")
    bad = [{**found[0], "confidence": 2.0}]
    calls = [
        (
            ConfigError,
            "interactive=False",
            lambda: render_3d_volume(
                scan_path, made / "heatmap.nii.gz", found, tmp_path / "a.html", interactive=False
            ),
        ),
        (
            ConfigError,
            "ends in .html",
            lambda: render_3d_volume(scan_path, made / "heatmap.nii.gz", found, tmp_path / "a.png"),
        ),
        (ConfigError, "ends in .pdf", lambda: generate_report(scan_path, found, tmp_path / "a.md")),
        (
            ConfigError,
            "ends in .png",
            lambda: visualize_detections(scan, found, spacing, tmp_path / "a.gif"),
        ),
        (
            ConfigError,
            "unknown colormap 'rainbow'",
            lambda: visualize_detections(
                scan, found, spacing, tmp_path / "a.png", colormap="rainbow"
            ),
        ),
        (ConfigError, "ends in .json or .csv", lambda: pipeline.save_detections(results, "a.txt")),
        (
            ConfigError,
            "ends in .nii.gz or .nii or .npy",
            lambda: pipeline.save_heatmap(results["heatmap"], "a.nrrd"),
        ),
        (
            TableError,
            "lack metadata, scan_id",
            lambda: pipeline.save_detections({"detections": []}, tmp_path / "a.json"),
        ),
        (
            TableError,
            "detection 0: confidence",
            lambda: plot_confidence_distribution(bad, tmp_path / "a.png"),
        ),
        (
            TableError,
            "properties is missing: add",
            lambda: plot_confidence_distribution(
                detect_peaks(bumps((20.0, 15.0, 40.0)), spacing=(2, 1, 1)), tmp_path / "a.png"
            ),
        ),
        (TableError, "coordinates None must be", lambda: non_maximum_suppression([{}])),
        (
            TableError,
            "confidence None must be a number",
            lambda: calibrate_scores([{}], calibration_file(tmp_path / "c.json")),
        ),
        (
            GridError,
            r"spacing \(1.0, 1.0, 1.0\) mm differs",
            lambda: pipeline.predict(scan, (1, 1, 1)),
        ),
        (GridError, "does not know its voxel size", lambda: pipeline.predict(np.array(scan))),
        (
            GridError,
            "the detections are of a scan of",
            lambda: visualize_detections(np.array(scan)[1:], found, spacing, tmp_path / "a.png"),
        ),
        (
            GridError,
            "lies outside of the scan: give",
            lambda: visualize_detections(np.array(scan), list(found), spacing, tmp_path / "a.png"),
        ),
        (
            GridError,
            "the heatmap has",
            lambda: visualize_detections(
                scan, found, spacing, tmp_path / "a.png", heatmap=np.zeros((4, 4, 4), np.float32)
            ),
        ),
        (ConfigError, "threshold = 0", lambda: detect_peaks(bumps(), 0, spacing=(2, 1, 1))),
        (ConfigError, "iou_threshold = 2", lambda: non_maximum_suppression([], 2)),
        (ConfigError, "is a file, and a model is a folder", lambda: InferencePipeline(weights)),
        (
            ModelError,
            "is a file, and a model is a folder",
            lambda: optimize_model(weights, tmp_path / "a.pt"),
        ),
        (SourceError, "none.nii.gz", lambda: load_scan(tmp_path / "none.nii.gz")),
        (StoreError, "is missing", lambda: load_detections(tmp_path / "none.json")),
    ]
    for error, message, call in calls:
        with pytest.raises(error, match=message):
            call()


def test_a_heatmap_that_lies_elsewhere_is_refused(example, made, tmp_path):
    _, scan, spacing, _ = example
    image = nibabel.load(made / "heatmap.nii.gz")
    moved = image.affine.copy()
    moved[0, 3] += 20
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), moved), tmp_path / "moved.nii.gz")
    found = load_detections(made / "detections.json")
    with pytest.raises(GridError, match=r"the heatmap lies 20\.0 mm from the scan"):
        visualize_detections(
            scan, found, spacing, tmp_path / "a.png", heatmap=tmp_path / "moved.nii.gz"
        )


def test_a_config_of_the_guide_and_one_of_the_workflow_exclude_each_other(folder, monkeypatch):
    monkeypatch.chdir(folder)
    arguments = ["predict", "a.nii.gz", "--guide-config", "configs/inference.yaml"]
    done = CliRunner().invoke(app, [*arguments, "--config", "configs/inference.yaml"])
    assert done.exit_code == 1
    assert "--guide-config replaces --config" in done.stderr
    (folder / "configs/typo.yaml").write_text("inference: {batchsize: 2}\n")
    done = CliRunner().invoke(app, ["predict", "a.nii.gz", "--guide-config", "configs/typo.yaml"])
    assert done.exit_code == 1
    assert "did you mean 'batch_size'" in " ".join(done.stderr.split())


def test_every_name_is_documented_and_nothing_heavy_is_loaded_before_it_is_used():
    guide = Path(__file__).parents[1] / "docs/guide_names.md"
    page = guide.read_text(encoding="utf-8")
    for name in parafovea.compat.__all__:
        assert getattr(parafovea.compat, name).__doc__
        assert f"`{name}" in page
    program = (
        "import sys, parafovea.compat\n"
        "assert not {'torch', 'zarr', 'pandas', 'pydantic', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
