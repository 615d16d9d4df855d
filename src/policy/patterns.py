"""What in a text is nobody's to keep: where e-mail addresses, phone and card numbers, IBANs and keys are.

A text may hold JSON as text, which may hold JSON again (arguments of tools): escapes are read, layer by
layer, and what is found behind them is told by its place in the text itself. Every pattern takes a
time that grows with the text, and not faster.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

_MOST_LAYERS = 5


class Hit(NamedTuple):
    """`text[start:end]` is what the pattern `name` is about."""

    start: int
    end: int
    name: str


Finder = Callable[[str], Iterator[tuple[int, int]]]

# -- e-mail: from each sign to both sides

_AT = re.compile(r"(?:@|%40|&#64;|&#x40;)(?=[^\W_](?:[\w-]*\.)+[^\W\d_])", re.IGNORECASE)
_DOMAIN = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_LOCAL = frozenset("!#$&'*+-./=?^_~%")
_MOST_LOCAL = 256


def _emails(text: str) -> Iterator[tuple[int, int]]:
    for at in _AT.finditer(text):
        start = at.start()
        least = max(0, start - _MOST_LOCAL)
        while start > least and (text[start - 1].isalnum() or text[start - 1] in _LOCAL):
            start -= 1
        domain = _DOMAIN.match(text, at.end())
        if start < at.start() and domain is not None:
            yield start, domain.end()


# -- numbers

_GAP = r"[ \u00a0\u202f.()/\u2010-\u2015-]"
_PHONE = re.compile(
    rf"(?<![\w+.])(?:\+|00)[1-9](?:{_GAP}{{0,3}}[0-9]){{6,14}}(?![0-9])"
    rf"|(?<![\w.])\(?[2-9][0-9]{{2}}\)?[ \u00a0.-]{{1,2}}[2-9][0-9]{{2}}[ \u00a0.-][0-9]{{4}}(?![\w-])"
    rf"|(?<![\w.])\(?0[1-9][0-9]{{1,4}}\)?[ \u00a0/-]{{1,3}}[0-9](?:[ \u00a0/-]?[0-9]){{4,9}}(?![\w-])"
)


# Texts without these have no such thing: this is quickly seen, and most texts are such.
_SOME_DIGITS = re.compile(rf"[0-9](?:{_GAP}{{0,3}}[0-9]){{6}}")


def _phones(text: str) -> Iterator[tuple[int, int]]:
    if _SOME_DIGITS.search(text) is None:
        return iter(())
    return (found.span() for found in _PHONE.finditer(text))


_DIGITS = re.compile(r"[0-9](?:[ \u00a0-]?[0-9]){12,}")
_GROUP = re.compile(r"[0-9]+")
_FRACTION = re.compile(r"[0-9]\.")  # in front of the digits of a fraction
# Source: ISO/IEC 7812, and the lengths that issuers use: by the first digit.
_CARD_SIZES = {
    "1": (15,),
    "2": (15, 16),
    "3": (14, 15, 16, 17, 18, 19),
    "4": (13, 16, 19),
    **dict.fromkeys("568", (16, 17, 18, 19)),
}
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def _is_luhn(digits: str) -> bool:
    values = [int(digit) for digit in reversed(digits)]
    return (sum(values[::2]) + sum([_DOUBLED[value] for value in values[1::2]])) % 10 == 0


def _cards(text: str) -> Iterator[tuple[int, int]]:
    """Other numbers may stand right before and behind: any row of whole groups may be one."""
    for run in _DIGITS.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
        if len(groups) == 1 and _FRACTION.match(text, max(0, run.start() - 2), run.start()):
            continue
        digits = "".join([text[start:end] for start, end in groups])
        count, ends = 0, {}  # digits up to the end of a group → where that is
        for start, end in groups:
            count += end - start
            ends[count] = end
        first = 0
        for start, end in groups:
            for size in _CARD_SIZES.get(text[start], ()):
                behind = ends.get(first + size)
                if behind is not None and _is_luhn(digits[first : first + size]):
                    yield start, behind
            first += end - start


# Source: the SWIFT IBAN registry, release 99: country → length.
_IBAN_SIZES = {
    country: size
    for size, countries in {
        15: "NO",
        16: "BE",
        18: "DK FO FI GL NL SD FK",
        19: "MK SI",
        20: "AT BA EE KZ XK LT LU MN",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ \u00a0-]?[A-Za-z0-9])")
_IBAN_SIGN = re.compile(r"[ \u00a0-]?([A-Za-z0-9])")


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for start in _IBAN_START.finditer(text):
        signs, end = start.group(), start.end()
        size = _IBAN_SIZES.get(signs[:2].upper(), 0)
        while len(signs) < size and (sign := _IBAN_SIGN.match(text, end)):
            signs, end = signs + sign[1], sign.end()
        # Letters of both sizes are those of an id.
        if len(signs) == size and (signs.isupper() or signs.islower()):
            turned = "".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])
            if int(turned) % 97 == 1:
                yield start.start(), end


# -- keys

# By how they begin. Sources: the providers' own documents; GitHub's list of secret scanning patterns.
_KEY = re.compile(
    r"sk-(?:ant|proj|svcacct|admin|or|lf|None)-[\w-]{8,}"  # Anthropic, OpenAI, OpenRouter
    r"|(?<![A-Za-z0-9])sk-(?=[\w-]{0,64}[0-9])[\w-]{16,}"  # OpenAI, DeepSeek and others
    r"|(?<![A-Za-z0-9])(?:csk|xai|pplx|nvapi|tgp_v1|esecret|bedrock-api-key|rpa|dapi)-[\w+/=-]{16,}"
    r"|(?<![A-Za-z0-9])(?:gsk|fw|hf|r8|jina|glpat|npm|shpat|tgp_v1|dop_v1|lsv2_pt)[_-][A-Za-z0-9_-]{16,}"
    r"|(?<![A-Za-z0-9])(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{16,}"
    r"|(?<![A-Za-z0-9])[spr]k_(?:live|test)_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9+/=]{16,}"  # Stripe
    r"|xox[a-z]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"  # Slack
    r"|AIza[\w-]{30,}|ya29\.[\w-]{16,}|GOCSPX-[\w-]{16,}"  # Google
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])|ABSK[A-Za-z0-9+/=]{32,}"  # AWS
    r"|(?<![A-Za-z0-9])SG\.[\w-]{16,}\.[\w-]{16,}"  # SendGrid
    r"|(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?"  # JSON Web Tokens
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
)
_NAME_OF_ONE = (
    r"(?:api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|client[_-]?secret|access[_-]?key|private[_-]?key"
    r"|account[_-]?key|passwd|password|passphrase|pwd|auth[_-]?token|access[_-]?token|refresh[_-]?token"
    r"|session[_-]?token|x-api-key|subscription-key)"
)
_NAMED = re.compile(
    rf"{_NAME_OF_ONE}[\"'`]?\s{{0,8}}(?::|=>?)\s{{0,8}}[\"'`]?([^\s\"'`,;&<>(){{}}\[\]]{{6,}})", re.I
)
_IN_URL = re.compile(r"://[^\s:/@\"']{0,256}:([^\s/@\"']{3,256})@")
_IS_SECRET = re.compile(rf"(?:\w+[_-])?{_NAME_OF_ONE}", re.I)
_LEAST_SECRET = 6


# A part of each of those names, and of what is sent with them.
_TELLING = ("key", "secret", "pass", "pwd", "token")
# How keys begin: one of these is in each.
_BEGINNINGS = (
    *(
        "sk-",
        "sk_",
        "pk_",
        "rk_",
        "csk-",
        "xai-",
        "pplx-",
        "nvapi-",
        "tgp_v1",
        "esecret-",
        "bedrock-api-key-",
    ),
    *("rpa-", "dapi-", "gsk", "fw", "hf", "r8", "jina", "glpat", "npm", "shpat", "dop_v1", "lsv2_pt", "gh"),
    *("github_pat_", "whsec_", "xox", "xapp-", "AIza", "ya29.", "GOCSPX-", "AKIA", "ASIA", "ABIA", "ACCA"),
    *("ABSK", "SG.", "eyJ", "-----BEGIN "),
)


def _keys(text: str) -> Iterator[tuple[int, int]]:
    if any(beginning in text for beginning in _BEGINNINGS):
        yield from (found.span() for found in _KEY.finditer(text))
    lower = text.lower()
    if any(word in lower for word in _TELLING):
        yield from (found.span(1) for found in _NAMED.finditer(text))
    if "://" in text:
        yield from (found.span(1) for found in _IN_URL.finditer(text))


def is_secret(name: str, value: str) -> bool:
    """Does a field of this name hold a password or a key?"""
    return len(value) >= _LEAST_SECRET and _IS_SECRET.fullmatch(name) is not None


_BEARER = re.compile(
    r"\bbearer[ \t]{1,8}([\w.~+/=-]{8,})|\bauthorization[\"']?\s{0,8}[:=]\s{0,8}[\"']?(?:\w+\s{1,8})?"
    r"([\w.~+/=:-]{8,})",
    re.IGNORECASE,
)


def _bearers(text: str) -> Iterator[tuple[int, int]]:
    lower = text.lower()
    if "bearer" not in lower and "authorization" not in lower:
        return iter(())
    return (found.span(found.lastindex or 0) for found in _BEARER.finditer(text))


FINDERS: Mapping[str, Finder] = {
    "email": _emails,
    "phone": _phones,
    "card": _cards,
    "iban": _ibans,
    "keys": _keys,
    "bearer": _bearers,
}


def custom(expression: str) -> Finder:
    """`expression` is one that `re` takes. What it finds empty is nothing."""
    compiled = re.compile(expression)
    return lambda text: (span for found in compiled.finditer(text) if (span := found.span())[0] < span[1])


# -- texts within texts

_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_PLAIN = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class _Layer:
    """A text with one layer of JSON's escapes read; `place` is where a sign of it was before."""

    def __init__(self, text: str) -> None:
        pieces: list[str] = []
        self._starts, self._before = [0], [0]
        last = size = 0
        for escape in _ESCAPE.finditer(text):
            pieces.append(text[last : escape.start()])
            size += escape.start() - last
            read = chr(int(escape[1], 16)) if escape[1] else _PLAIN.get(escape[2], escape[2])
            pieces.append(read)
            self._starts += [size, size + 1]
            self._before += [escape.start(), escape.end()]
            size, last = size + 1, escape.end()
        self.is_other = last > 0
        pieces.append(text[last:])
        self.text = "".join(pieces)

    def start(self, place: int) -> int:
        """Where the sign at `place` begins."""
        index = bisect_right(self._starts, place) - 1
        return self._before[index] + place - self._starts[index]

    def end(self, place: int) -> int:
        """Where the sign before `place` ends."""
        index = bisect_right(self._starts, place - 1) - 1
        if index % 2:  # within an escape
            return self._before[index + 1]
        return self._before[index] + place - self._starts[index]


_VALUE_END = re.compile(r"[,}\]\n]")


DROPPED = "drop"  # the name of what they find


def fields_named(names: Sequence[str], mask: str) -> Finder:
    """Values of such fields of objects in a text, without the quotes of those that are texts. What breaks off
    counts to its end, what is no JSON to where it may end. `mask` stands in their place already."""
    field = re.compile(rf'"(?:{"|".join([re.escape(name) for name in names])})"\s{{0,8}}:\s{{0,8}}')
    masked, value_at = f"[{mask}]", json.JSONDecoder(strict=False).raw_decode

    def find(text: str) -> Iterator[tuple[int, int]]:
        last = 0
        for found in field.finditer(text):
            start = found.end()
            if start < last or text.startswith(masked, start) or start == len(text):
                continue
            is_text = text[start] == '"'
            try:
                last = value_at(text, start)[1]
            except (ValueError, RecursionError) as error:
                last = _broken_at(text, start, error)
                yield start + is_text, last
            else:
                yield start + is_text, last - is_text

    return find


_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}"]', re.DOTALL)
_CLOSES = {"}": "{", "]": "["}


def _broken_at(text: str, start: int, error: Exception) -> int:
    """Where a value ends that is not as it should be. An object or a list does where its brackets say, or not
    at all: what stands behind the mistake is part of it."""
    if not isinstance(error, json.JSONDecodeError) or error.msg.startswith("Unterminated"):
        return len(text)
    if text[start] in "{[":
        return _closed_at(text, start)
    end = _VALUE_END.search(text, error.pos)
    return end.start() if end is not None else len(text)


def _closed_at(text: str, start: int) -> int:
    opened: list[str] = []
    for found in _BRACKET.finditer(text, start):
        sign = found.group()
        if sign == '"':  # of a text that does not end
            break
        if sign in ("{", "["):
            opened.append(sign)
        elif sign in _CLOSES and opened[-1] == _CLOSES[sign]:
            opened.pop()
            if not opened:
                return found.end()
    return len(text)


def hits(text: str, finders: Mapping[str, Finder]) -> list[Hit]:
    """In their order, those that touch made one; the first one's name counts."""
    found: list[Hit] = []
    layers: list[_Layer] = []
    inner = text
    while True:
        # Where one more layer is read, it can't be told any more where values that are dropped end.
        dropped = joined([hit for hit in found if hit.name == DROPPED])
        starts = [hit.start for hit in dropped]
        for name, finder in finders.items():
            for start, end in finder(inner):
                for layer in reversed(layers):
                    start, end = layer.start(start), layer.end(end)
                if name == DROPPED and (place := bisect_right(starts, start)):
                    known = dropped[place - 1]
                    if start == known.start or start < known.end:
                        continue
                found.append(Hit(start, end, name))
        if "\\" not in inner or len(layers) == _MOST_LAYERS:
            break
        layer = _Layer(inner)
        if not layer.is_other:
            break
        layers.append(layer)
        inner = layer.text
    return joined(found)


def joined(found: Sequence[Hit]) -> list[Hit]:
    """Without overlaps, in their order."""
    result: list[Hit] = []
    for hit in sorted(found, key=lambda one: (one.start, -one.end)):
        if result and hit.start < result[-1].end:
            last = result[-1]
            result[-1] = Hit(last.start, max(last.end, hit.end), last.name)
        else:
            result.append(hit)
    return result
