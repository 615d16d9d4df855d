"""What a provider's reply says of its limits: headers → waits and limits. Pure; times are unix seconds.

Sources: RFC 9110 (`retry-after`); OpenAI's, Azure's and Groq's guides to rate limits (`x-ratelimit-*`, resets
as "6m0s" or in seconds); Anthropic's (`anthropic-ratelimit-*`, resets in RFC 3339); Cerebras'
(`x-ratelimit-*-requests-day`, `…-tokens-minute`, seconds with a fraction);
DigitalOcean's (`…-tokens-per-minute`, `…-tokens-per-day`, unix time); OpenRouter's "Limits" (on its own 429
alone: `x-ratelimit-limit`, `…-remaining`, `…-reset`, met as unix time in milliseconds);
draft-ietf-httpapi-ratelimit-headers-11 (`ratelimit: "name";r=LEFT;t=SECONDS`, each quota in
`ratelimit-policy: "name";q=QUOTA`).
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from email.utils import mktime_tz, parsedate_tz
from typing import NamedTuple

import msgspec

# No member is left out for longer than this by one word of its provider's: limits of a day are asked again.
MOST_WAIT_S = 3_600.0
# Who asks for less, again and again, is not spared by that.
LEAST_WORD_S = 1.0
# Below this part of a limit a member is eased off.
EASED_BELOW = 0.1
# A limit whose reset is not told counts this long.
UNTOLD_RESET_S = 10.0
_LONGEST_TEXT = 64

_WAITS = ("retry-after", "retry-after-ms")
_KINDS = {
    "x-ratelimit-{}-{}": (
        "requests",
        "tokens",
        "requests-day",
        "tokens-minute",
        "tokens-per-minute",
        "tokens-per-day",
    ),
    "x-ratelimit-{}": ("requests",),
    "anthropic-ratelimit-{1}-{0}": ("requests", "tokens", "input-tokens", "output-tokens"),
}
_FIELDS = ("limit", "remaining", "reset")
_NAMED, _NAMELESS, _ANTHROPIC = (
    tuple(shape.format(field, kind) for kind in kinds for field in _FIELDS) for shape, kinds in _KINDS.items()
)
_OPENAI = (*_NAMED, *_NAMELESS)
_DRAFT, _DRAFT_POLICY = "ratelimit", "ratelimit-policy"
_OF_DIALECT = {
    "openai-chat": _OPENAI,
    "openai-responses": _OPENAI,
    "openai-embeddings": _OPENAI,
    "anthropic-messages": _ANTHROPIC,
}
# (limit's name, the headers of _FIELDS) of all.
_TRIPLES = tuple(
    (kind, *(shape.format(field, kind) for field in _FIELDS))
    for shape, kinds in _KINDS.items()
    for kind in kinds
)


class Limit(msgspec.Struct, frozen=True):
    """How much of a limit is left (0 to 1), by a word that counts until `until_s`."""

    name: str
    left: float
    until_s: float


class Wait(msgspec.Struct, frozen=True):
    """`capped`: the provider asked for more than MOST_WAIT_S."""

    until_s: float
    capped: bool = False


def limit_headers(dialects: Iterable[str]) -> tuple[str, ...]:
    """Names of the reply headers in which providers of these dialects speak of limits and waits."""
    names = [
        *_WAITS,
        _DRAFT,
        _DRAFT_POLICY,
        *(name for dialect in dialects for name in _OF_DIALECT.get(dialect, ())),
    ]
    return tuple(dict.fromkeys(names))


def used_up_headers(dialects: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(what is left, when that ends) of each limit, as providers of these dialects name them."""
    names = frozenset(limit_headers(dialects))
    return tuple((left, reset) for _, _, left, reset in _TRIPLES if left in names)


def wait_of(headers: Mapping[str, str], at_s: float, *, is_rate_limit: bool) -> Wait | None:
    """How long a failed reply of `at_s` asks to be left alone; None where it says nothing that counts.
    `is_rate_limit`: without a plain word, the reset of a limit that is used up is one."""
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return _wait(at_s, at_s + milliseconds / 1000)
    if text := headers.get("retry-after", ""):
        seconds = _number(text)
        until_s = at_s + seconds if seconds is not None else _http_date(text)
        if until_s is not None:
            return _wait(at_s, until_s)
    if not is_rate_limit:
        return None
    resets = [
        until_s
        for _, _, left_header, reset_header in _TRIPLES
        if _number(headers.get(left_header, "")) == 0
        and (until_s := _reset(headers.get(reset_header, ""), at_s)) is not None
    ]
    resets += [at_s + item.seconds for item in _service_limits(headers) if item.left == 0 and item.seconds]
    return _wait(at_s, max(resets)) if resets else None


def says_when(headers: Mapping[str, str], at_s: float, *, is_rate_limit: bool) -> bool:
    """Does a failed reply say for how long the member wants no calls, and is that all that it takes?
    Words of less than LEAST_WORD_S are too short for that."""
    wait = wait_of(headers, at_s, is_rate_limit=is_rate_limit)
    return wait is not None and wait.until_s - at_s >= LEAST_WORD_S


def _wait(at_s: float, until_s: float) -> Wait | None:
    if until_s <= at_s:
        return None
    most_s = at_s + MOST_WAIT_S
    return Wait(min(until_s, most_s), until_s > most_s)


def limits_of(
    headers: Mapping[str, str], at_s: float, below: float = EASED_BELOW
) -> tuple[Limit, ...] | None:
    """The limits that a reply of `at_s` tells in full, those alone of which less than `below` is left;
    None where it tells of none. (Every reply is asked, and nearly all have plenty left.)"""
    is_told, near = False, []
    for name, limit_header, left_header, reset_header in _TRIPLES:
        if (text := headers.get(left_header)) is None:
            continue
        remaining, limit = _number(text), _number(headers.get(limit_header, ""))
        if not limit or remaining is None:
            continue
        is_told = True
        if (left := remaining / limit) < below:
            until_s = _reset(headers.get(reset_header, ""), at_s)
            until_s = at_s + UNTOLD_RESET_S if until_s is None else min(until_s, at_s + MOST_WAIT_S)
            near.append(Limit(name, left, until_s))
    for item in _service_limits(headers):
        if not item.quota:
            continue
        is_told = True
        if (left := item.left / item.quota) < below:
            seconds = UNTOLD_RESET_S if item.seconds is None else min(item.seconds, MOST_WAIT_S)
            near.append(Limit(item.name, left, at_s + seconds))
    return tuple(near) if is_told else None


class _ServiceLimit(NamedTuple):
    """Of the draft. `seconds`: within which no more than `left` may be used; `quota` 0: not told."""

    name: str
    left: int
    seconds: int | None
    quota: int


# Structured fields (RFC 9651): a list of strings with parameters. What is malformed is ignored as a whole.
_ITEM = r'"[ -!#-\[\]-~]{1,64}"(?: *; *[a-z*][a-z0-9_.*-]*(?:=(?:"[ -!#-\[\]-~]*"|[A-Za-z0-9:?*+/=._-]+))?)*'
_ITEMS = re.compile(rf"{_ITEM}(?:[ \t]*,[ \t]*{_ITEM})*")
_EACH_ITEM = re.compile(_ITEM)
_PARAMETER = re.compile(r"; *(r|t|q|qu)=([0-9]{1,15}|\"[a-z-]*\")(?= *(?:;|$))")
_LONGEST_FIELD = 1024


def _service_limits(headers: Mapping[str, str]) -> list[_ServiceLimit]:
    if (said := headers.get(_DRAFT)) is None:  # nearly always
        return []
    policies = dict(_items(headers.get(_DRAFT_POLICY, "")))
    told = []
    for name, parameters in _items(said):
        policy = policies.get(name, {})
        left, seconds, quota = parameters.get("r", ""), parameters.get("t", ""), policy.get("q", "")
        if left.isdecimal() and policy.get("qu") != '"concurrent-requests"':  # those end when they end
            told.append(
                _ServiceLimit(
                    name,
                    int(left),
                    int(seconds) if seconds.isdecimal() else None,
                    int(quota) if quota.isdecimal() else 0,
                )
            )
    return told


def _items(text: str) -> list[tuple[str, dict[str, str]]]:
    """(name, those of its parameters that say something to us) of each item."""
    text = text.strip(" ")
    if len(text) > _LONGEST_FIELD or not _ITEMS.fullmatch(text):
        return []
    items = []
    for item in _EACH_ITEM.findall(text):
        name, _, parameters = item[1:].partition('"')
        items.append((name, dict(_PARAMETER.findall(parameters))))
    return items


_MOST_DIGITS = 16
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")
_SPANS = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,15})?(?:ms|us|µs|ns|s|m|h|d))+")
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|s|m|h|d)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A number of seconds above this is a point in time: one above the second, in milliseconds.
_EPOCH_S, _EPOCH_MS = 1e9, 1e12


def _number(text: str) -> float | None:
    """A plain number of 0 or more."""
    if text.isascii() and text.isdecimal() and len(text) < _MOST_DIGITS:  # nearly always
        return int(text)
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _reset(text: str, at_s: float) -> float | None:
    """When: "1s", "6m0s", "20ms", seconds, RFC 3339 or unix time. None where it is nothing of these."""
    text = text.strip()
    if len(text) > _LONGEST_TEXT:
        return None
    if (number := _number(text)) is not None:
        if number < _EPOCH_S:
            return at_s + number
        return number / 1000 if number >= _EPOCH_MS else number
    if _SPANS.fullmatch(text):
        return at_s + sum(float(count) * _UNITS_S[unit] for count, unit in _SPAN.findall(text))
    return _rfc3339(text)


def _http_date(text: str) -> float | None:
    """Unix time of a date as HTTP has it; None where it is none."""
    parsed = parsedate_tz(text) if len(text) <= _LONGEST_TEXT else None
    if parsed is None or parsed[9] is None:  # without its offset nobody knows when it is
        return None
    try:
        return float(mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None


_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def _rfc3339(text: str) -> float | None:
    """Unix time; None where it is none."""
    if (match := _RFC3339.fullmatch(text)) is None:
        return None
    try:
        whole_s = calendar.timegm(tuple(int(part) for part in match.groups()[:6]))
    except (ValueError, OverflowError):
        return None
    sign, hours, minutes = match[8], match[9], match[10]
    offset_s = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1) if sign else 0
    return whole_s + float(match[7] or 0) - offset_s
