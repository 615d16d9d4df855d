"""What is known of a call before it is answered: enough for its record, should nobody ever tell its end."""

from __future__ import annotations

from typing import NamedTuple

Pairs = tuple[tuple[str, str], ...]


class Shared(tuple[tuple[str, str], ...]):
    """Pairs that are one object for many calls. It is told apart by what it is, not by what is in it, so that
    what was made of it once is found without a look at all of it."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__


class Opened(NamedTuple):
    """`shared` and `own` are facts by the names of the record, as `exchange.Forward` has them. `status` and
    `code` are those of an answer that the broker gave itself; 0 and "" where a member was to be asked."""

    request_id: str
    shared: Pairs
    own: Pairs
    status: int = 0
    code: str = ""

    @property
    def facts(self) -> dict[str, str]:
        return dict(self.shared + self.own)
