"""What is not well by a broker's `/status`, in the words of `modelbroker status` and of the console: of what
calls leave behind (records, the ledger, telemetry, audit and its sinks, bodies), secrets, members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..journal.reports import FOLLOWING, OFF, SENDING

Tree = Mapping[str, Any]

_WELL = (FOLLOWING, SENDING, OFF, "writing")
# What never came where it should, by the names that `/status` has for it.
_NEVER = {
    "records": {"unwritten": "were given up"},
    "ledger": {"refused": "records are refused for ever"},
    "telemetry": {"refused": "spans and log records are refused for ever"},
    "audit": {"refused_lines": "lines of the journals are no events"},
    "capture": {"failed": "bodies failed", "dropped": "were dropped", "lost": "were lost"},
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


def secret_said(one: Tree, now_s: float) -> str:
    """What is to be known of it; "" where all is well."""
    if one["state"] == "missing":
        return f"missing: {one['error'] or 'it has not answered yet'}"
    said = []
    if one["state"] == "refused":
        again = span_words(min(one["refused_until_s"], one["replaced_until_s"]) - now_s)
        said.append(f"the new value is refused and the one before used; the new one again in {again}")
    elif one["replaced_until_s"]:
        said.append(f"replaced {span_words(now_s - one['since_s'])} ago")
    if one["replaced_until_s"]:
        said.append(f"the one before is good for {span_words(one['replaced_until_s'] - now_s)} more")
    if one["failures"]:
        left = span_words(one["good_until_s"] - now_s)
        said.append(f"{one['error']}; its last value is good for {left} more")
    return "; ".join(said)


def member_said(member: Tree, now_s: float) -> str:
    """Why it has the weight that it has."""
    state = member["state"]
    if state == "well":
        return "well" if member["weight"] else "well, but its weight is 0"
    if state == "not-set-up":
        return f"not set up: {member['out']}"
    left = span_words(member["until_s"] - now_s)
    cause, share = member["cause"], f"{member['share']:.0%}"
    if state == "out":
        more = ", it asked for longer" if member["asked_for_longer"] else ""
        why = "by its own word" if cause == "rate-limit" else cause
        return f"out for {left} more ({why}{more})"
    if state == "ejected":
        return f"ejected by Envoy for {left} more ({cause})"
    if state == "eased":
        return f"eased off to {share}: little is left of its {cause} for {left}"
    return f"coming back: {share} of its weight, all of it in {left} (was out: {cause})"


def span_words(seconds: float) -> str:
    """`90 s`, `12 min`"""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
