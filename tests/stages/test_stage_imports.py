"""What each stage's module imports of the heavy libraries: seconds of every job of it.

Read from the code: imports at the head of the module and of all modules that it imports so. What
those libraries import themselves is theirs.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from parafovea.kinds.stages import stages

SOURCE = Path(__file__).parents[2] / "src"

HEAVY = frozenset(
    {
        *("torch", "lightning", "monai", "transformers", "zarr", "pandas", "matplotlib", "jinja2"),
        *("scipy", "skimage", "cc3d", "rasterio", "nibabel", "pydicom", "tifffile", "h5py"),
    }
)

DRAWN = "zarr pandas matplotlib jinja2"

#: A library more is paid for by every job of the stage: import it below, or in a module of its own.
IMPORTED = {
    "make_phantom": "zarr scipy",
    "make_landscape": "zarr scipy",
    "resample_volume": "zarr scipy",
    "scan_block": "zarr",
    "merge_scan": "zarr",
    "join_volume": "zarr scipy",
    "join_features": "zarr",
    "join_prediction": "zarr",
    "extract_features": "torch zarr",
    "infer_shard": "torch zarr scipy",
    "blend_shards": "zarr",
    "segment_objects": "zarr pandas scipy skimage cc3d",
    "classify_block": "zarr scipy cc3d",
    "clean_block": "zarr scipy cc3d",
    "decide_components": "zarr scipy cc3d",
    "unite_objects": "zarr scipy cc3d",
    "split_block": "zarr scipy skimage cc3d",
    "number_objects": "zarr pandas scipy cc3d",
    "number_block": "zarr scipy cc3d",
    "join_objects": "zarr",
    "measure_quality": "zarr scipy cc3d",
    "measure_quality_block": "zarr scipy cc3d",
    "render_report": DRAWN,
    "detect_nodules": "zarr pandas scipy skimage cc3d nibabel",
    "export_dicom": "zarr pandas scipy skimage cc3d pydicom",
    "measure_detections": "zarr pandas scipy cc3d",
    "render_detections": f"{DRAWN} scipy skimage cc3d nibabel",
    "predict_tiles": "torch zarr",
    "collect_tiles": "",
    "report_failures": "",
    "export_mosaic": "zarr rasterio",
    "measure_tiles": "zarr pandas",
    "render_tiles": DRAWN,
    "summarize_cohort": f"{DRAWN} scipy",
    "train_model": "torch lightning zarr pandas matplotlib scipy",
    "score_model": "torch zarr pandas scipy",
    "plot_context_study": "zarr pandas matplotlib",
    "plot_feature_study": "zarr pandas matplotlib",
    "draw_measured": "zarr pandas matplotlib",
    "draw_results": "zarr pandas matplotlib",
}


def at_head(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the dotted targets of the imports that run when a module is imported."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports here are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            yield from at_head([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from at_head([*node.body, *node.orelse, *node.finalbody])


def file_of(name: str) -> Path | None:
    """Return the file of a module of the packages here; None for any other name."""
    path = SOURCE.joinpath(*name.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


@functools.cache
def targets(file: Path) -> frozenset[str]:
    """Return the modules of the packages here, and the libraries, that a file imports."""
    found: set[str] = set()
    for target in at_head(ast.parse(file.read_bytes()).body):
        words = target.split(".")
        names = [".".join(words[:count]) for count in range(1, len(words) + 1)]
        own = {name for name in names if file_of(name) is not None}
        found |= own or {words[0]}
    return frozenset(found)


def libraries(module: str) -> set[str]:
    """Return the heavy libraries that are imported with a module."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = file_of(name)
        if name not in seen and file is not None:
            waiting += targets(file)
        seen.add(name)
    return seen & HEAVY


@pytest.mark.parametrize("script", sorted({stage.script for stage in stages().values()}))
def test_a_stage_imports_what_the_list_says_and_no_library_more(script: str) -> None:
    module = next(stage.module for stage in stages().values() if stage.script == script)
    assert libraries(module) == set(IMPORTED[script].split())


def test_a_stage_that_does_not_compute_on_a_gpu_does_not_import_torch() -> None:
    computing = {stage.script for stage in stages().values() if stage.device == "gpu"}
    with_torch = {name for name, found in IMPORTED.items() if "torch" in found.split()}
    # scores are made by the shards of a prediction, one sample after the other
    assert with_torch == computing | {"score_model"}


def test_imports_in_functions_and_for_type_checkers_are_not_at_the_head() -> None:
    text = """
import a.b
from c import d
if TYPE_CHECKING:
    import e
try:
    import f
except ImportError:
    f = None
def load():
    import g
"""
    assert list(at_head(ast.parse(text).body)) == ["a.b", "c.d", "f"]
