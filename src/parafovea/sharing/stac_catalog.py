"""A static STAC catalog of refined or classified images of the ground: mosaics and tiles.

https://github.com/radiantearth/stac-spec, version 1.1: a collection a task, an item a mosaic or
tile. Files are not copied; the catalog points at them by relative addresses.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from parafovea import __version__
from parafovea.config import Project
from parafovea.errors import ConfigError, SourceError, quoted
from parafovea.formats.geo.geotiff import crs_name, mosaic_record, opened
from parafovea.formats.ground import crs_of
from parafovea.formats.source import readable
from parafovea.formats.tiles.ledger import TileEntry, read_ledger
from parafovea.formats.tiles.npz import CLASSES, array_header, read_array
from parafovea.formats.tiles.results import REFINED as REFINED_KEY
from parafovea.formats.tiles.sidecar import read_sidecar
from parafovea.planning.staleness import Staleness
from parafovea.report.tiles.class_pictures import painted
from parafovea.report.tiles.stretch import COLOURS, natural, stretch_of
from parafovea.runtime.file_hash import file_sha256
from parafovea.runtime.optional_packages import import_extra
from parafovea.sharing.finished_run import FinishedJob, chosen_samples, finished_jobs
from parafovea.storage.class_colours import class_colours
from parafovea.storage.layout import SampleResults
from parafovea.storage.store import replacing

CATALOG = "catalog.json"

#: Extensions whose fields items have.
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"

#: Common names and central wavelengths in micrometres of the bands of Sentinel-2.
EO_BANDS: Mapping[str, tuple[str, float]] = {
    "B01": ("coastal", 0.443),
    "B02": ("blue", 0.490),
    "B03": ("green", 0.560),
    "B04": ("red", 0.665),
    "B05": ("rededge071", 0.704),
    "B06": ("rededge075", 0.740),
    "B07": ("rededge078", 0.783),
    "B08": ("nir", 0.842),
    "B8A": ("nir08", 0.865),
    "B09": ("nir09", 0.945),
    "B10": ("cirrus", 1.375),
    "B11": ("swir16", 1.610),
    "B12": ("swir22", 2.190),
}

#: Media types of assets.
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
NPZ = "application/x-npz"
ZARR = "application/vnd+zarr"

#: Begins a multihash of SHA-256: its code and its number of bytes.
MULTIHASH = "1220"

#: Points on each edge of an outline, which is curved in degrees.
POINTS = 16

#: Longest side of a preview in pixels.
PREVIEW = 512

Affine = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Place:
    """Where the pixels of an image are on the ground.

    Parameters
    ----------
    crs : str
        Coordinate reference system, as a code or WKT.
    transform : tuple of float
        From column and row to x and y: a, b, c, d, e, f of x = a col + b row + c.
    shape : (int, int)
        Rows and columns.
    """

    crs: str
    transform: Affine
    shape: tuple[int, int]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest x and y and largest x and y, in the CRS."""
        x, y = zip(*self._ring(1), strict=True)
        return min(x), min(y), max(x), max(y)

    def outline(self) -> dict[str, Any]:
        """Return the border as GeoJSON in longitude and latitude, cut at the antimeridian.

        Raises
        ------
        SourceError
            If the border cannot be transformed.
        """
        warp = import_extra("rasterio.warp")
        shape = {"type": "Polygon", "coordinates": [self._ring(POINTS)]}
        with readable("an image on the ground"):
            found = warp.transform_geom(
                self.known_crs, "OGC:CRS84", shape, antimeridian_cutting=True, precision=9
            )
        plain: dict[str, Any] = json.loads(json.dumps(found))
        if not np.isfinite(_points(plain)).all():
            raise SourceError(
                f"an image in {quoted(self.crs)} lies outside of where that system is defined: "
                "correct its position"
            )
        return plain

    @property
    def known_crs(self) -> Any:
        """The coordinate reference system of rasterio; raises `SourceError` if there is none."""
        found = crs_of(self.crs)
        if found is None:
            raise SourceError(
                f"{quoted(self.crs)} is no known coordinate system: correct it in the metadata of "
                "the image, such as EPSG:32633"
            )
        return found

    def _ring(self, points: int) -> list[tuple[float, float]]:
        """Return the border as a closed ring of (x, y), counterclockwise where north is up."""
        rows, columns = self.shape
        steps = np.linspace(0, 1, points, endpoint=False)
        corners = [(0, 0), (0, rows), (columns, rows), (columns, 0), (0, 0)]
        a, b, c, d, e, f = self.transform
        ring = []
        for (column, row), (column_after, row_after) in itertools.pairwise(corners):
            for step in steps:
                x = column + step * (column_after - column)
                y = row + step * (row_after - row)
                ring.append((a * x + b * y + c, d * x + e * y + f))
        return [*ring, ring[0]]


def write_catalog(
    project: Project,
    staleness: Staleness,
    output: Path,
    *,
    samples: Sequence[str] = (),
    licence: str = "other",
) -> int:
    """Write the catalog of finished mosaics and folders of tiles.

    Equal results give equal bytes, wherever the catalog and the results lie together.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    staleness : Staleness
        Comparison of its results with what a run would make.
    output : Path
        Folder to write, replaced if it holds a catalog.
    samples : sequence of str
        Names in the sheet; by default all that are images of the ground.
    licence : str
        SPDX identifier of the licence of the results; "other" if it has none.

    Returns
    -------
    int
        Number of items.

    Raises
    ------
    ConfigError
        If a sample is no image of the ground, or the output holds anything else.
    MissingExtraError
        If `pystac` or `rasterio` is not installed.
    StoreError
        If a result is missing or stale.
    """
    pystac = import_extra("pystac")
    import_extra("rasterio")
    if output.is_file():
        raise ConfigError(f"{output} is a file: name a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / CATALOG).is_file():
        raise ConfigError(
            f"{output} holds other files than a catalog, which would be removed: name a new "
            "folder, or one with a catalog"
        )
    chosen = _chosen(project, samples)
    jobs = finished_jobs(project, staleness, chosen)
    catalog = pystac.Catalog(
        id="parafovea",
        title="Results of Parafovea",
        description=f"Images of the ground, refined or classified by Parafovea {__version__}.",
    )
    count = 0
    with replacing(output) as partial:
        for task in dict.fromkeys(project.samples[name].task for name in chosen):
            own = [name for name in chosen if project.samples[name].task == task]
            images = [_Images(project, name, jobs, partial / task) for name in own]
            items = [item for each in images for item in each.items()]
            collection = _collection(project, task, own[0], items, licence)
            for each in images:
                each.add_reports(collection)
            catalog.add_child(collection)
            count += len(items)
        # the slash says that this is a folder, in spite of the dots in its name
        catalog.normalize_hrefs(f"{partial.absolute()}/")
        catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return count


def _chosen(project: Project, samples: Sequence[str]) -> tuple[str, ...]:
    return chosen_samples(
        project,
        samples,
        lambda recipe: recipe.is_image,
        what="image of the ground",
        why="since its model does not read bands of such an image",
    )


def _collection(
    project: Project, task: str, sample: str, items: Sequence[Any], licence: str
) -> Any:
    import pystac

    boxes = [item.bbox for item in items if item.bbox is not None]
    # a collection has to have a box; that of the world says that nothing is known
    spatial = pystac.SpatialExtent([_united(boxes) if boxes else [-180.0, -90.0, 180.0, 90.0]])
    times = [_interval(item) for item in items]
    begin = min((first for first, _ in times), default=None)
    end = max((last for _, last in times), default=None)
    recipe = project.recipe(sample)
    collection = pystac.Collection(
        id=task,
        title=task,
        description=f"{project.kind(sample).meaning.capitalize()}: results of task {task}, by the "
        f"model {project.task(sample).model}.",
        extent=pystac.Extent(spatial, pystac.TemporalExtent([[begin, end]])),
        license=licence,
        keywords=["parafovea", project.kind(sample).name],
        extra_fields={"parafovea:outputs": list(recipe.classes)},
    )
    for item in items:
        collection.add_item(item)
    return collection


def _united(boxes: Sequence[Sequence[float]]) -> list[float]:
    crossing = any(west > east for west, _, east, _ in boxes)
    west, south, east, north = (np.array(side) for side in zip(*boxes, strict=True))
    ends = [-180.0, 180.0] if crossing else [float(west.min()), float(east.max())]
    return [ends[0], float(south.min()), ends[1], float(north.max())]


def _interval(item: Any) -> tuple[datetime, datetime]:
    if item.datetime is not None:
        return item.datetime, item.datetime
    return item.common_metadata.start_datetime, item.common_metadata.end_datetime


class _Images:
    """The items of a sample."""

    def __init__(
        self, project: Project, sample: str, jobs: Sequence[FinishedJob], folder: Path
    ) -> None:
        self._project, self._sample, self._folder = project, sample, folder
        self._results = SampleResults(Path(project.folder(sample)))
        recipe = project.recipe(sample)
        self._outputs = tuple(recipe.classes)
        self._classes = project.kind(sample).exclusive
        ends = [
            each
            for job in jobs
            if dict(job.job.wildcards).get("sample") == sample
            for each in (job.began, job.ended)
            if each is not None
        ]
        self._made = (min(ends), max(ends)) if ends else None

    def items(self) -> Iterator[Any]:
        """Yield an item for the mosaic, or for each finished tile."""
        if self._project.layout(self._sample) != "tiles":
            yield self._mosaic()
            return
        for entry in read_ledger(self._results.ledger):
            yield self._tile(entry)

    def _mosaic(self) -> Any:
        file = self._results.refined
        named = file if file.is_file() else Path(self._project.source(self._sample))
        with opened(str(named)) as dataset:
            place = Place(crs_name(dataset.crs), tuple(dataset.transform)[:6], dataset.shape)
        item = self._item(self._sample, place, "")
        if file.is_file():
            made = mosaic_record(file)
            source = made.get("source", {}).get("sha256")
            if source:
                item.properties["parafovea:source"] = source
            item.add_asset("refined", self._asset(file, COG, ["data"], bands=True))
        if self._results.classes.is_dir():
            item.add_asset("classes", self._asset(self._results.classes, ZARR, ["data"]))
        if self._results.thumbnail.is_file():
            picture = self._asset(self._results.thumbnail, "image/jpeg", ["thumbnail"])
            item.add_asset("thumbnail", picture)
        return item

    def _tile(self, entry: TileEntry) -> Any:
        place = None
        if entry.position is not None:
            size, x, y = entry.position.pixel_size, entry.position.x, entry.position.y
            place = Place(
                entry.position.crs, (size, 0.0, x, 0.0, -size, y), (entry.height, entry.width)
            )
        sidecar = entry.output.with_suffix(".json")
        name = f"{self._sample}_{entry.name}"
        date = read_sidecar(sidecar).date if sidecar.is_file() else ""
        item = self._item(name, place, date)
        if entry.source_sha256:
            item.properties["parafovea:source"] = entry.source_sha256
        item.add_asset(
            "classes" if self._classes else "refined",
            self._asset(entry.output, NPZ, ["data"], bands=not self._classes),
        )
        if sidecar.is_file():
            item.add_asset("metadata", self._asset(sidecar, "application/json", ["metadata"]))
        preview = self._folder / name / "preview.png"
        if self._draw(entry.output, preview):
            # its address is relative to the item, beside which it lies
            item.add_asset("preview", self._asset(preview, "image/png", ["overview"]))
        return item

    def _item(self, name: str, place: Place | None, date: str) -> Any:
        import pystac

        moment = _day(date)
        properties: dict[str, Any] = {"parafovea:version": __version__}
        start = end = None
        if moment is not None:
            start, end = moment, moment + timedelta(days=1, seconds=-1)
        elif self._made is not None:
            start, end = self._made
            properties["parafovea:date"] = "unknown: the interval is that of the processing"
        geometry = box = None
        extensions = [FILE]
        if place is not None:
            geometry = place.outline()
            box = _box(geometry)
            extensions.append(PROJECTION)
            code = place.crs if place.crs.upper().startswith("EPSG:") else None
            properties["proj:code"] = code
            if code is None:
                properties["proj:wkt2"] = place.known_crs.to_wkt(version="WKT2_2019")
            properties["proj:shape"] = list(place.shape)
            properties["proj:transform"] = [*place.transform, 0.0, 0.0, 1.0]
            properties["proj:bbox"] = list(place.bounds)
        if not self._classes and any(band in EO_BANDS for band in self._outputs):
            extensions.append(EO)
        return pystac.Item(
            id=name,
            geometry=geometry,
            bbox=box,
            datetime=moment,
            start_datetime=start,
            end_datetime=end,
            properties=properties,
            stac_extensions=extensions,
        )

    def add_reports(self, collection: Any) -> None:
        """Add quality and report of the sample, which are those of all its tiles together."""
        for name, file, form in (
            ("quality", self._results.quality, "application/json"),
            ("report", self._results.page, "text/html"),
        ):
            if file.is_file():
                asset = self._asset(file, form, ["metadata"], folder=self._folder)
                collection.add_asset(f"{self._sample}_{name}", asset)

    def _asset(
        self,
        file: Path,
        form: str,
        roles: Sequence[str],
        *,
        bands: bool = False,
        folder: Path | None = None,
    ) -> Any:
        """Return an asset with its address relative to a folder, by default that of an item."""
        import pystac

        # items are folders in that of their collection
        start = folder or self._folder / "item"
        beside = file.is_relative_to(self._folder)
        address = file.name if beside else os.path.relpath(file.absolute(), start.absolute())
        fields: dict[str, Any] = {}
        if file.is_file():
            fields["file:size"] = file.stat().st_size
            fields["file:checksum"] = MULTIHASH + file_sha256(file)
        if bands:
            fields["bands"] = [_band(name) for name in self._outputs]
        return pystac.Asset(
            href=Path(address).as_posix(), media_type=form, roles=list(roles), extra_fields=fields
        )

    def _draw(self, file: Path, picture: Path) -> bool:
        """Write a picture of a tile, and return whether there is something to show."""
        if self._classes:
            labels = read_array(file, CLASSES)
            colours = painted(labels, class_colours(len(self._outputs)))
        elif len(array_header(file, REFINED_KEY)[0]) == 3 and len(self._outputs) > max(COLOURS):
            image = read_array(file, REFINED_KEY)
            colours = natural(image, stretch_of(image))
        else:
            return False
        picture.parent.mkdir(parents=True, exist_ok=True)
        drawn = Image.fromarray((np.clip(colours, 0, 1) * 255).round().astype(np.uint8))
        drawn.thumbnail((PREVIEW, PREVIEW), Image.Resampling.BILINEAR)
        drawn.save(picture, format="PNG", optimize=True)
        return True


def _band(name: str) -> dict[str, Any]:
    found = EO_BANDS.get(name)
    if found is None:
        return {"name": name}
    return {"name": name, "eo:common_name": found[0], "eo:center_wavelength": found[1]}


def _day(text: str) -> datetime | None:
    """Return the start of a day in UTC, None if the text is no day."""
    try:
        return datetime.fromisoformat(text[:10]).replace(tzinfo=UTC) if text else None
    except ValueError:
        return None


def _points(geometry: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    polygons = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    return np.array([point for polygon in polygons for ring in polygon for point in ring], float)


def _box(geometry: Mapping[str, Any]) -> list[float]:
    """Return west, south, east and north; west is beyond east across the antimeridian."""
    points = _points(geometry)
    south, north = points[:, 1].min(), points[:, 1].max()
    west, east = points[:, 0].min(), points[:, 0].max()
    if geometry["type"] == "MultiPolygon" and west <= -180 and east >= 180:
        parts = [
            _points({"type": "Polygon", "coordinates": each}) for each in geometry["coordinates"]
        ]
        west = min(part[:, 0].min() for part in parts if part[:, 0].max() >= 180)
        east = max(part[:, 0].max() for part in parts if part[:, 0].min() <= -180)
    return [float(west), float(south), float(east), float(north)]
