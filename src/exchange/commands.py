"""What the exchange tells the outer listener to do with a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..core.opened import Shared
from ..core.traffic import Sample
from ..policy.caching import CacheKey


class Forward(NamedTuple):
    """Go on: to the pool's cluster, at `pick`: a `class`, of whose members Envoy picks one, or one `member`.

    What is shared is the same for many calls, so that it need not be encoded for each of them. `facts` are
    for the record: who, what for, what was decided.
    """

    shared_headers: Shared
    own_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
    pick: tuple[str, str]
    shared_facts: Shared
    own_facts: tuple[tuple[str, str], ...]
    watched: bool = False  # the reply is to be shown to the call, for the cache

    @property
    def set_headers(self) -> tuple[tuple[str, str], ...]:
        return self.shared_headers + self.own_headers

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        return self.shared_facts + self.own_facts


@dataclass(frozen=True, slots=True)
class Reply:
    """The broker answers itself."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    code: str = ""
    facts: tuple[tuple[str, str], ...] = ()  # for the record: what was known by then
    sample: Sample | None = None  # for the store of traffic


@dataclass(frozen=True, slots=True)
class Strip:
    """Go on to the body, without these headers of the client's, and with the call's own id."""

    request_id: str
    remove_headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pending:
    """The reply may come without a call to a provider: go on as soon as it is known, after `most_s` at the
    latest. `asks`: the fleet's store is to be asked for it; else another call is under way for it. `all_s`:
    how long the call may wait from now on, for whatever it may wait for."""

    most_s: float
    all_s: float
    asks: CacheKey | None = None
