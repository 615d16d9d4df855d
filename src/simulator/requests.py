"""What a request is: its surface, model, wish to stream, text, tools - read from the raw bytes once."""

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

from . import reading_bedrock, reading_gemini, reading_messages, reading_openai
from .reading import Reader, Tool, size_tokens, text_size
from .reading_gemini import get
from .routes import Platform, Route, route
from .script import Dialect, Surface

Shape = Literal["openai", "azure", "anthropic", "aws", "google"]

_READERS: dict[str, Reader] = {
    "openai-chat": reading_openai.CHAT,
    "openai-responses": reading_openai.RESPONSES,
    "openai-count-tokens": reading_openai.RESPONSES,
    "bedrock-converse": reading_bedrock.READER,
    "gemini": reading_gemini.READER,
    "gemini-count-tokens": reading_gemini.READER,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request as received; `headers` are lower-cased names, `data` the JSON body or None."""

    method: str
    path: str  # without the query
    query: str
    headers: Mapping[str, str]
    body: bytes
    route: Route
    data: Any

    @property
    def surface(self) -> Surface | None:
        """What is asked for; None for what there is none of here."""
        return self.route.surface

    @property
    def platform(self) -> Platform:
        """Whose house serves the surface: the maker's own, or another's."""
        return self.route.platform

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON body's members; empty when it is no object."""
        return cast(dict[str, Any], self.data) if isinstance(self.data, dict) else {}

    @property
    def model(self) -> str | None:
        """The model asked for, by path or body."""
        model = self.route.model or self.fields.get("model")
        return model if isinstance(model, str) else None

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for, by path or body."""
        return self.fields.get("stream") is True if self.route.stream is None else self.route.stream

    @property
    def anthropic(self) -> bool:
        """Whether bodies are Anthropic's."""
        return self.shape == "anthropic" or self.surface in ("anthropic-messages", "anthropic-count-tokens")

    @property
    def shape(self) -> Shape:
        """Whose errors the answers are."""
        if self.platform == "bedrock":
            return "aws"
        if self.surface in ("anthropic-messages", "anthropic-count-tokens"):
            return "anthropic"
        if self.platform == "vertex" or (self.surface or "").startswith("gemini"):
            return "google"
        if self.platform == "azure":
            return "azure"
        return self._guess() if self.surface in (None, "models") else "openai"

    def _guess(self) -> Shape:
        if "anthropic-version" in self.headers:
            return "anthropic"
        if "x-goog-api-key" in self.headers or self.path.startswith("/v1beta"):
            return "google"
        return "aws" if self.path.startswith("/model/") else "openai"

    @property
    def reader(self) -> Reader:
        """How to read the body."""
        return _READERS.get(self.surface or "", reading_messages.READER)


def read_call(
    method: str, target: str, headers: Mapping[str, str], body: bytes, dialect: Dialect | None
) -> Call:
    """The call in a request; a surface `dialect` does not speak counts as unknown."""
    path, _, query = target.partition("?")
    data = read_json(body)
    return Call(method, path, query, headers, body, route(method, path, query, headers, data, dialect), data)


def read_json(body: bytes) -> Any:
    """The JSON value in `body`; None when there is none."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    # The fast decoder refuses some JSON that providers accept, such as lone surrogates.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def input_tokens(call: Call) -> int:
    """The tokens of a prompt: four bytes of its text a token, rounded up; at least 1.

    Text is what people and models said, and what tools were given and answered; tool definitions and images
    count nothing. An embeddings input of token numbers counts them.
    """
    size = sum(text_size(text) for text in call.reader.texts(call.fields))
    numbers = 0
    given = call.fields.get("input")
    if isinstance(given, list):
        numbers = sum(len(i) if isinstance(i, list) else isinstance(i, int) for i in given)
    return max(1, size_tokens(size) + numbers)


def last_user_text(call: Call) -> str:
    """The text of the last user turn (tool results too); empty when there is none."""
    return call.reader.last_user_text(call.fields)


def offered_tools(call: Call) -> list[Tool]:
    """The function tools a request offers, in order; the provider's own tools are left out."""
    return call.reader.offered_tools(call.fields)


def forced_tool(call: Call, tools: list[Tool]) -> Tool | None:
    """The tool that the model is forced to call; None when the model is free."""
    if not tools:
        return None
    forced = call.reader.forced_tool(call.fields)
    if forced is True:
        return tools[0]
    return next((tool for tool in tools if tool.name == forced), None) if forced else None


def wanted_schema(call: Call) -> tuple[bool, Any]:
    """Whether the answer must be JSON, and its schema (None when any object will do)."""
    return call.reader.wanted_schema(call.fields)


def token_limit(call: Call) -> int | None:
    """The most output tokens the request allows, None when it does not say."""
    for value in call.reader.token_limits(call.fields):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


_MAX_CHOICES = 8


def choices(call: Call) -> int:
    """How many answers the request wants; 1 where the surface has no word for it."""
    wanted = call.fields.get("n")
    if call.surface == "gemini":
        wanted = get(call.fields, "generationConfig", "candidateCount")
    return min(max(wanted, 1), _MAX_CHOICES) if isinstance(wanted, int) else 1


def wanted_logprobs(call: Call) -> int | None:
    """How many of the likeliest tokens are wanted at each place, 0 for the chosen ones alone; None: none."""
    fields = call.fields
    if call.surface == "gemini":
        wanted = get(fields, "generationConfig", "responseLogprobs") is True
        top = get(fields, "generationConfig", "logprobs")
    elif call.surface == "openai-responses":
        include = fields.get("include")
        wanted = isinstance(include, list) and "message.output_text.logprobs" in include
        top = fields.get("top_logprobs")
    else:
        wanted, top = fields.get("logprobs") is True, fields.get("top_logprobs")
    return (top if isinstance(top, int) else 0) if wanted else None


def embedding_inputs(call: Call) -> list[Any]:
    """The inputs to embed: texts, or lists of token numbers."""
    given = call.fields.get("input")
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return given
    return [given]


def pack_floats(values: list[float]) -> str:
    """Base64 of little-endian 32-bit floats: an embedding of encoding_format base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
