"""Every kind of store of captured calls, for tests that hold on all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .servers import S3


@pytest.fixture(params=["sqlite", "postgres", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres").new_schema())
    if request.param == "s3":
        for name, value in S3.keys.items():
            monkeypatch.setenv(name, value)
        return str(request.getfixturevalue("s3").new_bucket())
    return f"sqlite:///{tmp_path}/traffic.db"
