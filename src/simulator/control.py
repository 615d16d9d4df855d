"""The control surface: journal and script over HTTP, on the provider's own port.

GET, DELETE /journal; GET, PUT /script; GET /health; each also below /_mock.
"""

import urllib.parse
from typing import Protocol

import msgspec

from .journal import Journal
from .script import Script, ScriptError, parse_script

_METHODS = {"/journal": ("GET", "DELETE"), "/script": ("GET", "PUT"), "/health": ("GET",)}


class Controlled(Protocol):
    """What the control surface needs of a simulator."""

    name: str
    journal: Journal

    @property
    def script(self) -> Script: ...

    def set_script(self, script: Script) -> None: ...


def is_control(target: str) -> bool:
    """Whether a request target belongs to the control surface."""
    path = target.partition("?")[0]
    return path in ("/journal", "/script") or path.startswith("/_mock/")


def handle(sim: Controlled, method: str, target: str, body: bytes) -> tuple[int, str, bytes]:
    """Status, content type and body of the answer to a control request."""
    path, _, query = target.partition("?")
    path = path.removeprefix("/_mock")
    methods = _METHODS.get(path)
    if methods is None:
        return _say(404, f"no such control path; there are {', '.join(_METHODS)}")
    if method not in methods:
        return _say(405, f"{path} takes {' or '.join(methods)}, not {method}")
    if path == "/health":
        return _json({"name": sim.name, "journal": len(sim.journal)})
    if path == "/journal":
        if method == "DELETE":
            sim.journal.clear()
            return _json({"cleared": True})
        return _journal(sim, query)
    if method == "GET":
        return _json(sim.script.model_dump(mode="json", exclude_unset=True))
    return _replace(sim, body)


def _journal(sim: Controlled, query: str) -> tuple[int, str, bytes]:
    since = urllib.parse.parse_qs(query).get("since", ["0"])[0]
    if not since.isascii() or not since.isdigit():
        return _say(400, "since: not a whole number; give the n of the last entry seen")
    return _json([entry.shown() for entry in sim.journal.since(int(since))])


def _replace(sim: Controlled, body: bytes) -> tuple[int, str, bytes]:
    try:
        text = body.decode("utf-8")
        sim.set_script(parse_script(text))
    except UnicodeDecodeError:
        return _say(400, "script: not UTF-8 text")
    except ScriptError as error:
        return _say(400, *error.problems)
    return _json(sim.script.model_dump(mode="json", exclude_unset=True))


def _json(value: object) -> tuple[int, str, bytes]:
    return 200, "application/json", msgspec.json.encode(value)


def _say(status: int, *lines: str) -> tuple[int, str, bytes]:
    return status, "text/plain; charset=utf-8", ("\n".join(lines) + "\n").encode()
