"""The same tests on every kind of store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[], str]]:
    """A server that speaks S3; makes an empty bucket and gives its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    made = iter(range(1_000_000))

    def new_bucket() -> str:
        name = f"traffic-{next(made)}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).create_bucket(Bucket=name)
        return f"s3://{name}/captured?endpoint={endpoint}&region=us-east-1"

    yield new_bucket
    server.stop()


@pytest.fixture(params=["sqlite", "postgres", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres").new_schema())
    if request.param == "s3":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        return str(request.getfixturevalue("s3")())
    return f"sqlite:///{tmp_path}/traffic.db"
