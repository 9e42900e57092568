"""`parafovea stac`: places against rasterio and geodesy, documents against the schemas of STAC."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pystac
import pytest
from PIL import Image
from pystac import STACObjectType
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.transform import Affine
from rasterio.warp import transform, transform_bounds
from recorded_results import make_everything
from tile_files import write_tif
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.errors import SourceError
from parafovea.formats.tiles.ledger import FILE_COLUMNS, write_ledger, write_share
from parafovea.formats.tiles.npz import write_tile
from parafovea.runtime.shipped_files import shipped
from parafovea.sharing import stac_catalog
from parafovea.sharing.stac_catalog import Place

BANDS = ("B02", "B03", "B04", "B08")
UTM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)


class Offline(JsonSchemaSTACValidator):
    """Validates with the schemas that pystac brings along, and none of the network."""

    def _get_schema(self, schema_uri):
        assert schema_uri in self.schema_cache, f"{schema_uri} would be fetched"
        return self.schema_cache[schema_uri]


def require_valid(catalog: Path) -> list[dict]:
    """Validate all documents of a catalog, and return its items."""
    validator, items = Offline(), []
    kinds = {"Catalog": STACObjectType.CATALOG, "Collection": STACObjectType.COLLECTION}
    for path in sorted(catalog.rglob("*.json")):
        document = json.loads(path.read_text())
        kind = kinds.get(document["type"], STACObjectType.ITEM)
        validator.validate_core(document, kind, document["stac_version"], href=str(path))
        if kind == STACObjectType.ITEM:
            items.append(document)
        for asset in document.get("assets", {}).values():
            assert (path.parent / asset["href"]).exists(), asset
    return items


def run(*arguments):
    return CliRunner().invoke(app, ["stac", *map(str, arguments)])


def tile_values(seed):
    return np.random.default_rng(seed).uniform(0.05, 0.6, (4, 32, 48)).astype(np.float32)


@pytest.fixture
def landscape(project_folder, monkeypatch):
    """Return a project of one finished folder of tiles: with place and date, with place, bare."""
    folder = project_folder.path
    monkeypatch.chdir(folder)
    project_folder.config["tasks"] = {
        "land": {"kind": "refinement", "model": "resources/models/optical"}
    }
    rows = []
    for number, (name, place) in enumerate(
        [
            ("dated", ("EPSG:32633", 5e5, 5e6, 10.0)),
            ("placed", ("EPSG:3031", 1e6, 1e6, 10.0)),
            ("bare", [""] * 4),
        ]
    ):
        metadata = {"month": 6, "biome_code": 3}
        dated = {"date": "2024-07-01"} if name == "dated" else {}
        write_tile(folder / "tiles", name, {"opt_v1": tile_values(number)}, metadata | dated)
        write_tile(
            folder / "results/s/tiles", name, {"opt_v2": tile_values(number)}, metadata | dated
        )
        where = dict(zip(("crs", "x", "y", "pixel_size"), place, strict=True))
        output = f"results/s/tiles/{name}.npz"
        where |= {"input": f"tiles/{name}.npz", "output": output, "input_sha256": "0f"}
        cells = {"name": name, "height": 32, "width": 48, "month": 6, "biome": 3, "assumed": ""}
        rows.append(cells | where)
    project_folder.rows[:] = [["s", "land", "tiles", "", ""]]
    project_folder.write()
    make_everything(scripts=shipped("scripts"))
    write_share(folder / "results/s/shards/1.tsv", rows)
    write_ledger(folder / "results/s/tiles.tsv", rows, FILE_COLUMNS)
    return project_folder


def test_the_outline_of_an_image_is_that_of_its_corners():
    place = Place("EPSG:32633", UTM, (100, 200))
    shape = place.outline()
    assert shape["type"] == "Polygon"
    ring = np.array(shape["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    x, y = [5e5, 5e5, 502_000, 502_000], [5e6, 4_999_000, 4_999_000, 5e6]
    corners = np.transpose(transform("EPSG:32633", "EPSG:4326", x, y))
    for corner in corners:
        assert np.abs(ring - corner).sum(axis=1).min() < 1e-8
    west, south, east, north = transform_bounds(
        "EPSG:32633", "EPSG:4326", *place.bounds, densify_pts=101
    )
    box = stac_catalog._box(shape)
    np.testing.assert_allclose(box, [west, south, east, north], atol=1e-6)
    # as GeoJSON wants it, the inside lies on the left
    (x, y) = ring[:, 0], ring[:, 1]
    assert np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) > 0


def test_an_image_across_the_antimeridian_is_cut_there():
    # UTM zone 1 begins at 180 degrees west
    place = Place("EPSG:32701", (100.0, 0.0, 150_000.0, 0.0, -100.0, 8_000_000.0), (500, 1000))
    shape = place.outline()
    assert shape["type"] == "MultiPolygon"
    west, south, east, north = stac_catalog._box(shape)
    assert west > 179
    assert east < -179
    assert south < north < -17
    for polygon in shape["coordinates"]:
        longitudes = np.array(polygon[0])[:, 0]
        assert np.ptp(longitudes) < 1.5


def test_a_system_that_nobody_knows_is_an_error():
    with pytest.raises(SourceError, match="no known coordinate system"):
        Place("somewhere", UTM, (10, 10)).outline()


def test_tiles_become_items_with_their_place_date_bands_and_checksums(landscape):
    found = run("--output", "stac")
    assert found.exit_code == 0, found.output
    assert "3 items" in found.output
    items = {item["id"]: item for item in require_valid(Path("stac"))}
    collection = json.loads(Path("stac/land/collection.json").read_text())
    assert set(collection["assets"]) == {"s_quality", "s_report"}
    item = items["s_dated"]
    assert item["collection"] == "land"
    assert item["properties"]["datetime"] == "2024-07-01T00:00:00Z"
    assert item["properties"]["proj:code"] == "EPSG:32633"
    assert item["properties"]["proj:shape"] == [32, 48]
    assert item["properties"]["proj:transform"] == [*UTM, 0, 0, 1]
    assert item["properties"]["proj:bbox"] == [5e5, 5e6 - 320, 5e5 + 480, 5e6]
    bounds = transform_bounds("EPSG:32633", "EPSG:4326", 5e5, 5e6 - 320, 5e5 + 480, 5e6)
    np.testing.assert_allclose(item["bbox"], bounds, atol=1e-6)
    asset = item["assets"]["refined"]
    file = Path("results/s/tiles/dated.npz")
    assert asset["file:checksum"] == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()
    assert asset["file:size"] == file.stat().st_size
    assert [band["name"] for band in asset["bands"]] == list(BANDS)
    assert asset["bands"][3]["eo:common_name"] == "nir"
    with Image.open("stac/land/s_dated/preview.png") as preview:
        assert preview.size == (48, 32)
    # near the pole, the edges are curved in degrees
    assert items["s_placed"]["bbox"][3] < -70


def test_a_tile_without_a_place_has_none_and_one_without_a_date_says_so(landscape):
    run("--output", "stac")
    items = {item["id"]: item for item in require_valid(Path("stac"))}
    bare = items["s_bare"]
    assert bare["geometry"] is None
    assert "bbox" not in bare
    properties = bare["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] <= properties["end_datetime"]
    assert properties["parafovea:date"].startswith("unknown")
    assert "parafovea:date" not in items["s_dated"]["properties"]


def test_pystac_reads_the_catalog_and_its_assets(landscape):
    run("--output", "out/stac")
    catalog = pystac.Catalog.from_file("out/stac/catalog.json")
    (collection,) = catalog.get_children()
    assert collection.id == "land"
    west, south, east, north = collection.extent.spatial.bboxes[0]
    for item in catalog.get_items(recursive=True):
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href()).exists()
        if item.bbox:
            assert west <= item.bbox[0] <= item.bbox[2] <= east
            assert south <= item.bbox[1] <= item.bbox[3] <= north


def test_two_catalogs_of_the_same_results_have_the_same_bytes(landscape):
    run("--output", "one")
    run("--output", "two")

    def files(folder):
        return {p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*.*")}

    assert files("one") == files("two")
    assert len(files("one")) == 8


def test_samples_that_are_no_images_of_the_ground_are_refused(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)
    project_folder.write()
    found = run("a", "--output", "stac")
    assert found.exit_code == 1
    assert "no predicted image of the ground" in " ".join(found.output.split())
    assert not Path("stac").exists()


def test_results_that_are_missing_and_other_files_are_refused(landscape):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("mine")
    assert run("--output", "mine").exit_code == 1
    assert Path("mine/thesis.txt").exists()
    Path("results/s/quality.json").unlink()
    found = run("--output", "stac")
    assert found.exit_code == 1
    assert "measure_tiles of s is missing" in " ".join(found.output.split())


def test_a_missing_package_is_one_error_with_the_command(landscape, monkeypatch):
    monkeypatch.setitem(sys.modules, "pystac", None)
    found = run("--output", "stac")
    assert found.exit_code == 1
    assert 'pip install "parafovea[optical]"' in found.output


def test_a_mosaic_becomes_an_item_with_the_place_of_its_raster(project_folder, monkeypatch):
    monkeypatch.chdir(project_folder.path)
    project_folder.config["tasks"] = {
        "land": {"kind": "refinement", "model": "resources/models/optical"}
    }
    values = np.random.default_rng(0).uniform(0.05, 0.6, (4, 64, 96)).astype(np.float32)
    turn = Affine(9e-5, 0, -3.9, 0, -9e-5, 40.1)
    write_tif(project_folder.path / "data", values, "m", crs="EPSG:4326", transform=turn)
    project_folder.rows[:] = [["m", "land", "data/m.tif", "", ""]]
    project_folder.write()
    make_everything(scripts=shipped("scripts"))
    Path("results/m/refined.tif").unlink()
    write_tif(Path("results/m"), values, "refined", crs="EPSG:4326", transform=turn)
    found = run("m", "--output", "stac")
    assert found.exit_code == 0, found.output
    (item,) = require_valid(Path("stac"))
    assert item["id"] == "m"
    assert item["properties"]["proj:code"] == "EPSG:4326"
    assert item["properties"]["proj:shape"] == [64, 96]
    np.testing.assert_allclose(
        item["bbox"], [-3.9, 40.1 - 64 * 9e-5, -3.9 + 96 * 9e-5, 40.1], atol=1e-9
    )
    asset = item["assets"]["refined"]
    content = Path("results/m/refined.tif").read_bytes()
    assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    assert "cloud-optimized" in asset["type"]
    assert item["properties"]["datetime"] is None
