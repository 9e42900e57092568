"""A config of the inference guide means the same here, or says that it does not."""

import pytest

from parafovea.config.guide_config import read_guide_config
from parafovea.errors import ConfigError

WHOLE = """
model:
  checkpoint: checkpoints/best_model.pth
  architecture: unet
  device: cuda
  mixed_precision: true
input:
  spacing: [1.5, 1.0, 0.5]
  clip_range: [-1000, 400]
  normalize: true
  normalization_method: minmax
inference:
  mode: sliding_window
  patch_size: [128, 96, 64]
  stride: [64, 48, 32]
  overlap: 0.5
  batch_size: 4
  blending: {method: gaussian, sigma: 0.2}
  tta: {enabled: false, num_augmentations: 8}
post_processing:
  peak_detection: {threshold: 0.4, min_distance: 7, method: nms}
  nms: {enabled: false, iou_threshold: 0.2}
  size_filter: {min_diameter: 2.5, max_diameter: 25}
  confidence_filter: {min_confidence: 0.1}
output:
  save_heatmap: true
  save_detections: true
  save_visualization: true
  save_report: true
  formats: {detections: json, heatmap: nifti}
visualization: {num_slices: 4, colormap: inferno, overlay_alpha: 0.3, save_3d: false}
"""


@pytest.fixture
def read(tmp_path):
    def reading(text, **options):
        path = tmp_path / "inference.yaml"
        path.write_text(text)
        return read_guide_config(path, **{"checkpoint": "models/nodule", **options})

    return reading


def test_every_key_becomes_the_setting_that_does_the_same(read):
    guide = read(WHOLE, checkpoint=None)
    assert guide.device == "cuda"
    (task,) = guide.settings.tasks.values()
    assert task.kind == "detection"
    assert task.model == "checkpoints/best_model.pth"
    assert task.overrides.spacing == (1.5, 1.0, 0.5)
    window = task.overrides.normalization
    assert (window.method, window.low, window.high, window.clip) == ("window", -1000, 400, True)
    inference = task.inference
    assert (inference.mode, inference.window) == ("sliding_window", (128, 96, 64))
    assert (inference.stride, inference.overlap) == ((64, 48, 32), None)
    assert (inference.batch_size, inference.precision) == (4, "auto")
    assert (inference.blending, inference.sigma, inference.tta) == ("gaussian", 0.2, ())
    detection = task.block("detection").model_dump()
    assert detection["peak_detection"]["threshold"] == 0.4
    assert detection["peak_detection"]["min_distance"] == 7
    assert detection["peak_detection"]["method"] == "nms"
    assert detection["nms"] == {"enabled": False, "iou_threshold": 0.2}
    assert detection["size_filter"] == {"min_diameter": 2.5, "max_diameter": 25}
    assert detection["confidence_filter"] == {"min_confidence": 0.1}
    drawn = task.block("visualization").model_dump()
    assert drawn == {"num_slices": 4, "colormap": "inferno", "overlay_alpha": 0.3}


def test_what_has_no_effect_is_said_and_what_has_is_not(read):
    notes = [note.split(" has no effect")[0] for note in read(WHOLE).notes]
    assert notes[0] == "model.checkpoint (checkpoints/best_model.pth) is replaced by models/nodule"
    assert notes[1:] == ["model.architecture", "output.formats.detections", "visualization.save_3d"]
    speed = """
inference: {cudnn_benchmark: true, num_workers: 8, prefetch_factor: 2, clear_cache: true}
output: {save_heatmap: false, save_report: false, formats: {heatmap: numpy, detections: both}}
"""
    notes = [note.split(" has no effect")[0] for note in read(speed).notes]
    assert notes == [
        "inference.cudnn_benchmark",
        "inference.num_workers",
        "inference.prefetch_factor",
        "inference.clear_cache",
        "output.save_heatmap",
        "output.save_report",
        "output.formats.heatmap",
    ]


def test_what_a_config_does_not_say_is_that_of_the_model(read):
    guide = read("inference: {batch_size: 2}\n")
    task = guide.settings.tasks["nodules"]
    assert task.overrides.given == {}
    assert (task.inference.window, task.inference.overlap) == ("auto", "auto")
    assert guide.notes == ()
    assert guide.device is None
    assert read_guide_config(None, checkpoint="models/nodule").settings.tasks["nodules"]


@pytest.mark.parametrize(
    ("text", "views"),
    [
        ("{enabled: true, num_augmentations: 1}", ()),
        ("{enabled: true, num_augmentations: 4}", ("flip_x", "flip_y", "flip_z")),
        ("{enabled: true, augmentations: [flip_x, rotate_90_xy]}", ("flip_x", "rotate_90_xy")),
        ("{enabled: false, augmentations: [flip_x]}", ()),
    ],
)
def test_augmentations_are_those_named_or_as_many_mirrorings(read, text, views):
    assert read(f"inference: {{tta: {text}}}\n").settings.tasks["nodules"].inference.tta == views


def test_eight_augmentations_are_the_original_and_all_mirrorings(read):
    guide = read("inference: {tta: {enabled: true, num_augmentations: 8}}\n")
    inference = guide.settings.tasks["nodules"].inference
    assert inference.views == 8
    assert inference.tta[-1] == "flip_x+flip_y+flip_z"


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("inference: {blending: {method: average}}", "blending", "constant"),
        ("inference: {blending: {method: linear}}", "blending", "linear"),
        ("inference: {mixed_precision: false}", "precision", "float32"),
        ("model: {mixed_precision: false}", "precision", "float32"),
        ("inference: {mode: whole_volume}", "mode", "whole_volume"),
        ("inference: {overlap: 0.25}", "overlap", 0.25),
    ],
)
def test_other_values_of_the_guide_have_their_setting(read, text, field, value):
    inference = read(text + "\n").settings.tasks["nodules"].inference
    assert getattr(inference, field) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inferense: {}", r"inference.yaml:1: inferense is not a known key: did you mean 'infer"),
        ("inference: {patchsize: [1, 1, 1]}", r"inference.patchsize is not .* mean 'patch_size'"),
        ("post_processing: {nms: {iou: 1}}", "post_processing.nms.iou is not a known key"),
        ("inference: {batch_size: 0}", "inference.batch_size = 0"),
        ("inference: {patch_size: [128, 128]}", r"inference.patch_size.2 is missing"),
        ("inference: {mode: sliding}", "mode = 'sliding': must be 'sliding_window'"),
        ("inference: {blending: {method: linear, sigma: 0.1}}", "sigma .0.1. is the width of met"),
        ("inference: {tta: {augmentations: [flip_w]}}", "flip_w"),
        (
            "inference: {tta: {num_augmentations: 1, augmentations: [flip_x, flip_y]}}",
            "num_augmentations is 1, but augmentations names 2",
        ),
        ("inference: {tta: {num_augmentations: 9}}", "there are 8 mirrorings"),
        ("inference: {mode: whole_volume, patch_size: [16, 16, 16]}", "patch_size is given"),
        (
            "inference: {patch_size: [64, 64, 64], stride: [16, 16, 16], overlap: 0.5}",
            r"overlap 0.5 means a stride of \[32, 32, 32\], but stride is \[16, 16, 16\]",
        ),
        ("inference: {stride: [16, 16, 16], overlap: 0.5}", "overlap 0.5 needs a patch_size"),
        (
            "inference: {patch_size: [16, 16, 16], stride: [32, 16, 16]}",
            "stride .* is larger than the window",
        ),
        ("input: {normalization_method: zscore}", "normalization_method = 'zscore'"),
        ("input: {clip_range: [400, -1000]}", "clip_range .400, -1000. must increase"),
        ("input: {clip_range: [-1000, 400], normalize: false}", "remove one of them"),
        (
            "model: {device: cuda}\ninference: {device: cpu}",
            "model.device is cuda and inference.device is cpu",
        ),
        ("visualization: {colormap: rainbow}", "unknown colormap 'rainbow'"),
        ("output: {formats: {detections: xml}}", "output.formats.detections = 'xml'"),
        ("- a", "must contain keys and values"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_the_way_out(read, text, message):
    with pytest.raises(ConfigError, match=message):
        read(text + "\n")


def test_a_model_is_a_folder_that_is_named(read, tmp_path):
    with pytest.raises(ConfigError, match=r"names no model: set model\.checkpoint"):
        read("inference: {batch_size: 2}\n", checkpoint=None)
    file = tmp_path / "best.pth"
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"best\.pth is a file, .* `parafovea import-model`"):
        read("inference: {batch_size: 2}\n", checkpoint=file)
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist"):
        read_guide_config(tmp_path / "none.yaml", checkpoint="models/nodule")
