"""The `admin` section of a configuration → the catalog's."""

from __future__ import annotations

from ..core.admin import DEFAULT_ADMIN, Admin
from .admin_schema import AdminIn
from .console import token_users
from .explain import read_one
from .merge import Merged


def read_admin(merged: Merged) -> Admin:
    """What is wrong is noted."""
    raw = merged.mappings["admin"]
    said = read_one(merged, ("admin",), AdminIn, raw) if raw else None
    if said is None:
        return DEFAULT_ADMIN
    return Admin(said.commands, token_users(merged, "admin", said.users))
