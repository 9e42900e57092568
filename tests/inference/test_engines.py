"""Engines: each computes what torch does in float32, and is chosen where it is the faster one."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_sample import infer, random_network, tiny_inputs, tiny_model, tiny_recipe, tiny_spec
from torch import Tensor

from parafovea.errors import ConfigError, MissingExtraError
from parafovea.geometry.windows import Layout
from parafovea.inference import engines
from parafovea.inference.engines import choose_engine, make_engine
from parafovea.inference.predictor import Predictor
from parafovea.inference.sample_inputs import ModelInputs, SampleInputs
from parafovea.models.folder import load_model
from parafovea.models.networks.fused_unet import FusedUNet
from parafovea.models.networks.fusion import Fusion
from parafovea.models.networks.inference_unet import InferenceUNet
from parafovea.runtime.optional_packages import import_openvino, is_installed
from parafovea.settings.inference import InferenceSettings
from parafovea.settings.recipe import ModelSpec
from parafovea.stages.blend_shards import blend_shards
from parafovea.stages.extract_features import extract_features
from parafovea.stages.resample_volume import resample_volume
from parafovea.storage.store import open_stored
from parafovea_phantoms.make_phantom import make_phantom

CPU = torch.device("cpu")
CELL = Path(__file__).parents[2] / "resources" / "models" / "cell"

# Never `pytest.importorskip`: that would import OpenVINO with its telemetry.
needs_openvino = pytest.mark.skipif(
    not is_installed("openvino"), reason="openvino is not installed: parafovea[openvino]"
)

#: What torch.compile calls: a compiler, and the headers of Python.
needs_compiler = pytest.mark.skipif(
    not (
        any(shutil.which(name) for name in ("g++", "clang++"))
        and Path(sysconfig.get_path("include"), "Python.h").is_file()
    ),
    reason="no C++ compiler, or no headers of Python",
)

#: Name of the engine, and whether it is torch.compile.
ENGINES = [
    pytest.param("torch", True, id="compiled", marks=needs_compiler),
    pytest.param("openvino", False, id="openvino", marks=needs_openvino),
]


def batch_for(network: FusedUNet) -> tuple[Tensor, list[Tensor] | None]:
    """Return a batch as `Predictor.assemble` makes it, channels last in memory."""
    dimensions = network.dimensions
    order = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    generator = torch.Generator().manual_seed(1)

    def random(channels: int, size: int) -> Tensor:
        values = torch.randn(2, channels, *[size] * dimensions, generator=generator)
        return values.contiguous(memory_format=order)

    guides = InferenceUNet(network).guides
    views = [random(len(guide.bias), 32 // 2**level) for level, guide in enumerate(guides)]
    return random(4, 32), views or None


@pytest.mark.parametrize(("name", "compiled"), ENGINES)
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("fusion", ["attention", "none"])
def test_every_engine_gives_the_logits_of_float32_torch(
    name: engines.EngineName, compiled: bool, dimensions: int, fusion: Fusion
) -> None:
    network = random_network(
        FusedUNet(3, 4, base_channels=4, context_channels=2, fusion=fusion, dimensions=dimensions)
    )
    prepared = InferenceUNet(network)
    features, guides = batch_for(network)
    engine = make_engine(name, network, prepared, dtype=torch.float32, compiled=compiled)
    with torch.inference_mode():
        wanted = prepared(features, guides)
        found = engine.logits(features, guides)
        again = engine.logits(features, guides)
    assert found.dtype == torch.float32
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert torch.equal(found, again)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, ModelInputs]:
    """Return the shipped model's description and a phantom cell with its features."""
    folder = tmp_path_factory.mktemp("phantom")
    spec, _ = load_model(CELL)
    image, volume = folder / "image.ome.zarr", folder / "volume.ome.zarr"
    make_phantom(
        image,
        folder / "truth.ome.zarr",
        folder / "objects.ome.zarr",
        kind="cell",
        seed=77,
        shape=(64, 96, 96),
        spacing=spec.spacing,
        unit=spec.unit,
    )
    resample_volume(
        volume,
        source=str(image),
        spacing=spec.spacing,
        unit=spec.unit,
        normalization=spec.normalization,
    )
    inputs = ModelInputs(volume, folder / "features.zarr", folder / "context.zarr")
    assert spec.context is not None
    assert inputs.context is not None
    for output, spacing, backbone in (
        (inputs.features, spec.spacing, spec.backbone),
        (inputs.context, spec.context.spacing, spec.context.backbone),
    ):
        extract_features(volume, output, spacing=spacing, backbone=backbone, dimensions=3)
    return spec, inputs


@pytest.fixture(scope="module")
def float32(phantom: tuple[ModelSpec, ModelInputs]) -> np.ndarray:
    """Return the probabilities of all windows by torch in float32."""
    return probabilities_of(phantom, "torch", torch.float32)


def probabilities_of(
    phantom: tuple[ModelSpec, ModelInputs],
    engine: engines.EngineName,
    dtype: torch.dtype,
    compiled: bool = False,
) -> np.ndarray:
    spec, paths = phantom
    inputs = SampleInputs(paths, spec)
    predictor = Predictor(
        load_model(CELL)[1], device=CPU, dtype=dtype, engine=engine, compiled=compiled
    )
    layout = Layout.regular(inputs.grid.shape, spec.window, overlap=0)
    return np.concatenate([predictor(inputs.read(box), [box]) for box in layout.windows()])


@needs_openvino
def test_the_trained_model_in_float32_is_the_same_by_openvino(
    phantom: tuple[ModelSpec, ModelInputs], float32: np.ndarray
) -> None:
    found = probabilities_of(phantom, "openvino", torch.float32)
    np.testing.assert_allclose(found, float32, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "compiled"), [pytest.param("torch", False, id="torch"), *ENGINES])
def test_in_bfloat16_the_trained_models_labels_stay(
    phantom: tuple[ModelSpec, ModelInputs],
    float32: np.ndarray,
    name: engines.EngineName,
    compiled: bool,
) -> None:
    found = probabilities_of(phantom, name, torch.bfloat16, compiled)
    assert len(np.unique(float32.argmax(axis=1))) == 4
    assert np.mean(found.argmax(axis=1) == float32.argmax(axis=1)) >= 0.999


@needs_openvino
@pytest.mark.parametrize("dimensions", [2, 3])
def test_one_shard_equals_three_shards_bit_for_bit_by_openvino(
    tmp_path: Path, dimensions: int
) -> None:
    recipe = tiny_recipe(dimensions=dimensions)
    inputs = tiny_inputs(tmp_path, (3, 48, 64) if dimensions == 2 else (24, 48, 48), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    results = {}
    for shards in (1, 3):
        settings = InferenceSettings(shards=shards, engine="openvino", batch_size=2)
        paths = [tmp_path / f"{shards}_{number}.zarr" for number in range(1, shards + 1)]
        for number, path in enumerate(paths, start=1):
            infer(inputs, model, path, shard=number, settings=settings)
            assert open_stored(path).attributes["engine"] == "openvino"
        output = tmp_path / f"{shards}.ome.zarr"
        blend_shards(paths, output)
        results[shards] = open_stored(output).read()
    np.testing.assert_array_equal(results[1], results[3])


@needs_openvino
def test_openvino_is_imported_without_its_telemetry() -> None:
    import_openvino()
    telemetry = sys.modules["openvino.tools.ovc.telemetry_utils"].tm
    assert telemetry.__name__ == "openvino.tools.ovc.telemetry_stub"


@pytest.mark.parametrize(
    ("engine", "device", "native", "installed", "compiled", "chosen"),
    [
        ("auto", "cpu", False, True, False, "openvino"),
        ("auto", "cpu", False, True, True, "torch"),
        ("auto", "cpu", False, False, False, "torch"),
        ("auto", "cpu", True, True, False, "torch"),
        ("auto", "cuda", False, True, False, "torch"),
        ("torch", "cpu", False, True, False, "torch"),
        ("openvino", "cpu", True, False, False, "openvino"),
    ],
)
def test_auto_is_openvino_only_on_a_cpu_without_bfloat16_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
    engine: engines.EngineChoice,
    device: str,
    native: bool,
    installed: bool,
    compiled: bool,
    chosen: str,
) -> None:
    monkeypatch.setattr(engines, "computes_bfloat16", lambda device: native)
    monkeypatch.setattr(engines, "is_installed", lambda package: installed)
    assert choose_engine(engine, torch.device(device), compiled=compiled) == chosen


def test_openvino_on_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"openvino runs on CPUs, .* on cuda:0: use engine: auto"):
        choose_engine("openvino", torch.device("cuda", 0))


def test_compile_and_openvino_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="compile: true applies to engine torch only"):
        InferenceSettings(engine="openvino", compile=True)


def test_a_missing_openvino_is_one_error_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    recipe = tiny_recipe(context=False)
    inputs = tiny_inputs(tmp_path, (16, 32, 32), recipe)
    model = tiny_model(tmp_path / "model", recipe)
    settings = InferenceSettings(engine="openvino")
    with pytest.raises(MissingExtraError, match=r'pip install "parafovea\[openvino\]"'):
        infer(inputs, model, tmp_path / "s.zarr", shard=1, settings=settings)
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled:UserWarning")
def test_compile_without_a_compiler_is_one_error_with_the_fix(tmp_path: Path) -> None:
    spec = tiny_spec(tiny_recipe(dimensions=2, context=False))
    network = random_network(FusedUNet.from_spec(spec))
    engine = make_engine(
        "torch", network, InferenceUNet(network), dtype=torch.float32, compiled=True
    )
    # Made the engine first: that imports torch's compiler, with its settings.
    from torch._inductor import config, cpp_builder

    torch.compiler.reset()
    cpp_builder.cpp_compiler_search.cache_clear()
    without = {"cpp.cxx": (str(tmp_path / "no-compiler"),), "force_disable_caches": True}
    with config.patch(without), torch.inference_mode(), pytest.raises(ConfigError) as caught:
        engine.logits(*batch_for(network))
    cpp_builder.cpp_compiler_search.cache_clear()
    assert "No working C++ compiler found" in str(caught.value)
    assert "install a C++ compiler such as g++" in str(caught.value)
    assert "compile: false" in str(caught.value)
    assert "\n" not in str(caught.value)
