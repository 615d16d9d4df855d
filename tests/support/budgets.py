"""Budgets as seen from outside: who calls, where accounts stand, what records were charged."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from typing import Any

from .broker import Broker
from .calls import Ask
from .records import lines_of

DOLLAR = 1_000_000_000


def team(name: str) -> dict[str, Any]:
    """A caller of that team, whose key is `key-NAME`."""
    digest = hashlib.sha256(f"key-{name}".encode()).hexdigest()
    return {"name": name, "team": name, "key": {"sha256": digest}}


def asked(name: str, pool: str, tokens: int = 100, **more: Any) -> Ask:
    """A call of that team, with an answer of at most so many tokens."""
    return Ask(pool, max_tokens=tokens, headers={"authorization": f"Bearer key-{name}"}, **more)


def told(broker: Broker) -> dict[str, Any]:
    """What `/budgets` says."""
    with urllib.request.urlopen(f"{broker.admin_url}/budgets", timeout=10) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


def standing(broker: Broker, budget: str, scope: str = "") -> tuple[int, int]:
    """(spent, reserved) of an account."""
    rows = [row for row in told(broker)["budgets"] if (row["budget"], row["scope"]) == (budget, scope)]
    return (rows[0]["spent"], rows[0]["reserved"]) if rows else (0, 0)


def charged(broker: Broker, budget: str) -> int:
    """The sum of what the records say was charged."""
    records = lines_of(broker)
    return sum(one["charged"] for record in records for one in record["budgets"] if one["budget"] == budget)
