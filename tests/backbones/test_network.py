"""The backbone `network`: tokens of an imported tensor, whatever the blocks in which it is read."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_networks import Encoder, saved_encoder, saved_script, seeded

from parafovea.backbones import feature_channels, load_backbone, network
from parafovea.backbones.network_graph import open_folder
from parafovea.backbones.views import View, token_array
from parafovea.config import read_project
from parafovea.config.model_recipes import weight_files
from parafovea.errors import ConfigError, GridError, ModelError
from parafovea.geometry.grid import Grid
from parafovea.inference.array_inputs import ArrayOnGrid
from parafovea.planning.work import ViewWork
from parafovea.runtime.kept_objects import keep_objects
from parafovea.settings.backbones.model_inputs import check_backbone
from parafovea.settings.recipe import BackboneSpec, Recipe
from parafovea.upstream.networks.backbone_import import (
    BackboneOptions,
    import_backbone,
    list_tensors,
)

BANDS = ("B02", "B03", "B04", "B08")
MEAN, DEVIATION = 0.3, 0.5
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a function that imports a network once, by its name."""
    place = tmp_path_factory.mktemp("networks")
    made = {}

    def folder(name):
        if name not in made:
            made[name] = place / name
            options = {"window": (32, 32), "mean": (MEAN,), "deviation": (DEVIATION,)}
            channels, more = 1, {}
            if name == "colours":
                channels, options = 3, {**options, "bands": ("B04", "B03", "B02"), "gain": 2.0}
            elif name == "grey":
                channels = 3
            elif name == "fixed":
                more = {"sides": (32, 32), "batch": 2}
            path = place / f"{name}.onnx"
            saved_encoder(path, channels=channels, squeeze=name == "squeeze", **more)
            import_backbone(path, made[name], "features", BackboneOptions(**options))
        return made[name]

    return folder


def spec_of(folder, **more):
    return BackboneSpec(name="network", arguments={"weights": str(folder), **more})


def opened(folder, *, bands=(), dimensions=3, **more):
    return load_backbone(
        spec_of(folder, **more), spacing=(1, 1, 1), dimensions=dimensions, bands=bands
    )


def tokens_of(backbone, voxels):
    grid = Grid(voxels.shape[-3:], (1, 1, 1))
    view = View(ArrayOnGrid(voxels, grid), grid)
    return token_array(view, backbone, device=CPU).astype(np.float32)


def noise(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def by_hand(planes, channels=1):
    """Return the features of whole planes (plane, channel, y, x), away from their borders."""
    with torch.inference_mode():
        seen = (torch.from_numpy(planes) - MEAN) / DEVIATION
        return seeded(Encoder(channels)).features(seen).numpy()


def test_tokens_are_those_of_the_network_on_the_whole_plane(folders):
    backbone = opened(folders("plain"))
    voxels = noise(3, 64, 80)
    tokens = tokens_of(backbone, voxels)
    assert tokens.shape == (5, 3, 32, 40)
    wanted = by_hand(voxels[:, None]).transpose(1, 0, 2, 3)
    np.testing.assert_allclose(tokens[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], atol=2e-3)


@pytest.mark.parametrize("tile", [2, 6, 16, 64])
def test_the_size_of_tiles_changes_nothing(folders, tile):
    voxels = noise(2, 50, 66)
    whole = tokens_of(opened(folders("plain")), voxels)
    parts = tokens_of(opened(folders("plain"), tile=tile, batch_size=1), voxels)
    np.testing.assert_allclose(parts, whole, atol=1e-3)


def test_the_tokens_of_any_window_are_those_of_the_whole(folders):
    backbone = opened(folders("plain"))
    block = torch.from_numpy(noise(2, 64, 64))
    (_, rows, columns) = backbone.halo
    whole = backbone(block)
    for top, left, height, width in ((0, 0, 8, 8), (10, 22, 4, 30), (36, 2, 20, 2)):
        part = block[:, top : top + height + 2 * rows, left : left + width + 2 * columns]
        wanted = whole[..., top // 2 : (top + height) // 2, left // 2 : (left + width) // 2]
        torch.testing.assert_close(backbone(part), wanted, atol=1e-5, rtol=0)


def test_a_network_of_one_size_and_batch_gives_the_same_tokens(folders):
    voxels = noise(3, 50, 66)
    whole = tokens_of(opened(folders("plain")), voxels)
    backbone = opened(folders("fixed"))
    assert backbone.tile[1] + 2 * backbone.halo[1] <= 32
    np.testing.assert_allclose(tokens_of(backbone, voxels), whole, atol=1e-3)


def test_windows_of_a_network_without_reach_lie_on_a_fixed_lattice(folders):
    backbone = opened(folders("squeeze"))
    _, rows, columns = backbone.halo
    assert (rows, columns) == (4, 4)
    assert backbone.tile[1:] == (24, 24)
    voxels = noise(2, 48, 56)
    tokens = tokens_of(backbone, voxels)
    padded = np.pad(voxels, ((0, 0), (4, 4), (4, 4)), "reflect")
    with torch.inference_mode():
        for top, left in ((0, 0), (24, 24)):
            seen = (
                torch.from_numpy(padded[:, None, top : top + 32, left : left + 32]) - MEAN
            ) / DEVIATION
            plain = seeded(Encoder()).features(seen)
            wanted = plain * torch.sigmoid(plain.mean(dim=(2, 3), keepdim=True))
            found = tokens[:, :, top // 2 : top // 2 + 12, left // 2 : left // 2 + 12]
            np.testing.assert_allclose(
                found, wanted.numpy().transpose(1, 0, 2, 3)[..., 2:14, 2:14], atol=2e-3
            )
    with pytest.raises(GridError, match="use at most 24"):
        backbone(torch.rand(1, 34, 34))


def test_one_channel_is_seen_by_all_channels_of_the_network(folders):
    backbone = opened(folders("grey"))
    voxels = noise(1, 32, 32)
    wanted = by_hand(np.repeat(voxels[:, None], 3, 1), 3).transpose(1, 0, 2, 3)
    found = tokens_of(backbone, voxels)
    np.testing.assert_allclose(found[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], atol=2e-3)


def test_bands_are_taken_by_name_in_the_order_of_the_network(folders):
    backbone = opened(folders("colours"), bands=BANDS, dimensions=2)
    voxels = noise(4, 1, 32, 32)
    colours = np.clip(voxels[[2, 1, 0]] * 2, 0, 1).transpose(1, 0, 2, 3)
    wanted = by_hand(np.ascontiguousarray(colours), 3).transpose(1, 0, 2, 3)
    found = tokens_of(backbone, voxels)
    np.testing.assert_allclose(found[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], atol=2e-3)
    named = opened(folders("colours"), bands=BANDS[::-1], dimensions=2)
    np.testing.assert_array_equal(tokens_of(named, voxels[::-1].copy()), found)


@pytest.mark.parametrize(
    ("name", "bands", "named", "message"),
    [
        ("colours", ("B02", "B03"), (), "B04 is not among them"),
        ("colours", (), (), "the input has one unnamed channel"),
        ("grey", BANDS, (), "nothing says which are the 3 channels"),
        ("grey", BANDS, ("B02",), "the network takes 3 channels"),
    ],
)
def test_bands_that_do_not_fit_are_one_error(folders, name, bands, named, message):
    spec = spec_of(folders(name), bands=list(named))
    with pytest.raises(ModelError, match=message):
        load_backbone(spec, spacing=(1, 1, 1), dimensions=2, bands=bands)


def test_planes_of_all_axes_are_averaged(folders):
    backbone = opened(folders("plain"), planes="xy+xz+yz")
    assert backbone.stride == (2, 2, 2)
    voxels = noise(16, 16, 16)
    found = tokens_of(backbone, voxels)
    total = 0
    for axis in range(3):
        planes = np.ascontiguousarray(np.moveaxis(voxels, axis, 0)[::2][:, None])
        total = total + np.moveaxis(by_hand(planes).transpose(1, 0, 2, 3), 1, axis + 1)
    inner = (slice(None), *[slice(2, -2)] * 3)
    np.testing.assert_allclose(found[inner], (total / 3)[inner], atol=2e-3)


def test_a_network_of_volumes_computes_blocks_of_volumes(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(3, 4, 2, stride=2)
    ).eval()
    path = saved_script(tmp_path / "volumes.pt", network)
    options = BackboneOptions(trust=True, window=(16, 16, 16))
    name = list_tensors(path, options)[-1].name
    import_backbone(path, tmp_path / "folder", name, options)
    voxels = noise(18, 20, 24)
    backbone = opened(tmp_path / "folder", tile=8)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(voxels)[None, None])[0].numpy()
    inner = (slice(None), *[slice(1, -1)] * 3)
    np.testing.assert_allclose(tokens_of(backbone, voxels)[inner], wanted[inner], atol=2e-3)
    with pytest.raises(ModelError, match="takes volumes, but the network of the model has 2"):
        opened(tmp_path / "folder", dimensions=2)


def test_the_number_of_features_and_tokens_is_known_without_the_graph(folders):
    spec = spec_of(folders("plain"))
    assert feature_channels(spec, dimensions=2) == 5
    work = ViewWork(Grid((4, 64, 64), (1, 1, 1)), spec)
    assert work.values(3) == 5 * 4 * 32 * 32
    # a larger batch takes more memory
    larger = ViewWork(work.grid, spec_of(folders("plain"), batch_size=16))
    assert larger.backbone_memory > work.backbone_memory > 0


def test_the_files_of_the_folder_are_inputs_of_the_stage(folders):
    names = [path.rsplit("/", 1)[1] for path in weight_files(spec_of(folders("plain")))]
    assert names == ["backbone.json", "features.onnx"]


def test_the_fingerprint_holds_what_changes_a_feature(folders):
    base = opened(folders("plain")).fingerprint
    assert opened(folders("plain"), batch_size=1, tile=6).fingerprint == base
    assert opened(folders("plain"), gain=2.0).fingerprint != base
    assert opened(folders("squeeze")).fingerprint != base


def test_a_changed_graph_is_refused(folders, tmp_path):
    for name in ("backbone.json", "features.onnx"):
        (tmp_path / name).write_bytes((folders("plain") / name).read_bytes())
    with (tmp_path / "features.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="the file was changed or belongs to another one"):
        opened(tmp_path)


def test_a_process_keeps_the_graph_between_jobs_until_its_folder_changes(
    folders, tmp_path, monkeypatch
):
    opens = []

    def counted(folder, *arguments):
        opens.append(folder)
        return open_folder(folder, *arguments)

    monkeypatch.setattr(network, "open_folder", counted)
    place = tmp_path / "plain"
    shutil.copytree(folders("plain"), place)
    voxels = noise(1, 12, 12)
    once = tokens_of(opened(place), voxels)
    opened(place)
    assert len(opens) == 2
    keep_objects()
    try:
        for _ in range(3):
            assert np.array_equal(tokens_of(opened(place), voxels), once)
        assert len(opens) == 3
        with (place / "features.onnx").open("ab") as file:
            file.write(b"\0")
        with pytest.raises(ModelError, match="the file was changed or belongs to another one"):
            opened(place)
    finally:
        keep_objects(False)


def test_an_incomplete_folder_is_refused(folders, tmp_path):
    with pytest.raises(ModelError, match=r"has no backbone\.json"):
        opened(tmp_path)
    text = (folders("plain") / "backbone.json").read_text()
    (tmp_path / "backbone.json").write_text(text)
    with pytest.raises(ModelError, match=r"has no features\.onnx"):
        opened(tmp_path)


def test_a_damaged_description_is_refused(folders, tmp_path):
    values = json.loads((folders("plain") / "backbone.json").read_text())
    (tmp_path / "features.onnx").write_bytes(b"")
    for change in ({"period": [1, 3, 2]}, {"overlap": [0, -1, 0]}, {"mean": []}):
        (tmp_path / "backbone.json").write_text(json.dumps({**values, **change}))
        with pytest.raises(ModelError, match="not a valid description"):
            opened(tmp_path)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("plain", {"tile": 5}, "tile 5 must be a multiple of 2"),
        ("squeeze", {"tile": 8}, "tile 8 cannot be set"),
        ("plain", {"planes": "xy+xz+yz", "plane_step": 2}, "plane_step 2 applies to planes xy"),
    ],
)
def test_arguments_that_do_not_fit_are_one_error(folders, name, more, message):
    with pytest.raises(ModelError, match=message):
        opened(folders(name), **more)


def test_reflectance_has_to_reach_a_network_of_bands_as_it_is(folders):
    values = {
        "kind": "refinement",
        "bands": BANDS,
        "classes": BANDS,
        "unit": "meter",
        "spacing": (1, 10, 10),
        "normalization": {"method": "none"},
        "backbone": spec_of(folders("colours")),
        "network": {"dimensions": 2, "fusion": "none"},
        "window": (1, 32, 32),
    }
    recipe = Recipe.model_validate(values)
    check_backbone(recipe.backbone, recipe)
    other = Recipe.model_validate(
        {
            **values,
            "normalization": {"method": "percentile"},
            "kind": "segmentation",
            "classes": ("a", "b"),
        }
    )
    with pytest.raises(ModelError, match="takes reflectance"):
        check_backbone(other.backbone, other)


@pytest.mark.parametrize("view", ["backbone", "context"])
def test_a_folder_that_is_not_there_is_one_error_of_the_config(
    project_folder, monkeypatch, tmp_path, view
):
    monkeypatch.chdir(project_folder.path)
    card = project_folder.path / "models/cell/model.json"
    values = json.loads(card.read_text())
    (values if view == "backbone" else values["context"])["backbone"] = {
        "name": "network",
        "arguments": {"weights": str(tmp_path / "missing")},
    }
    card.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"backbone network: .*missing has no backbone\.json"):
        read_project(project_folder.path / "config/config.yaml")
