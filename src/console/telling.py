"""What `/status` says in the words that people get, of `modelbroker status` and of the console."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..core.acts import COMMAND, By
from ..revisions.kept import until_words

Tree = Mapping[str, Any]


def secret_words(one: Tree, now_s: float) -> str:
    """What is to be known of a secret; "" where all is well."""
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


def utc_text(at_s: float) -> str:
    """To the second, as terminals have it."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%SZ}"


def rolled_back_words(rollback: Tree) -> str:
    """To what, by whom, since when, until when."""
    by, at_s = By(rollback.get("actor", COMMAND), rollback["by"]), rollback.get("at_s")
    since = f"since {utc_text(at_s)}, " if at_s else ""
    until = until_words(holds=rollback["holds"])
    return f"to {rollback['revision']} by {by}, {since}until {until}"


def member_words(member: Tree, now_s: float) -> str:
    """Why a member of a pool has the weight that it has."""
    text = _known(member, now_s)
    envoy = member.get("envoy")
    if envoy is None:
        return text
    if envoy["ejected"] and member["state"] != "ejected":
        return f"{text}; ejected by Envoy"
    if not envoy["ejected"] and member["state"] == "ejected":
        return f"{text}; Envoy has let it in again"
    return text


def _known(member: Tree, now_s: float) -> str:
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
