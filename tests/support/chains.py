"""The chain of audit events of a running broker, and the journals that it is made of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

from modelbroker.audit.chain import Line, read
from modelbroker.audit.store import segments

from .broker import Broker


def lines(broker: Broker) -> list[Line]:
    """Of the chain, but a last one that is being written."""
    files = [path for _, path in segments(broker.folder / "state" / "audit")]
    return [read(raw[:-1]) for path in files for raw in path.open("rb") if raw.endswith(b"\n")]


def acts_of(broker: Broker) -> list[dict[str, Any]]:
    path = broker.folder / "state" / "acts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def words(broker: Broker) -> list[str]:
    return [one["act"] for one in acts_of(broker)]


def journal_ids(broker: Broker) -> Counter[str]:
    """Of all records and acts, as the chain is to have them."""
    found: Counter[str] = Counter(one["id"] for one in acts_of(broker))
    for path in (broker.folder / "state").glob("calls.jsonl*"):
        for one in map(json.loads, path.read_text().splitlines()):
            found[one["request_id"] + ("-lost" if one["outcome"] == "lost" else "")] += 1
    return found


def chain_ids(broker: Broker) -> Counter[str]:
    return Counter(line.event.id for line in lines(broker) if not line.event.act.startswith("audit."))


def audit(broker: Broker, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelbroker.cli.main", "audit", *arguments]
    command += ["--state-dir", str(broker.folder / "state")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def verified(broker: Broker, *arguments: str) -> str:
    done = audit(broker, "verify", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
