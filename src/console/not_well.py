"""What is not well of what calls leave behind, by a broker's `/status`: their records, the ledger, telemetry,
texts for a collector, audit and its sinks, captured bodies; and of the console. In the words of
`modelbroker status` and of the console."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..journal.reports import FOLLOWING, IDLE, OFF, RENDERING, SENDING

Tree = Mapping[str, Any]

_WELL = (FOLLOWING, SENDING, OFF, IDLE, RENDERING, "writing")
# What never came where it should, by the names that `/status` has for it.
_NEVER = {
    "records": {"unwritten": "were given up"},
    "ledger": {"refused": "records are refused for ever"},
    "telemetry": {"refused": "spans and log records are refused for ever"},
    "content": {
        "refused": "texts are refused for ever",
        "missing": "captured calls never came into the store",
        "unread": "captured calls can't be read",
    },
    "audit": {"refused_lines": "lines of the journals are no events"},
    "capture": {"failed": "bodies failed", "dropped": "were dropped", "lost": "were lost"},
    "console": {},
}
_BEHIND = {"records": ("waiting", "records")}
_SINK_NEVER = {"refused": "events are refused for ever", "missed": "had left the chain before"}


def not_well(status: Tree) -> Iterator[tuple[str, str]]:
    """(what, what is the matter with it) of what calls leave behind. Nothing where all is well."""
    for name, never in _NEVER.items():
        part = status.get(name) or {}
        if said := _said(part, never, *_BEHIND.get(name, ("behind_bytes", "bytes"))):
            yield name, said
        for sink in part.get("sinks", ()):
            if said := _said(sink, _SINK_NEVER, "behind", "events"):
                yield "sink", f"{sink['name']}: {said}"


def _said(part: Tree, never: Mapping[str, str], behind: str, unit: str) -> str:
    said = []
    if part and part["state"] not in _WELL:
        said.append(": ".join(filter(None, (part["state"], part["error"]))))
        if part.get(behind):
            said.append(f"{part[behind]:,} {unit} behind")
    said += [f"{part[key]:,} {words}" for key, words in never.items() if part.get(key)]
    return "; ".join(said)
