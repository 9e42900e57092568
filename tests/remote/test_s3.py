"""Sources in S3: against the server of moto, from metadata to voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from format_samples import WRITERS

from parafovea.errors import SourceError
from parafovea.formats.location import source_files
from parafovea.formats.metadata.column import parse_metadata
from parafovea.formats.opening import open_source, source_grid
from parafovea.formats.remote import documents, objects
from parafovea.formats.remote.documents import DOCUMENTS


def upload(client, folder, prefix, acl="public-read"):
    for file in Path(folder).rglob("*"):
        if file.is_file():
            key = f"{prefix}/{file.relative_to(folder).as_posix()}"
            client.put_object(Bucket="cells", Key=key, Body=file.read_bytes(), ACL=acl)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", ["ome_zarr", "zarr", "n5", "precomputed"])
def test_each_format_equals_its_local_twin(tmp_path, bucket, monkeypatch, name, signed):
    if signed:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    sample = WRITERS[name](tmp_path)
    upload(bucket, sample.path, f"a folder/{name}+%", "private" if signed else "public-read")
    local = open_source(sample.path, metadata=sample.metadata)
    address = f"s3://cells/a folder/{name}+%"
    said = parse_metadata(sample.metadata, folder=tmp_path)
    assert source_grid(address, metadata=said) == local.grid
    far = open_source(address, metadata=said)
    np.testing.assert_array_equal(far.read(far.grid.box), local.read(local.grid.box))


def test_a_missing_chunk_is_the_fill_value(tmp_path, bucket):
    sample = WRITERS["n5"](tmp_path)
    (Path(sample.path) / "0/0/0").unlink()
    upload(bucket, sample.path, "n5")
    source = open_source("s3://cells/n5", metadata=sample.metadata)
    values = source.read(source.grid.box)
    assert not values[:, :8].any()
    assert values[:, 8:].all()
    truth = open_source("s3://cells/n5", metadata=sample.metadata, labels=True)
    with pytest.raises(SourceError, match="s3://cells/n5/0/0/0 does not exist"):
        truth.read(truth.grid.box)


def test_what_is_not_public_is_refused_without_credentials(tmp_path, bucket):
    sample = WRITERS["n5"](tmp_path)
    upload(bucket, sample.path, "n5", "private")
    with pytest.raises(SourceError, match=r"is refused \(status 403\).*AWS_ACCESS_KEY_ID"):
        open_source("s3://cells/n5", metadata=sample.metadata)
    # a chunk that may not be read is no hole
    file = Path(sample.path, "attributes.json")
    facts = {"Bucket": "cells", "Key": "n5/attributes.json", "Body": file.read_bytes()}
    bucket.put_object(**facts, ACL="public-read")
    DOCUMENTS.forget()
    source = open_source("s3://cells/n5", metadata=sample.metadata)
    with pytest.raises(SourceError, match=r"s3://cells/n5/0/\d/0 is refused"):
        source.read(source.grid.box)


def test_a_bucket_that_is_not_there_is_an_error(bucket):
    with pytest.raises(SourceError, match="s3://nobody"):
        open_source("s3://nobody/a.zarr")


def test_an_object_that_was_replaced_has_another_version(tmp_path, bucket):
    sample = WRITERS["zarr"](tmp_path)
    upload(bucket, sample.path, "a.zarr")
    source = open_source("s3://cells/a.zarr", metadata=sample.metadata)
    source.read(source.grid.box)
    keys = [each["Key"] for each in bucket.list_objects_v2(Bucket="cells")["Contents"]]
    chunk = next(key for key in keys if "/c/" in key)
    body = bucket.get_object(Bucket="cells", Key=chunk)["Body"].read()
    bucket.put_object(Bucket="cells", Key=chunk, Body=body[::-1], ACL="public-read")
    with pytest.raises(SourceError, match="changed while it was read"):
        source.read(source.grid.box)


def test_an_unreachable_endpoint_is_an_error(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(objects.RETRIES, "0")
    objects.store_of.cache_clear()
    DOCUMENTS.forget()
    with pytest.raises(SourceError, match="cannot be reached"):
        open_source("s3://cells/a.zarr")


def test_a_chunk_that_is_rewritten_in_place_is_noticed_by_planning(tmp_path, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.chdir(tmp_path)
    sample = WRITERS["n5"](tmp_path)
    upload(bucket, sample.path, "n5")

    def planned():
        DOCUMENTS.forget()
        return [Path(file).read_bytes() for file in source_files("s3://cells/n5")]

    before = planned()
    assert planned() == before
    body = bucket.get_object(Bucket="cells", Key="n5/0/0/0")["Body"].read()
    bucket.put_object(Bucket="cells", Key="n5/0/0/0", Body=body + b"\0")
    assert planned() != before
    # of more files, the metadata alone are compared
    monkeypatch.setattr(documents, "LISTED", 2)
    assert planned() == before[:-1]
