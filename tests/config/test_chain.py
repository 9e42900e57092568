"""Samples that take their source or truth from other samples."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from parafovea.config.sample_links import band_problem
from parafovea.config.sample_sizes import placed, read_level
from parafovea.errors import ParafoveaError
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import source_grid
from parafovea.geometry.grid import Grid
from parafovea.kinds.stages import stages
from parafovea.storage.store import create

BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture(autouse=True)
def _inside(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)


@pytest.fixture
def chain(project_folder):
    """Return a project of four samples in which c needs b, and b needs a."""
    for name in "cd":
        project_folder.add(name)
    rows = {row[0]: row for row in project_folder.rows}
    rows["b"][2:] = ["@a", "", ""]
    rows["c"][2:] = ["@b", "@a", ""]
    project_folder.rows[:] = [rows[name] for name in "cdba"]
    return project_folder


def row(folder, name):
    return next(row for row in folder.rows if row[0] == name)


def test_a_source_and_a_truth_are_the_results_of_other_samples(chain):
    project = chain.read()
    assert project.source("c") == "results/b/classes.ome.zarr"
    assert project.truth("c") == "results/a/classes.ome.zarr"
    resample, measure = stages()["resample_volume"], stages()["measure_quality"]
    job = {"sample": "c"}
    assert resample.arguments(project, job)["source"] == project.source("c")
    assert measure.arguments(project, job)["truth"] == project.truth("c")
    assert project.files("c")["source"] == ["results/b/classes.ome.zarr"]
    assert project.files("c")["truth"] == ["results/a/classes.ome.zarr"]
    assert resample.waits(project, job) == project.files("c")["source"]
    assert measure.waits(project, job) == project.files("c")["truth"]


def test_what_a_sample_needs_comes_before_it_whatever_the_order_of_lines(chain):
    project = chain.read()
    assert project.upstream("c") == ("a", "b")
    assert project.upstream("d") == ()


def test_grids_follow_along_the_chain_before_anything_is_there(chain):
    # 20 x 40 x 36 voxels of 16 nm; the prediction is half as fine, and that is the next source
    chain.config["tasks"]["cell"]["inference"] = {
        "output_scale": 0.5,
        "window": None,
        "windows_per_shard": 1,
    }
    project = chain.read()
    assert project.grid("a").shape == (20, 40, 36)
    assert project.grid("b").shape == (10, 20, 18)
    assert project.grid("b").spacing == (32, 32, 32)
    # at the model's 16 nm that is the volume of `a` again, and as many shards
    assert project.grid("c").shape == (10, 20, 18)
    assert [project.shards(name) for name in "abc"] == [8, 8, 8]


def test_what_the_sheet_says_of_a_result_wins_over_the_result(chain):
    row(chain, "b")[4] = "spacing=32,32,32 unit=nm"
    grid = chain.read().grid("b")
    assert (grid.shape, grid.spacing) == ((20, 40, 36), (32, 32, 32))


@pytest.mark.parametrize("spacing", [(4, 4, 4), (8, 8, 8), (16, 17, 15.9), (70, 40, 40)])
@pytest.mark.parametrize("metadata", ["", "spacing=8,8,8 unit=nm"])
def test_the_level_that_is_read_of_a_result_is_known_before_it_is_there(
    tmp_path, spacing, metadata
):
    result = Grid((71, 145, 133), (8, 4, 4), (3, 2, 1))
    path = tmp_path / "classes.ome.zarr"
    with create(path, result, dtype=np.uint8, labels=True, levels="mode") as array:
        array[...] = 1
    recipe = SimpleNamespace(spacing=spacing, unit="nanometer")
    said = parse_metadata(metadata, folder=tmp_path)
    read = source_grid(str(path), metadata=said, finer_than=spacing, unit="nanometer")
    assert read_level(result, placed(result, metadata), recipe) == read


def test_a_coarser_sample_reads_a_level_of_a_large_result(chain):
    chain.config["tasks"]["coarse"] = {"model": "models/coarse"}
    spec = json.loads((chain.path / "models/cell/model.json").read_text())
    (chain.path / "models/coarse").mkdir()
    (chain.path / "models/coarse/model.json").write_text(json.dumps({**spec, "spacing": [32] * 3}))
    (chain.path / "models/coarse/model.safetensors").touch()
    row(chain, "b")[1] = "coarse"
    chain.config["tasks"]["cell"]["inference"] = {"output_scale": 2}
    project = chain.read()
    stored = [n * 2 for n in project.grid("a").shape]
    assert max(stored) > 64
    assert project.grid("b").shape == tuple(-(-n // 2) for n in stored)


@pytest.fixture
def detector(chain):
    """The chain, whose first sample is a scan in which nodules are detected."""
    spec = json.loads((chain.path / "models/cell/model.json").read_text())
    (chain.path / "models/nodule").mkdir()
    card = {**spec, "kind": "detection", "classes": ["nodule"], "spacing": [8, 8, 8]}
    (chain.path / "models/nodule/model.json").write_text(json.dumps(card))
    (chain.path / "models/nodule/model.safetensors").touch()
    chain.config["tasks"]["nodules"] = {"kind": "detection", "model": "models/nodule"}
    row(chain, "a")[1] = "nodules"
    row(chain, "c")[3] = ""
    return chain


def test_a_calibration_in_a_detectors_folder_is_used_unless_its_task_says_no(detector):
    assert detector.read().confidence_file("a") is None
    path = "models/nodule/confidence.json"
    (detector.path / path).write_text("{}")
    assert detector.read().confidence_file("a") == path
    assert detector.read().confidence_file("b") is None
    detector.config["tasks"]["nodules"]["detection"] = {"calibrated": False}
    assert detector.read().confidence_file("a") is None


def test_a_heatmap_has_the_voxels_of_its_scan(detector):
    project = detector.read()
    assert project.source("b") == "results/a/heatmap.nii.gz"
    assert project.grid("b").shape == (20, 40, 36)
    assert project.running(stages()["detect_nodules"]) == ("a",)


@pytest.mark.parametrize(
    ("name", "column", "value", "expected"),
    [
        ("b", 2, "@bb", "config/samples.tsv:4: source '@bb' of sample 'b' is not a sample of "),
        ("b", 2, "@", "source '@' of sample 'b' is not a sample of"),
        (
            "b",
            2,
            "@b",
            "config/samples.tsv:4: source '@b' of sample 'b' refers to the sample itself",
        ),
        ("d", 3, "@e", "config/samples.tsv:3: truth '@e' of sample 'd' is not a sample of "),
        ("d", 4, "objects=@a", "objects '@a' of sample 'd': another sample's result can be a sour"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(chain, name, column, value, expected):
    row(chain, name)[column] = value
    message = chain.refusal()
    assert expected in message
    assert message.count("\n") == 0


def test_a_name_that_is_nearly_right_is_suggested(chain):
    chain.add("refined_2019")
    row(chain, "b")[2] = "@refined_2018"
    assert "did you mean 'refined_2019'?" in chain.refusal()


def test_a_circle_is_named_whole_and_once_from_its_first_line(chain):
    row(chain, "a")[2] = "@c"
    row(chain, "c")[3] = ""
    assert chain.refusal() == (
        "config/samples.tsv:2: circular dependency between samples: c needs b needs a needs c: "
        "give one of them a source or a truth that is not another sample's result"
    )


def test_a_circle_through_a_truth_is_one(chain):
    row(chain, "a")[3] = "@b"
    assert "b needs a needs b" in chain.refusal()


def training(recipe, *samples):
    return {"recipe": recipe, "samples": list(samples[:1]), "validation": list(samples[1:])}


def test_a_circle_through_a_model_that_is_trained_here_names_the_model(chain, recipe):
    # d is predicted by a model that learns from c, which needs b, which needs d
    chain.config["tasks"]["learned"] = {
        "model": "models/new",
        "training": training(recipe, "c", "e"),
        "predict_training": True,
    }
    chain.add("e", task="learned")
    row(chain, "c")[1] = row(chain, "d")[1] = "learned"
    row(chain, "b")[2] = "@d"
    message = chain.refusal()
    assert "c needs b needs d needs model models/new needs c: " in message


def test_samples_that_learn_together_and_are_predicted_wait_in_no_circle(chain, recipe):
    chain.config["tasks"]["cell"] |= {
        "model": "models/new",
        "training": training(recipe, "a", "d"),
        "predict_training": True,
    }
    assert chain.read().upstream("c") == ("a", "b")


def test_a_sample_for_training_alone_has_no_result_to_be_a_source(chain, recipe):
    chain.config["tasks"]["cell"] |= {
        "model": "models/new",
        "training": training(recipe, "a", "d"),
    }
    message = chain.refusal()
    assert (
        "config/samples.tsv:4: source '@a' of sample 'b' has no result, since a is for" in message
    )
    assert "set tasks.cell.predict_training: true" in message


def test_a_sample_that_a_model_learns_from_may_be_another_ones_result(chain, recipe):
    # c learns from the classes that another task found in `a`
    chain.config["tasks"]["learned"] = {
        "model": "models/new",
        "training": training(recipe, "c", "d"),
    }
    row(chain, "c")[1] = row(chain, "d")[1] = "learned"
    project = chain.read()
    train, job = stages()["train_model"], {"model": "models/new"}
    learned = train.arguments(project, job)["samples"]
    assert learned[0]["truth"] == "results/a/classes.ome.zarr"
    assert train.waits(project, job) == ["results/a/classes.ome.zarr", "data/d_truth.tif"]
    assert project.predicted == ("b", "a")


@pytest.fixture
def refinement(chain):
    """Return the chain with a mosaic as `a`, which is refined; `b` takes a band of the result."""
    file = chain.path / "models/cell/model.json"
    card = {
        **json.loads(file.read_text()),
        "kind": "refinement",
        "unit": "meter",
        "spacing": [1, 10, 10],
        "normalization": {"method": "none"},
        "network": {"dimensions": 2, "fusion": "none"},
        "context": None,
        "window": [1, 32, 32],
        "bands": BANDS,
        "classes": BANDS,
    }
    folder = chain.path / "models/optical"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "model.safetensors").touch()
    chain.config["tasks"]["optical"] = {"kind": "refinement", "model": "models/optical"}
    row(chain, "a")[1:] = ["optical", *row(chain, "a")[2:4], ""]
    row(chain, "b")[4] = "channel=3"
    row(chain, "c")[3] = ""
    return chain


def test_the_result_of_a_mosaic_is_its_refined_image(refinement):
    project = refinement.read()
    assert project.source("b") == "results/a/refined.tif"
    assert project.running(stages()["export_mosaic"]) == ("a",)
    assert project.running(stages()["predict_tiles"]) == ()
    assert project.grid("b") == project.grid("a").converted("nanometer")
    row(refinement, "b")[4] = ""
    assert "source '@a' of sample 'b' does not fit its model models/cell: it takes one channel" in (
        refinement.refusal()
    )


def test_the_mask_beside_a_mosaic_is_a_file_of_its_sample(refinement):
    source = row(refinement, "a")[2]
    assert refinement.read().files("a")["source"] == [source]
    (refinement.path / f"{source}.msk").write_bytes(b"")
    assert refinement.read().files("a")["source"] == [source, f"{source}.msk"]


def test_refined_bands_fit_the_next_model_of_the_same_bands(refinement):
    row(refinement, "b")[1:] = ["optical", "@a", "", ""]
    row(refinement, "c")[4] = "channel=0"
    assert refinement.read().source("c") == "results/b/refined.tif"


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("a", "spacing=1,10,10 unit=m", "spacing, unit have no meaning for a mosaic"),
        ("a", "key=opt_v2", "key has no meaning for a mosaic, which takes month, biome, bands,"),
        ("b", "channel=3 baseline=0400", "baseline has no meaning for a volume"),
        ("b", "channel=3 month=7 biome=2", "month, biome have no meaning for a volume"),
        ("d", "channel=0", "channel has no meaning for a folder of tiles, which takes month"),
        ("e", "key=image", "key has no meaning for a folder of images, which takes month"),
        ("d", "truth_ignore=255", "truth_ignore has no meaning for a folder of tiles"),
        ("d", "radar=decibels", "radar= states what the numbers of bands are, but the model does"),
        ("a", "elevation=meters", "elevation= states what the numbers of bands are, but the model"),
        ("b", "channel=3 radar=power", "radar has no meaning for a volume"),
        ("d", "words.json", "origin has no meaning for a folder of tiles"),
    ],
)
def test_a_word_that_means_nothing_for_its_source_is_refused(refinement, name, words, expected):
    (refinement.path / "scenes").mkdir()
    (refinement.path / "scenes/1.npz").write_bytes(b"")
    (refinement.path / "words.json").write_text('{"origin": [0, 0, 0], "nodata": 0}')
    row(refinement, "d")[1:] = ["optical", "scenes", "", "month=7 biome=2 nodata=0 key=image"]
    (refinement.path / "images").mkdir()
    (refinement.path / "images/1.tif").write_bytes(b"")
    refinement.add("e")
    row(refinement, "e")[1:] = ["optical", "images", "", "bands=B02,B03,B04,B08"]
    row(refinement, "a")[4] = "month=7 biome=2 baseline=0400 nodata=0 bands=B02,B03,B04,B08"
    refinement.read()
    row(refinement, name)[4] = words
    assert f"metadata of sample {name!r}: {expected}" in refinement.refusal()


def test_a_folder_of_geotiffs_is_tiles_for_a_refinement_and_slices_for_others(refinement):
    folder = refinement.path / "scenes"
    folder.mkdir()
    (folder / "1.tif").write_bytes((refinement.path / "data/d.tif").read_bytes())
    row(refinement, "a")[2:] = ["scenes", "", ""]
    row(refinement, "b")[1:] = ["optical", "@a", "", ""]
    row(refinement, "c")[1:] = ["optical", "@b", "", ""]
    row(refinement, "d")[2:4] = ["scenes", ""]
    project = refinement.read()
    assert project.running(stages()["predict_tiles"]) == ("c", "b", "a")
    assert {project.kind(name).name for name in "abc"} == {"refinement"}
    assert project.layout("d") == "volume"
    assert project.tile_sizes("c") == {(40, 36): 1}
    (folder / "1.tif").rename(folder / "1.jpg")
    row(refinement, "d")[2] = "data/d.tif"
    project = refinement.read()
    assert "source: No NPZ tiles found in scenes" in project.absent["a"]
    assert project.failed["c"] == "it needs the result of 'b', which cannot be run"


def give_bands(folder, bands):
    file = folder.path / "models/cell/model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "bands": list(bands)}))


def test_a_model_that_takes_named_bands_cannot_take_classes(chain):
    give_bands(chain, BANDS)
    message = chain.refusal()
    assert "config/samples.tsv:4: source '@a' of sample 'b' does not fit its model" in message
    assert "takes the bands B02, B03, B04, B08, but the result has one unnamed channel" in message


@pytest.mark.parametrize(
    ("given", "taken", "tiles", "chosen"),
    [
        ((), (), False, False),
        ((), (), True, False),
        (BANDS, BANDS, True, False),
        (BANDS, ("B08", "B04"), False, False),
        (BANDS, (), False, True),
        (("NDVI",), (), True, False),
    ],
)
def test_a_result_with_the_bands_of_the_model_fits(given, taken, tiles, chosen):
    assert band_problem(given, taken, tiles=tiles, chosen=chosen) is None


@pytest.mark.parametrize(
    ("given", "taken", "tiles", "expected"),
    [
        (BANDS, ("B08", "B04"), True, "takes the bands B08, B04, but the result has B02, B03"),
        (BANDS, ("VV", "VH"), False, "takes the bands VV, VH"),
        (BANDS, (), False, "select one with channel=0"),
        (BANDS, (), True, "takes one channel, but the result has B02"),
        ((), BANDS, True, "one unnamed channel"),
    ],
)
def test_a_result_of_other_bands_is_refused(given, taken, tiles, expected):
    problem = band_problem(given, taken, tiles=tiles)
    assert problem is not None
    assert expected in problem


@pytest.fixture
def tiles(chain):
    """Return the chain with a folder of tiles as the source of `a`."""
    folder = chain.path / "tiles"
    folder.mkdir()
    for name in ("one", "two"):
        np.savez(folder / f"{name}.npz", opt_v1=np.zeros((4, 32, 48), np.float32))
    row(chain, "a")[2:] = ["tiles", "", ""]
    return chain


def test_tiles_are_followed_along_the_chain(tiles):
    project = tiles.read()
    assert [project.layout(name) for name in "abcd"] == ["tiles", "tiles", "tiles", "volume"]
    assert project.source("b") == "results/a/tiles"
    assert project.files("b")["source"] == ["results/a/tiles.tsv"]
    assert project.files("a")["source"] == ["tiles"]
    assert project.running(stages()["predict_tiles"]) == ("c", "b", "a")
    assert project.running(stages()["resample_volume"]) == ("d",)
    assert project.running(stages()["segment_objects"]) == ("d",)
    assert {project.kind(name).name for name in "abcd"} == {"segmentation"}


def test_tiles_as_the_truth_of_a_volume_and_the_reverse_are_refused(tiles):
    for truth in ("@a", "tiles"):
        row(tiles, "d")[3] = truth
        assert f"config/samples.tsv:3: truth '{truth}' of sample 'd' is a folder of tiles, but" in (
            tiles.refusal()
        )
    row(tiles, "d")[3] = ""
    for truth in ("@d", "data/d.tif"):
        row(tiles, "b")[3] = truth
        assert f"truth '{truth}' of sample 'b' is a volume, but its source is a folder" in (
            tiles.refusal()
        )


def test_the_truth_of_tiles_may_be_a_folder_of_geotiffs_but_not_an_empty_one(tiles):
    truth = tiles.path / "labels"
    truth.mkdir()
    row(tiles, "a")[3] = "labels"
    assert "truth: No NPZ tiles found in labels" in tiles.read().absent["a"]
    (truth / "one.tif").touch()
    assert tiles.read().files("a")["truth"] == ["labels"]


def test_a_shared_cache_takes_results_and_tiles_as_sources_but_no_other_folders(tiles):
    tiles.read().require_hashable()
    folder = tiles.path / "slices"
    folder.mkdir()
    (folder / "1.tif").write_bytes((tiles.path / "data/d.tif").read_bytes())
    row(tiles, "d")[2] = "slices"
    project = tiles.read()
    with pytest.raises(ParafoveaError, match="cannot hash the content of slices"):
        project.require_hashable()
