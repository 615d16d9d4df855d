"""Who may look at the console: tokens, and the sessions that they begin. Nothing is kept of a session but
that it was ended: the browser holds it, signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

_SALT = b"modelbroker: sessions of the console"
_MOST_KEYS = 1_000
_MOST_ENDED = 10_000  # sessions
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
