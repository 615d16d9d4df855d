"""When certificates are good: two times of each, read out of PEM. Pure.

The core installs no library that reads certificates, and Python's own tells these times of authorities alone,
or of what it has verified by the clock of this moment. They stand at a place that X.509 fixes.
"""

from __future__ import annotations

import binascii
import calendar
import re
from typing import NamedTuple

_PEM = re.compile(
    r"-----BEGIN (?P<kind>(?:X509 |TRUSTED )?CERTIFICATE)-----(?P<text>.*?)-----END (?P=kind)-----", re.DOTALL
)
_TIME = re.compile(
    r"([0-9]{4})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9])Z"
)
_DAY_S = 86_400
_SOON_S = 14 * _DAY_S
# Tags of DER. Source: X.690, 8.
_INTEGER, _SEQUENCE, _VERSION = 0x02, 0x30, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


class Validity(NamedTuple):
    """From when until when a certificate is good, in unix time."""

    since_s: int
    until_s: int


def validities(pem: str) -> tuple[Validity, ...]:
    """Of each certificate in the text, in its order. ValueError, in words for people, where one is none."""
    found = []
    for number, match in enumerate(_PEM.finditer(pem), 1):
        try:
            found.append(_validity(binascii.a2b_base64("".join(match["text"].split()), strict_mode=True)))
        except (ValueError, IndexError):
            raise ValueError(f"the {ordinal(number)} certificate in it can't be read") from None
    return tuple(found)


def ends_soon(validity: Validity, now_s: float) -> bool:
    """Within 14 days; of one that lives less than 8 weeks, in the last quarter of its life: what is renewed
    each day would be about to end all the time."""
    since_s, until_s = validity
    return until_s - now_s < min(_SOON_S, (until_s - since_s) / 4)


def ordinal(number: int) -> str:
    """1 → `1st`."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def _validity(der: bytes) -> Validity:
    """Certificate → tbsCertificate → version (may be left out), serialNumber, signature, issuer, validity.
    Source: RFC 5280, 4.1."""
    certificate, _ = _element(der, 0, _SEQUENCE)
    inner, _ = _element(der, certificate, _SEQUENCE)
    at = inner
    if der[at] == _VERSION:
        _, at = _element(der, at, _VERSION)
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):
        _, at = _element(der, at, tag)
    since, _ = _element(der, at, _SEQUENCE)
    since_s, until = _time(der, since)
    until_s, _ = _time(der, until)
    return Validity(since_s, until_s)


def _element(der: bytes, at: int, *tags: int) -> tuple[int, int]:
    """(where the content begins, where it ends) of what has to have one of these tags."""
    if der[at] not in tags:
        raise ValueError(f"there is something else at byte {at}")
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin], "big")
    if begin + length > len(der):
        raise ValueError("it ends too early")
    return begin, begin + length


def _time(der: bytes, at: int) -> tuple[int, int]:
    """(unix time, where what follows begins). Source: RFC 5280, 4.1.2.5."""
    begin, end = _element(der, at, _UTC_TIME, _GENERALIZED_TIME)
    text = der[begin:end].decode("ascii")
    if der[at] == _UTC_TIME:
        text = f"{'19' if text[:2] >= '50' else '20'}{text}"
    if not (parts := _TIME.fullmatch(text)):
        raise ValueError("it has no such time")
    return calendar.timegm(tuple(map(int, parts.groups()))), end
