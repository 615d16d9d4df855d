"""Where things stand in a request body, so that the rest of it stays byte for byte as it came.

Bodies are large and calls are many: each function here goes through the body as seldom as it can.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from ..core.errors import BadRequest
from .base import decode_request

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_KEY = b'"model"'
_STRING_MODEL = re.compile(_KEY + rb"[ \t\r\n]*:[ \t\r\n]*(" + _STRING + rb")")
_TOKENS = re.compile(_STRING + rb"|[{}\[\],:]")
_HEAD_BYTES = 512
# Up to this size it takes longer to look how a body is best read than to read it.
_SMALL = 8192
_FIRST_BYTES = 2048
_GUESSES = 3
# Stands in for a body's model while it is parsed. A body that contained it could deceive, so nobody outside
# this process can know it; nothing that is read depends on it.
_SENTINEL = secrets.token_hex(16)
_SENTINEL_STRING = b'"' + _SENTINEL.encode() + b'"'

_BYTES_PER_TOKEN = 4
_LONG_RUN = 2048
_STRIDE = 32
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"
_MARKS = bytes(ord("x") if byte in _BASE64 else ord(" ") for byte in range(256))
_RUN = b"x" * _LONG_RUN
# A run of _LONG_RUN bytes has so many of the bytes whose place is a multiple of _STRIDE.
_SAMPLED_RUN = b"x" * (_LONG_RUN // _STRIDE)


class SeenModel:
    """A value of a top-level `model`, and the how-manieth such value it was in this process."""

    __slots__ = ("serial", "value")

    def __init__(self, serial: int, value: str | None) -> None:
        self.serial = serial
        self.value = value


class Routed(msgspec.Struct):
    """What every request has. A dialect adds the fields that it reads, raw."""

    model: SeenModel = SeenModel(-1, None)


Request = TypeVar("Request", bound=Routed)

_serials = itertools.count()
_decode_string = msgspec.json.Decoder(str).decode
_JSON_NAMES: dict[type, str] = {dict: "object", list: "array"}


def _see_model(kind: type[Any], value: Any) -> SeenModel:
    """msgspec calls this for each top-level `model`, however its key is spelled, and keeps the last."""
    if value is not None and not isinstance(value, str):
        name = _JSON_NAMES.get(type(value), type(value).__name__)
        raise ValueError(f"Expected `str | null`, got `{name}`")
    return SeenModel(next(_serials), value)


def decoder_of(fields: type[Request]) -> msgspec.json.Decoder[Request]:
    return msgspec.json.Decoder(fields, dec_hook=_see_model)


def read_routed(decoder: msgspec.json.Decoder[Request], body: bytes) -> tuple[Request, str, tuple[int, int]]:
    """(the fields, the model, where its string stands: first byte and the one behind, with its quotes).

    A body that names `model` twice is refused: two readers of it could take different ones, and policy
    would judge one and the provider bill the other.
    """
    for span in _likely_spans(body):
        if (found := _proven(decoder, body, span)) is not None:
            return (*found, span)
    request = decode_request(decoder, body)
    model = request.model.value
    if not model:
        raise BadRequest(
            400,
            "invalid_request",
            "model: is missing; name a pool, e.g. one of GET /v1/models",
            param="model",
        )
    return request, model, model_span(body)


def _likely_spans(body: bytes) -> Iterator[tuple[int, int]]:
    """String values of something called `model`: one at the beginning, then the last ones."""
    if (at := body.find(_KEY, 0, _HEAD_BYTES)) >= 0 and (match := _STRING_MODEL.match(body, at)):
        yield match.span(1)
    at = len(body)
    for _ in range(_GUESSES):
        if (at := body.rfind(_KEY, 0, at)) < 0:
            return
        if match := _STRING_MODEL.match(body, at):
            yield match.span(1)


def _proven(
    decoder: msgspec.json.Decoder[Request], body: bytes, span: tuple[int, int]
) -> tuple[Request, str] | None:
    """The fields and the model if the string at `span` is the one `model` of the body; None: perhaps not.

    The body is parsed with a sentinel in the string's place. Up to there it is the same to the parser,
    so if the sentinel comes out as the top-level model, this is where the model stands; and if the
    decoder met only one value of `model` meanwhile, there is no other, before or behind.
    """
    first, behind = span
    try:
        model = _decode_string(body[first:behind])
        before = next(_serials)
        view = memoryview(body)
        request = decoder.decode(b"".join((view[:first], _SENTINEL_STRING, view[behind:])))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # Another thread that reads meanwhile makes the serial larger, and this answer None: slower, not wrong.
    seen = request.model
    return (request, model) if model and seen.value == _SENTINEL and seen.serial == before + 1 else None


def model_span(body: bytes) -> tuple[int, int]:
    """Where the value of `model` stands in a body that is JSON: slow, and right for all of them."""
    keys, spans = _top_level_values(body, "model")
    if keys != 1 or len(spans) != 1:
        raise BadRequest(
            400, "invalid_request", "model: is given more than once; give it once", param="model"
        )
    return spans[0]


def _decodes_to(raw: bytes, text: str) -> bool:
    try:
        return bool(msgspec.json.decode(raw) == text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _top_level_values(body: bytes, key: str) -> tuple[int, list[tuple[int, int]]]:
    """How often the top-level object has `key`, and the spans of those of its values that are strings."""
    spans: list[tuple[int, int]] = []
    depth = keys = 0
    expects_key = is_wanted = False
    for token in _TOKENS.finditer(body):
        first = body[token.start()]
        if first in b"{[":
            depth += 1
            expects_key = depth == 1
            is_wanted = False
        elif first in b"}]":
            depth -= 1
        elif depth != 1:
            continue
        elif first in b",":
            expects_key, is_wanted = True, False
        elif first in b":":
            expects_key = False
        elif expects_key:
            is_wanted = _decodes_to(token.group(), key)
            keys += is_wanted
        elif is_wanted:
            spans.append(token.span())
    return keys, spans


# Which of two ways to read a large body is the quicker: both have to give the same.


def first_is_text(body: bytes, key: bytes) -> bool:
    """A guess, of large bodies: is the first value of `key` (with its quotes) a string?"""
    if len(body) < _SMALL or (at := body.find(key, 0, _FIRST_BYTES)) < 0:
        return False
    return _value_begins(body, at + len(key), b'"')


def last_is_array(body: bytes, key: bytes) -> bool:
    """A guess, of large bodies: is the last value of `key` (with its quotes) an array?"""
    if len(body) < _SMALL or (at := body.rfind(key)) < 0:
        return False
    return _value_begins(body, at + len(key), b"[")


def _value_begins(body: bytes, at: int, with_: bytes) -> bool:
    return body[at : at + 8].lstrip(b": \t\r\n").startswith(with_)


def holds(body: bytes, *words: bytes) -> bool:
    """Is one of `words` in the body? From its end: CPython skips ahead only in that direction."""
    for word in words:  # noqa: SIM110 - any() of a generator costs a small body more than the search
        if body.rfind(word) >= 0:
            return True
    return False


def estimate_tokens(body: bytes) -> int:
    """Tokens of context, by bytes: a quarter of the body, long base64 runs (images, files) left out."""
    return -(-(len(body) - _base64_bytes(body)) // _BYTES_PER_TOKEN)


def _base64_bytes(body: bytes) -> int:
    """Bytes in runs of at least _LONG_RUN, if the body says that it has such things."""
    if len(body) < _LONG_RUN:
        return 0
    # One byte in _STRIDE shows where runs can be; only there is it worth looking at each byte.
    places = list(_runs(body[::_STRIDE].translate(_MARKS), _SAMPLED_RUN))
    if not places or not holds(body, b"base64", b'"data"', b"file_data"):
        return 0
    size = 0
    for first, behind in places:
        marks = body[max(0, (first - 1) * _STRIDE) : behind * _STRIDE].translate(_MARKS)
        size += sum(end - start for start, end in _runs(marks, _RUN))
    return size


def _runs(marks: bytes, shortest: bytes) -> Iterator[tuple[int, int]]:
    """The runs of x in `marks` that are at least as long as `shortest`. Linear, whatever the marks are
    like; a regular expression would try each byte of each shorter run as a beginning."""
    start = marks.find(shortest)
    while start >= 0:
        end = marks.find(b" ", start)
        end = end if end >= 0 else len(marks)
        yield start, end
        start = marks.find(shortest, end)
