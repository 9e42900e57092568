import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.errors import ConfigError, MissingSourceError, SourceError
from parafovea.formats.metadata.column import parse_metadata, sidecar_path
from parafovea.formats.metadata.length_units import known_unit
from parafovea.formats.metadata.source_metadata import SourceMetadata
from parafovea.formats.metadata.tile_options import TileOptions
from parafovea.geometry.grid import METRES

HERE = Path()
positive = st.floats(1e-6, 1e6)


def test_an_empty_column_says_nothing():
    assert parse_metadata("  ", folder=HERE) == SourceMetadata()


def test_words_are_read_with_their_units_spelled_out():
    text = "spacing=50,4.6,4.6 unit=nm origin=0,-1,2.5 channel=2 objects=instances series=1.2.3"
    assert parse_metadata(text, folder=HERE) == SourceMetadata(
        spacing=(50.0, 4.6, 4.6),
        unit="nanometer",
        origin=(0.0, -1.0, 2.5),
        channel=2,
        objects="instances",
        series="1.2.3",
    )


def test_words_of_tiles_say_how_numbers_become_reflectance():
    text = "bands=B1,blue,B03,B8A,nir scale=2e-4 offset=-0.1 nodata=-9999 key=image unit=m"
    found = parse_metadata(text, folder=HERE)
    assert found.tiles == TileOptions(
        bands=("B01", "B02", "B03", "B8A", "B08"),
        scale=2e-4,
        offset=-0.1,
        nodata=-9999,
        key="image",
    )
    assert found.unit == "meter"


@pytest.mark.parametrize(
    ("text", "scale", "offset"),
    [
        ("scale=0.001", 0.001, 0.0),
        ("offset=-0.1", 1e-4, -0.1),
        ("baseline=0400", 1e-4, -0.1),
        ("baseline=04.00", 1e-4, -0.1),
        ("baseline=N0509", 1e-4, -0.1),
        ("baseline=03.01", 1e-4, 0.0),
        ("baseline=0400 offset=-0.1 scale=0.0001", 1e-4, -0.1),
        ("", None, None),
    ],
)
def test_a_processing_baseline_is_a_scale_and_an_offset(text, scale, offset):
    found = parse_metadata(text, folder=HERE).tiles
    assert (found.scale, found.offset) == (scale, offset)


def test_nodata_may_be_nan():
    (number,) = parse_metadata("nodata=nan", folder=HERE).tiles.nodata or ()
    assert math.isnan(number)


def test_nodata_may_be_several_numbers(tmp_path):
    said = parse_metadata("nodata=0,-9999", folder=HERE).tiles
    assert said.missing(7.0) == (0.0, -9999.0)
    (tmp_path / "a.json").write_text('{"nodata": [0, -9999]}')
    assert parse_metadata("a.json", folder=tmp_path).tiles == said


def test_words_of_tiles_may_stand_in_a_sidecar(tmp_path):
    content = {"bands": ["B02", "B03"], "baseline": "04.00", "nodata": 0, "key": "image"}
    (tmp_path / "about.yaml").write_text(json.dumps(content))
    words = parse_metadata("bands=B02,B03 baseline=0400 nodata=0 key=image", folder=tmp_path)
    assert parse_metadata("about.yaml", folder=tmp_path) == words


@settings(max_examples=30)
@given(st.tuples(positive, positive, positive), st.sampled_from(sorted(METRES)))
def test_words_and_sidecars_say_the_same(spacing, unit):
    words = f"spacing={','.join(map(repr, spacing))} unit={unit}"
    assert parse_metadata(words, folder=HERE) == SourceMetadata(spacing=spacing, unit=unit)


@pytest.mark.parametrize("name", ["about.json", "about.yaml", "about.yml"])
def test_a_sidecar_is_found_from_the_folder_of_the_sheet(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"spacing": [3, 1, 1], "unit": "mm", "channel": 0}))
    assert sidecar_path(name, folder=tmp_path) == tmp_path / name
    assert parse_metadata(name, folder=tmp_path) == SourceMetadata(
        spacing=(3.0, 1.0, 1.0), unit="millimeter", channel=0
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("spaceing=1,1,1", "'spaceing' is not known: use spacing, unit, origin, channel, region"),
        ("spacing=1,1", "three numbers"),
        ("spacing=1,a,1", "three numbers"),
        ("spacing=1,-1,1", "positive"),
        ("spacing=1,nan,1", "positive"),
        ("spacing=1,1,1 spacing=2,2,2", "given twice"),
        ("spacing = 1,1,1", "not key=value"),
        ("unit=furlong", "'furlong' is not known"),
        ("channel=first", "whole number"),
        ("channel=-1", "whole number"),
        ("origin=inf,0,0", "finite"),
        ("bands=B02,,B04", "an empty name"),
        ("bands=B02,B2", "names B02 twice"),
        ("scale=ten", "scale 'ten' is not a number"),
        ("scale=0", "must be positive"),
        ("scale=inf", "must be positive"),
        ("offset=nan", "must be finite"),
        ("nodata=-inf", "must be numbers or nan"),
        ("baseline=4", "is not a processing baseline"),
        ("baseline=0400 offset=0", "give either baseline, or scale and offset"),
        ("baseline=0300 scale=0.001", "give either baseline, or scale and offset"),
    ],
)
def test_a_wrong_word_is_one_error_that_shows_it(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse_metadata(text, folder=HERE)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.yaml", "a: [", "is not YAML, line 2"),
        ("a.json", "[" * 100_000, "metadata file"),
        ("a.json", "[1, 2]", "holds list instead of keys"),
        ("a.json", '{"spacing": [1, true, 1]}', "three numbers"),
        ("a.json", '{"voxel": 1}', "'voxel' is not known"),
        ("a.json", '{"unit": 3}', "not a word"),
        ("a.json", '{"channel": 1.5}', "whole number"),
        ("a.json", '{"scale": [1]}', "not a number"),
        ("a.json", '{"nodata": true}', "not a number"),
        ("a.json", '{"bands": ["B02", 3]}', "is not a list of names"),
        ("a.yaml", "baseline: 0400", "not a word: put it in quotes"),
        ("a.yaml", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("a.yaml", "unit: mm\nunit: nm", "key 'unit' is already on line 1"),
        ("a.json", '{"unit": "mm", "unit": "nm"}', "key 'unit' is there twice"),
        ("a.yaml", "spacing: [.nan, 1, 1]", "positive and finite"),
        ("a.yaml", "spacing: [1.0e-300, 1, 1]", "from 1e-12 to 1e\\+12"),
        ("a.yaml", "a: &a [*a]", "an anchor contains itself"),
        ("a.json", "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_sidecar_is_named(tmp_path, name, content, says):
    raw = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(raw)
    with pytest.raises((ConfigError, SourceError), match=says) as caught:
        parse_metadata(name, folder=tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_sidecar_is_named(tmp_path):
    with pytest.raises(MissingSourceError, match=r"about\.json does not exist"):
        parse_metadata("about.json", folder=tmp_path)


@pytest.mark.parametrize("text", ["µm", "\u03bcm", "um", "micron", "microns", "Micrometers"])
def test_spellings_of_a_unit_are_one_unit(text):
    assert known_unit(text) == "micrometer"


def test_planning_loads_no_array_library():
    code = (
        "import sys; from parafovea.formats import parse_metadata, source_files; "
        "import parafovea.formats.tiles.tile, parafovea.formats.tiles; "
        "names = 'torch', 'zarr', 'tifffile', 'h5py', 'nibabel', 'rasterio'; "
        "print([m for m in names if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
