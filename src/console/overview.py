"""The first page: what is there, and whether all is well."""

from __future__ import annotations

from .asked import Asked, Page
from .sources import Sources


def show(asked: Asked, sources: Sources) -> Page:
    return Page("overview.html", {"title": "Overview", "status": sources.status()}, every_s=5)
