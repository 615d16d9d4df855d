"""What every store of samples can do. `traffic.stores.open_store` opens one by its URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from ..core.traffic import Sample, Where

NO_FILTER: Where = MappingProxyType({})
END_OF_TIME_S = 4e9


@dataclass(frozen=True, slots=True)
class Stats:
    """`bytes` is what the samples take in the store; `by`: field (`purpose`, `pool`, `dialect`, `model`,
    `status`; `key`, the id of the key that their bodies are encrypted with, "" for none) → value →
    samples."""

    samples: int = 0
    bytes: int = 0
    first_s: float | None = None
    last_s: float | None = None
    by: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: MappingProxyType({}))


class TrafficStore(Protocol):
    """`with open_store(…) as store:`. Where the store itself does not work StoreError is raised; a body that
    no key here opens is Misconfigured, and says which key it would take."""

    place: str  # for people: without a password

    def put(self, samples: Sequence[Sample]) -> int:
        """How many were new. Of one call there is one sample: what is there already stays as it is."""

    def read(
        self,
        since_s: float = 0,
        until_s: float = END_OF_TIME_S,
        where: Where = NO_FILTER,
        limit: int | None = None,
        seed: str | None = None,
    ) -> Iterator[Sample]:
        """In the order of time (`at_s`, then the id), in bounded memory. `since_s` is in it, `until_s` is
        not. With `limit` the first so many; with a `seed` as well so many drawn by lot: always the same of
        the same samples."""

    def stats(
        self, since_s: float = 0, until_s: float = END_OF_TIME_S, where: Where = NO_FILTER
    ) -> Stats: ...

    def expire(self, before_s: float, most_bytes: int = 0) -> int:
        """Samples that are older go, and the oldest while there are more than `most_bytes` (0: no bound). How
        many went."""

    def close(self) -> None: ...

    def __enter__(self) -> TrafficStore: ...

    def __exit__(self, *_: object) -> None: ...


class StoreError(Exception):
    """A store can't be reached, or refuses. In its own words; without passwords, statements and bodies."""
