"""One certificate authority in place of the system's 140, for the clients in tests.

An HTTP client reads the whole bundle when it is made, even one that never meets TLS: 28 ms of CPU, for each
of thousands of SDK clients. Clients that do meet TLS in a test get a context of their own. The product under
test keeps what the environment said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest
import trustme

_NAME = "SSL_CERT_FILE"
_SYSTEMS = os.environ.get(_NAME)


@pytest.fixture(scope="module", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For the tests of a folder whose conftest.py imports it."""
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_NAME, str(path))
        yield


def for_the_product(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as the test run was given it."""
    given = {name: value for name, value in environ.items() if name != _NAME}
    return given if _SYSTEMS is None else {**given, _NAME: _SYSTEMS}
