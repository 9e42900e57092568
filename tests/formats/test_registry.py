"""The formats as data: what recognises them, what opens them, and whose code they are."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from format_samples import SHAPE, WRITERS

from parafovea.errors import SourceError
from parafovea.formats.location import format_modules, locate, source_files, truth_files
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.registry import FORMATS, registered_modules
from parafovea.storage.fingerprint import SOURCE, code_fingerprint, imported_modules

HERE = "parafovea.formats."

#: The format, as `locate` names it, and the modules that read it.
EXPECTED = {
    "ome_zarr": ("zarr", {"zarr.arrays", "zarr.ome_zarr"}),
    "zarr": ("zarr", {"zarr.arrays", "zarr.ome_zarr"}),
    "n5": ("n5", {"n5.blocks", "n5.attributes"}),
    "precomputed": ("precomputed", {"precomputed.chunks", "precomputed.info"}),
    "tiff": ("tiff", {"tiff"}),
    "tiff_slices": ("image_stack", {"image_stacks", "tiff"}),
    "png_slices": ("image_stack", {"image_stacks", "png"}),
    "png": ("png", {"png"}),
    "nifti": ("nifti", {"nifti"}),
    "dicom": ("dicom", {"dicom.series", "dicom.contents"}),
    "dicom_zip": ("dicom", {"dicom.series", "dicom.contents"}),
    "nrrd": ("nrrd", {"nrrd", "raw_voxels"}),
    "nhdr": ("nrrd", {"nrrd", "raw_voxels"}),
    "metaimage": ("metaimage", {"metaimage", "raw_voxels"}),
    "hdf5": ("hdf5", {"hdf5.datasets", "hdf5.dataset_files"}),
    "npz_tiles": ("tiles", {"tiles.stack", "tiles.npz"}),
    "geotiff_tiles": ("tiles", {"tiles.stack", "tiles.npz", "geo.geotiff_tile"}),
    "mosaic": ("mosaic", {"geo.mosaic", "geo.companions"}),
}

#: Formats of chunks.
CHUNKED = {"ome_zarr", "zarr", "n5", "precomputed"}

#: Modules of formats beside the registered ones, and who reads with them.
BEHIND = {
    "zarr": CHUNKED,
    "zarr.arrays": CHUNKED,
    "zarr.ome_zarr": CHUNKED,
    "zarr.chunk_codecs": CHUNKED,
    "zarr.missing_chunks": CHUNKED,
    "zarr.tracked_store": CHUNKED,
    "zarr.translated_store": {"n5", "precomputed"},
    "n5": {"n5"},
    "precomputed": {"precomputed"},
    "precomputed.compressed_labels": {"precomputed"},
    "precomputed.shards": {"precomputed"},
    "dicom.codecs": {"dicom", "dicom_zip"},
    "dicom.deflated": {"dicom", "dicom_zip"},
    "dicom.frames": {"dicom", "dicom_zip"},
    "dicom.headers": {"dicom", "dicom_zip"},
    "dicom.selection": {"dicom", "dicom_zip"},
    "dicom.stacking": {"dicom", "dicom_zip"},
    "dicom": {"dicom", "dicom_zip"},
    "geo": {"geotiff_tiles", "mosaic"},
    "geo.companions": {"geotiff_tiles", "mosaic"},
    "geo.band_files": {"geotiff_tiles", "mosaic"},
    "geo.block_checksums": {"geotiff_tiles", "mosaic"},
    "geo.dataset": {"geotiff_tiles", "mosaic"},
    "geo.geotiff": {"geotiff_tiles", "mosaic"},
    "geo.vrt": {"geotiff_tiles", "mosaic"},
    "hdf5": {"hdf5"},
    "hdf5.dataset_chunks": {"hdf5"},
    "hdf5.dataset_parts": {"hdf5"},
    "hdf5.packed_bits": {"hdf5"},
    "hdf5.virtual_datasets": {"hdf5"},
    "ground": {"npz_tiles", "geotiff_tiles", "mosaic"},
    "geo.raster": {"mosaic"},
    "tiles": {"npz_tiles", "geotiff_tiles", "mosaic"},
    "tiles.reading": {"npz_tiles", "geotiff_tiles"},
    "tiles.sidecar": {"npz_tiles", "geotiff_tiles", "mosaic"},
    "tiles.tile": {"npz_tiles", "geotiff_tiles", "mosaic"},
    "tiles.tile_folder": {"npz_tiles", "geotiff_tiles"},
}

#: Formats that a stage writes, or reads from results, whatever the source of its sample is.
WRITTEN = {
    "detect_nodules": {"nifti"},
    "export_dicom": {"dicom.series", "dicom.contents"},
    "render_detections": {"nifti"},
    "predict_tiles": {"tiles.npz"},
    "measure_tiles": {"tiles.npz"},
    "render_tiles": {"tiles.npz"},
}

STAGES = sorted(path.stem for path in (SOURCE / "parafovea" / "stages").glob("[a-z]*.py"))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Return one source of each format, by its name."""
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


def modules_of(sample):
    return format_modules(sample.path, bands=bool(sample.bands))


def opened(sample):
    metadata = parse_metadata(sample.metadata, folder=Path())
    return open_source(sample.path, metadata=metadata, bands=sample.bands)


@pytest.mark.parametrize("name", WRITERS)
def test_a_source_is_located_and_opened_by_the_module_of_its_format(samples, name):
    sample = samples[name]
    known, modules = EXPECTED[name]
    assert locate(sample.path, bands=bool(sample.bands)).format == known
    assert set(modules_of(sample)) <= {HERE + module for module in modules}
    source = opened(sample)
    metadata = parse_metadata(sample.metadata, folder=Path())
    assert source_grid(sample.path, metadata=metadata, bands=sample.bands) == source.grid
    values = source.read(source.grid.box)
    if sample.bands:
        assert values.shape[0] == len(sample.bands)
        assert values.max() > 0
    else:
        assert values.shape == (SHAPE if name != "png" else (1, *SHAPE[1:]))
        assert len(np.unique(values)) > 50


def test_every_module_that_reading_loads_is_code_of_the_format(samples):
    program = (
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "from parafovea.formats.metadata.column import parse_metadata\n"
        "from parafovea.formats.opening import open_source\n"
        "for name, (path, metadata, bands) in json.loads(sys.argv[1]).items():\n"
        "    if os.fork() == 0:\n"
        "        said = parse_metadata(metadata, folder=Path())\n"
        "        source = open_source(path, metadata=said, bands=tuple(bands))\n"
        "        source.read(source.grid.box)\n"
        "        loaded = [n for n in sys.modules if n.split('.')[0] == 'parafovea']\n"
        "        print(json.dumps([name, loaded]), flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    asked = {name: (each.path, each.metadata, each.bands) for name, each in samples.items()}
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = dict(map(json.loads, done.stdout.splitlines()))
    assert loaded.keys() == WRITERS.keys(), done.stderr
    for name, modules in loaded.items():
        known = imported_modules(["parafovea.formats.opening", *modules_of(samples[name])])
        assert set(modules) <= set(known), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_format_but_those_that_it_writes(stage):
    found = set(imported_modules([f"parafovea.stages.{stage}"])) & set(registered_modules())
    mosaics = {HERE + name for name in ("geo.mosaic", "geo.geotiff_tile")}
    assert not found & mosaics
    assert found == {HERE + name for name in WRITTEN.get(stage, set())}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a copy of the packages."""
    root = tmp_path_factory.mktemp("tree")
    for package in ("parafovea", "parafovea_phantoms"):
        shutil.copytree(
            SOURCE / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return root


@pytest.fixture
def edited(tree, tmp_path):
    """Return a function that adds a statement to a module of the copy while the test runs."""
    undo = []

    def edit(module):
        file = tree.joinpath(*module.split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        text = file.read_text()
        undo.append((file, text))
        file.write_text(f"{text}\nMORE = 1\n")
        # under a name of its own, since modules are read once a process
        root = tmp_path / "src"
        root.symlink_to(tree)
        return root

    yield edit
    for file, text in undo:
        file.write_text(text)


def readers():
    """Return who reads with each module of the formats: names of `WRITERS`."""
    found = {module: set(names) for module, names in BEHIND.items()}
    for name, (_, modules) in EXPECTED.items():
        for module in modules:
            found.setdefault(module, set()).add(name)
    return found


@pytest.mark.parametrize("module", sorted(readers()))
def test_an_edit_of_a_format_changes_the_code_of_its_samples_alone(samples, edited, module):
    root = edited(HERE + module)

    def changed(stage, name):
        modules = [f"parafovea.stages.{stage}", *modules_of(samples[name])]
        return code_fingerprint(modules, root=root) != code_fingerprint(modules, root=SOURCE)

    for stage in ("resample_volume", "measure_quality", "train_model"):
        assert {name for name in WRITERS if changed(stage, name)} == readers()[module]
    for stage in ("blend_shards", "segment_objects", "infer_shard"):
        names = ["parafovea.stages." + stage]
        assert code_fingerprint(names, root=root) == code_fingerprint(names, root=SOURCE)


def test_the_table_of_who_reads_with_what_is_complete(samples):
    common = set(imported_modules(["parafovea.formats.opening"]))
    behind = {
        module
        for sample in samples.values()
        for module in imported_modules(modules_of(sample))
        if module.startswith(HERE)
    }
    parts = (
        "blosc_frames",
        "codestreams",
        "compressed_voxels",
        "coordinates",
        "jpegxr",
        "library_logs",
        "mapped_voxels",
        "named_axes",
        "neighbours",
        "source_placement",
        "stored_values",
        "tiff_chain",
        "unpacking",
    )
    shared = {HERE + part for part in parts}
    assert behind - common - shared == {HERE + module for module in readers()}


@pytest.mark.parametrize(
    ("path", "bands", "modules"),
    [
        (None, False, set()),
        ("out/phantoms/cell_seed1.ome.zarr", False, {"zarr.arrays", "zarr.ome_zarr"}),
        ("out/phantoms/chest_seed1_truth.nii.gz", False, {"nifti"}),
        ("out/phantoms/chest_seed1_nodules.csv", False, set()),
        ("out/phantoms/landscape_seed1_truth", True, {"tiles.stack", "tiles.npz"}),
        ("out/a/tiles", False, {"tiles.stack", "tiles.npz"}),
        ("out/a/refined.tif", True, {"geo.mosaic", "geo.companions"}),
        ("out/a/refined.tif", False, {"tiff"}),
        ("out/a/heatmap.nii.gz", False, {"nifti"}),
        ("data/B.NHDR", False, {"nrrd", "raw_voxels"}),
        ("data/b.h5:volumes/raw", False, {"hdf5.datasets", "hdf5.dataset_files"}),
        ("data/b.xyz", False, set()),
    ],
)
def test_what_is_not_there_yet_is_known_by_its_ending(tmp_path, monkeypatch, path, bands, modules):
    monkeypatch.chdir(tmp_path)
    assert set(format_modules(path, bands=bands)) == {HERE + module for module in modules}


def test_a_folder_of_tiles_has_the_same_code_before_and_after_it_is_made(samples):
    there = modules_of(samples["npz_tiles"])
    assert format_modules("out/a/tiles", bands=True) == there


def test_a_folder_of_no_format_has_no_code(tmp_path):
    (tmp_path / "notes.xyz").touch()
    assert format_modules(str(tmp_path)) == ()
    assert format_modules(str(tmp_path / "notes.xyz")) == ()


def test_every_registered_module_has_what_it_is_registered_for():
    for each in FORMATS:
        assert callable(each.load().open_volume), each.name
    for name, functions in (("tiles", ("Content",)), ("image_stack", ("open_plane",))):
        members = next(each for each in FORMATS if each.name == name).members
        for module in members.values():
            assert all(hasattr(importlib.import_module(module), each) for each in functions)


def test_a_format_more_is_a_module_and_an_entry(tmp_path):
    (tmp_path / "toy_format.py").write_text(
        "import numpy as np\n"
        "from parafovea.formats.source import Source\n"
        "from parafovea.geometry.grid import Grid\n"
        "def open_volume(location, request):\n"
        "    array = np.full((1, 2, 3), 7, np.uint8)\n"
        "    return Source(location.path, array, Grid(array.shape, (1, 1, 1), unit='meter'))\n"
    )
    (tmp_path / "a.toy").touch()
    program = (
        "from parafovea.formats import registry\n"
        "entry = registry.Format(name='toy', module='toy_format', meaning='a toy (.toy)',"
        " suffixes=('.toy',))\n"
        "registry.FORMATS += (entry,)\n"
        "from parafovea.errors import SourceError\n"
        "from parafovea.formats import format_modules, open_source, source_files, source_grid\n"
        "source = open_source('a.toy')\n"
        "assert source.read(source.grid.box).sum() == 42 and source.series == 'a'\n"
        "assert source_grid('a.toy') == source.grid and source_files('a.toy') == ['a.toy']\n"
        "assert format_modules('a.toy') == ('toy_format',)\n"
        "try:\n"
        "    source_files('toy_format.py')\n"
        "except SourceError as error:\n"
        "    assert 'a toy (.toy)' in str(error)\n"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_files_of_two_formats_in_a_folder_are_refused(tmp_path):
    for name in ("a.tif", "b.png", "c.png"):
        (tmp_path / name).touch()
    with pytest.raises(SourceError, match="1 TIFF and 2 PNG files: choose the slices"):
        locate(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("ftp://example.org/a.zarr", "cannot be read: those of http, https, s3, gs can; download"),
        ("https://example.org/a.tif", "curl --fail --location --create-dirs --output data/a.tif"),
        ("s3://bucket/scans/a.nii.gz", "aws s3 cp s3://bucket/scans/a.nii.gz data/a.nii.gz"),
        ("s3://bucket/*.tif", "is an address with a pattern"),
        ("gs://bucket/table.csv", "gcloud storage cp gs://bucket/table.csv data/table.csv"),
        ("https://me:word@example.org/a.zarr", "holds a user or a password.*netrc"),
        ("https://example.org/a.zarr?key=1", "is followed by a query"),
        ("https:///a.zarr", "names no host"),
        ("file:///data/a.tif", "give the path alone, without file://"),
        ("~/a.tif", "does not exist: ~ is not replaced in paths: write the whole path"),
        ("$DATA/a.tif", "does not exist: \\$DATA is not replaced in paths"),
        ("a.tif", "does not exist: correct the path; a relative path starts from"),
        ("/nowhere/a.tif", "does not exist: correct the path$"),
        ("link.tif", "does not exist: it is a link to gone.tif, which is not there"),
    ],
)
def test_what_is_not_there_is_said_with_the_way_to_have_it(tmp_path, monkeypatch, path, words):
    monkeypatch.chdir(tmp_path)
    Path("link.tif").symlink_to("gone.tif")
    for files in (source_files, truth_files):
        with pytest.raises(SourceError, match=words):
            files(path)
