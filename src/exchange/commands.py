"""What is to become of a call: the commands of the outer listener's conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Forward(NamedTuple):
    """Go on: to the pool's cluster, at `pick`: a `class`, of whose members Envoy picks one, or one `member`.

    What is shared is the same for many calls, so that it need not be encoded for each of them. `facts` are
    for the record: who, what for, what was decided.
    """

    shared_headers: tuple[tuple[str, str], ...]
    own_headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
    pick: tuple[str, str]
    shared_facts: tuple[tuple[str, str], ...]
    own_facts: tuple[tuple[str, str], ...]

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


@dataclass(frozen=True, slots=True)
class Strip:
    """Go on to the body, without these headers of the client's, and with the call's own id."""

    request_id: str
    remove_headers: tuple[str, ...]
