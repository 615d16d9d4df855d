"""Where things stand in a request body, so that the rest of it stays byte for byte as it came."""

from __future__ import annotations

import re

import msgspec

from ..core.errors import BadRequest

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_MODEL = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*(' + _STRING + rb")?")
_TOKENS = re.compile(_STRING + rb"|[{}\[\],:]")
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/=_-]{2048,}")
_BYTES_PER_TOKEN = 4


def model_span(body: bytes, model: str) -> tuple[int, int]:
    """Where the string value of the top-level `model` stands: (first byte, byte behind), with its quotes.

    `model` is what a JSON decoder read. A body that names `model` twice is refused: two readers of it
    could take different ones, and policy would judge one and the provider bill the other.
    """
    if b"\\u006" not in body:  # no key can spell m, o, d, e or l by an escape
        candidates = list(_MODEL.finditer(body))
        if len(candidates) == 1 and _decodes_to(candidates[0].group(1) or b"", model):
            return candidates[0].span(1)
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


def estimate_tokens(body: bytes) -> int:
    """Tokens of context, by bytes: a quarter of the body, long base64 runs (images, files) left out."""
    size = len(body)
    if b"base64" in body or b'"data"' in body or b"file_data" in body:
        size -= sum(run.end() - run.start() for run in _BASE64_RUN.finditer(body))
    return -(-size // _BYTES_PER_TOKEN)
