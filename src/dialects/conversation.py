"""The canonical conversation: what a request says, whatever dialect it came in.

A field is here when two dialects carry it. Values are frozen and hold no wire names; a dialect's decoder
makes them, another dialect's encoder reads them. Nothing here knows any dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Schema = Mapping[str, Any]  # a JSON schema as it was decoded; never changed in place


class Cached(msgspec.Struct, frozen=True):
    """A prompt-cache hint: the prompt up to the end of what carries it is worth keeping. `ttl`: `5m`, `1h`,
    or "" where the client leaves it to the provider."""

    ttl: str = ""


class Blob(msgspec.Struct, frozen=True):
    """Bytes that only their issuer can read: a reasoning signature, encrypted reasoning, a thought signature.

    `issuer` is the provider's name in the configuration; "" where the client got it straight from a provider
    of its own dialect. `kind` is the dialect and field that it came in (`anthropic-messages.signature`), so
    that it goes back to the same place. `data` is what the provider sent, character by character.
    """

    issuer: str
    kind: str
    data: str


class Url(msgspec.Struct, frozen=True):
    url: str


class Inline(msgspec.Struct, frozen=True):
    """`data` is base64, as it stood on the wire."""

    media_type: str
    data: str


class PlainText(msgspec.Struct, frozen=True):
    text: str


Source = Url | Inline | PlainText


class UrlCitation(msgspec.Struct, frozen=True):
    """Where a text (or its characters `start` up to `end`, in Unicode code points) comes from."""

    url: str
    title: str = ""
    start: int | None = None
    end: int | None = None
    quote: str = ""


class DocumentCitation(msgspec.Struct, frozen=True):
    """A piece of a document that the request carried. `unit` says what `first` and `behind` count from 0."""

    document: int
    title: str
    quote: str
    unit: Literal["char", "page", "block"]
    first: int
    behind: int


Citation = UrlCitation | DocumentCitation


class Text(msgspec.Struct, frozen=True):
    text: str
    cached: Cached | None = None
    citations: tuple[Citation, ...] = ()
    blob: Blob | None = None  # Gemini's thought signature may stand at a text


class Image(msgspec.Struct, frozen=True):
    source: Source
    detail: str = ""  # OpenAI's: low, high, auto …
    cached: Cached | None = None


class Document(msgspec.Struct, frozen=True):
    source: Source
    name: str = ""  # file name or title
    context: str = ""
    cite: bool = False  # the model is to cite it
    cached: Cached | None = None


class Audio(msgspec.Struct, frozen=True):
    """`format`: wav, mp3 … `data` is base64."""

    format: str
    data: str


class Reasoning(msgspec.Struct, frozen=True):
    """A model's reasoning. `text` is what a person may read of it ("" where all is hidden); `hidden`: the
    provider shows nothing of it (redacted or encrypted only); `id` is the provider's id of the item."""

    text: str = ""
    blob: Blob | None = None
    hidden: bool = False
    id: str = ""
    summary: bool = False  # `text` is a summary


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments` is JSON text as the model wrote it: usually an object, "" for none."""

    id: str
    name: str
    arguments: str
    blob: Blob | None = None
    cached: Cached | None = None
    custom: bool = False  # a free-text tool: `arguments` is no JSON


class ToolResult(msgspec.Struct, frozen=True):
    """The answer to the call `call_id`. `parts`: Text, Image, Document."""

    call_id: str
    parts: tuple[Part, ...]
    is_error: bool = False
    cached: Cached | None = None


class Refusal(msgspec.Struct, frozen=True):
    """The model's own words of refusal, where a dialect keeps them apart from text."""

    text: str


Part = Text | Image | Document | Audio | Reasoning | ToolCall | ToolResult | Refusal


class Message(msgspec.Struct, frozen=True):
    """`role`: tool results stand in a user's message. `system` is here only behind the first user message;
    what stands in front is `Chat.system`."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]
    name: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A function that the client runs. `schema` of its arguments; None: it takes none."""

    name: str
    description: str = ""
    schema: Schema | None = None
    strict: bool | None = None
    cached: Cached | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`mode` `only`: it has to call one of `names`; with other modes `names` bounds what may be called."""

    mode: Literal["auto", "none", "required", "only"]
    names: tuple[str, ...] = ()


class OutputSchema(msgspec.Struct, frozen=True):
    """Structured output. `schema` None: any JSON object."""

    name: str = ""
    schema: Schema | None = None
    strict: bool | None = None
    description: str = ""


class Effort(msgspec.Struct, frozen=True):
    """How much the model is to reason. `enabled` False: not at all. `level` is none, minimal, low, medium,
    high, xhigh or max; `budget_tokens` where the client counts; `show`: the client wants to read it
    (None: it does not say)."""

    enabled: bool = True
    level: str = ""
    budget_tokens: int | None = None
    adaptive: bool = False
    show: bool | None = None


class Chat(msgspec.Struct, frozen=True):
    """One request. None: the client does not say."""

    model: str
    messages: tuple[Message, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    choices: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    output: OutputSchema | None = None
    effort: Effort | None = None
    verbosity: str = ""
    service_tier: str = ""
    user: str = ""
    metadata: Mapping[str, str] = {}
    cache_key: str = ""
    cached: Cached | None = None  # for the whole prompt
    stream: bool = False
    include_usage: bool = True  # in a stream: the client takes usage
    # Knobs of the client's dialect that have no place above, by the client's own names: they are dropped.
    dropped: tuple[str, ...] = ()
    # Where the client's dialect has two words for one thing: field → the one it used, if not the usual one.
    said_as: Mapping[str, str] = {}
    # What the client's own dialect wants to say again in its reply; no other dialect reads it.
    echo: Mapping[str, Any] = {}


class Embed(msgspec.Struct, frozen=True):
    """A request for embeddings. `base64`: the client takes vectors as base64 of little-endian float32."""

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    base64: bool = False
    user: str = ""
    dropped: tuple[str, ...] = ()


class Upstream(msgspec.Struct, frozen=True):
    """The member that a request is encoded for, as its listener knows it."""

    provider: str  # its name in the configuration: whose blobs it can read
    dialect: str
    model: str  # the provider's own name for it
    variant: str = ""  # where the dialect is spoken otherwise: `vertex`, `bedrock`, `azure`
    base_path: str = ""
    project: str = ""
    region: str = ""
    api_version: str = ""
    # How the provider differs from the dialect's owner, e.g. {"max_tokens_field": "max_tokens"}; the names
    # are in docs/deviations.md, and settings has checked them.
    deviations: Mapping[str, Any] = {}
    max_output_tokens: int | None = None  # the most that the model can write, where it is known
    reasons: bool | None = None  # can the model be asked to reason? None: not known


class Encoded(msgspec.Struct, frozen=True):
    """A request in a provider's dialect. `path` stands behind the provider's base path and may hold a query.
    `dropped` are knobs that this provider does not have, by their names in `Chat`."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
