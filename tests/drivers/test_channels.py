"""Volumes of two channels, from the sheet to the report: every form of source, blocks, training."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
import zarr
from chest_scan import chest
from test_blocks import bytes_of
from tiny_sample import random_network, smooth_volume
from typer.testing import CliRunner

from parafovea.chain.block_stages import join_volume
from parafovea.cli.main import app
from parafovea.config import read_project
from parafovea.config.source_headers import check_headers
from parafovea.drivers.one_process import run_chain, run_sample
from parafovea.errors import ConfigError, SourceError
from parafovea.formats.source_changes import unchanged
from parafovea.geometry.grid import Grid
from parafovea.models.folder import save_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.planning.staleness import Staleness
from parafovea.planning.work import work_of
from parafovea.settings.recipe import ModelSpec
from parafovea.stages.resample_volume import resample_volume
from parafovea.storage.store import label_image_path, open_stored

SHAPE = (40, 48, 36)
SPACING = (2.0, 1.0, 1.5)
NAMES = ("T1", "FLAIR")

RECIPE: dict[str, Any] = {
    "unit": "millimeter",
    "bands": list(NAMES),
    "spacing": [2, 2, 2],
    "backbone": {"name": "filterbank", "arguments": {"scales": [1.0], "kinds": ["gaussian"]}},
    "context": {"spacing": [4, 4, 4], "backbone": {"name": "raw"}},
    "network": {"base_channels": 4, "max_channels": 8},
    "classes": ["background", "lesion"],
    "window": [16, 16, 16],
}


def voxels(seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return two sequences (z, y, x), of which only the difference tells where a lesion is."""
    first = smooth_volume(SHAPE, seed).astype(np.float32)
    other = smooth_volume(SHAPE, seed + 100).astype(np.float32)
    return (first * 1200).astype(np.int16), other * 90 + 7


def lesions(first: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return 1 where both sequences are bright."""
    both = (first / 1200 > 0.5) & ((other - 7) / 90 > 0.5)
    return np.asarray(both, np.uint8)


def write_nifti(path: Path, values: np.ndarray[Any, Any], shift: float = 0.0) -> Path:
    """Write voxels (z, y, x), or (channel, z, y, x) with the channels as the fourth axis."""
    affine = np.diag([*SPACING[::-1], 1.0])
    affine[0, 3] = shift
    image = nibabel.Nifti1Image(values.T, affine)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def write_ome(path: Path, values: np.ndarray[Any, Any], labels: tuple[str, ...] = NAMES) -> Path:
    """Write voxels (channel, z, y, x) as an OME-Zarr of version 0.4 by zarr alone."""
    group = zarr.create_group(path, zarr_format=2)
    group.create_array("0", data=values, chunks=(1, 16, 16, 16))
    units = {"type": "space", "unit": "millimeter"}
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": "c", "type": "channel"}, *({"name": a, **units} for a in "zyx")],
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [{"type": "scale", "scale": [1, *SPACING]}],
                }
            ],
        }
    ]
    group.attrs["omero"] = {"channels": [{"label": label} for label in labels]}
    return path


class Folder:
    """A project of a model that is trained on two channels, in a folder to run in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.task: dict[str, Any] = {
            "model": "models/lesions",
            "inference": {"precision": "float32", "tta": ["flip_x"], "shards": 2, "window": None},
            "training": {
                "recipe": RECIPE,
                "samples": ["learned"],
                "validation": ["held_out"],
                "steps": 3,
                "batch_size": 2,
            },
        }
        (path / "data").mkdir(parents=True)
        self.rows: list[list[str]] = []
        for seed, name in enumerate(("learned", "held_out"), start=1):
            first, other = voxels(seed)
            write_nifti(path / f"data/{name}_t1.nii.gz", first)
            write_nifti(path / f"data/{name}_flair.nii.gz", other)
            write_nifti(path / f"data/{name}_truth.nii.gz", lesions(first, other))
            source = f"data/{name}_t1.nii.gz;data/{name}_flair.nii.gz"
            self.rows.append([name, source, f"data/{name}_truth.nii.gz"])

    def write(self) -> Any:
        """Write config and sheet, and return the project."""
        config = {"tasks": {"lesions": self.task}, "samples": "samples.tsv"}
        (self.path / "config.yaml").write_text(yaml.safe_dump(config))
        lines = ["sample\ttask\tsource\ttruth\tmetadata"]
        for name, source, *rest in self.rows:
            lines.append("\t".join([name, "lesions", source, *rest]))
        (self.path / "samples.tsv").write_text("\n".join(lines) + "\n")
        return read_project(self.path / "config.yaml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model that was trained on two sequences by the stages."""
    folder = Folder(tmp_path_factory.mktemp("channels"))
    first, other = voxels()
    data = folder.path / "data"
    write_nifti(data / "t1.nii.gz", first)
    write_nifti(data / "flair.nii.gz", other)
    write_nifti(data / "truth.nii.gz", lesions(first, other))
    write_nifti(data / "both.nii.gz", np.stack([first.astype(np.float32), other]))
    swapped = np.stack([other, first.astype(np.float32)])
    write_ome(data / "both.ome.zarr", swapped, NAMES[::-1])
    folder.rows += [
        ["two_files", "data/t1.nii.gz;data/flair.nii.gz", "data/truth.nii.gz"],
        ["named_files", "FLAIR=data/flair.nii.gz; T1=./data/t1.nii.gz", ""],
        ["fourth_axis", "data/both.nii.gz", ""],
        ["ome_zarr", "data/both.ome.zarr", ""],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.path)
        project = folder.write()
        for row in folder.rows[2:]:
            run_chain(project, row[0], Staleness(project))
    return folder.path


def chunks(folder: Path) -> dict[str, bytes]:
    """Return the files of the voxels of an image."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "c" in path.parts
    }


def test_a_model_learns_from_two_channels_and_their_features(trained):
    spec = json.loads((trained / "models/lesions/model.json").read_text())
    assert spec["bands"] == list(NAMES)
    # a Gaussian and the voxels of each channel, and the voxels of each in the context
    assert (spec["input_channels"], spec["context_channels"]) == (4, 2)
    features = open_stored(trained / "results/two_files/features.zarr")
    assert [name.partition(".")[0] for name in features.channels] == list(NAMES)


def test_each_channel_is_normalized_by_its_own_percentiles(trained):
    volume = open_stored(trained / "results/two_files/volume.ome.zarr")
    assert volume.channels == NAMES
    assert volume.array.dtype == np.float16
    facts = volume.attributes["normalization"]["channels"]
    for name, values, found in zip(NAMES, voxels(), facts, strict=True):
        low, high = np.percentile(values, (0.5, 99.5))
        assert found["name"] == name
        assert (found["zero"], found["one"]) == pytest.approx((low, high), rel=1e-5)
    sources = volume.attributes["source"]["channels"]
    assert [each["path"] for each in sources] == ["data/t1.nii.gz", "data/flair.nii.gz"]
    assert sources[0]["sha256"] != sources[1]["sha256"]


@pytest.mark.parametrize("name", ["named_files", "fourth_axis", "ome_zarr"])
def test_every_form_of_source_gives_the_same_bytes(trained, name):
    for image in ("volume.ome.zarr", "prediction.ome.zarr", "classes.ome.zarr"):
        wanted = chunks(trained / "results/two_files" / image)
        assert wanted
        assert chunks(trained / "results" / name / image) == wanted


def test_the_report_says_which_channel_is_drawn(trained):
    page = (trained / "results/two_files/report.html").read_text()
    assert "The image is the channel T1, the first of T1, FLAIR." in page


def test_blocks_give_the_same_bytes(trained, monkeypatch):
    monkeypatch.chdir(trained)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    task = config["tasks"]["lesions"]
    del task["training"]
    task["inference"]["overlap"] = 0.0
    sheet = trained / "samples.tsv"
    found = {}
    for blocks in (1, 3):
        task["blocks"] = blocks
        name = f"in_{blocks}"
        config["samples"] = f"{name}.tsv"
        row = [name, "lesions", "data/t1.nii.gz;data/flair.nii.gz", "data/truth.nii.gz"]
        header = sheet.read_text().splitlines()[0].removesuffix("\tmetadata")
        (trained / f"{name}.tsv").write_text(f"{header}\n" + "\t".join(row) + "\n")
        (trained / f"{name}.yaml").write_text(yaml.safe_dump(config))
        project = read_project(trained / f"{name}.yaml")
        assert (join_volume in project.stages(name)) == (blocks == 3)
        run_sample(project, name)
        found[blocks] = bytes_of(trained / "results" / name)
    assert found[3] == found[1]


def test_the_plan_counts_every_channel(trained, monkeypatch):
    monkeypatch.chdir(trained)
    project = read_project(trained / "config.yaml")
    work = work_of(project, "two_files")
    volume = trained / "results/two_files/volume.ome.zarr"
    group = zarr.open_group(volume, mode="r")
    levels = group.attrs["ome"]["multiscales"][0]["datasets"]
    stored = sum(group[level["path"]].nbytes for level in levels)
    (stage,) = (s for s in project.stages("two_files") if s.name == "resample_volume")
    assert stage.stored(work) == stored
    features = open_stored(trained / "results/two_files/features.zarr")
    assert work.local_tokens == features.array.size
    context = open_stored(trained / "results/two_files/context.zarr")
    assert work.wide_tokens == context.array.size


#: Sources that do not fit the model, by what the message has to name.
WRONG: dict[str, tuple[str, str, str]] = {
    "one file": ("data/t1.nii.gz", "", "t1.nii.gz has 1 channel .*takes 2 .T1, FLAIR."),
    "three files": (
        "data/t1.nii.gz;data/flair.nii.gz;data/t1.nii.gz",
        "",
        "names 3 files, but the model takes 2 channels .T1, FLAIR.",
    ),
    "other names": (
        "T1=data/t1.nii.gz;T2=data/flair.nii.gz",
        "",
        "names files for T1, T2, but the model takes 2 channels .T1, FLAIR.",
    ),
    "missing file": ("data/t1.nii.gz;data/t2.nii.gz", "", "data/t2.nii.gz does not exist"),
    "other shape": ("data/t1.nii.gz;data/short.nii.gz", "", "40 x 48 x 36 and 39 x 48 x 36 voxels"),
    "other spacing": (
        "data/t1.nii.gz;data/thick.nii.gz",
        "",
        "voxels of 2 x 1 x 1.5 and of 3 x 1 x 1.5 millimeter",
    ),
    "other origin": (
        "data/t1.nii.gz;data/moved.nii.gz",
        "",
        "t1.nii.gz and data/moved.nii.gz .* 5 mm apart in the patient by their origins",
    ),
    "other orientation": (
        "data/t1.nii.gz;data/flipped.nii.gz",
        "",
        "apart in the patient by their orientations",
    ),
    "three channels": (
        "data/three.ome.zarr",
        "",
        "has 3 channels .T1, T2, PD., but the model takes 2 .T1, FLAIR.",
    ),
    "a series in time": (
        "data/time.nii.gz",
        "",
        "is a time series by its header .steps of 2.5 sec",
    ),
    "channel": ("data/both.nii.gz", "channel=0", "channel has no meaning for a volume of channels"),
    "not a number": (
        "data/t1.nii.gz;data/holes.nii.gz",
        "",
        "channel FLAIR: 3 of 69120 voxels are NaN or infinite",
    ),
}


@pytest.fixture(scope="module")
def wrong_files(trained: Path) -> Path:
    """Add files that do not fit to the folder of the trained model."""
    first, other = voxels()
    data = trained / "data"
    write_nifti(data / "short.nii.gz", other[1:])
    write_nifti(data / "moved.nii.gz", other, shift=5.0)
    thick = np.diag([*SPACING[:0:-1], 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(other.T, thick), data / "thick.nii.gz")
    flipped = np.diag([-SPACING[2], SPACING[1], SPACING[0], 1.0])
    nibabel.save(nibabel.Nifti1Image(other.T, flipped), data / "flipped.nii.gz")
    write_ome(data / "three.ome.zarr", np.stack([other] * 3), ("T1", "T2", "PD"))
    series = nibabel.Nifti1Image(np.stack([first, first]).T, np.diag([*SPACING[::-1], 1.0]))
    series.header.set_xyzt_units("mm", "sec")
    series.header.set_zooms((*SPACING[::-1], 2.5))
    nibabel.save(series, data / "time.nii.gz")
    holes = other.copy()
    holes[0, 0, :3] = np.nan
    write_nifti(data / "holes.nii.gz", holes)
    return trained


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_error_of_the_sample(
    wrong_files: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(wrong_files)
    source, metadata, message = WRONG[case]
    config = yaml.safe_load((wrong_files / "config.yaml").read_text())
    del config["tasks"]["lesions"]["training"]
    config["samples"] = "wrong.tsv"
    (wrong_files / "wrong.yaml").write_text(yaml.safe_dump(config))
    lines = ["sample\ttask\tsource\ttruth\tmetadata", f"wrong\tlesions\t{source}\t\t{metadata}"]
    lines.append("right\tlesions\tdata/both.nii.gz\t\t")
    (wrong_files / "wrong.tsv").write_text("\n".join(lines) + "\n")

    def checked() -> None:
        project = read_project(wrong_files / "wrong.yaml")
        check_headers(project, ("wrong", "right"))
        run_sample(project, "wrong")

    with pytest.raises(Exception, match=message) as raised:
        checked()
    assert len(re.findall("wrong.tsv:2", str(raised.value))) <= 1
    assert "right" not in str(raised.value)


def test_a_change_of_any_file_makes_the_volume_anew(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    del config["tasks"]["lesions"]["training"]
    config["samples"] = "changed.tsv"
    (trained / "changed.yaml").write_text(yaml.safe_dump(config))
    for number, values in enumerate(voxels()):
        write_nifti(trained / f"data/changed_{number}.nii.gz", values)
    source = "data/changed_0.nii.gz;data/changed_1.nii.gz"
    (trained / "changed.tsv").write_text(f"sample\ttask\tsource\nchanged\tlesions\t{source}\n")

    def stale() -> set[str]:
        staleness = Staleness(read_project(trained / "changed.yaml"))
        found = staleness.statuses(staleness.jobs("changed"))
        return {job.stage.name for job, status in found.items() if status not in DONE}

    project = read_project(trained / "changed.yaml")
    assert project.files("changed")["source"] == source.split(";")
    run_chain(project, "changed", Staleness(project))
    assert stale() == set()
    write_nifti(trained / "data/changed_1.nii.gz", voxels()[1] + 1)
    assert "resample_volume" in stale()


#: Status of a job that need not run again.
DONE = ("done", "removed")


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    first, other = (write_nifti(tmp_path / f"{n}.nii", v) for n, v in enumerate(voxels()))
    with (
        pytest.raises(SourceError, match=r"1\.nii changed or disappeared while it was read"),
        unchanged(f"{first};{other}") as check,
    ):
        other.unlink()
        check()


def test_one_scan_of_several_files_is_predicted_without_a_sheet(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    arguments = ["predict", "data/t1.nii.gz;data/flair.nii.gz", "--task", "lesions", "--keep"]
    done = CliRunner().invoke(app, [*arguments, "--config", "config.yaml", "-o", "out/alone"])
    assert done.exit_code == 0, done.output
    wanted = chunks(trained / "results/two_files/prediction.ome.zarr")
    assert chunks(trained / "out/alone/prediction.ome.zarr") == wanted


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["data/t1.nii.gz;@two"], "has '@two' as one of its files, but another sample's result"),
        (["results/one/a.nii;data/t1.nii.gz"], "results/one/a.nii lies in results/one"),
        (
            ["data/t1.nii.gz", "data/t1.nii.gz;data/flair.nii.gz"],
            "truth .* names 2 files, but only a source has one file a channel",
        ),
        (
            ["results/phantoms/chest_seed1.nii.gz;results/phantoms/chest_seed1.mha"],
            "'results/phantoms/chest_seed1.mha' of sample 'one' is not a phantom",
        ),
    ],
)
def test_every_path_of_a_sheet_is_checked_by_itself(
    trained: Path, monkeypatch: pytest.MonkeyPatch, row: list[str], message: str
) -> None:
    monkeypatch.chdir(trained)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    del config["tasks"]["lesions"]["training"]
    config["samples"] = "paths.tsv"
    (trained / "paths.yaml").write_text(yaml.safe_dump(config))
    lines = ["sample\ttask\tsource\ttruth", "\t".join(["one", "lesions", *row])]
    lines.append("two\tlesions\tdata/both.nii.gz")
    (trained / "paths.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=f"paths.tsv:2: .*{message}"):
        read_project(trained / "paths.yaml")


def test_phantoms_are_channels_before_they_are_made(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    del config["tasks"]["lesions"]["training"]
    config |= {"samples": "phantoms.tsv", "results": "elsewhere"}
    config["phantoms"] = {"chest": {"shape": [40, 50, 60], "spacing": [2, 2, 2]}}
    (trained / "phantoms.yaml").write_text(yaml.safe_dump(config))
    source = "T1=results/phantoms/chest_seed1.nii.gz;FLAIR=results/phantoms/chest_seed2.nii.gz"
    (trained / "phantoms.tsv").write_text(f"sample\ttask\tsource\nchests\tlesions\t{source}\n")
    project = read_project(trained / "phantoms.yaml")
    made = [f"elsewhere/phantoms/chest_seed{seed}.nii.gz" for seed in (1, 2)]
    assert project.files("chests")["source"] == made
    assert project.source("chests") == f"T1={made[0]};FLAIR={made[1]}"
    assert project.grid("chests").shape == (40, 50, 60)


def test_the_first_channel_of_a_detection_shows_the_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = Grid((40, 52, 68), (6.0, 4.0, 4.0), (-120.0, -104.0, -136.0), "millimeter")
    hu = chest(grid).astype(np.int16)
    uptake = np.random.default_rng(0).gamma(2.0, 1.0, grid.shape).astype(np.float32)
    for name, values in (("ct", hu), ("pet", uptake)):
        affine = np.diag([*grid.spacing[::-1], 1.0])
        nibabel.save(nibabel.Nifti1Image(values.T, affine), f"{name}.nii.gz")
    recipe = {
        "kind": "detection",
        "unit": "millimeter",
        "bands": ["CT", "PET"],
        "spacing": grid.spacing,
        "normalization": {"method": "window", "low": -1000, "high": 400},
        "backbone": {"name": "raw"},
        "network": {"base_channels": 4, "max_channels": 8, "fusion": "none"},
        "classes": ["nodule"],
        "window": [16, 32, 32],
    }
    numbers = {"name": "petct", "input_channels": 4, "weights_sha256": "0" * 64}
    spec = ModelSpec.model_validate({**recipe, **numbers})
    save_model(tmp_path / "petct", spec, random_network(FusedUNet.from_spec(spec)))
    task = {"model": "petct", "kind": "detection", "inference": {"precision": "float32"}}
    found = {}
    for blocks in (1, 2):
        config = {"tasks": {"nodules": {**task, "blocks": blocks}}, "samples": "samples.tsv"}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        name = f"in_{blocks}"
        (tmp_path / "samples.tsv").write_text(
            f"sample\ttask\tsource\n{name}\tnodules\tct.nii.gz;pet.nii.gz\n"
        )
        run_sample(read_project(tmp_path / "config.yaml"), name)
        found[blocks] = chunks(tmp_path / "results" / name / "volume.ome.zarr")
    assert found[2] == found[1]
    own = resampled_alone(tmp_path / "ct.nii.gz", tmp_path / "alone.ome.zarr", spec)
    volume = tmp_path / "results/in_1/volume.ome.zarr"
    for mask in ("body", "lungs", "volume_body"):
        there = open_stored(label_image_path(volume, mask)).read()
        np.testing.assert_array_equal(there, open_stored(label_image_path(own, mask)).read())
        assert there.any()
    np.testing.assert_array_equal(open_stored(volume).read()[0], open_stored(own).read())
    page = (tmp_path / "results/in_1/report.html").read_text()
    assert "The scan is the channel CT." in page


def resampled_alone(source: Path, volume: Path, recipe: ModelSpec) -> Path:
    """Write the volume of a scan of one channel, with its body."""
    resample_volume(
        volume,
        source=str(source),
        spacing=recipe.spacing,
        unit=recipe.unit,
        normalization=recipe.normalization,
        check_hounsfield=True,
        find_body=True,
    )
    return volume
