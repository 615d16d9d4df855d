"""The facts of a request: what routing asks before anything is translated. On the way of every call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ...core.errors import BadRequest
from .. import openai
from ..base import ABSENT, RequestFacts, decode_json
from ..blobs import MARK, id_and_owner, owned_id, untagged
from ..body import Routed, decoder_of, estimate_tokens, first_is_text, holds, last_is_array, read_routed
from .places import ids_within
from .wire import CARRIED_ITEMS, DRAWN, is_brokers_item, is_brokers_response

_MARK = MARK.encode()


class _Request(Routed):
    stream: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    reasoning: msgspec.Raw = ABSENT
    max_output_tokens: msgspec.Raw = ABSENT
    background: msgspec.Raw = ABSENT
    context_management: msgspec.Raw = ABSENT
    conversation: msgspec.Raw = ABSENT
    moderation: msgspec.Raw = ABSENT
    previous_response_id: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    prompt_cache_options: msgspec.Raw = ABSENT
    store: msgspec.Raw = ABSENT
    tool_choice: msgspec.Raw = ABSENT


class ItemKind(msgspec.Struct, gc=False):
    """What of an item decides where it can go; the rest of it is skipped."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    encrypted_content: str | None = None
    container_id: str | None = None
    approval_request_id: str | None = None
    result: msgspec.Raw = ABSENT
    namespace: msgspec.Raw = ABSENT
    caller: msgspec.Raw = ABSENT
    is_async: msgspec.Raw = msgspec.field(default=ABSENT, name="async")

    @property
    def is_plain(self) -> bool:
        """One that most dialects know, with nothing about it."""
        kind = self.type or ""
        return (
            kind in CARRIED_ITEMS
            and (kind != "" or self.role is not None)
            and self.namespace is ABSENT
            and self.caller is ABSENT
            and self.is_async is ABSENT
        )

    @property
    def is_own(self) -> bool:
        """Only OpenAI knows it: of a hosted tool, of tool search, of a program, or by its id alone."""
        kind = self.type or ""
        if kind == DRAWN and is_brokers_item(self.id or "") and bytes(self.result) not in _NOTHING:
            return False
        if kind not in CARRIED_ITEMS or (not kind and self.role is None):
            return True
        caller = bytes(self.caller)
        by_program = caller not in _NOTHING and b'"direct"' not in caller
        return by_program or bytes(self.namespace) not in _NOTHING or bytes(self.is_async) == b"true"


class _Part(msgspec.Struct, gc=False):
    type: msgspec.Raw = ABSENT


class _Item(ItemKind, gc=False):
    """Where most contents are texts: to decode one would cost more than to skip all the rest."""

    content: msgspec.Raw = ABSENT
    output: msgspec.Raw = ABSENT


class _InParts(ItemKind, gc=False):
    """Where most contents are parts: their texts are skipped in the same pass."""

    content: str | list[_Part] | None = None
    output: msgspec.Raw = ABSENT


class _OfTexts(_Request):
    input: str | list[_Item] | None = None


class _OfParts(_Request):
    input: str | list[_InParts] | None = None


class _Unread(_Request):
    """One text, or no list of items: that is routed all the same, and the provider says what is wrong."""

    input: msgspec.Raw = ABSENT


class _Tool(msgspec.Struct, gc=False):
    type: msgspec.Raw = ABSENT
    format: msgspec.Raw = ABSENT
    is_async: msgspec.Raw = msgspec.field(default=ABSENT, name="async")


class _Input(msgspec.Struct):
    input: msgspec.Raw = ABSENT


_NOTHING = (b"", b"null")
_QUOTE, _ARRAY, _OBJECT = b'"[{'
_ALL_ABSENT = (ABSENT,) * 9
_CARRIED_TYPES = CARRIED_ITEMS - {""}
# Tools that run at OpenAI. The client runs the others, though only OpenAI knows them (computer, shell …).
_HOSTED = (b'"web_search', b'"file_search', b'"code_interpreter', b'"image_generation', b'"mcp"')
_CHOICES = frozenset(("function", "custom", "allowed_tools"))
_texts_decoder = decoder_of(_OfTexts)
_parts_decoder = decoder_of(_OfParts)
_unread_decoder = decoder_of(_Unread)
_items = msgspec.json.Decoder(list[_Item])
_parts = msgspec.json.Decoder(list[_Part])
_whole_input = msgspec.json.Decoder(_Input)
# The kinds of parts that nearly all are, and the words without which there are none that count.
_TEXTS = frozenset((b'"input_text"', b'"output_text"', b'"refusal"', b'"summary_text"', b'"reasoning_text"'))
_PART_WORDS = (b"input_image", b"input_file", b"input_audio", b"computer_screenshot")
_tools = msgspec.json.Decoder(list[_Tool])
# What only OpenAI can do for the whole call, where the field says something.
_OWN_FIELDS = (
    "background",
    "context_management",
    "conversation",
    "moderation",
    "previous_response_id",
    "prompt",
)


class _Seen:
    """What the fields of a request tell: the first one that only this dialect has, ids of an account, whether
    one of these, or a blob, names its owner."""

    def __init__(self) -> None:
        self.own = ""
        self.ids: list[tuple[str, str]] = []
        self.kinds: set[str] = set()
        self.fetched: set[str] = set()  # of the kinds, those by their URL
        self.marked = self.hosted_tools = False


def read(body: bytes) -> RequestFacts:
    """BadRequest where the body can't be routed, or goes on from a reply that nobody keeps."""
    seen = _Seen()
    request, model, span, items, is_odd = _read_input(body, seen)
    # Most requests have none of these fields, and this is asked of every call.
    if (
        request.background,
        request.context_management,
        request.conversation,
        request.moderation,
        request.previous_response_id,
        request.prompt,
        request.prompt_cache_options,
        request.tool_choice,
        request.tools,
    ) != _ALL_ABSENT:
        _see_fields(request, seen)
    may_hold_parts = _see_items(items, seen) or is_odd
    if may_hold_parts and holds(body, *_PART_WORDS):
        _see_parts(body, seen)
    store = bytes(request.store)
    effort = "" if request.reasoning is ABSENT else _effort(request.reasoning)
    return RequestFacts(
        model=model,
        model_span=span,
        context_tokens=estimate_tokens(body),
        max_output_tokens=openai.positive_int(request.max_output_tokens),
        tools=request.tools is not ABSENT and openai.is_set(request.tools),
        images="input_image" in seen.kinds,
        documents="input_file" in seen.kinds,
        schema=request.text is not ABSENT and b"json_schema" in bytes(request.text),
        reasoning=request.reasoning is not ABSENT and openai.is_set(request.reasoning) and effort != "none",
        stream=request.stream is not ABSENT and bytes(request.stream) == b"true",
        audio="input_audio" in seen.kinds,
        same_dialect=seen.own,
        ids=tuple(seen.ids),
        marked=seen.marked or (bool(seen.ids) and any(id_and_owner(i)[1] for _, i in seen.ids)),
        # What goes on from a kept reply is kept with it.
        stateful=store == b"true" or (bool(seen.ids) and any(_is_of_kept(field) for field, _ in seen.ids)),
        hosted_tools=seen.hosted_tools,
        files=bool(seen.ids) and not all(_is_of_kept(field) for field, _ in seen.ids),
        image_urls="input_image" in seen.fetched,
        document_urls="input_file" in seen.fetched,
        # Who does not say so is kept too, and encrypted reasoning comes unasked.
        binds=store != b"false" or effort != "none" or bool(seen.ids),
    )


_Items = Sequence[_Item | _InParts]


def _read_input(body: bytes, seen: _Seen) -> tuple[_Request, str, tuple[int, int], _Items, bool]:
    """(the fields, the model and its span, the items, is the input neither a text nor items?)"""
    if not first_is_text(body, b'"input"'):
        try:
            if last_is_array(body, b'"content"'):
                in_parts, model, span = read_routed(_parts_decoder, body)
                return in_parts, model, span, in_parts.input if type(in_parts.input) is list else (), False
            in_texts, model, span = read_routed(_texts_decoder, body)
            return in_texts, model, span, in_texts.input if type(in_texts.input) is list else (), False
        except BadRequest:
            pass  # it is told below, unless only the items are odd
    request, model, span = read_routed(_unread_decoder, body)
    first = bytes(memoryview(request.input)[:1])
    if first != b"[":
        return request, model, span, (), first != b'"'
    try:
        return request, model, span, _items.decode(request.input), False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        seen.marked = holds(bytes(request.input), _MARK)
        return request, model, span, (), True


def _see_fields(request: _Request, seen: _Seen) -> None:
    seen.own = next((name for name in _OWN_FIELDS if openai.is_set(getattr(request, name))), "")
    if not seen.own and b'"prewarm"' in bytes(request.prompt_cache_options):
        options = decode_json(request.prompt_cache_options)
        if isinstance(options, dict) and options.get("prewarm"):
            seen.own = "prompt_cache_options.prewarm"
    own, tool_ids, seen.hosted_tools = _of_tools(request.tools)
    seen.own = seen.own or own or _of_choice(request.tool_choice)
    seen.ids += [*_ids_of_fields(request), *tool_ids]
    seen.marked = seen.marked or _is_owned(request.prompt_cache_options)


def _see_parts(body: bytes, seen: _Seen) -> None:
    value = decode_json(_whole_input.decode(body).input)
    seen.kinds = set(openai.part_types(value))
    if holds(body, b'"https:', b'"http:'):
        seen.fetched = set(_fetched(value))
    if value is not None and holds(body, b"file_id"):
        files = [(field, ident) for field, ident in ids_within("input", value) if ".file_id" in field]
        seen.own = seen.own or (files[0][0] if files else "")
        seen.ids += files


def _fetched(value: Any) -> Iterator[str]:
    """The types of the parts below `value` that are given by their URL."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for name in ("image_url", "file_url"):
                if isinstance(url := item.get(name), str) and url.startswith(("https:", "http:")):
                    yield str(item.get("type"))
        inner = item.values() if isinstance(item, dict) else item
        stack.extend(each for each in inner if isinstance(each, (dict, list)))


def _effort(reasoning: msgspec.Raw) -> str:
    if b'"effort"' not in bytes(reasoning):
        return ""
    value = decode_json(reasoning)
    return str(value.get("effort")) if isinstance(value, dict) else ""


def _ids_of_fields(request: _Request) -> Iterator[tuple[str, str]]:
    """Of what lives at an account: the response before this one, a conversation, a prompt."""
    for name in ("previous_response_id", "conversation", "prompt"):
        raw = getattr(request, name)
        if not openai.is_set(raw):
            continue
        value = decode_json(raw)
        ident = value.get("id") if isinstance(value, dict) else value
        if isinstance(ident, str) and ident:
            if name == "previous_response_id":
                refuse_brokers_response(ident)
            yield name, ident
        if name == "prompt" and isinstance(value, dict):
            for variable, given in (value.get("variables") or {}).items():
                if isinstance(given, dict):
                    yield from ids_within(f"prompt.variables.{variable}", given)


def _is_of_kept(field: str) -> bool:
    """Is the id in this field of a kept reply?"""
    return field in ("previous_response_id", "conversation") or (
        field.startswith("input[") and field.endswith("].id")
    )


def _is_owned(raw: msgspec.Raw) -> bool:
    """Is there an id in it that names its owner?"""
    return holds(bytes(raw), b"@", b"\\u0040")


def refuse_brokers_response(ident: str) -> None:
    """BadRequest where this response was made from the reply of a member that keeps none."""
    if is_brokers_response(ident):
        raise BadRequest(
            400,
            "response_not_kept",
            f"previous_response_id: {ident} was answered by a member that keeps no responses; send the whole "
            "conversation as `input`, or say `store: true` from the first call on, so that only members that "
            "keep responses get it",
            param="previous_response_id",
        )


def _of_tools(raw: msgspec.Raw) -> tuple[str, list[tuple[str, str]], bool]:
    """(the first tool that only OpenAI has, ids in tools, does one of them run there?)."""
    if not openai.is_set(raw):
        return "", [], False
    try:
        tools = _tools.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", [], False
    own = [n for n, tool in enumerate(tools) if is_own_tool(tool.type, tool.format, tool.is_async)]
    if not own:
        return "", [], False
    given = decode_json(raw)
    ids = [each for n in own for each in ids_within(f"tools[{n}]", given[n])]
    return f"tools[{own[0]}]", ids, any(bytes(tools[n].type).startswith(_HOSTED) for n in own)


def _of_choice(raw: msgspec.Raw) -> str:
    """`tool_choice` where it names a tool that only OpenAI has."""
    if bytes(raw)[:1] != b"{":
        return ""
    kinds = set(openai.part_types(decode_json(raw)))
    return "tool_choice" if kinds - _CHOICES else ""


def is_own_tool(kind: msgspec.Raw, format: msgspec.Raw, is_async: msgspec.Raw) -> bool:
    """A tool that OpenAI runs itself, or calls in a way that others can't: bound by a grammar, going on
    without its result."""
    kind_bytes = bytes(kind)
    if kind_bytes not in (b'"function"', b'"custom"') or bytes(is_async) == b"true":
        return True
    return kind_bytes == b'"custom"' and b"grammar" in bytes(format)


def _see_items(items: _Items, seen: _Seen) -> bool:
    """Can there be parts that are no text?"""
    may_hold_parts = False
    for number, item in enumerate(items):
        if item.id is not None and "@" in item.id:
            seen.marked = True
        if item.encrypted_content is not None and item.encrypted_content.startswith(MARK):
            seen.marked = True
        # As `is_plain`: nearly all are, and there are many.
        if (item.type in _CARRIED_TYPES or (item.type is None and item.role is not None)) and (
            item.namespace is item.caller is item.is_async is ABSENT
        ):
            if not (item.content is ABSENT or may_hold_parts or _is_text(item.content)):
                may_hold_parts = True
            if not (item.output is ABSENT or may_hold_parts or _is_text(item.output)):
                may_hold_parts = True
            continue
        may_hold_parts = True
        if not item.is_own:
            continue
        field = f"input[{number}]"
        seen.own = seen.own or field
        if item.type in (None, "", "item_reference") and item.id:
            _refuse_brokers_item(field, item.id)
            seen.ids.append((f"{field}.id", item.id))
        else:
            seen.ids += _ids_of_item(field, item)
    return may_hold_parts


def _is_text(content: msgspec.Raw | str | list[_Part] | None) -> bool:
    """And nothing else: no picture, file or sound."""
    if type(content) is msgspec.Raw:
        first = memoryview(content)[0]
        if first == _QUOTE:
            return True
        if first != _ARRAY:
            return first != _OBJECT
        try:
            content = _parts.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
    if type(content) is list:
        for part in content:
            if bytes(part.type) not in _TEXTS:
                return False
    return True


def _ids_of_item(field: str, item: ItemKind) -> Iterator[tuple[str, str]]:
    """Of an item that is sent itself: what it needs of its account."""
    match item.type:
        case "compaction":
            issuer = untagged(item.encrypted_content or "", "").issuer
            ident = item.id or "compaction"
            yield field, owned_id(id_and_owner(ident)[0], issuer) if issuer else ident
        case "code_interpreter_call" if item.container_id:
            yield f"{field}.container_id", item.container_id
        case "mcp_approval_response" if item.approval_request_id:
            yield f"{field}.approval_request_id", item.approval_request_id
        case "image_generation_call" if item.id and bytes(item.result) in _NOTHING:
            yield f"{field}.id", item.id


def _refuse_brokers_item(field: str, ident: str) -> None:
    if is_brokers_item(ident):
        raise BadRequest(
            400,
            "response_not_kept",
            f"{field}.id: {ident} was made by a member that keeps no responses; send the item itself",
            param=f"{field}.id",
        )
