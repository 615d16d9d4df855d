"""Conversations and replies as hypothesis makes them: valid by construction, odd in everything else.

Tool results answer earlier calls and stand first in the user's message behind them; call ids are unique;
texts hold any Unicode. What a dialect can't say is switched off by its tests with the arguments.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st
from modelbroker.dialects.conversation import (
    Audio,
    Blob,
    Cached,
    Chat,
    Citation,
    Document,
    DocumentCitation,
    Effort,
    Image,
    Inline,
    Message,
    OutputSchema,
    Part,
    PlainText,
    Reasoning,
    Refusal,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Url,
    UrlCitation,
)
from modelbroker.dialects.replies import (
    BlobGiven,
    Choice,
    Cited,
    Delta,
    Ended,
    PartEnded,
    PartStarted,
    Reply,
    ReplyEvent,
    Started,
    Stop,
    Stopped,
    Usage,
    UsageGiven,
)

WORDS = st.text(min_size=1, max_size=30)
VISIBLE = WORDS.filter(lambda text: bool(text.strip()))
NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_-]{0,15}", fullmatch=True)
SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, width=32)
    | st.text()
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=8), JSON, max_size=3)
SCHEMAS: st.SearchStrategy[Any] = st.sampled_from(
    [
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"type": "object", "properties": {"city": {"type": "string", "description": "Wo? 東京"}}},
        {
            "type": "object",
            "properties": {"at": {"$ref": "#/$defs/Point"}, "unit": {"type": "string", "enum": ["m", "ft"]}},
            "required": ["at"],
            "additionalProperties": False,
            "$defs": {
                "Point": {
                    "type": "object",
                    "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                    "required": ["x", "y"],
                    "additionalProperties": False,
                }
            },
        },
    ]
)
CACHED = st.none() | st.builds(Cached, st.sampled_from(["", "5m", "1h"]))
IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
STOPS = tuple(Stop)


@st.composite
def arguments(draw: st.DrawFn) -> str:
    """JSON text of a tool call's arguments, spelled in different ways."""
    value = draw(OBJECTS)
    indent, ascii_only = draw(st.sampled_from([None, 1])), draw(st.booleans())
    return draw(st.sampled_from(["", json.dumps(value, indent=indent, ensure_ascii=ascii_only)]))


def blobs(kinds: Sequence[str], issuers: Sequence[str] = ("", "house", "other")) -> st.SearchStrategy[Blob]:
    data = st.binary(min_size=1, max_size=30).map(lambda raw: base64.b64encode(raw).decode())
    return st.builds(Blob, st.sampled_from(issuers), st.sampled_from(list(kinds)), data)


def inline(media_types: Sequence[str]) -> st.SearchStrategy[Inline]:
    data = st.binary(min_size=1, max_size=60).map(lambda raw: base64.b64encode(raw).decode())
    return st.builds(Inline, st.sampled_from(list(media_types)), data)


def images(urls: bool = True) -> st.SearchStrategy[Image]:
    sources: st.SearchStrategy[Source] = inline(IMAGE_TYPES)
    if urls:
        sources |= st.sampled_from([Url("https://images.example/a.png"), Url("https://images.example/b?c=d")])
    return st.builds(Image, sources, st.sampled_from(["", "low", "high", "auto"]), CACHED)


def documents(urls: bool = True, cite: bool = True) -> st.SearchStrategy[Document]:
    sources: st.SearchStrategy[Source] = inline(["application/pdf"]) | st.builds(PlainText, VISIBLE)
    if urls:
        sources |= st.just(Url("https://papers.example/a.pdf"))
    flags = st.booleans() if cite else st.just(False)
    names = st.sampled_from(["", "report.pdf", "Bericht über 2024 (final).pdf", "a/b\\c", "報告"])
    return st.builds(Document, sources, names, st.sampled_from(["", "from the archive"]), flags, CACHED)


def tools(names: Iterable[str]) -> st.SearchStrategy[tuple[Tool, ...]]:
    return st.tuples(
        *(
            st.builds(
                Tool,
                st.just(name),
                st.text(max_size=20),
                st.none() | SCHEMAS,
                st.none() | st.booleans(),
                CACHED,
            )
            for name in names
        )
    )


@st.composite
def chats(
    draw: st.DrawFn,
    *,
    with_images: bool = True,
    with_documents: bool = True,
    with_audio: bool = False,
    with_urls: bool = True,
    with_reasoning: bool = True,
    with_refusals: bool = True,
    with_tools: bool = True,
    with_late_system: bool = True,
    with_knobs: bool = True,
    blob_kinds: Sequence[str] = ("anthropic-messages.signature", "openai-responses.encrypted_content"),
) -> Chat:
    """A request of up to four turns. `with_knobs`: sampling, structured output, effort and the like too."""
    user: st.SearchStrategy[Part] = st.builds(Text, VISIBLE, CACHED)
    if with_images:
        user |= images(with_urls)
    if with_documents:
        user |= documents(with_urls)
    if with_audio:
        user |= st.builds(Audio, st.sampled_from(["wav", "mp3"]), st.just("UklGRg=="))
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=3)) if with_tools else []
    spoken: st.SearchStrategy[Part] = st.builds(Text, VISIBLE)
    if with_refusals:
        spoken |= st.builds(Refusal, VISIBLE)
    thought = blobs(blob_kinds) if with_reasoning and blob_kinds else None
    ids = map("call_{}".format, itertools.count())
    result_part: st.SearchStrategy[Part] = st.builds(Text, st.text(max_size=20))
    if with_images:
        result_part |= images(with_urls)
    messages: list[Message] = []
    calls: list[ToolCall] = []
    for _ in range(draw(st.integers(1, 4))):
        results = [
            ToolResult(
                call.id, draw(st.lists(result_part, max_size=2).map(tuple)), draw(st.booleans()), draw(CACHED)
            )
            for call in draw(st.permutations(calls))
        ]
        said = draw(st.lists(user, min_size=0 if results else 1, max_size=3))
        messages.append(Message("user", (*results, *said)))
        if with_late_system and draw(st.integers(0, 9)) == 0:
            messages.append(Message("system", (Text(draw(VISIBLE)),)))
        parts: list[Part] = []
        if thought is not None and draw(st.booleans()):
            hidden = draw(st.booleans())
            parts.append(
                Reasoning("" if hidden else draw(st.text()), draw(st.none() | thought), hidden=hidden)
            )
        parts += draw(st.lists(spoken, max_size=2))
        calls = [
            ToolCall(next(ids), draw(st.sampled_from(names)), draw(arguments()))
            for _ in range(draw(st.integers(0, 3)) if names else 0)
        ]
        if calls or any(not isinstance(part, Reasoning) for part in parts):
            messages.append(Message("assistant", (*parts, *calls)))
    if messages[-1].role == "assistant":
        messages.append(
            Message(
                "user",
                (*(ToolResult(call.id, (Text("done"),)) for call in calls), Text(draw(VISIBLE))),
            )
        )
    knobs = draw(_knobs(names)) if with_knobs else {}
    system = draw(st.lists(st.builds(Text, VISIBLE, CACHED), max_size=2).map(tuple))
    return Chat(
        model="agent-model", messages=tuple(messages), system=system, tools=draw(tools(names)), **knobs
    )


@st.composite
def _knobs(draw: st.DrawFn, names: Sequence[str]) -> dict[str, Any]:
    unit = st.floats(0, 1).map(lambda number: round(number, 3))
    choices: list[st.SearchStrategy[ToolChoice | None]] = [st.none()]
    if names:
        choices.append(st.sampled_from([ToolChoice(mode) for mode in ("auto", "none", "required")]))
        choices.append(st.builds(ToolChoice, st.just("only"), st.just((names[0],))))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "tool_choice": st.one_of(choices),
        "parallel_tools": st.none() | st.booleans(),
        "max_output_tokens": st.none() | st.integers(1, 64_000),
        "temperature": st.none() | unit,
        "top_p": st.none() | unit,
        "top_k": st.none() | st.integers(1, 200),
        "frequency_penalty": st.none() | unit,
        "presence_penalty": st.none() | unit,
        "seed": st.none() | st.integers(0, 2**31 - 1),
        "stop": st.lists(VISIBLE, max_size=3).map(tuple),
        "output": st.none() | st.builds(OutputSchema, NAMES, SCHEMAS, st.none() | st.booleans(), st.text()),
        "effort": st.none() | efforts(),
        "verbosity": st.sampled_from(["", "low", "medium", "high"]),
        "service_tier": st.sampled_from(["", "auto", "default", "flex", "priority"]),
        "user": st.sampled_from(["", "user-1"]),
        "metadata": st.dictionaries(NAMES, st.text(max_size=10), max_size=2),
        "cache_key": st.sampled_from(["", "key-1"]),
        "cached": CACHED,
        "stream": st.booleans(),
        "include_usage": st.booleans(),
    }
    wanted = draw(st.sets(st.sampled_from(sorted(optional)), max_size=6))
    return {name: draw(optional[name]) for name in sorted(wanted)}


def efforts() -> st.SearchStrategy[Effort]:
    levels = ["", "none", "minimal", "low", "medium", "high", "xhigh", "max"]
    return st.one_of(
        st.just(Effort(enabled=False)),
        st.builds(
            lambda level, show: Effort(level != "none", level, show=show),
            st.sampled_from(levels),
            st.none() | st.booleans(),
        ),
        st.builds(lambda budget: Effort(budget_tokens=budget), st.integers(1024, 32_000)),
        st.builds(lambda level: Effort(level=level, adaptive=True), st.sampled_from(["", "low", "high"])),
    )


def citations() -> st.SearchStrategy[Citation]:
    urls = st.builds(UrlCitation, st.just("https://news.example/1"), st.text(max_size=10), quote=st.text())
    spans = st.tuples(st.integers(0, 50), st.integers(1, 50))
    documented = st.builds(
        lambda document, title, quote, unit, span: DocumentCitation(
            document, title, quote, unit, span[0], span[0] + span[1]
        ),
        st.integers(0, 3),
        st.text(max_size=10),
        st.text(max_size=20),
        st.sampled_from(["char", "page", "block"]),
        spans,
    )
    return urls | documented


USAGES = st.builds(
    lambda numbers, part: Usage(*numbers, reasoning=None if part is None else min(part, numbers[4])),
    st.tuples(*[st.integers(0, 10_000)] * 5),
    st.none() | st.integers(0, 10_000),
)


@st.composite
def replies(
    draw: st.DrawFn,
    *,
    most_choices: int = 1,
    stops: Sequence[Stop] = STOPS,
    with_reasoning: bool = True,
    with_citations: bool = True,
    with_refusals: bool = False,
    blob_kinds: Sequence[str] = (),
    issuers: Sequence[str] = ("house",),
    usages: st.SearchStrategy[Usage | None] = USAGES,
) -> Reply:
    """A whole reply. Reasoning comes first, tool calls last; a choice with calls stops for them."""
    choices = []
    ids = map("call_{}".format, itertools.count())
    for index in range(draw(st.integers(1, most_choices))):
        parts: list[Part] = []
        if with_reasoning and draw(st.booleans()):
            blob = draw(st.none() | blobs(blob_kinds, issuers)) if blob_kinds else None
            hidden = blob is not None and draw(st.booleans())
            parts.append(Reasoning("" if hidden else draw(WORDS), blob, hidden=hidden))
        cited = st.lists(citations(), max_size=2).map(tuple) if with_citations else st.just(())
        texts: st.SearchStrategy[Part] = st.builds(Text, WORDS, citations=cited)
        if with_refusals:
            texts |= st.builds(Refusal, WORDS)
        parts += draw(st.lists(texts, max_size=2))
        calls = [ToolCall(next(ids), draw(NAMES), draw(arguments())) for _ in range(draw(st.integers(0, 3)))]
        stop = Stop.TOOL_CALLS if calls else draw(st.sampled_from([s for s in stops if s != Stop.TOOL_CALLS]))
        sequence = draw(st.none() | VISIBLE) if stop is Stop.STOP_SEQUENCE else None
        choices.append(Choice((*parts, *calls), stop, sequence, index))
    return Reply("reply-1", "provider-model", tuple(choices), draw(usages))


@st.composite
def streams(draw: st.DrawFn, reply: Reply, *, interleaved: bool = True) -> list[ReplyEvent]:
    """The events of a stream that tells `reply`: texts cut anywhere, and, where `interleaved`, parts and
    choices mixed as providers do that tell them by index."""
    lanes: list[list[ReplyEvent]] = []
    for choice in reply.choices:
        for index, part in enumerate(choice.parts):
            lane = draw(_lane(part, index, choice.index))
            if interleaved or not lanes:
                lanes.append(lane)
            else:
                lanes[0] += lane
    events: list[ReplyEvent] = [Started(reply.id, reply.model, reply.created_s, None, reply.service_tier)]
    waiting = [lane for lane in lanes if lane]
    begun = 0  # lanes begin in order: a part's index numbers its beginning
    while waiting:
        at = draw(st.integers(0, min(begun, len(waiting) - 1)))
        lane = waiting[at]
        if isinstance(lane[0], PartStarted) and at == begun:
            begun += 1
        events.append(lane.pop(0))
        if not lane:
            waiting.pop(at)
            begun -= 1
    events += [Stopped(choice.stop, choice.stop_sequence, choice.index) for choice in reply.choices]
    if reply.usage is not None:
        events.append(UsageGiven(reply.usage, reply.service_tier))
    return [*events, Ended()]


@st.composite
def _lane(draw: st.DrawFn, part: Part, index: int, choice: int) -> list[ReplyEvent]:
    """One part's events."""
    blob: Blob | None = None
    cited: tuple[Citation, ...] = ()
    begin: Part
    match part:
        case Text(text, _, cited, blob):
            begin = Text("")
        case Reasoning(text, blob):
            begin = Reasoning(hidden=part.hidden, id=part.id, summary=part.summary)
        case ToolCall(ident, name, text, blob):
            begin = ToolCall(ident, name, "", custom=part.custom)
        case Refusal(text):
            begin = Refusal("")
        case _:
            raise AssertionError(part)
    cuts = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=3))})
    deltas = [Delta(index, text[start:end], choice) for start, end in itertools.pairwise(cuts)]
    hidden = isinstance(part, Reasoning) and part.hidden
    return [
        PartStarted(index, begin, choice),
        *deltas,
        *(Cited(index, citation, choice) for citation in cited),
        *([BlobGiven(index, blob, choice, hidden)] if blob is not None else []),
        PartEnded(index, choice),
    ]
