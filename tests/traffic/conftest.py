"""The same tests on every kind of store."""

from support.traffic_stores import url

__all__ = ["url"]
