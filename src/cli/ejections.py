"""Envoy's log of outlier detection, followed: which member it took out of which pool, and when that ended."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ..xds.overlay import pool_of

log = logging.getLogger("modelbroker.health")

_MOST_BYTES = 4 * 1024 * 1024  # the file is emptied when it is longer and read to its end
# An internal address as Envoy writes it: the listener's name, then the endpoint's id, which is the member's.
_ADDRESS = re.compile(r"envoy://member/(?P<member>.+)/[0-9a-f]{12}/(?P=member)")
# In words for people; Envoy's own where it is none of them.
_WHY = {"CONSECUTIVE_5XX": "errors in a row", "CONSECUTIVE_LOCAL_ORIGIN_FAILURE": "errors in a row"}


@dataclass(frozen=True, slots=True)
class Change:
    """`number` counts the member's ejections that came close behind each other: each is longer."""

    cluster: str  # the pool's, of its time
    member: str
    is_out: bool
    at_s: float
    number: int = 1
    why: str = ""

    @property
    def pool(self) -> str:
        return pool_of(self.cluster)


def change_of(line: bytes) -> Change | None:
    """None where the line is none, or tells of nothing that was done. Source: envoy/data/cluster/v3."""
    try:
        event: Any = msgspec.json.decode(line)
        action, is_enforced = event["action"], event.get("enforced")
        address = _ADDRESS.fullmatch(event["upstream_url"])
        if address is None or (action == "EJECT" and not is_enforced):
            return None
        return Change(
            cluster=str(event["cluster_name"]),
            member=address["member"],
            is_out=action == "EJECT",
            at_s=datetime.fromisoformat(event["timestamp"]).timestamp(),
            number=int(event.get("num_ejections", 1)),
            why=_WHY.get(event["type"], str(event["type"]).lower()),
        )
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


class EventLog:
    """The file at `path`, which an Envoy appends to, and which whoever starts an Envoy empties."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._is_broken = False

    def read(self) -> tuple[bool, list[Change]]:
        """(another Envoy began, what is new). A file that is not there (yet) has nothing to tell."""
        try:
            size = self._path.stat().st_size
            if size == self._read_bytes:
                return False, []
            is_fresh = size < self._read_bytes
            if is_fresh:
                self._read_bytes = 0
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                text, separator, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(text) + len(separator)
            if self._read_bytes == size and size > _MOST_BYTES:
                os.truncate(self._path, 0)
                self._read_bytes = 0
            self._is_broken = False
        except FileNotFoundError:
            return False, []
        except OSError as error:
            if not self._is_broken:
                log.warning("Envoy's ejections can't be read: %s", error)
            self._is_broken = True
            return False, []
        return is_fresh, [change for line in text.split(b"\n") if (change := change_of(line)) is not None]
