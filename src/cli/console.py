"""The control plane's side of the console: the process that renders its pages is there while somebody looks,
and ended when nobody has for a while."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import logging
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import Popen
from urllib.parse import quote

import msgspec

from ..console.login import NO_ACCESS, Access, Signer
from ..console.reports import USER_HEADER, Settings
from ..core.catalog import Catalog
from ..core.console import LEAST_TOKEN, Console
from ..secrets.box import SecretBox, secret_place
from .children import ChildKeeper, log_level
from .console_door import ADDRESS_FILE, TOKEN_FILE, TOKEN_USER, Door, Rendered, Told, Unrendered, state_token
from .ledger import settings_of as ledger_settings
from .secrets import Resolved, good_values

log = logging.getLogger("modelbroker.console")

MISSING = "the console needs jinja2: pip install 'modelbroker[console]'"
_PATIENCE_S = 60.0
_IDLE_S = 900.0
_LOOK_S = 30.0
_ENDS_WITHIN_S = 5.0


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
    users: dict[str, tuple[str, ...]] = {}
    warnings: list[str] = []
    for number, user in enumerate(console.users):
        place = f"console.users[{number}].token"
        tokens, why = good_values(user.token, environ, box)
        if why:
            warnings.append(f"{place}: {why}; {user.name} can't log in")
        elif short := [token for token in tokens if len(token) < LEAST_TOKEN]:
            told = f"{secret_place(user.token)} holds {len(short[0])} characters of at least {LEAST_TOKEN}"
            warnings.append(f"{place}: {told}; {user.name} can't log in with it")
        users[user.name] = tuple(token for token in tokens if len(token) >= LEAST_TOKEN)
    return Access(users=users, networks=console.networks, session_s=console.session_s), tuple(warnings)


class ConsoleKeeper(ChildKeeper[Settings]):
    """`configured` says what holds from now on, `render` gives a page, and starts the process where there is
    none. The socket between the two is this one's, so that a question waits for a process that begins."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("the console", log, _ENDS_WITHIN_S)
        self._state_dir, self._signer = state_dir, Signer()
        self._access = NO_ACCESS
        self._settings: Settings | None = None
        self._admin = ""
        self._running: Settings | None = None  # what the child was given
        self._asked_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._folder: Path | None = None
        self._socket: socket.socket | None = None

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
            token = state_token(self._state_dir)
        except (OSError, ValueError) as error:
            why = f"its token can't be kept in {self._state_dir / TOKEN_FILE}: {error}"
            return msgspec.structs.replace(access, why_not=why)
        return msgspec.structs.replace(access, users={TOKEN_USER: (token,)})

    def reached_at(self, admin: str) -> None:
        """`host:port` where the admin port listens."""
        host, _, port = admin.rpartition(":")
        here = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104
        self._admin = f"{here}:{port}"
        with contextlib.suppress(OSError):  # then `modelbroker console` has to be told
            (self._state_dir / ADDRESS_FILE).write_text(f"http://{self._admin}\n", encoding="ascii")
        if self._settings is not None:
            self._set(msgspec.structs.replace(self._settings, admin=self._admin))

    def _set(self, settings: Settings | None) -> None:
        if settings != self._settings:
            self._settings = settings
            self._changed.set()

    # -- from any thread

    def render(self, target: str, user: str) -> Rendered:
        """The page at `target`, a path behind `/console` with its query. Unrendered."""
        loop, path = self._loop, self._path()
        if loop is None or path is None or self._settings is None:
            raise Unrendered("the console is not there yet, or no more")
        self._asked_s = time.monotonic()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._changed.set)
        connection = _UnixConnection(path)
        try:
            connection.request("GET", target, headers={USER_HEADER: quote(user)})
            answer = connection.getresponse()
            told = answer.getheader("content-type") or "text/html"
            return Rendered(answer.status, told, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise Unrendered(f"the console's process gave no page: {error or type(error).__name__}") from None
        finally:
            connection.close()

    def _path(self) -> str | None:
        return str(self._folder / "console.sock") if self._folder is not None else None

    # -- the process

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._folder = Path(tempfile.mkdtemp(prefix="modelbroker-"))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self._path()))
        self._socket.listen(128)
        try:
            await asyncio.gather(super().run(), self._look())
        finally:
            self._loop = None
            self._socket.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _look(self) -> None:
        """Ends it where nobody has looked for a while."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._child is not None and not self._is_looked_at():
                self._changed.set()

    def _is_looked_at(self) -> bool:
        return bool(self._asked_s) and time.monotonic() - self._asked_s < _IDLE_S

    def _wanted(self) -> Settings | None:
        return self._settings if self._is_looked_at() else None

    def _is_outdated(self) -> bool:
        return self._wanted() != self._running

    def _words(self, wanted: Settings) -> Sequence[str]:
        return "-m", "modelbroker.console.serve", log_level()

    def _descriptors(self, wanted: Settings) -> Sequence[int]:
        return (self._socket.fileno(),) if self._socket is not None else ()

    async def _begun(self, child: Popen[bytes], wanted: Settings) -> None:
        self._running = wanted
        if child.stdin is not None:  # not in the command line, which anybody may read
            told = msgspec.structs.replace(wanted, socket_fd=self._descriptors(wanted)[0])
            child.stdin.write(msgspec.json.encode(told) + b"\n")

    def _hear(self, line: bytes) -> None:
        raise ValueError("it has nothing to say")

    def _lost(self) -> None:
        self._running = None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("console", timeout=_PATIENCE_S)
        self._unix = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._unix)
