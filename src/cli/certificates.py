"""The certificates that the listener shows and trusts: what is wrong with them, and which end soon.

Envoy reads the same files, and serves what has expired as it does any other: it is clients that refuse it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..core.catalog import Listen
from ..core.certificates import Validity, ends_soon, ordinal, validities

log = logging.getLogger("modelbroker.certificates")

_CERT, _KEY, _CLIENT_CA = "listen.tls.cert_file", "listen.tls.key_file", "listen.tls.client_ca_file"
# In the log no later than that: /status says it at once.
_LOOK_S = 60
# OpenSSL's words for a key of another certificate; the last one is for a key of another kind.
_OTHER_KEY = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


@dataclass(frozen=True, slots=True)
class Held:
    """What a file of the listener's held when it was read. `why`: it was not there (`is_away`), or it holds
    no certificates."""

    field: str
    file: str
    validities: tuple[Validity, ...] = ()
    why: str = ""
    is_away: bool = False


class Trouble(NamedTuple):
    """`is_fatal`: clients are kept out. `is_away`: it may be there for Envoy all the same."""

    field: str
    said: str
    is_fatal: bool
    is_away: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.said}"


def held_by(listen: Listen) -> tuple[Held, ...]:
    """What the listener's files hold now."""
    files = {_CERT: listen.tls_cert_file, _CLIENT_CA: listen.client_ca_file}
    return tuple([_read(field, file) for field, file in files.items() if file])


def _read(field: str, file: str) -> Held:
    try:
        found = validities(Path(file).read_bytes().decode("latin-1"))
    except OSError as error:
        return Held(field, file, why=f"{file} can't be read ({error.strerror})", is_away=True)
    except ValueError as error:
        return Held(field, file, why=f"{file}: {error}; give certificates in PEM")
    return Held(field, file, found, "" if found else f"{file} holds no certificate; give one in PEM")


def troubles(all_held: Iterable[Held], now_s: float) -> list[Trouble]:
    """What is wrong now, or will be soon."""
    found: list[Trouble] = []
    for held in all_held:
        if held.why:
            found.append(Trouble(held.field, held.why, True, held.is_away))
        found += _authorities(held, now_s) if held.field == _CLIENT_CA else _chain(held, now_s)
    return found


def _chain(held: Held, now_s: float) -> Iterator[Trouble]:
    """Without the first certificate there is no way in; what follows it may have another way around it."""
    for number, validity in enumerate(held.validities, 1):
        if said := _when(held, number, validity, now_s):
            out = "Envoy serves it all the same, and clients refuse it"
            if number > 1:
                out += " that have no other way to their authority"
            yield _trouble(held, said, out, is_fatal=number == 1, is_good=_is_good(validity, now_s))


def _authorities(held: Held, now_s: float) -> Iterator[Trouble]:
    """An old one beside a new one is what it looks like while they are exchanged."""
    none_is_good = not any(_is_good(each, now_s) for each in held.validities)
    for number, validity in enumerate(held.validities, 1):
        if said := _when(held, number, validity, now_s):
            out = "clients that it has signed are refused"
            yield _trouble(held, said, out, is_fatal=none_is_good, is_good=_is_good(validity, now_s))


def _trouble(held: Held, said: str, out: str, *, is_fatal: bool, is_good: bool) -> Trouble:
    if is_good:
        return Trouble(held.field, f"{said}; renew it", False)
    return Trouble(held.field, f"{said}: {out}; give one that is good now", is_fatal)


def _is_good(validity: Validity, now_s: float) -> bool:
    return validity.since_s <= now_s <= validity.until_s


def _when(held: Held, number: int, validity: Validity, now_s: float) -> str:
    """Nothing where it is good for long. The same words each day: the log is told what is new in them."""
    which = f"the {ordinal(number)} certificate" if len(held.validities) > 1 else "the certificate"
    if now_s > validity.until_s:
        said = f"expired on {_date(validity.until_s)}"
    elif now_s < validity.since_s:
        said = f"is not good before {_date(validity.since_s)}"
    elif ends_soon(validity, now_s):
        said = f"ends soon, on {_date(validity.until_s)}"
    else:
        return ""
    return f"{which} in {held.file} {said}"


def _date(time_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time_s))


def key_troubles(listen: Listen, certificate: Held) -> Iterator[Trouble]:
    """Whether the key is there, and is that of the certificate, where that one can be read."""
    file = listen.tls_key_file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # which keys are long enough is Envoy's to say
    try:
        Path(file).read_bytes()
        if certificate.why:
            return
        # A key that wants a password is refused: the library would ask for it at a terminal.
        context.load_cert_chain(listen.tls_cert_file, file, password="")
    except ssl.SSLError as error:
        yield _not_taken(context, listen, error)
    except OSError as error:
        yield Trouble(_KEY, f"{file} can't be read ({error.strerror})", True, is_away=True)


def _not_taken(context: ssl.SSLContext, listen: Listen, error: ssl.SSLError) -> Trouble:
    cert, key = listen.tls_cert_file, listen.tls_key_file
    if error.reason in _OTHER_KEY:
        wrong = f"the key in {key} is not that of the certificate in {cert}"
        return Trouble(_KEY, f"{wrong}; give the one that it was made for", True)
    try:
        context.load_verify_locations(cert)
    except ssl.SSLError:
        # Its times stand where they should, and it is broken elsewhere.
        return Trouble(_CERT, f"{cert}: a certificate in it can't be read; give certificates in PEM", True)
    right = "give the certificate's own in PEM, without a password"
    return Trouble(_KEY, f"{key} holds no key that can be read; {right}", True)


def served_warnings(all_held: Iterable[Held], now_s: float) -> list[str]:
    """For a broker that runs. What it can't read is Envoy's to tell: it may be there for Envoy alone."""
    return [str(each) for each in troubles([held for held in all_held if not held.why], now_s)]


class CertificateWatch:
    """Tells the log, once, what is wrong or will be soon: time goes on while nobody edits anything."""

    def __init__(self) -> None:
        self._held: Sequence[Held] = ()
        self._said: list[str] = []

    def configured(self, all_held: Sequence[Held], now_s: float) -> None:
        self._held = all_held
        self.look(now_s)

    def look(self, now_s: float) -> None:
        before, self._said = self._said, served_warnings(self._held, now_s)
        for said in self._said:
            if said not in before:
                log.warning("%s", said)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look(time.time())
