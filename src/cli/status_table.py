"""`modelbroker status`: a running broker's `/status`, as a table for people."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..audit.acts import os_user
from ..console.not_well import not_well
from ..console.telling import member_words, rolled_back_words, secret_words, span_words
from ..core.errors import Misconfigured
from .printed import visible

Tree = Mapping[str, Any]
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def print_status(admin_url: str, how: str) -> int:
    """0 where all is in effect; 1 where no Envoy has the configuration or an edit was refused. Misconfigured
    where no broker answers."""
    status = ask(admin_url)
    if how == "json":
        print(json.dumps(status, indent=2))
    else:
        print("\n".join((f"broker     {_base(admin_url)}", *lines(status, time.time()))))
    return 0 if status.get("in_effect") and not status.get("error") else 1


def ask_to_forget(admin_url: str, members: Sequence[str], token: str) -> int:
    """0 where it is done; 1 where there is no such member."""
    query = urllib.parse.urlencode([*(("member", member) for member in members), ("by", os_user())])
    answer = post(admin_url, f"/forget?{query}", token)
    forgotten = answer["forgotten"]
    print("\n".join(forgotten) if forgotten else f"none was kept from anything at {_base(admin_url)}")
    return 0


def ask(admin_url: str) -> Tree:
    return _open(f"{_base(admin_url)}/status?envoy")


def fetch(admin_url: str, path: str) -> Tree:
    """What the admin port answers at `path`."""
    return _open(f"{_base(admin_url)}{path}")


def post(admin_url: str, path: str, token: str) -> Tree:
    """What it answers to a command. `token` "": none is shown."""
    shown = token.encode().decode("latin-1")  # as a header is sent: a character for each byte
    return _open(f"{_base(admin_url)}{path}", b"", {"authorization": f"Bearer {shown}"} if token else {})


def _base(admin_url: str) -> str:
    return admin_url.rstrip("/").removesuffix("/status")


def _open(url: str, data: bytes | None = None, headers: Mapping[str, str] = NO_HEADERS) -> Tree:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Misconfigured(500, "no_status", f"{url!r} is no URL: give e.g. http://127.0.0.1:8081")
    # A command loads a configuration, which may be a large one.
    patience_s = 10 if data is None else 60
    try:
        asked = urllib.request.Request(url, data)  # noqa: S310
        for name, value in headers.items():
            asked.add_unredirected_header(name, value)
        with urllib.request.urlopen(asked, timeout=patience_s) as reply:  # noqa: S310
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
    if rollback := status.get("rollback"):
        yield f"rollback   {rolled_back_words(rollback)}"
    yield f"envoys     {len(status['envoys'])}"
    for line in (status["error"] or "").splitlines():
        yield f"error      {line}"
    if why := (status.get("source") or {}).get("error"):
        yield f"source     away: {why}; what was fetched last goes on"
    for warning in status["warnings"]:
        yield f"warning    {warning}"
    for one in status["secrets"]:
        if said := secret_words(one, now_s):
            yield f"secret     {one['secret']}: {said}"
    for name, said in not_well(status):
        yield f"{name:<10} {said}"
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
                    member_words(member, now_s),
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
