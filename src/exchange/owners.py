"""Whose the ids in a call are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ..dialects import id_and_owner

NO_OWNERS: Mapping[str, str] = MappingProxyType({})


def accounts(ids: Sequence[tuple[str, str]]) -> tuple[Mapping[str, str], str]:
    """(provider → the first field with an id that it owns, the first field whose id does not say whose it
    is)."""
    owners: dict[str, str] = {}
    unowned = ""
    for field, ident in ids:
        owner = id_and_owner(ident)[1]
        if owner:
            owners.setdefault(owner, field)
        else:
            unowned = unowned or field
    return owners, unowned
