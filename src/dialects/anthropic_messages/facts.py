"""Facts of a request for routing, read without translating it.

Bodies are large and calls are many: types of blocks are read in one pass that skips all else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ...core.errors import BadRequest
from .. import openai
from ..base import ABSENT, RequestFacts, decode_json
from ..blobs import MARK, id_and_owner
from ..body import Routed, decoder_of, estimate_tokens, holds, read_routed
from . import blocks
from .content_in import Within, content_text
from .owned import WITH_FILES, files_renamed
from .requests_in import own_field, tool_own_field
from .wire import OWN_BLOCKS


class _Block(msgspec.Struct, gc=False):
    """Of a block as much as tells where a call can go."""

    type: str = ""
    source: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    citations: msgspec.Raw = ABSENT
    signature: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    caller: msgspec.Raw = ABSENT
    toolset_name: msgspec.Raw = ABSENT
    file_id: msgspec.Raw = ABSENT


class _Message(msgspec.Struct, gc=False):
    content: str | list[_Block] = ""


class _Fields(Routed):
    system: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    thinking: msgspec.Raw = ABSENT
    output_config: msgspec.Raw = ABSENT
    output_format: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    # What only this dialect can serve.
    billing_policy: msgspec.Raw = ABSENT
    compaction: msgspec.Raw = ABSENT
    container: msgspec.Raw = ABSENT
    diagnostics: msgspec.Raw = ABSENT
    context_management: msgspec.Raw = ABSENT
    inference_geo: msgspec.Raw = ABSENT
    mcp_servers: msgspec.Raw = ABSENT
    thread: msgspec.Raw = ABSENT
    user_profile_id: msgspec.Raw = ABSENT
    workspace_id: msgspec.Raw = ABSENT


class _Request(_Fields):
    messages: list[_Message] | None = None


class _OddRequest(_Fields):
    """One whose messages are no messages: it is routed all the same, and the provider says what is wrong."""

    messages: msgspec.Raw = ABSENT


_OWN = (
    "billing_policy",
    "compaction",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "thread",
    "user_profile_id",
    "workspace_id",
)


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None
    defer_loading: msgspec.Raw = ABSENT
    allowed_callers: msgspec.Raw = ABSENT


class _Id(msgspec.Struct):
    id: str | None = None
    file_id: str | None = None
    previous_message_id: str | None = None


_decoder = decoder_of(_Request)
_odd_decoder = decoder_of(_OddRequest)
_blocks = msgspec.json.Decoder(list[_Block])
_tools = msgspec.json.Decoder(list[_Tool])
_id: msgspec.json.Decoder[str | _Id | None] = msgspec.json.Decoder(str | _Id | None)
_document = msgspec.json.Decoder(blocks.ContentSource)

_TAG = b'"' + MARK.encode()
_HEAD_BYTES = 500
_CALLS = frozenset(("tool_use", "tool_result"))
_NO_THINKING = (b'"disabled"', b'"between_tools"')
_ID_FIELDS = frozenset(("container", "thread", "user_profile_id", "workspace_id"))
# Tools at Anthropic whose replies hold ids of a container.
_IN_CONTAINERS = ("code_execution", "web_search_2026", "web_fetch_2026")
# Tools that run at Anthropic. The client runs the others that it defines (bash, text_editor, computer,
# memory), and the hosts of its models have the search for tools as well.
_HOSTED = ("web_search", "web_fetch", "code_execution", "advisor", "mcp_toolset")


class _Seen:
    """What the blocks of a request tell."""

    def __init__(self) -> None:
        self.images = self.documents = self.image_urls = self.document_urls = self.marked = False
        self.own = ""
        self.ids: list[tuple[str, str]] = []

    def messages(self, messages: list[_Message]) -> None:
        for number, message in enumerate(messages):
            if type(message.content) is list:
                self._blocks(message.content, number)

    def odd_messages(self, raw: msgspec.Raw) -> None:
        kinds = set(openai.part_types(decode_json(raw)))
        self.images, self.documents = "image" in kinds, "document" in kinds

    def _blocks(self, found: list[_Block], message: int, result: int | None = None) -> None:
        """The blocks of a message, or those of the tool result that is its block number `result`."""
        for number, block in enumerate(found):
            kind = block.type
            if kind == "text":
                if block.citations is not ABSENT and _TAG in bytes(block.citations):
                    self.marked = True
                continue
            if kind == "tool_result" and _begins(block.content, b"["):
                self._results(block.content, message, number)
            if kind not in _CALLS or not (block.caller is ABSENT and block.toolset_name is ABSENT):
                at = f"messages[{message}].content[{number if result is None else result}]"
                self._other(block, at if result is None else f"{at}.content[{number}]")

    def _results(self, raw: msgspec.Raw, message: int, result: int) -> None:
        try:
            inner = _blocks.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self._blocks(inner, message, result)

    def _other(self, block: _Block, at: str) -> None:
        match block.type:
            case "tool_use" | "tool_result":
                if b'"direct"' not in bytes(block.caller):
                    self._note(f"{at}.caller", block.caller)
                self._note(f"{at}.toolset_name", block.toolset_name)
            case "thinking":
                self.marked = self.marked or _begins(block.signature, _TAG)
            case "redacted_thinking":
                self.marked = self.marked or _begins(block.data, _TAG)
            case "image":
                self.images = True
                self.image_urls = self.image_urls or b'"url"' in _head(block.source)
                self._source(block.source, f"{at}.source")
            case "document":
                self.documents = True
                self.document_urls = self.document_urls or b'"url"' in _head(block.source)
                self._source(block.source, f"{at}.source")
                if b'"content"' in _head(block.source):
                    self._in_blocks(block, at)
            case kind if kind in OWN_BLOCKS:
                self.own = self.own or f"{at}.type"
                self._id(f"{at}.file_id", block.file_id)
                if kind in WITH_FILES and holds(bytes(block.content), b"@", b"\\u0040"):
                    self._files(f"{at}.content", block.content)

    def _note(self, at: str, raw: msgspec.Raw) -> None:
        if not self.own and openai.is_set(raw):
            self.own = at

    def _source(self, raw: msgspec.Raw, at: str) -> None:
        if b'"file_id"' in _head(raw):
            self.own = self.own or f"{at}.file_id"
            self._id(f"{at}.file_id", raw)

    def _in_blocks(self, block: _Block, at: str) -> None:
        try:
            cite = b"true" in bytes(block.citations)
            content_text(_document.decode(block.source), cite)
        except msgspec.DecodeError:
            return
        except Within as only:
            self.own = self.own or at + only.place

    def _files(self, at: str, raw: msgspec.Raw) -> None:
        """Those of a tool's result that say whose they are. The others came when there was no need to."""

        def note(ident: str) -> str:
            if id_and_owner(ident)[1]:
                self.ids.append((f"{at}.file_id", ident))
                self.marked = True
            return ident

        files_renamed(decode_json(raw), note)

    def _id(self, at: str, raw: msgspec.Raw) -> None:
        if (ident := _ident(raw)) is not None:
            self.ids.append((at, ident))
            self.marked = self.marked or "@" in ident


def _head(raw: msgspec.Raw) -> bytes:
    """What of a source tells its kind, without a copy of all its data."""
    return bytes(memoryview(raw)[:_HEAD_BYTES])


def _begins(raw: msgspec.Raw, with_: bytes) -> bool:
    return memoryview(raw)[: len(with_)] == with_


def _ident(raw: msgspec.Raw) -> str | None:
    """The id in a field that is one, or that holds one."""
    if raw is ABSENT:
        return None
    try:
        value = _id.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if value is None or isinstance(value, str):
        return value or None
    return value.id or value.file_id or value.previous_message_id or None


def _tool_facts(raw: msgspec.Raw) -> tuple[str, bool, bool]:
    """(the first field that only this dialect knows, whether a tool's replies hold ids of an account, whether
    a tool runs at Anthropic)."""
    if not openai.is_set(raw):
        return "", False, False
    try:
        tools = _tools.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", False, False
    own = next((field for number, tool in enumerate(tools) if (field := _own_of(tool, number))), "")
    if not own:
        return "", False, False
    kinds = [tool.type for tool in tools if tool.type]
    in_container = any(kind.startswith(_IN_CONTAINERS) for kind in kinds)
    return own, in_container, any(kind.startswith(_HOSTED) for kind in kinds)


def _own_of(tool: _Tool, number: int) -> str:
    if tool.type is None and tool.defer_loading is ABSENT and tool.allowed_callers is ABSENT:
        return ""
    said: dict[str, Any] = {"type": tool.type}
    for name in ("defer_loading", "allowed_callers"):
        if (raw := getattr(tool, name)) is not ABSENT:
            said[name] = decode_json(raw)
    return tool_own_field(said, f"tools[{number}]")


def _own_fields(request: _Fields) -> Iterator[tuple[str, msgspec.Raw]]:
    for name in _OWN:
        if (raw := getattr(request, name)) is not ABSENT:
            yield name, raw


def _ids_of(fields: Iterable[tuple[str, msgspec.Raw]]) -> Iterator[tuple[str, str]]:
    for name, raw in fields:
        ident = _ident(raw) if name in _ID_FIELDS else None
        if ident is not None:
            yield f"{name}.previous_message_id" if name == "thread" else name, ident
        if name == "container" and b"skill_id" in bytes(raw):
            yield from _skills_of(decode_json(raw))


def _skills_of(container: Any) -> Iterator[tuple[str, str]]:
    """A container's skills that are the account's own."""
    skills = container.get("skills") if isinstance(container, dict) else None
    for number, skill in enumerate(skills if isinstance(skills, list) else ()):
        if isinstance(skill, dict) and skill.get("type") == "custom":
            ident = skill.get("skill_id")
            if isinstance(ident, str) and ident:
                yield f"container.skills[{number}].skill_id", ident


def read(body: bytes) -> RequestFacts:
    seen = _Seen()
    try:
        well, model, span = read_routed(_decoder, body)
        seen.messages(well.messages or [])
        return _facts(body, well, model, span, seen)
    except BadRequest:
        odd, model, span = read_routed(_odd_decoder, body)
        seen.odd_messages(odd.messages)
        return _facts(body, odd, model, span, seen)


def _facts(body: bytes, request: _Fields, model: str, span: tuple[int, int], seen: _Seen) -> RequestFacts:
    own_tool, in_container, hosted = _tool_facts(request.tools)
    own = dict(_own_fields(request))
    ids = [*_ids_of(own.items()), *seen.ids]
    thinking = bytes(request.thinking)
    return RequestFacts(
        model=model,
        model_span=span,
        context_tokens=estimate_tokens(body),
        max_output_tokens=openai.positive_int(request.max_tokens),
        tools=openai.is_set(request.tools),
        images=seen.images,
        documents=seen.documents,
        schema=b"json_schema" in bytes(request.output_config) + bytes(request.output_format),
        reasoning=openai.is_set(request.thinking) and not any(kind in thinking for kind in _NO_THINKING),
        stream=bytes(request.stream) == b"true",
        same_dialect=own_field(own) or own_tool or seen.own,
        hosted_tools=hosted or ("mcp_servers" in own and openai.is_set(own["mcp_servers"])),
        files=bool(ids),
        image_urls=seen.image_urls,
        document_urls=seen.document_urls,
        ids=tuple(ids),
        marked=seen.marked
        or any("@" in ident for _, ident in ids)
        or "@" in (_ident(request.diagnostics) or ""),
        # Whoever thinks signs it.
        binds=in_container
        or "container" in own
        or "thread" in own
        or (openai.is_set(request.thinking) and b'"disabled"' not in thinking),
    )
