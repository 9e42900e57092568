"""Names of bands."""

import pytest

from parafovea.errors import SourceError, TileError
from parafovea.formats.bands import OPTICAL, canonical, choose_bands, described


@pytest.mark.parametrize(
    ("name", "band"),
    [
        *((spelling, "B02") for spelling in ("B2", "b02", "B002", "Band 2", "band_02", "Blue")),
        ("green", "B03"),
        ("red", "B04"),
        ("NIR", "B08"),
        ("B8A", "B8A"),
        ("b08a", "B8A"),
        ("B10", "B10"),
        ("vv", "VV"),
        ("2", "2"),
        ("red edge 1", "RED EDGE 1"),
    ],
)
def test_spellings_of_a_band_are_one_band(name, band):
    assert canonical(name) == band


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("B8, central wavelength 832 nm", "B08"),
        ("B4 (red)", "B04"),
        ("S2_B03_10m", "B03"),
        ("Narrow NIR", "NARROW NIR"),
        ("Red edge 1", "RED EDGE 1"),
        ("B4/B8", "B4/B8"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_description_names_a_band_only_where_it_is_one(text, band):
    assert described(text) == band


def test_what_the_user_says_wins_over_the_descriptions():
    choice = {"count": 4, "wanted": OPTICAL, "descriptions": OPTICAL}
    assert choose_bands("a.tif", given=None, **choice) == (0, 1, 2, 3)
    assert choose_bands("a.tif", given=("B8", "B4", "B3", "B2"), **choice) == (3, 2, 1, 0)


def test_an_error_is_of_the_wanted_kind():
    with pytest.raises(SourceError) as caught:
        choose_bands("a.tif", count=1, wanted=OPTICAL, given=None, descriptions=(None,))
    assert not isinstance(caught.value, TileError)
    assert "a.tif has 1 band and does not name them" in str(caught.value)
