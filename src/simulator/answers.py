"""The neutral answer: text, reasoning, tool calls and usage, before any dialect puts it in its own words."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from . import requests
from .reading import size_tokens, text_size
from .requests import Call
from .samples import sample
from .script import Citation, Knows, Reply
from .seals import Seals

_WORDS = re.compile(r"\S+\s*|\s+")
_ARGUMENT_PIECE = 12  # characters of tool arguments per delta
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool; `arguments` is the text as the model wrote it, normally JSON."""

    id: str
    name: str
    arguments: str
    piece: int = _ARGUMENT_PIECE  # characters per delta

    @property
    def pieces(self) -> list[str]:
        """The arguments as the deltas of a stream."""
        text = self.arguments
        return [text[i : i + self.piece] for i in range(0, len(text), self.piece)]

    @property
    def value(self) -> Any:
        """The arguments as JSON; as text where they are none, for they may be scripted to be wrong."""
        try:
            return json.loads(self.arguments)
        except ValueError:
            return self.arguments


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens; `input` excludes what was read from or written to a cache, `output` includes `reasoning`."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int

    @property
    def prompt(self) -> int:
        """All input tokens, cached ones too: how OpenAI counts."""
        return self.input + self.cache_read + self.cache_write


@dataclass(frozen=True, slots=True)
class Answer:
    """One model turn; `pieces` are the text as streamed and join to `text`."""

    id: str  # 24 hex digits
    created: int  # unix seconds
    model: str
    text: str
    pieces: list[str]
    reasoning: str
    tools: list[ToolUse]
    finish: str  # stop, length, tool_calls, content_filter, refusal, stop_sequence
    usage: Usage
    seals: Seals  # what signs and hides the reasoning
    redacted: bool = False  # the reasoning is not for the client's eyes
    interleave: bool = False
    refusal: str = ""
    citations: tuple[Citation, ...] = ()
    stop_sequence: str | None = None
    others: tuple[str, ...] = ()
    hosted: bool = False  # the provider's own tools have run

    @property
    def says_nothing(self) -> bool:
        """No text, no refusal, no calls."""
        return not (self.text or self.refusal or self.tools)

    @property
    def spoken(self) -> str:
        """Text and refusal as one, for those who keep no refusals apart."""
        return self.text + self.refusal

    @property
    def spoken_pieces(self) -> list[str]:
        return [*self.pieces, self.refusal] if self.refusal else self.pieces

    def choice(self, index: int) -> Answer:
        """The answer as the choice of that number, from 0, has it."""
        if not 0 < index <= len(self.others):
            return self
        text = self.others[index - 1]
        return dataclasses.replace(self, text=text, pieces=_WORDS.findall(text))

    @property
    def shown_reasoning(self) -> str:
        """The reasoning as the client may read it; empty when it is redacted."""
        return "" if self.redacted else self.reasoning


def new_id(rng: random.Random) -> str:
    """24 hex digits."""
    return f"{rng.getrandbits(96):024x}"


def braid(strands: Iterable[list[Item]], interleave: bool) -> list[Item]:
    """The strands end to end, or taking turns item by item."""
    if not interleave:
        return [item for strand in strands for item in strand]
    missing = object()
    rounds = itertools.zip_longest(*strands, fillvalue=missing)
    return [cast(Item, item) for turn in rounds for item in turn if item is not missing]


def compose(call: Call, reply: Reply, provider: str, rng: random.Random, seals: Seals) -> Answer:
    """The answer to `call` by `reply`'s wishes, and by default where it has none."""
    tools = _tool_uses(call, reply, rng)
    text = reply.text if reply.knows is None else _known_text(call, reply.knows)
    if text is None:
        text = "" if tools or reply.refusal else _default_text(call, provider)
    finish = reply.finish or _finish(reply, tools)
    limit = requests.token_limit(call)
    if limit is not None and not tools and text_size(text) > 4 * limit:
        text = text.encode("utf-8", "surrogatepass")[: 4 * limit].decode("utf-8", "ignore")
        finish = reply.finish or "length"
    reasoning = reply.reasoning or ""
    return Answer(
        id=new_id(rng),
        created=int(time.time()),
        model=call.model or "unknown",
        text=text,
        pieces=split_text(text, reply),
        reasoning=reasoning,
        tools=tools,
        finish=finish,
        usage=_usage(call, reply, text, reasoning, tools),
        seals=seals,
        redacted=reply.redacted,
        interleave=reply.interleave,
        refusal=reply.refusal or "",
        citations=tuple(reply.citations),
        stop_sequence=reply.stop_sequence,
        others=tuple(reply.others),
        hosted=reply.hosted,
    )


def _finish(reply: Reply, tools: list[ToolUse]) -> str:
    if reply.stop_sequence is not None:
        return "stop_sequence"
    if reply.refusal:
        return "refusal"
    return "tool_calls" if tools else "stop"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text with its logprob, and the likeliest ones in its place, itself first."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]


def tokens_of(pieces: list[str], top: int) -> list[Token]:
    """Each piece of a text is a token; the n-th, from 0, has the logprob -(n mod 8)/8, and each of the other
    likeliest ones, the same text with a `~` more each, 1 less than the one before."""
    out = []
    for number, text in enumerate(pieces):
        logprob = -(number % 8) / 8
        out.append(Token(text, logprob, tuple((text + "~" * k, logprob - k) for k in range(top))))
    return out


def _known_text(call: Call, knows: Knows) -> str:
    """What it knows, or what it says where it does not."""
    question = requests.last_user_text(call)
    heard = max((piece for piece in knows.answers if piece in question), key=len, default=None)
    draw = random.Random(f"{knows.seed}:{call.model}:{question}").random()
    return knows.wrong if heard is None or draw >= knows.right else knows.answers[heard]


def _default_text(call: Call, provider: str) -> str:
    wants_json, schema = requests.wanted_schema(call)
    # Nothing but the user's words varies, so that two runs of a script give the same text.
    heard = requests.last_user_text(call)[:80].encode("utf-8", "replace").decode()
    said = f"{provider} answering as {call.model}: {heard}"
    if not wants_json:
        return said
    return json.dumps(sample(schema) if schema is not None else {"answer": said})


def _tool_uses(call: Call, reply: Reply, rng: random.Random) -> list[ToolUse]:
    offered = requests.offered_tools(call)
    wanted: list[tuple[str | None, Any]] = [(t.name, t.arguments) for t in reply.tool_calls]
    if not wanted and reply.text is None:
        forced = requests.forced_tool(call, offered)
        wanted = [(forced.name, None)] if forced else []
    out: list[ToolUse] = []
    for name, arguments in wanted:
        tool = next((t for t in offered if t.name == name), None) if name else next(iter(offered), None)
        if name is None and tool is None:
            continue  # "the first tool on offer" of none
        if arguments is None:
            arguments = sample(tool.schema) if tool else {}
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        piece = reply.chunk_bytes or _ARGUMENT_PIECE
        out.append(ToolUse(new_id(rng), name or (tool.name if tool else ""), text, piece))
    return out


def split_text(text: str, reply: Reply) -> list[str]:
    """`text` as the deltas of a stream: by words, or as the reply says."""
    if not text:
        return []
    if reply.chunks is not None:
        ends = [len(text) * n // reply.chunks for n in range(reply.chunks + 1)]
        return [text[a:b] for a, b in itertools.pairwise(ends)]
    if reply.chunk_bytes is not None:
        # Characters, not bytes, are what a delta is cut between: the size is met for ASCII text.
        step = reply.chunk_bytes
        return [text[i : i + step] for i in range(0, len(text), step)]
    return _WORDS.findall(text)


def _usage(call: Call, reply: Reply, text: str, reasoning: str, tools: list[ToolUse]) -> Usage:
    given = reply.tokens
    thought = size_tokens(text_size(reasoning)) if given.reasoning is None else given.reasoning
    size = (
        text_size(text) + text_size(reply.refusal or "") + sum(text_size(t.name + t.arguments) for t in tools)
    )
    output = max(1, size_tokens(size) + thought)
    if given.output is not None:
        output = given.output
    return Usage(
        input=requests.input_tokens(call) if given.input is None else given.input,
        output=output,
        cache_read=given.cache_read,
        cache_write=given.cache_write,
        reasoning=min(thought, output),
    )
