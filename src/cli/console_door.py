"""The door of the console, at the admin port: who may come in, what a browser gets, what is told."""

from __future__ import annotations

import contextlib
import html
import logging
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from string import Template
from threading import BoundedSemaphore
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from ..console.attempts import Attempts, Sparing
from ..console.login import Access, Session, Signer, may_reach

log = logging.getLogger("modelbroker.console")

ROOT = "/console"
TOKEN_FILE = "console-token"  # noqa: S105 - in the state folder
ADDRESS_FILE = "console-address"  # likewise: where this one is reached
TOKEN_USER = "state-folder"  # noqa: S105 - who logs in with that one
_COOKIE = "modelbroker_console"
_STATIC = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_HTML = "text/html; charset=utf-8"
MOST_PAGES = 32  # that are waited for at a time, each by a thread
_SOON_S, _LATER_S = 2, 5  # after which it is worth while to ask again


def is_console(path: str) -> bool:
    """Is this path of the admin port one of the console's?"""
    return path in ("/", ROOT) or path.startswith(f"{ROOT}/")


class Came(NamedTuple):
    """A request to the console. `target` is its path and query, `peer` the address it came from; `headers` by
    lower-case names."""

    method: str
    target: str
    peer: str
    headers: Mapping[str, str]
    body: bytes = b""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Rendered(NamedTuple):
    """A page."""

    status: int
    content_type: str
    body: bytes


class Unrendered(Exception):
    """There is no page just now: its text says why."""


class Told(Protocol):
    """Who is told of logins."""

    def console_login(self, user: str, peer: str, *, why_not: str = "") -> None: ...

    def console_logout(self, user: str, peer: str) -> None: ...


class Door:
    """`answer`: from any thread. `access` says who may come in now."""

    def __init__(
        self,
        signer: Signer,
        access: Callable[[], Access],
        render: Callable[[str, str], Rendered],
        told: Told,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._signer, self._access, self._render, self._told = signer, access, render, told
        self._attempts, self._sparing, self._sleep = Attempts(), Sparing(), sleep
        self._places = BoundedSemaphore(MOST_PAGES)

    def answer(self, came: Came) -> Answer:
        came = came._replace(target=as_ascii(came.target))
        access = self._access()
        path, _, query = came.target.partition("?")
        if not may_reach(came.peer, access.networks):
            return _plain(403, f"the console is not for {came.peer}: `console.networks` says who reaches it")
        if access.why_not:
            return _plain(404, f"there is no console here: {access.why_not}")
        if path.startswith(f"{ROOT}/static/"):
            return _static(path.removeprefix(f"{ROOT}/static/"))
        if came.method == "POST":
            return self._posted(came, path, access)
        session = self._session(came, access)
        if path == f"{ROOT}/login":
            return _redirect(_page_of(query)) if session else self._login(access, _page_of(query))
        if path == "/":
            return _redirect(ROOT)
        if session is None:
            return _redirect(f"{ROOT}/login?to={quote(came.target, safe='')}")
        return self._page((path.removeprefix(ROOT) or "/") + (f"?{query}" if query else ""), session.user)

    def _page(self, target: str, user: str) -> Answer:
        if not self._places.acquire(blocking=False):
            return _plain(503, f"{MOST_PAGES} pages are being waited for: ask again", _SOON_S)
        try:
            page = self._render(target, user)
        except Unrendered as why:
            return _plain(503, str(why), _LATER_S)
        finally:
            self._places.release()
        return Answer(page.status, {**_HEADERS, "content-type": page.content_type}, page.body)

    def _session(self, came: Came, access: Access) -> Session | None:
        return self._signer.read(access, _held(came), time.time())

    def _posted(self, came: Came, path: str, access: Access) -> Answer:
        if not _is_own(came):
            return _plain(403, "this comes from another page than the console's own")
        if path == f"{ROOT}/login":
            return self._log_in(came, access)
        if path == f"{ROOT}/logout":
            if (session := self._session(came, access)) is not None:
                self._signer.end(access, _held(came), time.time())
                self._told.console_logout(session.user, came.peer)
            return _redirect(f"{ROOT}/login", {"set-cookie": _cookie(came, "", 0)})
        return _plain(405, "the console only shows: commands are for the command line")

    def _log_in(self, came: Came, access: Access) -> Answer:
        body = came.body.decode("utf-8", errors="replace")
        token, to = _field(body, "token").strip(), _page_of(body)
        wait_s = self._attempts.wait_s(came.peer, time.monotonic())
        if wait_s is None:
            return self._login(access, to, f"Too many log in now: try again in {_LATER_S} s.", 429)
        if wait_s:
            self._sleep(wait_s)
        user = self._signer.user_of(access, token) if token else None
        if user is None:
            if (more := self._sparing.told(came.peer, time.monotonic())) is not None:
                self._told.console_login("", came.peer, why_not=f"no such token{more}")
                log.warning("a login to the console from %s failed: no such token%s", came.peer, more)
            return self._login(access, to, "There is no such token.", 403)
        self._told.console_login(user, came.peer)
        held = self._signer.begin(user, token, time.time())
        return _redirect(to, {"set-cookie": _cookie(came, held, access.session_s)})

    def _login(self, access: Access, to: str, wrong: str = "", status: int = 200) -> Answer:
        if TOKEN_USER in access.users:
            hint = f"<code>modelbroker console</code> prints it; it is in the state folder, as {TOKEN_FILE}."
        else:
            hint = "The configuration says whose token is where: <code>console.users</code>."
        told = {
            "wrong": f'<p class="note bad" role="alert">{html.escape(wrong)}</p>' if wrong else "",
            "to": html.escape(to, quote=True),
            "hint": hint,
        }
        page = Template(_file("templates/login.html").decode()).substitute(told)
        again = {"retry-after": str(_LATER_S)} if status == 429 else {}
        return Answer(status, {**_HEADERS, **again, "content-type": _HTML}, page.encode())


def as_ascii(target: str) -> str:
    """A path and a query, each byte of which was read as a character, as a URL spells them."""
    try:
        raw = target.encode("latin-1")
    except UnicodeEncodeError:
        raw = target.encode(errors="replace")
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"%{byte:02X}" for byte in raw)


def _held(came: Came) -> str:
    """What the browser holds of a session, if it does."""
    with contextlib.suppress(CookieError):
        if (held := SimpleCookie(came.headers.get("cookie", "")).get(_cookie_name(came))) is not None:
            return held.value
    return ""


def _is_own(came: Came) -> bool:
    """Does a form of our own send this? Browsers say which page does, and what is no browser has nobody's
    session. `null` is a page that hides."""
    origin = came.headers.get("origin")
    if origin is None:
        return came.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return urlsplit(origin).netloc == came.headers.get("host")


def _page_of(query: str) -> str:
    return _safe(_field(query, "to"))


def _field(form: str, name: str) -> str:
    """The first of this name; "" where there is none, or more fields than any form of ours has."""
    try:
        return parse_qs(form, max_num_fields=10).get(name, [""])[0]
    except ValueError:
        return ""


def _safe(to: str) -> str:
    """A page of our own, whatever a link said."""
    # ASCII: a header holds no other.
    is_ours = (
        to.isascii()
        and (to == ROOT or to.startswith((f"{ROOT}/", f"{ROOT}?")))
        and to.isprintable()
        and "\\" not in to
    )
    return to if is_ours and to.partition("?")[0] not in (f"{ROOT}/login", f"{ROOT}/logout") else ROOT


def _cookie(came: Came, value: str, lives_s: int) -> str:
    secure = "; Secure" if came.headers.get("x-forwarded-proto") == "https" else ""
    return f"{_cookie_name(came)}={value}; Path={ROOT}; Max-Age={lives_s}; HttpOnly; SameSite=Lax{secure}"


def _cookie_name(came: Came) -> str:
    """Cookies know no ports, and a machine may have several brokers."""
    port = came.headers.get("host", "").rpartition(":")[2]
    return f"{_COOKIE}_{port}" if port.isascii() and port.isdecimal() else _COOKIE


def _redirect(to: str, more: Mapping[str, str] | None = None) -> Answer:
    return Answer(303, {**_HEADERS, "location": to, **(more or {})}, b"")


def _plain(status: int, said: str, again_s: int = 0) -> Answer:
    """`again_s`: in how many seconds it may be otherwise."""
    headers = {**_HEADERS, "content-type": "text/plain; charset=utf-8"}
    return Answer(
        status, {**headers, **({"retry-after": str(again_s)} if again_s else {})}, f"{said}\n".encode()
    )


def _static(name: str) -> Answer:
    kind = _STATIC.get(name)
    if kind is None:
        return _plain(404, "there is no such file")
    headers = {**_HEADERS, "content-type": kind, "cache-control": "no-cache"}
    return Answer(200, headers, _file(f"static/{name}"))


def _file(name: str) -> bytes:
    return (files("modelbroker.console") / name).read_bytes()
