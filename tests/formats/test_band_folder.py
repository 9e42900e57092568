"""One file per band, JP2 and VRT: read as GDAL reads them, or refused by name."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from tile_files import NAMES, field

from parafovea.config.sources import is_tile_folder
from parafovea.errors import SourceError, TileError
from parafovea.formats.band_folder import bands_of
from parafovea.formats.geo.companions import files
from parafovea.formats.geo.raster import open_raster
from parafovea.formats.geo.vrt import vrt_sources
from parafovea.formats.location import locate
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.formats.opening import open_source
from parafovea.formats.tiles.census import tile_census
from parafovea.formats.tiles.reading import read_tile, tile_digest
from parafovea.formats.tiles.tile_folder import left_out_mosaics, list_tiles, unmatched_sidecars

EVERYTHING = slice(None)
DN = TileOptions(baseline="0300", bands=NAMES)
SINGLE = TileOptions(baseline="0300")


def numbers(size: int = 64) -> np.ndarray:
    return np.rint(field(size, size) * 10000).astype(np.uint16)


def write(path: Path, values: np.ndarray, *, side: float = 10, **profile) -> Path:
    """Write bands (band, y, x) as a JP2 or a GeoTIFF, losslessly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    driver = "GTiff"
    if path.suffix == ".jp2":
        driver = "JP2OpenJPEG"
        profile = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO", **profile}
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    place = {"crs": "EPSG:32633", "transform": Affine(side, 0, 500_000, 0, -side, 5_000_000)}
    with rasterio.open(path, "w", driver=driver, **shape, **(place | profile)) as dataset:
        dataset.write(values)
    return path


def write_bands(folder: Path, pattern: str, names=NAMES, **profile) -> np.ndarray:
    """Write one file per band, and a picture and bands of 20 m beside them."""
    values = numbers()
    for name, band in zip(names, values, strict=True):
        write(folder / pattern.format(name, 10), band[None], **profile)
    write(folder / pattern.format("B11", 20), values[:1, :32, :32], side=20)
    return values


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{}.tif", NAMES),
        ("{}.tif", ("B2", "B3", "B4", "B8")),
        ("T33UUP_20240701T101559_{}_{}m.jp2", NAMES),
        ("patch_12_{}.tif", ("b02", "b03", "b04", "b08")),
    ],
)
def test_one_file_per_band_is_one_image(tmp_path, pattern, names):
    values = write_bands(tmp_path, pattern, names)
    (tmp_path / "MTD.xml").write_text("<a/>")
    (tmp_path / pattern.format("TCI", 10)).write_bytes(b"a picture")
    assert not is_tile_folder(str(tmp_path), images=True, results="results")
    located = locate(str(tmp_path), bands=True)
    assert located.format == "mosaic"
    assert {Path(name).name for name in located.files} == {
        pattern.format(name, 20 if name == "B11" else 10) for name in (*names, "B11")
    }
    raster = open_raster(str(tmp_path), options=SINGLE)
    assert raster.pixel_size_m == (10, 10)
    np.testing.assert_allclose(raster.read(EVERYTHING, EVERYTHING), values / 1e4, atol=1e-7)
    window = (slice(3, 20), slice(40, 64))
    for band, name in zip(raster.read(*window), names, strict=True):  # as rasterio reads it
        with rasterio.open(tmp_path / pattern.format(name, 10)) as dataset:
            np.testing.assert_allclose(band, dataset.read(1)[window] / 1e4, atol=1e-7)
            assert raster.transform == tuple(dataset.transform)[:6]
            assert raster.crs == f"EPSG:{dataset.crs.to_epsg()}"
    source = open_source(tmp_path, metadata="baseline=0300", bands=("B08", "B02"))
    found = source.read(source.grid.box)[:, 0]
    np.testing.assert_allclose(found, values[[3, 0]] / 1e4, atol=1e-7)


def test_bands_of_other_pixels_are_refused_by_name(tmp_path):
    write_bands(tmp_path, "{}.tif")
    with pytest.raises(SourceError, match=r"B11.tif has 32 x 32 pixels .*B02.tif has 64 x 64.*10"):
        open_raster(str(tmp_path), bands=("B02", "B11"), options=SINGLE)
    moved = Affine(10, 0, 500_010, 0, -10, 5_000_000)
    write(tmp_path / "B03.tif", numbers()[:1], transform=moved)
    with pytest.raises(SourceError, match=r"B03.tif has 64 x 64 pixels \(y, x\) of 10 from 500010"):
        open_raster(str(tmp_path), options=SINGLE)


def test_each_band_has_its_own_gaps_and_scale(tmp_path):
    values = write_bands(tmp_path, "{}.tif")
    values[1, :5] = 7
    write(tmp_path / "B03.tif", values[1:2], nodata=7)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(tmp_path / "B04.tif", "r+") as dataset,
    ):
        mask = np.full((64, 64), 255, np.uint8)
        mask[:, :9] = 0
        dataset.write_mask(mask)
    (tmp_path / "B08.tif").unlink()
    with rasterio.open(
        tmp_path / "B08.tif", "w", driver="GTiff", **_sparse(), SPARSE_OK="TRUE"
    ) as dataset:
        dataset.write(values[3, :32], 1, window=rasterio.windows.Window(0, 0, 64, 32))
    for name, scale in zip(NAMES, (1e-4, 1e-4, 1e-4, 5e-5), strict=True):
        with rasterio.open(tmp_path / f"{name}.tif", "r+") as dataset:
            dataset.scales = (scale,)
    raster = open_raster(str(tmp_path))
    valid = raster.valid(EVERYTHING, EVERYTHING)
    expected = np.ones((64, 64), np.bool_)
    expected[:5], expected[:, :9], expected[32:] = False, False, False
    np.testing.assert_array_equal(valid, expected)
    found = raster.read(EVERYTHING, EVERYTHING)
    factors = np.array([1e-4, 1e-4, 1e-4, 5e-5])[:, None]
    np.testing.assert_allclose(found[:, expected], values[:, expected] * factors, atol=1e-7)
    beside = {Path(name).name for name in files(str(tmp_path))}
    assert "B04.tif.msk" in beside


def _sparse():
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    blocks = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    return {"count": 1, "height": 64, "width": 64, "dtype": "uint16", **place, **blocks}


def test_a_file_that_is_not_the_band_of_its_name_is_refused(tmp_path):
    write_bands(tmp_path, "{}.tif")
    with rasterio.open(tmp_path / "B03.tif", "r+") as dataset:
        dataset.descriptions = ("B04",)
    with pytest.raises(SourceError, match=r"B03.tif holds the band B04 by its header"):
        open_raster(str(tmp_path), options=SINGLE)
    write(tmp_path / "B03.tif", numbers())
    with pytest.raises(SourceError, match=r"B03.tif has 4 bands, but its name is that of one"):
        open_raster(str(tmp_path), options=SINGLE)


@pytest.mark.parametrize(
    "names",
    [
        ["a.tif", "b.tif"],
        ["A1.tif", "B2.tif", "B3.tif", "B4.tif"],  # squares of a map
        ["x_B02.tif", "x_B03.tif", "x_B04.tif", "y_B08.tif"],
        ["x_B02.tif", "x_B03.tif", "x_B04.tif", "x_B2.tif"],
        ["B02.tif", "B03.tif"],
        ["B02.tif", "B03.tif", "B04.tif", "B02.npz"],
        ["B02.tif", "B03.tif", "B04.tif", "all.vrt"],
        [],
    ],
)
def test_other_folders_are_not_taken_for_one_image(names):
    assert bands_of(names) == {}


def test_a_jp2_is_a_mosaic_and_a_tile(tmp_path):
    values = numbers()
    path = write(tmp_path / "a.jp2", values)
    raster = open_raster(str(path), options=DN)
    np.testing.assert_allclose(raster.read(EVERYTHING, EVERYTHING), values / 1e4, atol=1e-7)
    (file,) = list_tiles(tmp_path)
    tile = read_tile(file, options=DN)
    np.testing.assert_allclose(tile.values, values / 1e4, atol=1e-7)
    assert tile.position == raster.position()
    assert tile_census(tmp_path).sizes == {(64, 64): 1}
    with pytest.raises(SourceError, match=r"unknown format.*gdal_translate a.jp2 a.tif"):
        locate(str(path))


BAND = """<VRTRasterBand dataType="UInt16" band="{index}"><Description>{name}</Description>{more}
<SimpleSource><SourceFilename relativeToVRT="1">parts/{name}.tif</SourceFilename>
<SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>
<DstRect xOff="0" yOff="0" xSize="64" ySize="64"/></SimpleSource></VRTRasterBand>"""


def vrt(more: str = "") -> str:
    """Return a VRT that stacks four files."""
    bands = [BAND.format(index=i, name=name, more=more) for i, name in enumerate(NAMES, start=1)]
    return (
        '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        f"{''.join(bands)}</VRTDataset>"
    )


def test_a_vrt_is_read_as_gdal_reads_it(tmp_path):
    values = write_bands(tmp_path / "parts", "{}.tif")
    path = tmp_path / "a.vrt"
    path.write_text(vrt())
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
    raster = open_raster(str(path), options=SINGLE)
    np.testing.assert_allclose(raster.read(EVERYTHING, EVERYTHING), values / 1e4, atol=1e-7)
    (file,) = list_tiles(tmp_path)
    tile = read_tile(file, options=SINGLE)
    np.testing.assert_allclose(tile.values, values / 1e4, atol=1e-7)
    assert tile.position == raster.position()
    inner = [str(tmp_path / f"parts/{name}.tif") for name in NAMES]
    assert list(locate(str(path), bands=True).files) == [str(path), *inner]
    before = tile_digest(file), tile_census(tmp_path).digest
    write(tmp_path / "parts/B08.tif", values[:1])
    assert (tile_digest(file), tile_census(tmp_path).digest)[0] != before[0]
    assert tile_census(tmp_path).digest != before[1]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (">parts/B02", ">../B02", "lies outside of its folder"),
        ('relativeToVRT="1">parts', 'relativeToVRT="0">/etc', "lies outside of its folder"),
        (">parts/B02", ">link/B02", "lies outside of its folder"),
        (">parts/B02", ">/vsicurl/http://a.b/B02", "is not a GeoTIFF or JP2 file"),
        (">parts/B02.tif", ">parts/notes.txt", "is not a GeoTIFF or JP2 file"),
        (">parts/B02.tif", ">parts/other.tif", "by its first bytes"),
        (">parts/B02.tif", ">parts/none.tif", "cannot be opened"),
        ('band="1"', 'band="1" subClass="VRTDerivedRasterBand"', "VRTDerivedRasterBand"),
        ("<SRS>", "<PixelFunctionCode>x</PixelFunctionCode><SRS>", "PixelFunctionCode"),
        ("<SRS>", "<GDALWarpOptions/><SRS>", "GDALWarpOptions"),
        ("<VRTDataset", "<!DOCTYPE a [<!ENTITY b 'c'>]><VRTDataset", "declares XML entities"),
        ('<DstRect xOff="0"', '<DstRect xOff="2"', "leaves gaps between its sources"),
        ('ySize="64"/></Simple', 'ySize="a"/></Simple', "cannot be read"),
        ("</VRTDataset>", "", "is not XML"),
    ],
)
def test_a_vrt_that_reads_or_does_anything_else_is_refused(tmp_path, old, new, says):
    folder = tmp_path / "tiles"
    write_bands(folder / "parts", "{}.tif")
    write(tmp_path / "B02.tif", numbers()[:1])
    (folder / "link").symlink_to(tmp_path)
    (folder / "parts/notes.txt").write_text("secret")
    (folder / "parts/other.tif").write_text(vrt())
    assert old in vrt()
    (folder / "a.vrt").write_text(vrt().replace(old, new))
    with pytest.raises(SourceError, match=says):
        vrt_sources(folder / "a.vrt")
    with pytest.raises(SourceError, match=says):
        open_raster(str(folder / "a.vrt"), options=SINGLE)
    (file,) = list_tiles(folder)
    with pytest.raises(TileError, match=says):
        read_tile(file, options=SINGLE)
    assert tile_census(folder).count == 1


def test_a_vrt_that_drops_the_gaps_of_its_sources_is_refused(tmp_path):
    write_bands(tmp_path / "parts", "{}.tif", nodata=0)
    path = tmp_path / "a.vrt"
    path.write_text(vrt())
    (file,) = list_tiles(tmp_path)
    for read in (lambda: open_raster(str(path)), lambda: read_tile(file, options=SINGLE)):
        with pytest.raises(SourceError, match=r"does not pass on the gaps of .*B02.tif"):
            read()
    path.write_text(vrt("<NoDataValue>0</NoDataValue>"))
    assert read_tile(file, options=SINGLE).valid is None


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("0001", "0002"), ("0001", "0002")),
        (("0001/20240701", "0001/20240802"), ("0001_20240701", "0001_20240802")),
    ],
)
def test_folders_with_one_file_per_band_are_tiles(tmp_path, places, expected):
    given = {}
    for number, (place, name) in enumerate(zip(places, expected, strict=True)):
        given[name] = write_bands(tmp_path / place, "{}.tif", ("B2", "B3", "B4", "B8"))
        if number:
            write(tmp_path / place / "B2.tif", given[name][3:])
            given[name] = given[name][[3, 1, 2, 3]]
    (tmp_path / f"{expected[1]}.json").write_text('{"month": 7}')
    assert is_tile_folder(str(tmp_path), images=True, results="results")
    assert locate(str(tmp_path), bands=True).format == "tiles"
    files_of = {file.name: file for file in list_tiles(tmp_path)}
    assert tuple(files_of) == expected
    for name, file in files_of.items():
        tile = read_tile(file, options=SINGLE)
        np.testing.assert_allclose(tile.values, given[name] / 1e4, atol=1e-7)
        assert tile.position is not None
        assert tile.month == (7 if name == expected[1] else 6)
    census = tile_census(tmp_path)
    assert (census.sizes, census.unread) == ({(64, 64): 2}, 0)
    digest = tile_digest(files_of[expected[0]])
    write(tmp_path / places[0] / "B8.tif", given[expected[0]][:1])
    assert tile_digest(files_of[expected[0]]) != digest
    assert tile_census(tmp_path).digest != census.digest
    assert unmatched_sidecars(tmp_path) == ()
    stack = open_source(tmp_path, metadata="baseline=0300", bands=("B03",))
    assert stack.planes == expected
    np.testing.assert_allclose(stack.read(stack.grid.box)[0, 1], given[expected[1]][1] / 1e4)


def test_one_bad_folder_of_bands_sets_that_tile_aside(tmp_path):
    write_bands(tmp_path / "a", "{}.tif")
    write_bands(tmp_path / "b", "{}.tif")
    (tmp_path / "b/B03.tif").write_bytes(b"II*\0 cut off")
    write_bands(tmp_path / "c", "{}.tif")
    (tmp_path / "c/B08.tif").unlink()
    write_bands(tmp_path / "d", "{}.tif")
    write(tmp_path.parent / f"{tmp_path.name}_B08.tif", numbers()[:1])
    (tmp_path / "d/B08.tif").unlink()
    (tmp_path / "d/B08.tif").symlink_to(tmp_path.parent / f"{tmp_path.name}_B08.tif")
    one, *others = list_tiles(tmp_path)
    assert read_tile(one, options=SINGLE).name == "a"
    says = (r"cannot be read \(B03.tif", "has the band B08 not among its", "outside its folder")
    for file, reason in zip(others, says, strict=True):
        with pytest.raises(TileError, match=reason):
            read_tile(file, options=SINGLE)
    assert tile_census(tmp_path).count == 4


def test_a_vrt_beside_tiles_is_a_mosaic_of_them_and_no_tile(tmp_path):
    write(tmp_path / "a.tif", numbers())
    (tmp_path / "all.vrt").write_text(vrt())
    assert [file.name for file in list_tiles(tmp_path)] == ["a"]
    assert left_out_mosaics(tmp_path) == ("all.vrt",)
    assert tile_census(tmp_path).count == 1
