"""The canonical reply: whole, and as the events of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from ..core.causes import Cause as Cause
from ..core.usage import Usage as Usage
from .conversation import Blob, Citation, Part


class Stop(Enum):
    """Why a model stopped."""

    END = "end"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"  # the model would not
    CONTENT_FILTER = "content_filter"  # the provider would not
    CONTEXT_WINDOW = "context_window"  # the context was full before the answer was
    PAUSE = "pause"  # a long turn, to be gone on with


class Choice(msgspec.Struct, frozen=True):
    """One answer. `parts`: Text, Reasoning, Refusal, ToolCall, and Image for what the model drew.
    `logprobs` as OpenAI's Chat Completions spells them: a list of its token objects."""

    parts: tuple[Part, ...]
    stop: Stop
    stop_sequence: str | None = None
    index: int = 0
    logprobs: tuple[Mapping[str, Any], ...] | None = None


class Reply(msgspec.Struct, frozen=True):
    """A whole reply. `id` and `model` as the provider says them, "" where it says none."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    service_tier: str = ""
    created_s: int | None = None


class Embeddings(msgspec.Struct, frozen=True):
    """One vector an input, in order. `input_tokens` None: the provider does not say."""

    vectors: tuple[tuple[float, ...], ...]
    model: str = ""
    input_tokens: int | None = None


class Fault(msgspec.Struct, frozen=True):
    """A provider's failure, before or inside a stream. `param` is the field's name in `Chat` where it can be
    told, else the provider's own; `code` is the provider's, "" where it gives none."""

    cause: Cause
    status: int
    message: str
    code: str = ""
    param: str = ""
    retry_after: str = ""  # as the header has it: seconds or a date
    request_id: str = ""  # the provider's


class ProviderFailed(ValueError):
    """A reply with the status of a good one says that the provider failed all the same."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


# -- events of a stream. `index` numbers the parts of a choice in the order of their beginnings.


class Started(msgspec.Struct, frozen=True):
    """The first event. Dialects that know usage at the beginning give it."""

    id: str = ""
    model: str = ""
    created_s: int | None = None
    usage: Usage | None = None
    service_tier: str = ""


class PartStarted(msgspec.Struct, frozen=True):
    """`part` with what is known of it at once: Text(""), Reasoning(), Refusal(""), ToolCall(id, name, "");
    an Image is whole."""

    index: int
    part: Part
    choice: int = 0


class Delta(msgspec.Struct, frozen=True):
    """More of a part's text: of a Text, a Reasoning, a Refusal, or of a ToolCall's arguments."""

    index: int
    text: str
    choice: int = 0
    logprobs: tuple[Mapping[str, Any], ...] | None = None


class BlobGiven(msgspec.Struct, frozen=True):
    """The whole blob of a part. `hidden`: see Reasoning."""

    index: int
    blob: Blob
    choice: int = 0
    hidden: bool = False


class Cited(msgspec.Struct, frozen=True):
    index: int
    citation: Citation
    choice: int = 0


class PartEnded(msgspec.Struct, frozen=True):
    """No more of this part. A decoder gives it as soon as it is certain, at the latest before Stopped."""

    index: int
    choice: int = 0


class Stopped(msgspec.Struct, frozen=True):
    stop: Stop
    stop_sequence: str | None = None
    choice: int = 0


class UsageGiven(msgspec.Struct, frozen=True):
    """Usage so far, all of it: the last one counts."""

    usage: Usage
    service_tier: str = ""


class Ended(msgspec.Struct, frozen=True):
    """The dialect's own last event: a stream without it was cut."""


class Failed(msgspec.Struct, frozen=True):
    """The provider gave up inside its stream. Nothing follows."""

    fault: Fault


class Alive(msgspec.Struct, frozen=True):
    """A ping, a comment: the provider works."""


ReplyEvent = (
    Started
    | PartStarted
    | Delta
    | BlobGiven
    | Cited
    | PartEnded
    | Stopped
    | UsageGiven
    | Ended
    | Failed
    | Alive
)
