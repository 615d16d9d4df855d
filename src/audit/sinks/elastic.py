"""Elasticsearch (and OpenSearch): the bulk API.

Source: Elasticsearch API, "Bulk index or delete documents"; guide, "Use a data stream".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..sink import Sent, SinkAway, SinkSettings
from .batches import Ends, send_in_parts
from .http import judge
from .web import Web

_ASK = "/_bulk?filter_path=errors,items.*.status,items.*.error.type"
_TYPE = re.compile(r"[a-z_]{1,64}")
_TAKEN_BEFORE = 409


class Item(msgspec.Struct):
    status: int
    error: dict[str, Any] = {}


class Items(msgspec.Struct):
    items: list[dict[str, Item]] = []


class Elastic:
    """Each event is a document whose `_id` is the event's own and which is only ever created: a repeat is a
    conflict, and so taken already."""

    most_events = 1_000
    most_bytes = 4 << 20
    again_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        options, secrets = settings.options, settings.secrets
        self._path = f"/{options['index']}{_ASK}"
        self._zips = options.get("gzip", "true") == "true"
        self._is_stamped = (
            settings.form == "ecs"
        )  # what else has no `@timestamp`, without which no stream takes it
        self._headers = {"content-type": "application/x-ndjson"}
        if "api_key" in secrets:
            self._headers["authorization"] = f"ApiKey {secrets['api_key']}"
        elif "password" in secrets:
            pair = f"{options.get('user', '')}:{secrets['password']}".encode()
            self._headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self._web = Web(options["address"], options)
        self._ends = Ends()

    def send(self, events: Sequence[Sent]) -> None:
        send_in_parts(events, self._ask, self._ends)

    def close(self) -> None:
        self._web.close()

    def _ask(self, events: Sequence[Sent]) -> None:
        lines = []
        for event in events:
            lines += [b'{"create":{"_id":%s}}' % msgspec.json.encode(event.id), self._document(event)]
        body = b"\n".join(lines) + b"\n"
        answer = self._web.send("POST", self._path, body, self._headers, zipped=self._zips)
        judge(answer)
        try:
            items = msgspec.json.decode(answer.body, type=Items).items
            ends = [end for item in items for end in item.values()]
        except msgspec.MsgspecError:
            ends = []
        if len(ends) != len(events):
            raise SinkAway("its answer is not that of a bulk request")
        waits = ""
        for event, end in zip(events, ends, strict=True):
            if 200 <= end.status < 300 or end.status == _TAKEN_BEFORE:
                self._ends.take([event])
            elif end.status in (400, 413):
                self._ends.refuse(event, f"{_kind(end)} (status {end.status})")
            else:
                waits = waits or f"{_kind(end)} (status {end.status})"
        if waits:
            raise SinkAway(waits)

    def _document(self, event: Sent) -> bytes:
        if self._is_stamped:
            return event.line
        at = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return b'{"@timestamp":"%s",' % at.replace("+00:00", "Z").encode() + event.line[1:]

    def __repr__(self) -> str:  # a traceback must not show headers
        return "Elastic(…)"


def _kind(end: Item) -> str:
    """The error's type; its reason may repeat the document."""
    kind = str(end.error.get("type", ""))
    return kind if _TYPE.fullmatch(kind) else "it refuses the document"


def open_sink(settings: SinkSettings) -> Elastic:
    return Elastic(settings)
