"""Two collections of named things, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar, cast

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
What = TypeVar("What")


class Pair(NamedTuple, Generic[What]):
    """What goes by one name, before and now; one of them may be None."""

    name: str
    old: What | None
    new: What | None

    @property
    def kind(self) -> str:
        if self.old is not None and self.new is not None:
            return CHANGED
        return ADDED if self.old is None else REMOVED

    @property
    def either(self) -> What:
        """The new one, where there is one."""
        return cast(What, self.new if self.new is not None else self.old)


def pairs(old: Mapping[str, What], new: Mapping[str, What]) -> Iterator[Pair[What]]:
    """Of what is not the same, by name."""
    for name in sorted({*old, *new}):
        pair = Pair(name, old.get(name), new.get(name))
        if pair.old != pair.new:
            yield pair
