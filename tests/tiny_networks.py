"""Small networks of other projects, as ONNX and TorchScript files: for tests."""

import warnings

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn


class Encoder(nn.Module):
    """Two convolutions, the second of stride 2, and a head that nothing here uses."""

    def __init__(self, channels=1, features=5):
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, features, 3, stride=2, padding=1)
        self.head = nn.Conv2d(features, 2, 1)

    def features(self, images):
        return torch.relu(self.second(torch.relu(self.norm(self.first(images)))))

    def forward(self, images):
        return self.head(self.features(images))


def seeded(network):
    """Return a network in evaluation mode, its weights and statistics seeded noise."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator) * 0.3
                tensor.copy_(noise.abs() + 0.5 if "var" in name else noise)
    return network.eval()


def saved_script(path, network):
    """Write a network as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(network).save(str(path))
    return path


def saved_graph(path, nodes, weights, *, output, sides=(None, None), channels=1, batch=None):
    """Write an ONNX file of nodes, (operator, inputs, output, attributes) each.

    The first node reads "images"; weights are tensors by name.
    """
    made = [
        helper.make_node(operator, inputs, [name], **attributes)
        for operator, inputs, name, attributes in nodes
    ]
    tensors = [numpy_helper.from_array(value.numpy(), name) for name, value in weights.items()]
    shape = [batch, channels, *sides]
    graph = helper.make_graph(
        made,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        tensors,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    onnx.save_model(inferred, str(path))
    return path


def saved_encoder(path, *, channels=1, squeeze=False, **more):
    """Write `Encoder` as ONNX: tensors first, first_relu, features and scores.

    With `squeeze`, the features are scaled by a mean of all of them.
    """
    network = seeded(Encoder(channels))
    norm = network.norm
    weights = {
        name.replace(".", "_"): tensor
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    padded = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        ("Conv", ["images", "first_weight", "first_bias"], "first", padded),
        (
            "BatchNormalization",
            ["first", *(f"norm_{n}" for n in ("weight", "bias", "running_mean", "running_var"))],
            "normed",
            {"epsilon": norm.eps},
        ),
        ("Relu", ["normed"], "first_relu", {}),
        (
            "Conv",
            ["first_relu", "second_weight", "second_bias"],
            "second",
            {**padded, "strides": [2, 2]},
        ),
        ("Relu", ["second"], "plain" if squeeze else "features", {}),
    ]
    if squeeze:
        nodes += [
            ("GlobalAveragePool", ["plain"], "pooled", {}),
            ("Sigmoid", ["pooled"], "gate", {}),
            ("Mul", ["plain", "gate"], "features", {}),
        ]
    nodes.append(("Conv", ["features", "head_weight", "head_bias"], "scores", {}))
    return saved_graph(path, nodes, weights, output="scores", channels=channels, **more)
