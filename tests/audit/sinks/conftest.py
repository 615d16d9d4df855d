from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from support.sinks import KINDS, Kind


class Authority(NamedTuple):
    """As files: its own certificate, and (certificate, key) of `localhost`, of another name and of a client
    called `broker`."""

    ca: str
    localhost: tuple[str, str]
    elsewhere: tuple[str, str]
    client: tuple[str, str]


def _authority(folder: Path) -> Authority:
    ca = trustme.CA()

    def issued(name: str) -> tuple[str, str]:
        made = ca.issue_cert(name)
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        made.private_key_pem.write_to_path(str(key))
        for blob in made.cert_chain_pems:
            blob.write_to_path(str(cert), append=True)
        return str(cert), str(key)

    path = folder / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return Authority(str(path), issued("localhost"), issued("elsewhere.test"), issued("broker"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(kind: Kind, opened: ExitStack) -> Any:
    made = kind.server()
    opened.callback(made.stop)
    return made
