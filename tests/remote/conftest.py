"""A real S3 server on loopback, which counts and checks what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from parafovea.formats.remote import objects
from parafovea.formats.remote.documents import DOCUMENTS

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Return the address of an S3 server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch):
    """Return a client of a bucket `cells`, which the environment points to."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(objects.RETRIES, "1")
    objects.store_of.cache_clear()
    DOCUMENTS.forget()
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="cells")
    yield client
    for each in client.list_objects_v2(Bucket="cells").get("Contents", ()):
        client.delete_object(Bucket="cells", Key=each["Key"])
    client.delete_bucket(Bucket="cells")
