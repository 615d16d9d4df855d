"""What holds for every test."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings
from support.order import in_order
from support.servers import postgres, redis, s3

__all__ = ["postgres", "redis", "s3"]  # fixtures of the whole run

# Each worker makes all tests, and they stay to its end: to look through them for cycles, of which they have
# none, would cost half as much again as to make them, and as much again with each look later on.
gc.disable()
# Nobody is asked who this machine is: what it would be asked at is no loopback.
os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true"}
# A slow machine is no failure: how long an example takes is for bench/ to say.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there are several workers."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        names = [item.nodeid.partition("::")[0].removeprefix("tests/") for item in items]
        items[:] = [items[number] for number in in_order(names, workers)]


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()
