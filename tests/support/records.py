"""What calls.jsonl says of calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from .broker import Broker
from .calls import Got
from .waiting import wait_until


def record_of(broker: Broker, got: Got) -> dict[str, Any]:
    """The call's record; entries come in batches, so it is waited for. AssertionError if there are more."""
    return record_with(broker, got.headers["x-broker-request-id"])


def record_with(broker: Broker, request_id: str) -> dict[str, Any]:
    """The same, by the call's id."""
    found = wait_until(lambda: lines_with(broker, request_id), 60)
    assert len(found) == 1, found
    return found[0]


def lines_with(broker: Broker, request_id: str) -> list[dict[str, Any]]:
    """All that there are now of the call of this id. (Those that its reply answered name it, too.)"""
    return [line for line in lines_of(broker, request_id) if line["request_id"] == request_id]


def records_of(broker: Broker, got: Got) -> list[dict[str, Any]]:
    """All that there is now of one call."""
    return lines_with(broker, got.headers["x-broker-request-id"])


def lines_of(broker: Broker, holding: str = "") -> list[dict[str, Any]]:
    """All that there are now, or those that hold this text."""
    path: Path = broker.folder / "state" / "calls.jsonl"
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # the last line may be half written
    return [msgspec.json.decode(line) for line in whole.splitlines() if holding in line]


def told(record: dict[str, Any]) -> tuple[int, str, list[tuple[str, str]]]:
    """Its status and code, and the codes and causes of its attempts."""
    return record["status"], record["code"], [(a["code"], a["cause"]) for a in record["attempts"]]
