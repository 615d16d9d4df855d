"""The control plane's side of the console: the process that renders its pages is there while somebody looks,
and ended when nobody has for a while."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from threading import Lock
from typing import Any
from urllib.parse import quote

import msgspec

from ..console.handover import Handover
from ..console.login import NO_ACCESS, Access, Signer
from ..console.reports import BEAT, BEAT_EVERY_S, USER_HEADER, Settings
from ..core.catalog import Catalog
from ..core.console import Console
from ..journal.reports import IDLE, OFF, RENDERING, WAITING
from ..secrets.box import SecretBox
from .children import ChildKeeper, log_level
from .commanders import tokens_of
from .console_door import ADDRESS_FILE, TOKEN_FILE, TOKEN_USER, Door, Rendered, Told, Unrendered
from .ledger import settings_of as ledger_settings
from .secrets import Resolved
from .state_tokens import state_token

log = logging.getLogger("modelbroker.console")

MISSING = "the console needs jinja2: pip install 'modelbroker[console]'"
_PATIENCE_S = 60.0
_IDLE_S = 900.0
_LOOK_S = 30.0
_ENDS_WITHIN_S = 5.0
_SILENT_S = 15.0  # one that says nothing for so long hangs


def access_of(
    console: Console, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[Access, tuple[str, ...]]:
    """(who may look, warnings). Without `users` it names nobody: the keeper knows the token of the state
    folder."""
    if not console.enabled:
        return Access(why_not="the configuration says `console: {enabled: false}`"), ()
    if importlib.util.find_spec("jinja2") is None:
        # Nobody asked for it where nothing is said of it: then whoever looks is told.
        return Access(why_not=MISSING), ((f"console: {MISSING}",) if console.users else ())
    users, warnings = tokens_of("console", console.users, environ, box, "can't log in")
    return Access(users=users, networks=console.networks, session_s=console.session_s), warnings


class ConsoleKeeper(ChildKeeper[Settings]):
    """`configured` says what holds from now on, `render` gives a page, and starts the process where there is
    none. What is handed over to it is kept here, so that a question waits for a process that begins."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("the console", log, _ENDS_WITHIN_S)
        self._state_dir, self._signer = state_dir, Signer()
        self._access = NO_ACCESS
        self._settings: Settings | None = None
        self._admin = ""
        self._running: Settings | None = None  # what the child was given
        self._asked_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handover: Handover | None = None
        self._opening = Lock()
        self._heard_s = 0.0  # when the child last said that it is there
        self._is_here = False  # it has said so
        self._answered_s = 0.0
        self._is_hung = False

    def door(self, told: Told) -> Door:
        return Door(self._signer, self._access_now, self.render, told)

    def configured(self, catalog: Catalog, resolved: Resolved, access: Access) -> None:
        self._access = access
        self._access_now()  # the token is there for whoever looks for it
        ledger, why = ledger_settings(catalog.ledger, resolved, self._state_dir), resolved.ledger_why
        made = Settings(
            folder=str(self._state_dir.absolute()),
            admin=self._admin,
            ledger=ledger.url if ledger is not None else "",
            ledger_why=f"the ledger's URL: {why}" if why else "",
        )
        self._set(made if catalog.console.enabled else None)

    def _access_now(self) -> Access:
        """With the token of the state folder, where nobody has one of his own. It is read each time: whoever
        removes it ends its sessions, and there is a new one."""
        access = self._access
        if access.users or access.why_not:
            return access
        try:
            token = state_token(self._state_dir / TOKEN_FILE)
        except (OSError, ValueError) as error:
            why = f"its token can't be kept in {self._state_dir / TOKEN_FILE}: {error}"
            return msgspec.structs.replace(access, why_not=why)
        return msgspec.structs.replace(access, users={TOKEN_USER: (token,)})

    def reached_at(self, admin: str) -> None:
        """`host:port` where the admin port listens."""
        host, _, port = admin.rpartition(":")
        here = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
        self._admin = f"{here}:{port}"
        with contextlib.suppress(OSError):  # then `modelbroker console` has to be told
            (self._state_dir / ADDRESS_FILE).write_text(f"http://{self._admin}\n", encoding="ascii")
        if self._settings is not None:
            self._set(msgspec.structs.replace(self._settings, admin=self._admin))

    def status(self) -> dict[str, Any]:
        """As `/status` has it. `state`: `off`, `idle` (nobody looks), `rendering`, or `waiting` for what
        `error` says."""
        if self._settings is None or self._access.why_not:
            return {"state": OFF, "error": None}
        if why := self._access_now().why_not or self._why_lost:
            return {"state": WAITING, "error": why}
        return {"state": IDLE if self._child is None else RENDERING, "error": None}

    def _set(self, settings: Settings | None) -> None:
        if settings != self._settings:
            self._settings = settings
            self._changed.set()
        if settings is None and self._handover is not None:
            self._handover.drop()

    # -- from any thread

    def render(self, target: str, user: str) -> Rendered:
        """The page at `target`, a path behind `/console` with its query, as a URL spells them. Unrendered."""
        loop = self._loop
        if loop is None or self._settings is None:
            raise Unrendered("the console is not there yet, or no more")
        self._asked_s = asked_s = time.monotonic()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._changed.set)
        connection = http.client.HTTPConnection("console", timeout=_PATIENCE_S)
        try:
            connection.sock = self._given().connect()
            connection.sock.settimeout(_PATIENCE_S)
            connection.request("GET", target, headers={USER_HEADER: quote(user)})
            answer = connection.getresponse()
            told = answer.getheader("content-type") or "text/html"
            page = Rendered(answer.status, told, answer.read())
        except TimeoutError:
            self._late(asked_s)
            raise Unrendered(f"the console's process gave no page in {_PATIENCE_S:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            why = self._why_lost or f"gave no page: {error or type(error).__name__}"
            raise Unrendered(f"the console's process {why}") from None
        finally:
            connection.close()
        self._answered_s = time.monotonic()
        return page

    def _given(self) -> Handover:
        """OSError."""
        with self._opening:
            if self._handover is None:
                self._handover = Handover()
            return self._handover

    def _late(self, asked_s: float) -> None:
        """A page was not there in time. A process that has given no other one meanwhile hangs."""
        if self._child is not None and self._answered_s < asked_s and not self._is_hung:
            log.error("the console gives no page any more: its process is ended")
            self._is_hung = True
            if (loop := self._loop) is not None:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._changed.set)

    # -- the process

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.gather(super().run(), self._look())
        finally:
            self._loop = None
            with self._opening:
                if self._handover is not None:
                    self._handover.close()
                    self._handover = None

    async def _look(self) -> None:
        """Ends it where nobody has looked for a while."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self._is_looked_at():
                self._why_lost = ""  # nobody wants to know any more
                if self._child is not None:
                    self._changed.set()

    def _is_looked_at(self) -> bool:
        return bool(self._asked_s) and time.monotonic() - self._asked_s < _IDLE_S

    def _wanted(self) -> Settings | None:
        return self._settings if self._is_looked_at() else None

    def _is_outdated(self) -> bool:
        return self._is_hung or self._wanted() != self._running

    def _is_stuck(self) -> bool:
        # One that begins may take long for that, on a machine that has much to do.
        return time.monotonic() - self._heard_s > (_SILENT_S if self._is_here else _PATIENCE_S)

    def _look_s(self) -> float:
        return BEAT_EVERY_S

    def _words(self, wanted: Settings) -> Sequence[str]:
        return "-m", "modelbroker.console.serve", log_level()

    def _descriptors(self, wanted: Settings) -> Sequence[int]:
        return (self._given().there.fileno(),)

    async def _begun(self, child: Popen[bytes], wanted: Settings) -> None:
        self._running, self._heard_s = wanted, time.monotonic()
        self._is_here = self._is_hung = False
        if child.stdin is not None:  # not in the command line, which anybody may read
            told = msgspec.structs.replace(wanted, socket_fd=self._descriptors(wanted)[0])
            child.stdin.write(msgspec.json.encode(told) + b"\n")

    def _hear(self, line: bytes) -> None:
        if line != BEAT:
            raise ValueError(line)
        self._heard_s, self._is_here, self._why_lost = time.monotonic(), True, ""

    def _lost(self) -> None:
        self._running = None
        if not self._is_here and self._handover is not None:
            self._handover.drop()  # it may be long until one begins: who waits is told why
        self._is_here = False
