"""What clients say of their files are words of the sheet's metadata, and lead to no other file."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from parafovea.service.refusal import Refusal
from parafovea.service.upload_metadata import EXAMPLE, WORDS, checked_metadata


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        "spacing=2.5,0.7,0.7 unit=mm origin=-1,2,3 channel=1",
        "region=0:64,128:256,128:256",
        "bands=B02,B03,B04,B08 baseline=0400 nodata=nan month=7 biome=4",
        'series="CT of 2026"',
        "",
    ],
)
def test_words_that_describe_the_file_are_taken_as_they_are(text):
    assert checked_metadata(f" {text}\n") == text


def test_lines_of_words_become_one():
    assert checked_metadata("spacing=1,1,1\r\nunit=mm") == "spacing=1,1,1  unit=mm"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("objects=truth.ome.zarr", "objects is of a truth, and an upload has none"),
        ("unit=mm objects=http://inner/ truth_spacing=1,1,1", "objects, truth_spacing are of"),
        ("truth_complete=yes objects_channel=1", "truth_complete, objects_channel are of a truth"),
        ("/etc/passwd.json", "no file can be named"),
        ("spacing=1,1,1 key=../../other.yml", "no file can be named"),
        ("../words.YAML", "no file can be named"),
        ("spacing", "these are no words key=value, each once"),
        ("unit=mm unit=cm", "these are no words key=value, each once"),
        ('unit="mm', "these are no words key=value, each once"),
        ("model=/models/other", f"there is no word 'model': use {', '.join(WORDS)}"),
        ("source=@other", "there is no word 'source'"),
        ("spacing=1,1", "spacing '1,1' is not three numbers along z, y, x"),
        ("spacing=0,1,1", "must be positive"),
        ("spacing=nan,1,1", "must be positive"),
        ("spacing=1e308,1e308,1e308", "spacing"),
        ("unit=parsec", "unit 'parsec' is not known"),
        ("region=0:9,0:9", "is not three parts"),
        ("series=a\x1b[2J", "control character"),
    ],
)
def test_other_words_are_refused_by_name(text, reason):
    with pytest.raises(Refusal) as caught:
        checked_metadata(text)
    assert caught.value.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert caught.value.detail.startswith("metadata: ")
    assert reason in caught.value.detail
    assert len(caught.value.detail) < 600


def test_no_word_of_an_upload_names_a_file():
    assert {"spacing", "unit", "origin", "channel", "region", "bands", "scale"} <= set(WORDS)
    assert not [word for word in WORDS if "truth" in word or "objects" in word]
