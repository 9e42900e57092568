"""Import of one tensor of a network as a backbone folder."""

import json

import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from tiny_networks import Encoder, saved_encoder, saved_graph, saved_script, seeded
from typer.testing import CliRunner

from parafovea.backbones.network_graph import open_graph
from parafovea.cli.main import app
from parafovea.errors import ModelError
from parafovea.settings.backbones.folder import read_description
from parafovea.upstream.networks.backbone_import import (
    BackboneOptions,
    import_backbone,
    list_tensors,
)

CPU = torch.device("cpu")
SMALL = {"window": (32, 32)}


def imported(path, output, feature, **options):
    return import_backbone(path, output, feature, BackboneOptions(**{**SMALL, **options}))


def features_of(folder, images):
    found = read_description(folder)
    return open_graph(folder / found.graph, found.type, CPU)(images)


def expected(images, channels=1):
    with torch.inference_mode():
        return seeded(Encoder(channels)).features(images)


def test_the_cut_onnx_graph_gives_the_tensor_of_the_whole_network(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx", channels=3)
    imported(path, tmp_path / "folder", "features")
    images = torch.rand(2, 3, 32, 48)
    torch.testing.assert_close(features_of(tmp_path / "folder", images), expected(images, 3))
    graph = onnx.load(tmp_path / "folder/features.onnx").graph
    assert [output.name for output in graph.output] == ["features"]
    assert not {"head_weight", "head_bias"} & {each.name for each in graph.initializer}


def test_the_cut_torchscript_gives_the_tensor_of_the_whole_network(tmp_path):
    path = saved_script(tmp_path / "net.pt", seeded(Encoder()))
    facts = list_tensors(path, BackboneOptions(trust=True, **SMALL))
    name = [fact.name for fact in facts if fact.shape[1] == 5][-1]
    imported(path, tmp_path / "folder", name, trust=True)
    images = torch.rand(2, 1, 32, 48)
    torch.testing.assert_close(features_of(tmp_path / "folder", images), expected(images))
    found = read_description(tmp_path / "folder")
    assert (found.type, found.dimensions, found.input_channels) == ("torchscript", 2, 1)


def test_the_description_holds_what_was_found_and_stated(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx", channels=2)
    done = imported(
        path,
        tmp_path / "folder",
        "features",
        bands=("B02", "B03"),
        mean=(0.1, 0.2),
        deviation=(2.0,),
        gain=3.0,
    )
    found = read_description(tmp_path / "folder")
    assert found == done.description
    assert (found.features, found.stride, found.period) == (5, (1, 2, 2), (1, 2, 2))
    assert found.reach.before == (0, 2, 2)
    assert found.reach.after == (0, 1, 1)
    assert (found.bands, found.mean, found.deviation) == (("B02", "B03"), (0.1, 0.2), (2.0,))
    assert found.upstream["file"] == "net.onnx"
    assert not done.assumed


def test_squeeze_and_excite_makes_windows_of_one_size_and_it_is_said(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx", squeeze=True)
    done = imported(path, tmp_path / "folder", "features", overlap=None)
    assert done.description.reach is None
    assert done.description.overlap == (0, 4, 4)
    assert any("depends on all of the window of (32, 32)" in note for note in done.notes)
    # before the mean, the reach is bounded
    assert imported(path, tmp_path / "plain", "plain").description.reach is not None


def test_a_stated_reach_and_a_fixed_size_are_kept(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx", sides=(48, 48))
    found = imported(path, tmp_path / "folder", "features", window=None, reach=6).description
    assert found.reach.before == (0, 6, 6)
    assert found.window == (1, 48, 48)
    assert found.fixed_window


def test_all_tensors_are_listed_with_shape_and_stride(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx", squeeze=True)
    facts = {fact.name: fact for fact in list_tensors(path, BackboneOptions(**SMALL))}
    assert facts["first_relu"].shape == (1, 4, 32, 32)
    assert facts["features"].stride == (2, 2)
    assert facts["pooled"].stride is None
    done = CliRunner().invoke(app, ["import-backbone", str(path), "--window", "32 32"])
    assert done.exit_code == 0
    assert "5 x 16 x 16" in done.output
    assert "pooled" not in done.output


def test_the_command_writes_a_folder_and_says_how_to_use_it(tmp_path):
    path, folder = saved_encoder(tmp_path / "net.onnx"), tmp_path / "folder"
    options = ["--feature", "features", "-o", str(folder), "--window", "32 32"]
    done = CliRunner().invoke(app, ["import-backbone", str(path), *options])
    assert done.exit_code == 0, done.output
    assert "name: network" in done.output
    assert read_description(folder).name == "folder"


def test_a_name_that_is_not_there_is_answered_with_the_nearest(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"no tensor 'feature'.*the nearest are features"):
        imported(path, tmp_path / "folder", "feature")
    assert not (tmp_path / "folder").exists()


def test_a_tensor_of_three_axes_is_refused(tmp_path):
    nodes = [
        ("Conv", ["images", "weight"], "seen", {"kernel_shape": [4, 4], "strides": [4, 4]}),
        ("Reshape", ["seen", "shape"], "tokens", {}),
    ]
    weights = {"weight": torch.rand(6, 1, 4, 4), "shape": torch.tensor([0, 6, -1])}
    path = saved_graph(tmp_path / "net.onnx", nodes, weights, output="tokens")
    with pytest.raises(ModelError, match=r"shape \(1, 6, 64\), 3 axes, .*choose another tensor"):
        imported(path, tmp_path / "folder", "tokens")


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx")
    model = onnx.load(path)
    broken = numpy_helper.to_array(model.graph.initializer[0]).copy()
    broken.flat[0] = float("nan")
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(broken, model.graph.initializer[0].name)
    )
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"1 of .* NaN"):
        imported(path, tmp_path / "folder", "features")


def test_torchscript_is_not_opened_without_trust(tmp_path):
    path = saved_script(tmp_path / "net.pt", seeded(Encoder()))
    with pytest.raises(ModelError, match="give --trust"):
        imported(path, tmp_path / "folder", "features")


def test_weights_alone_need_an_architecture(tmp_path):
    torch.save(Encoder().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"--architecture \(efficientnet_lite0\)"):
        imported(tmp_path / "weights.pt", tmp_path / "folder", "features")
    with pytest.raises(
        ModelError, match=r"does not fit efficientnet_lite0: \d+ layers are missing"
    ):
        imported(
            tmp_path / "weights.pt",
            tmp_path / "folder",
            "features",
            architecture="efficientnet_lite0",
        )


def test_a_folder_with_other_things_is_not_replaced(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds other things"):
        imported(path, tmp_path / "folder", "features")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.1, 0.2, 0.3)}, "mean has 3 numbers, but the network takes 1 channels"),
        ({"bands": ("B02", "B03")}, "bands B02, B03 are 2, but the network takes 1"),
        ({"channels": 3}, "takes 1 channels, but --channels is 3"),
        ({"window": (8, 32, 32)}, "--window"),
        ({"overlap": 3}, "--overlap 3 must be a multiple of the stride 2"),
        ({"overlap": 16}, "leave none between their margins"),
        ({"stride": (3, 3)}, "no whole number of voxels per token"),
    ],
)
def test_options_that_do_not_fit_are_one_error(tmp_path, options, message):
    path = saved_encoder(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=message):
        imported(path, tmp_path / "folder", "features", **options)


def test_an_external_file_outside_of_the_folder_is_refused(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx")
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.extend([onnx.StringStringEntryProto(key="location", value="../secret")])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="not a file in its folder"):
        imported(path, tmp_path / "folder", "features")


def test_operators_within_branches_keep_what_they_read(tmp_path):
    scaled = helper.make_graph(
        [helper.make_node("Mul", ["seen", "factor"], ["scaled"])],
        "then",
        [],
        [helper.make_tensor_value_info("scaled", onnx.TensorProto.FLOAT, None)],
    )
    kept = helper.make_graph(
        [helper.make_node("Identity", ["seen"], ["kept"])],
        "else",
        [],
        [helper.make_tensor_value_info("kept", onnx.TensorProto.FLOAT, None)],
    )
    nodes = [
        ("Conv", ["images", "weight"], "seen", {"kernel_shape": [1, 1]}),
        ("If", ["yes"], "chosen", {"then_branch": scaled, "else_branch": kept}),
        ("Relu", ["chosen"], "last", {}),
    ]
    weights = {
        "weight": torch.ones(2, 1, 1, 1),
        "factor": torch.tensor([3.0]),
        "yes": torch.tensor(True),
    }
    path = saved_graph(tmp_path / "net.onnx", nodes, weights, output="last")
    imported(path, tmp_path / "folder", "chosen")
    images = torch.rand(1, 1, 32, 32)
    found = features_of(tmp_path / "folder", images)
    torch.testing.assert_close(found, (3 * images).expand(-1, 2, -1, -1))


def test_the_description_is_plain_json(tmp_path):
    path = saved_encoder(tmp_path / "net.onnx")
    imported(path, tmp_path / "folder", "features")
    values = json.loads((tmp_path / "folder/backbone.json").read_text())
    values["stride"] = [1, 0, 2]
    (tmp_path / "folder/backbone.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"not a valid description of a backbone: stride"):
        read_description(tmp_path / "folder")
