"""ONNX files of strangers: what is not a network of standard operators is one error, unrun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parafovea.errors import ConfigError, MissingExtraError, ModelError
from parafovea.models.image_folder import load_image_network
from parafovea.upstream.networks.importing import import_network
from parafovea.upstream.networks.onnx_file import read_onnx
from parafovea.upstream.networks.stated import Stated

onnx = pytest.importorskip("onnx")
helper = onnx.helper

FLOAT = onnx.TensorProto.FLOAT
FREE = ("n", 1, "z", "y", "x")


def weights(values: Any, name: str = "w") -> Any:
    return onnx.numpy_helper.from_array(np.asarray(values, np.float32), name)


def kernel() -> Any:
    return weights(np.linspace(-1, 1, 54).reshape(2, 1, 3, 3, 3))


def conv(source: str = "images", target: str = "scores", **options: Any) -> Any:
    return helper.make_node("Conv", [source, "w"], [target], pads=[1] * 6, **options)


def graph(
    nodes: list[Any] | None = None,
    *,
    shape: tuple[Any, ...] = FREE,
    dtype: int = FLOAT,
    initializers: list[Any] | None = None,
    inputs: int = 1,
) -> Any:
    taken = [helper.make_tensor_value_info("images", dtype, shape)]
    taken += [helper.make_tensor_value_info(f"more{n}", dtype, shape) for n in range(1, inputs)]
    given = [helper.make_tensor_value_info("scores", FLOAT, [None] * 5)]
    stored = [kernel()] if initializers is None else initializers
    return helper.make_graph(nodes or [conv()], "network", taken, given, stored)


def model(made: Any = None, *, opset: int = 17, ir: int = 8, **options: Any) -> Any:
    imports = options.pop("opset_imports", [helper.make_opsetid("", opset)])
    found = helper.make_model(made or graph(), opset_imports=imports, **options)
    found.ir_version = ir
    return found


def saved(folder: Path, made: Any, name: str = "network.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def imported(path: Path, **stated: Any) -> Any:
    values = {
        "spacing": (8, 8, 8), "unit": "nanometer", "window": (16, 16, 16), **stated,
    }  # fmt: skip
    output = path.with_name("written")
    return import_network(path, output, reader=read_onnx, stated=Stated.model_validate(values))


def refused(path: Path, match: str, **stated: Any) -> str:
    """Require one error of one line, and nothing written."""
    before = sorted(each.name for each in path.parent.iterdir())
    with pytest.raises(ModelError, match=match) as caught:
        imported(path, **stated)
    assert sorted(each.name for each in path.parent.iterdir()) == before
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_a_file_says_its_channels_axes_and_where_it_comes_from(tmp_path: Path) -> None:
    made = model(producer_name="maker", producer_version="3")
    helper.set_model_props(made, {"author": "somebody"})
    done = imported(saved(tmp_path, made))
    assert done.spec.network.dimensions == 3
    assert not done.spec.network.fixed_window
    origin = done.spec.training["upstream"]
    assert origin["opset"] == {"ai.onnx": 17}
    assert (origin["producer"], origin["metadata"]) == ("maker 3", {"author": "somebody"})


@pytest.mark.parametrize(
    ("opset", "ir", "match"),
    [
        (99, 8, r"opset 99, which is too new: export it again with one from 7 to \d+"),
        (5, 8, "opset 5, which is too old"),
        (17, 99, r"version \(IR\) 99, which is too new"),
        (17, 2, r"version \(IR\) 2, which is too old"),
    ],
)
def test_versions_that_no_engine_runs(tmp_path: Path, opset: int, ir: int, match: str) -> None:
    refused(saved(tmp_path, model(opset=opset, ir=ir)), match)


def nested(node: Any) -> Any:
    """Return a node with a branch that holds another node."""
    output = [helper.make_tensor_value_info("scores_inside", FLOAT, [None] * 5)]
    branch = helper.make_graph([node], "branch", [], output)
    return helper.make_node("If", ["always"], ["scores"], then_branch=branch, else_branch=branch)


def custom(output: str = "scores", domain: str = "com.vendor") -> Any:
    return helper.make_node("Magic", ["images"], [output], domain=domain)


def always() -> Any:
    return onnx.numpy_helper.from_array(np.array(True), "always")


def with_function(body: Any, name: str = "Part") -> Any:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", name, ["a"], ["b"], [body], imports)
    call = helper.make_node(name, ["images"], ["scores"], domain="mine")
    return model(graph([call], initializers=[]), functions=[function], opset_imports=imports)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: model(graph([custom()], initializers=[])), id="graph"),
        pytest.param(
            lambda: model(graph([nested(custom("scores_inside"))], initializers=[always()])),
            id="branch",
        ),
        pytest.param(
            lambda: with_function(helper.make_node("Magic", ["a"], ["b"], domain="com.vendor")),
            id="function",
        ),
    ],
)
def test_custom_operators_are_named_wherever_they_stand(
    tmp_path: Path, made: Callable[[], Any]
) -> None:
    found = made()
    found.opset_import.append(helper.make_opsetid("com.vendor", 1))
    refused(saved(tmp_path, found), r"not of the ONNX standard: com.vendor::Magic \(\d\)")


def test_functions_of_the_file_itself_run(tmp_path: Path) -> None:
    body = helper.make_node("Sigmoid", ["a"], ["b"])
    done = imported(saved(tmp_path, with_function(body)), kind="detection")
    assert done.spec.network.activation == "none"


def test_a_function_that_calls_itself_has_no_end(tmp_path: Path) -> None:
    body = helper.make_node("Part", ["a"], ["b"], domain="mine")
    refused(saved(tmp_path, with_function(body)), "mine::Part, which calls itself")


def external(made: Any, location: str, *, length: int = 216, offset: int = 0) -> Any:
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return made


def data_bytes() -> bytes:
    return bytes(kernel().raw_data)


@pytest.mark.parametrize("location", ["w.bin", "parts/w.bin"])
def test_external_data_is_copied_hashed_and_checked(tmp_path: Path, location: str) -> None:
    (tmp_path / location).parent.mkdir(exist_ok=True)
    (tmp_path / location).write_bytes(data_bytes())
    done = imported(saved(tmp_path, external(model(), location)))
    folder = tmp_path / "written"
    assert set(done.spec.network.files) == {location}
    assert (folder / location).read_bytes() == data_bytes()


def test_changed_external_data_of_a_model_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(data_bytes())
    spec = imported(saved(tmp_path, external(model(), "w.bin"))).spec
    (tmp_path / "written/w.bin").write_bytes(bytes(216))
    with pytest.raises(ModelError, match=r"w.bin has the hash"):
        load_image_network(tmp_path / "written", spec)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "..\\w.bin", ""])
def test_external_data_outside_the_folder(tmp_path: Path, location: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "w.bin").write_bytes(data_bytes())
    refused(saved(inner, external(model(), location)), "is not a file in its folder")


@pytest.mark.parametrize("place", ["file", "folder"])
def test_external_data_by_a_link(tmp_path: Path, place: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/w.bin").write_bytes(data_bytes())
    inner = tmp_path / "inner"
    inner.mkdir()
    if place == "file":
        (inner / "w.bin").symlink_to(tmp_path / "outside/w.bin")
        location = "w.bin"
    else:
        (inner / "parts").symlink_to(tmp_path / "outside")
        location = "parts/w.bin"
    refused(saved(inner, external(model(), location)), "which is a link: copy the file itself")


def test_a_folder_that_is_reached_by_a_link_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/w.bin").write_bytes(data_bytes())
    saved(tmp_path / "real", external(model(), "w.bin"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    done = imported(tmp_path / "link/network.onnx")
    assert set(done.spec.network.files) == {"w.bin"}


def test_external_data_that_is_missing_or_short(tmp_path: Path) -> None:
    path = saved(tmp_path, external(model(), "w.bin"))
    refused(path, r"w\.bin', which is missing: copy that file as well")
    (tmp_path / "w.bin").write_bytes(bytes(100))
    refused(path, r"weight w has the shape \(2, 1, 3, 3, 3\), 216 bytes, but 0 are there")


@pytest.mark.parametrize(
    ("shape", "dtype", "match"),
    [
        (FREE, onnx.TensorProto.UINT8, "takes uint8 numbers, but must take float32"),
        (FREE, onnx.TensorProto.FLOAT16, "takes float16 numbers, but must take float32"),
        (("n", 1, "x"), FLOAT, r"of 3 axes, \(\?, 1, \?\), but must take 4"),
        (("n", 16, 16, 16, 1), FLOAT, r"channels on the last axis"),
        (("n", 2, "z", "y", "x"), FLOAT, "takes 2 channels, but no are named|takes 2 channels"),
    ],
)
def test_inputs_that_are_not_voxels(
    tmp_path: Path, shape: tuple[Any, ...], dtype: int, match: str
) -> None:
    node = helper.make_node("Cast", ["images"], ["scores"], to=FLOAT)
    refused(saved(tmp_path, model(graph([node], shape=shape, dtype=dtype, initializers=[]))), match)


def test_two_inputs(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["images", "more1"], ["scores"])
    path = saved(tmp_path, model(graph([node], inputs=2, initializers=[])))
    refused(path, r"takes 2 inputs \(images, more1\), but must take one")


@pytest.mark.parametrize("place", ["weight", "constant"])
def test_weights_that_are_not_numbers(tmp_path: Path, place: str) -> None:
    values = np.linspace(-1, 1, 54, dtype=np.float32)
    values[7] = np.nan
    wrong = weights(values.reshape(2, 1, 3, 3, 3))
    made = graph(initializers=[wrong])
    if place == "constant":
        node = helper.make_node("Constant", [], ["w"], value=wrong)
        made = graph([node, conv()], initializers=[])
    refused(saved(tmp_path, model(made)), "1 of 54 values of .* are NaN")


def test_scores_that_are_not_numbers(tmp_path: Path) -> None:
    node = helper.make_node("Log", ["minus"], ["scores"])
    less = helper.make_node("Neg", ["images"], ["minus"])
    refused(
        saved(tmp_path, model(graph([less, node], initializers=[]))),
        "gives 4096 of 4096 values that are NaN or infinite for noise",
    )


def test_axes_that_lie_are_found_with_both_shapes(tmp_path: Path) -> None:
    shape = onnx.numpy_helper.from_array(np.array([1, 1, 8, 8, 8], np.int64), "shape")
    node = helper.make_node("Reshape", ["images", "shape"], ["folded"])
    path = saved(tmp_path, model(graph([node, conv("folded")], initializers=[kernel(), shape])))
    text = refused(path, r"does not take an input of the shape \(1, 1, 16, 16, 16\)")
    assert "Input shape:{1,1,16,16,16}, requested shape:{1,1,8,8,8}" in text


def test_a_batch_that_lies_is_one_window_at_a_time(tmp_path: Path) -> None:
    shape = onnx.numpy_helper.from_array(np.array([1, 1, 16, 16, 16], np.int64), "shape")
    node = helper.make_node("Reshape", ["images", "shape"], ["folded"])
    made = model(graph([node, conv("folded")], initializers=[kernel(), shape]))
    network = imported(saved(tmp_path, made)).spec.network
    assert (network.fixed_batch, network.fixed_window) == (1, True)


def test_a_window_other_than_the_files_own(tmp_path: Path) -> None:
    path = saved(tmp_path, model(graph(shape=("n", 1, 8, 8, 8))))
    refused(path, r"takes an input of \(\?, 1, 8, 8, 8\), but --window is \(16, 16, 16\)")
    assert imported(path, window=None).spec.window == (8, 8, 8)


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Resize"])
def test_results_larger_than_the_machine_are_refused_before_they_are_made(
    tmp_path: Path, operator: str
) -> None:
    huge = onnx.numpy_helper.from_array(np.array([1, 1, 1 << 20, 1 << 10, 1 << 10]), "huge")
    scales = weights([1, 1, 4096, 4096, 4096], "scales")
    node = {
        "ConstantOfShape": helper.make_node("ConstantOfShape", ["huge"], ["scores"]),
        "Expand": helper.make_node("Expand", ["images", "huge"], ["scores"]),
        "Resize": helper.make_node("Resize", ["images", "", "scales"], ["scores"]),
    }[operator]
    made = model(graph([node], initializers=[huge, scales], shape=(1, 1, 1, 1, 1)))
    refused(saved(tmp_path, made), "the result scores of the graph has the shape", window=(1, 1, 1))


def test_a_size_that_the_graph_computes_fails_alone(tmp_path: Path) -> None:
    """The number of a result's values is known only as the graph runs: 4 TiB."""
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["most"], keepdims=0),
        helper.make_node("Add", ["most", "large"], ["many"]),
        helper.make_node("Cast", ["many"], ["count"], to=onnx.TensorProto.INT64),
        helper.make_node("Unsqueeze", ["count", "first"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["images", "zero"], ["scores"]),
    ]
    stored = [
        weights(float(1 << 40), "large"),
        onnx.numpy_helper.from_array(np.array([0], np.int64), "first"),
    ]
    path = saved(tmp_path, model(graph(nodes, initializers=stored)))
    refused(path, r"does not take an input of the shape .*(memory|alloc|exception)")


def test_a_weight_that_declares_more_than_is_there(tmp_path: Path) -> None:
    wrong = kernel()
    wrong.dims[0] = 1 << 40
    refused(saved(tmp_path, model(graph(initializers=[wrong]))), "bytes, but 216 are there")


@pytest.mark.parametrize("content", [b"", b"not a network", bytes(range(256)) * 4])
def test_other_bytes_are_no_onnx_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    refused(path, "is not an ONNX file, or is damaged|has no graph")


def test_every_truncation_is_one_error(tmp_path: Path) -> None:
    whole = model().SerializeToString()
    for length in range(0, len(whole), 17):
        path = tmp_path / "cut.onnx"
        path.write_bytes(whole[:length])
        refused(path, "cut.onnx")


def test_an_unknown_operator_of_the_standard_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Convolve", ["images"], ["scores"])
    refused(saved(tmp_path, model(graph([node], initializers=[]))), "is not a valid ONNX file")


def test_torch_is_no_engine_of_onnx_and_the_others_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from parafovea.models.networks import onnx_network

    spec = imported(saved(tmp_path, model())).spec
    network = load_image_network(tmp_path / "written", spec)
    cpu = torch.device("cpu")
    with pytest.raises(ConfigError, match="engine: torch does not run written, which is an ONNX"):
        network.choose_engine("torch", cpu)
    installed = {"onnxruntime", "openvino"}
    monkeypatch.setattr(onnx_network, "is_installed", lambda package: package in installed)
    assert network.choose_engine("auto", cpu) == "onnxruntime"
    installed.remove("onnxruntime")
    assert network.choose_engine("auto", cpu) == "openvino"
    installed.clear()
    with pytest.raises(MissingExtraError, match=r'pip install "parafovea\[onnx\]"'):
        network.choose_engine("auto", cpu)
    assert network.precision(torch.bfloat16, "onnxruntime") == torch.float32
