"""The script: what a simulated provider answers, and how it misbehaves.

A script is one YAML (or JSON) mapping, validated here into frozen pydantic models; every unknown field is
an error. Durations are milliseconds where a name ends in `_ms`, seconds where it ends in `_s`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .problems import describe

Surface = Literal[
    "openai-chat",
    "openai-responses",
    "openai-embeddings",
    "openai-count-tokens",
    "anthropic-messages",
    "anthropic-count-tokens",
    "bedrock-converse",
    "bedrock-count-tokens",
    "bedrock-embeddings",
    "gemini",
    "gemini-count-tokens",
    "gemini-embeddings",
    "models",
]
Dialect = Literal[
    "openai",
    "openai-chat",
    "openai-responses",
    "openai-embeddings",
    "anthropic-messages",
    "bedrock-converse",
    "gemini",
]
Trouble = Literal[
    "context_overflow",
    "rate_limit",
    "overloaded",
    "invalid_key",
    "forbidden",
    "billing",
    "content_policy",
    "bad_field",
    "model_not_found",
    "unknown_id",
    "conflict",
    "server_error",
    "too_large",
    "timeout",
]
Millis = Annotated[float, Field(ge=0, le=3_600_000)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
SplitBytes = Annotated[int, Field(ge=1, le=1_000_000_000)]


class ScriptError(Exception):
    """A script that cannot be used; `problems` holds one line of text per fault found, never empty."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _keys(value: Any) -> Any:
    texts: list[Any] = list(value) if isinstance(value, list | dict) else []
    if isinstance(value, dict):
        texts += value.values()
    if not isinstance(value, list | dict) or not all(isinstance(text, str) for text in texts):
        raise ValueError("give a list of keys, or a mapping of AWS access keys to their secrets, all text")
    return value


class Match(_Part):
    """Which requests a rule is for; every field given must hold."""

    surface: Surface | None = None
    path: str | None = None  # shell glob over the path without its query
    model: str | None = None  # shell glob over the request's model
    headers: dict[str, str] = {}  # names in any case, values equal
    contains: str | None = None  # a substring of the raw body
    stream: bool | None = None


class Rule(_Part):
    """Which of the matching requests a rule takes: all of them unless one of the four is given."""

    match: Match = Match()
    rate: Annotated[float, Field(ge=0, le=1)] | None = None  # drawn per matching request
    calls: list[Annotated[int, Field(ge=1)]] | None = None  # the n-th matching requests, from 1
    first: Annotated[int, Field(ge=1)] | None = None  # the first N matching requests
    always: bool | None = None

    @model_validator(mode="after")
    def _one_when(self) -> Self:
        given = [name for name in ("rate", "calls", "first", "always") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude one another; keep one of them")
        if self.always is False:
            raise ValueError("always: false never applies; remove the rule instead")
        return self


class ErrorText(_Part):
    """Overrides inside an error of the dialect's own shape."""

    type: str | None = None
    code: str | None = None  # "": none
    message: str | None = None
    param: str | None = None  # the field at fault, where the dialect's errors have a place for it


class Fault(Rule):
    """One misbehaviour; several fields may be combined where one connection can show them all."""

    name: str | None = None  # what the journal calls it; else made from the fields
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    trouble: Trouble | None = None  # an error by what it is about, with the provider's own status and words
    retry_after_s: Seconds | None = None
    headers: dict[str, str] = {}
    body: Any = None  # text is sent as it is, anything else as JSON
    error: ErrorText = ErrorText()
    reset: Literal["on-accept", "before-headers", "after-headers", "mid-body", "mid-stream"] | None = None
    cut: Literal["end", "close"] | None = None  # end: a valid but short body; close: no end of body at all
    stall: Literal["before-headers", "after-headers", "mid-stream"] | None = None
    garbage: Literal["body", "not-http"] | None = None
    error_event: bool = False
    after_events: Count | None = None  # for mid-stream reset and stall, cut, garbage, error_event
    pings: Annotated[int, Field(ge=0, le=10_000)] = 0  # before the first event
    delay_headers_ms: Millis = 0
    delay_first_event_ms: Millis = 0
    token_delay_ms: Millis = 0
    compress: Literal["gzip", "deflate"] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        ends = [n for n in ("reset", "cut", "stall", "garbage", "error_event") if getattr(self, n)]
        if len(ends) > 1:
            raise ValueError(f"{' and '.join(ends)} exclude one another: each ends the answer; keep one")
        if not self.label:
            raise ValueError(
                "the rule does nothing; give status, reset, cut, stall, garbage, error_event, ..."
            )
        if self.reset == "on-accept" and self.match != Match():
            raise ValueError("reset: on-accept comes before any request is read; remove match")
        if self.error_event and self.status is not None and self.status != 200:
            raise ValueError("error_event comes in an answer of status 200; remove status or error_event")
        if self.status is not None and self.trouble is not None:
            raise ValueError("a trouble has its provider's own status; remove status or trouble")
        has_status = self.status is not None or self.trouble is not None
        if not has_status and (self.retry_after_s is not None or self.body is not None):
            raise ValueError("retry_after_s and body need a status")
        return self

    @property
    def label(self) -> str:
        """The journal's name of the fault; empty when the rule has no effect."""
        parts = [
            f"trouble-{self.trouble}" if self.trouble is not None else "",
            f"status-{self.status}" if self.status is not None and self.trouble is None else "",
            f"reset-{self.reset}" if self.reset else "",
            f"cut-{self.cut}" if self.cut else "",
            f"stall-{self.stall}" if self.stall else "",
            f"garbage-{self.garbage}" if self.garbage else "",
            "error-event" if self.error_event else "",
            "delay" if self.delay_headers_ms or self.delay_first_event_ms else "",
            "slow" if self.token_delay_ms else "",
            "pings" if self.pings else "",
            self.compress or "",
            "headers" if self.headers and self.status is None else "",
        ]
        made = "+".join(part for part in parts if part)
        return (self.name or made) if made else ""


class ToolCall(_Part):
    """A scripted tool call; what is left out is taken from the tools the request offers."""

    name: str | None = None
    arguments: Any = None  # a mapping becomes JSON; text is sent as it is, valid JSON or not


class Tokens(_Part):
    """Usage to report instead of the counted one; `input` is what neither came from nor went to a cache,
    `reasoning` is a part of `output`."""

    input: Count | None = None
    output: Count | None = None
    reasoning: Count | None = None
    cache_read: Count = 0
    cache_write: Count = 0


class Citation(_Part):
    """Where the text (or its characters `start` up to `end`) comes from: a page of the web."""

    url: str
    title: str = ""
    quote: str = ""  # the page's own words; OpenAI has no place for them
    start: Count | None = None
    end: Count | None = None


class Knows(_Part):
    """A model of known quality: whether it is right is drawn by seed, model and question, so that the same
    question always has the same answer."""

    answers: Annotated[dict[str, str], Field(min_length=1)]  # a piece of the question → the right answer
    right: Annotated[float, Field(ge=0, le=1)] = 1.0  # the share of questions to which it gives that
    wrong: str = "I do not know."
    seed: int = 0


class Reply(Rule):
    """One well-behaved answer; fields left out get the simulator's defaults."""

    text: str | None = None
    knows: Knows | None = None  # in place of text: right answers, or wrong ones
    others: list[str] = []  # texts of the second choice and later ones; without: as the first
    refusal: str | None = None  # the model's words of refusal, behind the text
    citations: list[Citation] = []
    tool_calls: list[ToolCall] = []
    reasoning: str | None = None
    redacted: bool = False  # the reasoning is there, but only its maker can read it
    tokens: Tokens = Tokens()
    finish: Literal["stop", "length", "content_filter", "refusal"] | None = None
    stop_sequence: str | None = None  # the stop sequence of the request's that ended the answer
    chunks: Annotated[int, Field(ge=1, le=100_000)] | None = None  # text deltas in a stream
    chunk_bytes: Annotated[int, Field(ge=1)] | None = None  # bytes of text or arguments per delta, about
    interleave: bool = False  # in a stream the tool calls' arguments take turns, piece by piece
    split_bytes: SplitBytes | None = None  # instead of the script's
    hosted: bool = False  # code interpreter and code execution, where the request offers them, have run
    recording: str | None = None  # the id of a recorded exchange to replay

    @model_validator(mode="after")
    def _one_split(self) -> Self:
        if self.text is not None and self.knows is not None:
            raise ValueError("text and knows exclude one another; keep one of them")
        if self.chunks is not None and self.chunk_bytes is not None:
            raise ValueError("chunks and chunk_bytes exclude one another; keep one of them")
        return self


class JournalLimits(_Part):
    """Bounds of the journal: the oldest entries, then the oldest bodies, go first."""

    entries: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    body_bytes: Count = 64 * 1024  # kept per request
    total_body_bytes: Count = 256 * 1024 * 1024


class Aws(_Part):
    """The key pair whose signatures are always checked, the region they must be for (None: any), and the
    tokens of keys that a session has."""

    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # noqa: S105 - the one of AWS's own examples
    region: str | None = None
    session_tokens: dict[str, str] = {}  # access key → the token that has to come with it


class Script(_Part):
    """A whole script; the empty one is a provider that always answers well."""

    seed: int = 0
    models: list[str] | None = None  # what GET /models lists
    require_key: bool = True
    require_version: bool = True  # Anthropic: 400 without an anthropic-version header, as the real one
    # A mapping: AWS access keys and their secrets.
    keys: Annotated[list[str] | dict[str, str], BeforeValidator(_keys)] | None = None
    # Keys and tokens that expire → when (unix seconds). AWS: by the access key.
    expire: dict[str, float] = {}
    aws: Aws = Aws()
    # Globs of the ids of files, vector stores, containers, conversations … that live at this account.
    owns: list[str] = []
    strict: bool = True  # refuse what the real provider refuses, beyond the plainest
    header_commands: bool = True
    refuse: bool = False
    refuse_for_s: Seconds | None = None
    recordings: Annotated[list[Path], BeforeValidator(_as_list)] = []
    recordings_only: bool = False
    recordings_ignore: list[str] = ["model"]  # top-level body fields that need not be equal
    recordings_split: Literal["events", "whole"] = "events"
    split_bytes: SplitBytes | None = None  # every stream is written in pieces of so many bytes
    replies: list[Reply] = []
    faults: list[Fault] = []
    journal: JournalLimits = JournalLimits()

    @model_validator(mode="after")
    def _refusal(self) -> Self:
        if self.refuse_for_s is not None and not self.refuse:
            raise ValueError("refuse_for_s needs refuse: true")
        return self


RuleT = TypeVar("RuleT", Fault, Reply)


def parse_script(text: str, source: str = "script", folder: Path | None = None) -> Script:
    """The script in `text` (YAML or JSON); `recordings` paths are taken from `folder`.

    `source` names the text in errors. Raises ScriptError.
    """
    data = _load(text, source)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ScriptError(
            [f"{source}:1: the script is a {type(data).__name__}; a mapping of fields is needed"]
        )
    try:
        script = Script.model_validate(data)
    except ValidationError as error:
        raise ScriptError(describe(error, text, source)) from None
    if folder is None or not script.recordings:
        return script
    return script.model_copy(update={"recordings": [folder / path for path in script.recordings]})


def parse_rule(kind: type[RuleT], text: str, source: str) -> RuleT:
    """One fault or reply given in a request header as a YAML or JSON mapping. Raises ScriptError."""
    data = _load(text, source)
    if not isinstance(data, dict):
        raise ScriptError([f"{source}:1: not a mapping; write it like {{status: 503}}"])
    if counts := [name for name in ("calls", "first") if name in data]:
        raise ScriptError(
            [
                f"{source}:1: {name}: counts calls, and a header is for its own call alone; "
                "leave it out, or put the rule into the script"
                for name in counts
            ]
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ScriptError(describe(error, text, source)) from None


def read_script(path: Path) -> Script:
    """The script in a file. Raises ScriptError, also when the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ScriptError([f"{path}: cannot read the script: {reason}"]) from None
    return parse_script(text, str(path), path.parent)


def _load(text: str, source: str) -> Any:
    try:
        return json.loads(text)  # many times faster; what is wrong with it YAML's parser says
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ScriptError([f"{source}{line}: not YAML (nor JSON): {problem}"]) from None
    except RecursionError:
        raise ScriptError([f"{source}: nested too deeply"]) from None
