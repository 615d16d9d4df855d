"""Batches of which a part is taken and a part is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..sink import Refused, Sent, SinkAway


class Unwanted(Exception):
    """The server refuses a request as it is. `index`: because of this event, as it says itself. `is_final`:
    if it has one event, that one is not wanted, whatever becomes of others."""

    def __init__(self, why: str, index: int | None = None, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.why, self.index, self.is_final = why, index, is_final


class Ends:
    """Which events of a batch have come to their end, so that those are not sent again with the others."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._refused: dict[str, str] = {}  # id → why
        self._suspects: dict[str, str] = {}  # refused, where that may be the fault of the configuration

    def open(self, events: Sequence[Sent]) -> list[Sent]:
        """Those that are still to be sent; of what is in no batch any more nothing is kept."""
        ids = {event.id for event in events}
        self._taken &= ids
        for known in (self._refused, self._suspects):
            for gone in known.keys() - ids:
                del known[gone]
        return [event for event in events if event.id not in self._taken and event.id not in self._refused]

    def take(self, events: Sequence[Sent]) -> None:
        self._taken.update(event.id for event in events if event.id not in self._refused)

    def refuse(self, event: Sent, why: str) -> None:
        self._refused[event.id] = why

    def suspect(self, event: Sent, why: str) -> None:
        self._suspects[event.id] = why

    def are_suspect(self, events: Sequence[Sent]) -> bool:
        return all(event.id in self._suspects for event in events)

    def judge(self) -> None:
        """Suspects are refused where others of their batch were taken; else it is the sink that is wrong, and
        they wait. Raises SinkAway."""
        suspects = {key: why for key, why in self._suspects.items() if key not in self._taken}
        if suspects and not self._taken:
            why = next(iter(suspects.values()))
            raise SinkAway(f"it refuses every event: {why}")
        self._refused |= suspects
        self._suspects = {}

    def close(self, events: Sequence[Sent]) -> None:
        """All of them have come to their end. Raises Refused where that was a refusal."""
        indexes = tuple(index for index, event in enumerate(events) if event.id in self._refused)
        why = next(iter(self._refused.values()), "")
        self._taken, self._refused, self._suspects = set(), {}, {}
        if indexes:
            raise Refused(why, indexes)


def send_in_parts(events: Sequence[Sent], ask: Callable[[Sequence[Sent]], None], ends: Ends) -> None:
    """By `ask`, which raises Unwanted or SinkAway: all at once, and in smaller parts where that is unwanted,
    until it is known which events are not wanted. `ends` is kept for the next try. Raises SinkAway or
    Refused."""
    left = ends.open(events)
    parts = [left] if left else []
    # What was looked through once, event by event, is asked for with one request from then on.
    is_known = ends.are_suspect(left)
    while parts:
        part = parts.pop()
        try:
            ask(part)
        except Unwanted as unwanted:
            index = unwanted.index
            if index is not None and index < len(part):
                ends.refuse(part[index], unwanted.why)
                if rest := [*part[:index], *part[index + 1 :]]:
                    parts.append(rest)
            elif len(part) == 1 and unwanted.is_final:
                ends.refuse(part[0], unwanted.why)
            elif len(part) == 1 or is_known:
                for event in part:
                    ends.suspect(event, unwanted.why)
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
        else:
            ends.take(part)
    ends.judge()
    ends.close(events)
