"""`modelbroker status`: a running broker's `/status`, as a table for people."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..audit.acts import os_user
from ..core.errors import Misconfigured
from .not_well import not_well
from .printed import visible

Tree = Mapping[str, Any]


def print_status(admin_url: str, how: str) -> int:
    """0 where all is in effect; 1 where no Envoy has the configuration or an edit was refused. Misconfigured
    where no broker answers."""
    status = ask(admin_url)
    if how == "json":
        print(json.dumps(status, indent=2))
    else:
        print("\n".join((f"broker     {_base(admin_url)}", *lines(status, time.time()))))
    return 0 if status.get("in_effect") and not status.get("error") else 1


def ask_to_forget(admin_url: str, members: Sequence[str]) -> int:
    """0 where it is done; 1 where there is no such member."""
    query = urllib.parse.urlencode([*(("member", member) for member in members), ("by", os_user())])
    answer = _open(f"{_base(admin_url)}/forget?{query}", b"")
    forgotten = answer["forgotten"]
    print("\n".join(forgotten) if forgotten else f"none was kept from anything at {_base(admin_url)}")
    return 0


def ask(admin_url: str) -> Tree:
    return _open(f"{_base(admin_url)}/status?envoy")


def fetch(admin_url: str, path: str) -> Tree:
    """What the admin port answers at `path`."""
    return _open(f"{_base(admin_url)}{path}")


def post(admin_url: str, path: str) -> Tree:
    """What it answers to a command."""
    return _open(f"{_base(admin_url)}{path}", b"")


def _base(admin_url: str) -> str:
    return admin_url.rstrip("/").removesuffix("/status")


def _open(url: str, data: bytes | None = None) -> Tree:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Misconfigured(500, "no_status", f"{url!r} is no URL: give e.g. http://127.0.0.1:8081")
    # A command loads a configuration, which may be a large one.
    patience_s = 10 if data is None else 60
    try:
        with urllib.request.urlopen(url, data, timeout=patience_s) as reply:  # noqa: S310
            answer: Tree = json.load(reply)
            return answer
    except urllib.error.HTTPError as error:
        words = error.read(1000).decode("utf-8", "replace").strip()
        raise Misconfigured(500, "no_status", f"{url} answered {error.code}: {words}") from None
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise Misconfigured(
            500, "no_status", f"no broker answers at {url}: {error}; give the admin port's URL with --admin"
        ) from None


def lines(status: Tree, now_s: float) -> Iterable[str]:
    """The whole table."""
    yield f"revision   {status['revision']}{'' if status['in_effect'] else ' (not in effect yet)'}"
    if status["serving"] != status["revision"]:
        yield f"serving    {status['serving']}"
    yield f"envoys     {len(status['envoys'])}"
    for line in (status["error"] or "").splitlines():
        yield f"error      {line}"
    for warning in status["warnings"]:
        yield f"warning    {warning}"
    for one in status["secrets"]:
        if said := _secret(one, now_s):
            yield f"secret     {one['secret']}: {said}"
    yield from not_well(status)
    hosts = [member.get("envoy") for pool in status["pools"] for member in pool["members"]]
    if not any(hosts):
        yield "           what Envoy itself says of members is not known: give `serve` its --envoy-admin"
    yield ""
    rows = [("POOL", "MEMBER", "PRIORITY", "WEIGHT", "NOW", "STATE")]
    for pool in status["pools"]:
        for number, member in enumerate(pool["members"]):
            rows.append(
                (
                    "" if number else pool["name"],
                    member["id"],
                    str(member["priority"]),
                    str(member["weight"]),
                    f"{member['weight_in_effect']:g}",
                    _state(member, now_s),
                )
            )
    yield from aligned(rows)
    failed = {name: member for name, member in status["members"].items() if member["last_error"]}
    if failed:
        yield ""
        rows = [("MEMBER", "IN A ROW", "LAST ERROR", "STATUS", "WHEN", "REQUEST")]
        for name, member in failed.items():
            last = member["last_error"]
            ago = f"{span_words(now_s - last['at_s'])} ago"
            in_a_row = str(member["failures_in_a_row"])
            rows.append((name, in_a_row, last["cause"], str(last["status"]), ago, last["request_id"]))
        yield from aligned(rows)


def _secret(one: Tree, now_s: float) -> str:
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


def _state(member: Tree, now_s: float) -> str:
    """Why the member has the weight that it has."""
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


def aligned(rows: Sequence[tuple[str, ...]], right: int | None = None) -> Iterable[str]:
    """Rows of text as lines; the columns from `right` on are numbers, and stand at the right. What clients
    chose themselves may hold anything: it can't begin a line, or command the terminal."""
    rows = [tuple(map(visible, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    first = len(widths) if right is None else right
    for row in rows:
        cells = [
            text.rjust(width) if column >= first else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
