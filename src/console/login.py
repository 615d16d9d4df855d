"""Who may look at the console: tokens, and the sessions that they begin. Nothing is kept of a session but
that it was ended: the browser holds it, signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import NamedTuple

import msgspec

_SALT = b"modelbroker: sessions of the console"
_MOST_KEYS = 1_000
_MOST_ENDED = 10_000  # sessions
_MINUTE_S = 60.0
_LATER_S = 60.0  # clocks of a fleet's brokers may differ by that


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """`users`: name → the tokens that are good now, the newest first. `why_not`: why there are no pages, for
    whoever asks for them; "": there are."""

    users: dict[str, tuple[str, ...]] = {}
    networks: tuple[str, ...] = ()
    session_s: int = 12 * 3600
    why_not: str = ""


NO_ACCESS = Access(why_not="nothing is served yet")


class Session(NamedTuple):
    """A login: whose, and when it began (unix time)."""

    user: str
    began_s: int


class Signer:
    """Sessions are signed with a key that follows from their token: so they are good at every broker of a
    fleet that knows it, over restarts, and end with it. From any thread."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}
        self._ended: dict[bytes, None] = {}  # signatures of sessions that were good, the oldest end first

    def user_of(self, access: Access, token: str) -> str | None:
        """Whose token it is."""
        return owner_of(access.users, token.encode())

    def begin(self, user: str, token: str, now_s: float) -> str:
        """What the browser is to hold."""
        # Two that begin in one second are two: the end of one is not the other's.
        said = msgspec.json.encode((user, int(now_s), secrets.token_urlsafe(9)))
        return f"{_text(said)}.{_text(self._sign(token, said))}"

    def read(self, access: Access, held: str, now_s: float) -> Session | None:
        """None: it is none of ours, is over, or its token is no longer good."""
        found = self._read(access, held, now_s)
        return found[0] if found is not None and found[1] not in self._ended else None

    def end(self, access: Access, held: str, now_s: float) -> None:
        """It is good no longer at this broker, until it starts again."""
        if (found := self._read(access, held, now_s)) is not None:
            if len(self._ended) >= _MOST_ENDED:
                self._ended.pop(next(iter(self._ended)), None)
            self._ended[found[1]] = None

    def _read(self, access: Access, held: str, now_s: float) -> tuple[Session, bytes] | None:
        """With its signature."""
        text, _, signature = held.partition(".")
        try:
            said, signed = _bytes(text), _bytes(signature)
            user, began_s, _ = msgspec.json.decode(said, type=tuple[str, int, str])
        except ValueError:
            return None
        if began_s.bit_length() > 53:  # no clock says that, and no float holds it
            return None
        if not -_LATER_S <= now_s - began_s <= access.session_s:
            return None
        tokens = access.users.get(user, ())
        if any(hmac.compare_digest(self._sign(token, said), signed) for token in tokens):
            return Session(user, began_s), signed
        return None

    def _sign(self, token: str, said: bytes) -> bytes:
        return hmac.digest(self._key(token), said, hashlib.sha256)

    def _key(self, token: str) -> bytes:
        """Slow to make: who has got hold of a session must not find out its token by trying."""
        key = self._keys.get(token)
        if key is None:
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            key = self._keys[token] = hashlib.scrypt(
                token.encode(), salt=_SALT, n=1 << 14, r=8, p=1, dklen=32
            )
        return key


def may_reach(peer: str, networks: Sequence[str]) -> bool:
    """Does the console answer this address?"""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or any(address in ipaddress.ip_network(one) for one in networks)


class Turn(NamedTuple):
    """Of a login: when it is checked, in seconds from now. `is_told`: are people told where it fails;
    `is_last`: of the next ones they are not."""

    wait_s: float
    is_told: bool
    is_last: bool


class Attempts:
    """Logins take turns where there are many of them: from one address, or from all. Nobody is kept out for
    others' failures, since a right token is checked as a wrong one is; but how many can be tried is bounded.
    From any thread."""

    MOST, MOST_OF_ALL = 10, 100  # within a minute, without any wait
    EVERY_S, EVERY_OF_ALL_S = 0.1, 0.01  # and then one so often
    LONGEST_S = 5.0  # who would wait longer is to come again
    _MOST_ADDRESSES = 1_000

    def __init__(self) -> None:
        self._all = _Line(self.MOST_OF_ALL, self.EVERY_OF_ALL_S)
        self._told = _Line(self.MOST_OF_ALL, 0.0)
        self._lines: dict[str, _Line] = {}
        self._lock = Lock()

    def turn(self, peer: str, now_s: float) -> Turn | None:
        """None: too many wait already."""
        with self._lock:
            address = _address(peer)
            line = self._lines.get(address) or _Line(self.MOST, self.EVERY_S)
            wait_s = max(line.wait_s(now_s), self._all.wait_s(now_s))
            if wait_s > self.LONGEST_S:
                return None
            if address not in self._lines and len(self._lines) >= self._MOST_ADDRESSES:
                self._lines.pop(next(iter(self._lines)))
            self._lines[address] = line
            is_told = not line.is_full(now_s) and not self._told.is_full(now_s)
            for one in (line, self._all, *((self._told,) if is_told else ())):
                one.take(now_s, now_s + wait_s)
            return Turn(wait_s, is_told, is_told and (line.is_full(now_s) or self._told.is_full(now_s)))


class _Line:
    """Of logins that take turns: `most` of the last minute without a wait, then one each `every_s`."""

    def __init__(self, most: int, every_s: float) -> None:
        self._every_s = every_s
        self._came_s: deque[float] = deque(maxlen=most)
        self._free_s = 0.0

    def is_full(self, now_s: float) -> bool:
        return len(self._came_s) == self._came_s.maxlen and now_s - self._came_s[0] < _MINUTE_S

    def wait_s(self, now_s: float) -> float:
        return max(self._free_s - now_s, 0.0) if self.is_full(now_s) else 0.0

    def take(self, now_s: float, at_s: float) -> None:
        self._came_s.append(now_s)
        self._free_s = max(self._free_s, at_s + self._every_s)


def _address(peer: str) -> str:
    """Whom a login is counted for: who has one address of IPv6 has the 2^64 beside it, and who is on this
    machine has all of its own."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return "" if address.is_loopback else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return "" if address.is_loopback else str(address)


def owner_of(users: Mapping[str, Sequence[str]], token: bytes) -> str | None:
    """Whose of their tokens it is. Takes as long for a wrong one as for a right one."""
    said, found = hashlib.sha256(token).digest(), None
    for user, tokens in users.items():
        for good in tokens:
            if hmac.compare_digest(hashlib.sha256(good.encode("utf-8", "surrogatepass")).digest(), said):
                found = user
    return found


def _text(said: bytes) -> str:
    return base64.urlsafe_b64encode(said).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
