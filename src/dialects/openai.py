"""What OpenAI's dialects share: errors, the models list, reading a request's fields, what the models take.

Source: OpenAI API reference, "Errors", "Models"; guides "Error codes" and "Reasoning models".
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from ..core.errors import CallError
from . import causes
from .base import ABSENT, BILLING_MESSAGE, CREDENTIAL_MESSAGE, OWN_MESSAGES, decode_json
from .conversation import Effort, Upstream
from .replies import Cause, Fault, Usage

_SAYS_NOTHING = (b"", b"null", b"false", b"{}", b"[]")


def error_body(error: CallError, request_id: str) -> bytes:
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error_type(error.status),
                "param": error.param or None,
                "code": error.code,
            }
        }
    )


def error_type(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def deployed(upstream: Upstream, suffix: str) -> str:
    """Where an operation of OpenAI's own path `suffix` is, behind the provider's base path: at Azure below a
    deployment, unless the version is that of its undated API."""
    if upstream.variant != "azure":
        return suffix
    if upstream.api_version in ("", "v1"):
        return f"/openai/v1{suffix}"
    deployment = quote(upstream.model, safe="")
    return f"/openai/deployments/{deployment}{suffix}?api-version={upstream.api_version}"


def models_body(names: Sequence[str]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [_model(name) for name in names]})


def model_body(name: str) -> bytes:
    return msgspec.json.encode(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "modelbroker"}


def is_set(raw: msgspec.Raw) -> bool:
    """A field that is there and says something: not null, false, {} or []."""
    return raw is not ABSENT and bytes(raw) not in _SAYS_NOTHING


def positive_int(raw: msgspec.Raw) -> int | None:
    """The number, or None: whether a bad one is an error is the provider's to say."""
    if raw is ABSENT:
        return None
    text = bytes(raw)
    return int(text) if text.isdigit() and len(text) < 12 else None


def part_types(value: Any) -> Iterable[str]:
    """The `type` of every content part below `value`, however deep (tool results hold parts too)."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(kind := item.get("type"), str):
                yield kind
            stack.extend(inner for inner in item.values() if isinstance(inner, (dict, list)))
        elif isinstance(item, list):
            stack.extend(inner for inner in item if isinstance(inner, (dict, list)))


# -- errors of providers

# The provider's names of fields → the names in Chat.
_CANONICAL_FIELDS: Mapping[str, str] = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "n": "choices",
    "response_format": "output",
    "text.format": "output",
    "reasoning_effort": "effort",
    "reasoning.effort": "effort",
    "reasoning": "effort",
    "parallel_tool_calls": "parallel_tools",
    "prompt_cache_key": "cache_key",
    "text.verbosity": "verbosity",
    "safety_identifier": "user",
    "random_seed": "seed",
}
_STATUS_OF_TYPE: Mapping[str, int] = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "server_error": 500,
    "timeout_error": 504,
}
_MOST_WORDS = 4000


def decode_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """An error reply of OpenAI or of those that speak like it, garbage too. `headers` in lower case."""
    request_id = headers.get("x-request-id") or headers.get("apim-request-id") or ""
    retry_after = headers.get("retry-after", "")
    fault = _fault(decode_json(body), status, body, headers.get("x-amzn-errortype", ""))
    return msgspec.structs.replace(fault, retry_after=retry_after, request_id=request_id)


def fault_from(error: Any, status: int | None = None) -> Fault:
    """An error object inside a stream, or in a reply that says that it is a good one. Without a `status` the
    object says it, or else its type does."""
    return _fault(error, status, b"", "")


def _fault(error: Any, status: int | None, body: bytes, header: str) -> Fault:
    """An error object in any of the shapes that are met → what it stands for. `body` stands in where the
    object has no words.

    Seen: {"error": {...}}, {"error": "words"}, [{"error": …}] (Google's), {"message", "type", "code"}
    (Mistral, Cerebras, vLLM), {"detail": "words" | [{"loc", "msg"}]} (FastAPI), {"code", "error": …} (xAI).
    """
    outer = error[0] if isinstance(error, list) and error else error
    outer = outer if isinstance(outer, dict) else {}
    inner = outer.get("error")
    fields = inner if isinstance(inner, dict) else outer
    message = _words(fields, inner) or _first_bytes(body) or "the provider answered with an error"
    code = _word(fields.get("code")) or (_word(outer.get("code")) if fields is not outer else "")
    kind = _word(fields.get("type"))
    if status is None:
        status = _status_in(fields, code, kind)
    said = body if body else msgspec.json.encode(error)
    cause = causes.cause_of("openai-chat", status, said, header)
    if cause is Cause.GARBAGE:
        status = 502
    if cause is Cause.CREDENTIAL:
        message, code = CREDENTIAL_MESSAGE, "upstream_credential_refused"
    elif cause is Cause.BILLING:
        message, code = BILLING_MESSAGE, "upstream_billing"
    param = _word(fields.get("param"))
    if param.startswith("messages["):  # they are counted otherwise in Chat
        param = "messages"
    return Fault(cause, status, message, code, _CANONICAL_FIELDS.get(param, param))


def _word(value: Any) -> str:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _words(fields: Mapping[str, Any], inner: Any) -> str:
    """What the error says to a person."""
    for said in (fields.get("message"), inner, fields.get("detail"), fields.get("error")):
        if isinstance(said, dict):
            said = said.get("detail") or said.get("message")
        if isinstance(said, list):  # FastAPI's: where, and what
            said = "; ".join(f"{_place(item.get('loc'))}{item.get('msg')}" for item in said if _is_told(item))
        if isinstance(said, str) and said:
            metadata = fields.get("metadata")
            raw = metadata.get("raw") if isinstance(metadata, dict) else None  # OpenRouter's: its provider's
            return (f"{said}: {raw}" if isinstance(raw, str) and raw else said)[:_MOST_WORDS]
    return ""


def _is_told(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("msg"), str)


def _place(loc: Any) -> str:
    steps = [str(step) for step in loc if step != "body"] if isinstance(loc, list) else []
    return ".".join(steps) + ": " if steps else ""


def _first_bytes(shown: bytes) -> str:
    text = shown[:200].decode("utf-8", "replace").strip()
    return f"the provider answered with {text!r}" if text else ""


def _status_in(fields: Mapping[str, Any], code: str, kind: str) -> int:
    for said in (fields.get("status_code"), fields.get("status"), code):
        text = _word(said)
        if text.isdecimal() and 400 <= int(text) < 600:
            return int(text)
    return _STATUS_OF_TYPE.get(code) or _STATUS_OF_TYPE.get(kind) or 500


class _Told(msgspec.Struct, frozen=True):
    """How a cause is told in OpenAI's words: the provider's status where it is one of `statuses`, else the
    first of them; `code` "" is the provider's own."""

    statuses: tuple[int, ...]
    type: str
    code: str = ""


_TOLD: Mapping[Cause, _Told] = {
    Cause.BAD_REQUEST: _Told((400, 405, 415, 422), "invalid_request_error"),
    Cause.CONTEXT_OVERFLOW: _Told((400,), "invalid_request_error", "context_length_exceeded"),
    Cause.CONTENT_POLICY: _Told((400,), "invalid_request_error", "content_policy_violation"),
    Cause.TOO_LARGE: _Told((413,), "invalid_request_error", "request_too_large"),
    Cause.CREDENTIAL: _Told((502,), "server_error", "upstream_credential_refused"),
    Cause.BILLING: _Told((503,), "server_error", "upstream_billing"),
    Cause.MODEL_NOT_FOUND: _Told((502,), "server_error", "upstream_model_not_found"),
    Cause.NOT_FOUND: _Told((404, 400), "invalid_request_error"),
    Cause.CONFLICT: _Told((409,), "invalid_request_error", "conflict"),
    Cause.RATE_LIMIT: _Told((429,), "rate_limit_error", "rate_limit_exceeded"),
    Cause.OVERLOADED: _Told((503, 529), "server_error", "overloaded"),
    Cause.TIMEOUT: _Told((504, 408), "server_error", "timeout"),
    Cause.SERVER: _Told((502, 500, 503), "server_error", "server_error"),
    Cause.GARBAGE: _Told((502,), "server_error", "upstream_garbage"),
    Cause.CUT: _Told((502,), "server_error", "upstream_cut"),
    Cause.FIRST_EVENT: _Told((504,), "server_error", "timeout"),
    Cause.STALL: _Told((504,), "server_error", "timeout"),
}


def encode_fault(fault: Fault, own_field: Callable[[str], str]) -> tuple[int, bytes]:
    """(status, body) as OpenAI's SDK expects an error. Failures of our own account and models are 502 and
    503, and nothing of the provider's words about them is passed on."""
    told = _TOLD[fault.cause]
    status = fault.status if fault.status in told.statuses else told.statuses[0]
    return status, msgspec.json.encode({"error": fault_object(fault, own_field)})


def fault_object(fault: Fault, own_field: Callable[[str], str]) -> dict[str, str | None]:
    """What stands under `error`."""
    told = _TOLD[fault.cause]
    fixed = OWN_MESSAGES.get(fault.cause)
    code = fault.code if fault.code.startswith(("upstream_", "broker_")) else told.code or fault.code
    return {
        "message": fixed or fault.message,
        "type": told.type,
        "param": (not fixed and own_field(fault.param)) or None,
        "code": code or None,
    }


# -- what OpenAI's models take

EFFORT_LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# From so many tokens on, a budget is worth the level.
_BUDGETS = ((16_384, "high"), (4_096, "medium"), (0, "low"))
_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs")


class ModelTraits(msgspec.Struct, frozen=True):
    """`efforts`: the levels that it takes, () where it does not reason. `thinks`: without being asked to.
    `stops`: it takes stop sequences."""

    efforts: tuple[str, ...] = ()
    thinks: bool = False
    stops: bool = True


_O_SERIES = ModelTraits(("low", "medium", "high"), True, False)
_PRO = ModelTraits(("medium", "high", "xhigh"), True, False)
_CHAT_LATEST = ModelTraits(("medium",), True, False)
_OPT_IN = ModelTraits(("none", "low", "medium", "high", "xhigh"), False, False)
_OPT_OUT = ModelTraits(("none", "low", "medium", "high", "xhigh"), True, False)
_ALWAYS = ModelTraits(("low", "medium", "high", "xhigh"), True, False)
# Sources: OpenAI's reasoning guide and model pages ("Supported values"), Microsoft's "Azure OpenAI reasoning
# models"; that gpt-5 models refuse `stop` is only in its error ("Unsupported parameter: 'stop'").
_TRAITS: Mapping[str, ModelTraits] = {
    "gpt-3.5": ModelTraits(),
    "gpt-4": ModelTraits(),
    "chatgpt-4o": ModelTraits(),
    "o1": ModelTraits(("low", "medium", "high"), True),
    "o3": _O_SERIES,
    "o4": _O_SERIES,
    "gpt-5": ModelTraits(("minimal", "low", "medium", "high"), True, False),
    "gpt-5-chat": ModelTraits((), False, False),
    "gpt-5-pro": ModelTraits(("high",), True, False),
    "gpt-5.1": ModelTraits(("none", "low", "medium", "high"), False, False),
    "gpt-5.1-chat": _CHAT_LATEST,
    "gpt-5.1-codex": ModelTraits(("low", "medium", "high"), True, False),
    "gpt-5.2": _OPT_IN,
    "gpt-5.2-chat": _CHAT_LATEST,
    "gpt-5.2-pro": _PRO,
    "gpt-5.3": _OPT_IN,
    "gpt-5.3-chat": _CHAT_LATEST,
    "gpt-5.4": _OPT_IN,
    "gpt-5.4-pro": _PRO,
    "gpt-5.5": _OPT_OUT,
    "gpt-5.5-pro": _PRO,
    "gpt-5.6": _OPT_OUT,
    "gpt-6": _OPT_OUT,
    "gpt-6-astra": _ALWAYS,
    "gpt-6.1-sol": _ALWAYS,
}
# The longest prefix that fits counts.
_PREFIXES = sorted(_TRAITS, key=len, reverse=True)


@functools.lru_cache(maxsize=1024)
def traits_of(model: str) -> ModelTraits | None:
    """What is known of one of OpenAI's own models by its name; None: it is nobody's that we know."""
    name = model.removeprefix("ft:")
    return next((_TRAITS[prefix] for prefix in _PREFIXES if name.startswith(prefix)), None)


def effort_level(effort: Effort) -> str:
    """The level that a client means, in OpenAI's words; "" where it leaves it to the provider."""
    if not effort.enabled:
        return "none"
    if effort.level:
        return effort.level
    if effort.budget_tokens is not None:
        return next(level for least, level in _BUDGETS if effort.budget_tokens >= least)
    return "medium" if effort.adaptive else ""


def closest_effort(level: str, efforts: Sequence[str]) -> str:
    """The lowest of `efforts` that is at least `level`, or else the highest; "" where there is none. Who
    wants no reasoning at all gets the least that there is."""
    if not efforts or level not in EFFORT_LEVELS:
        return ""
    ranked = sorted(efforts, key=EFFORT_LEVELS.index)
    wanted = EFFORT_LEVELS.index(level)
    return next((effort for effort in ranked if EFFORT_LEVELS.index(effort) >= wanted), ranked[-1])


def refused_knobs(model: str, level: str) -> frozenset[str]:
    """Names in Chat of the knobs for which OpenAI answers 400 when `model` reasons at `level` ("" : as it
    does by itself)."""
    traits = traits_of(model)
    if traits is None:
        return frozenset()
    reasons = traits.thinks if not level else level != "none"
    return frozenset((*(_SAMPLING if reasons else ()), *(() if traits.stops else ("stop",))))


LONGEST_KEY = 64


def bounded(key: str) -> str:
    """What says who a user is, or which prompt this is: OpenAI takes at most 64 characters, and agents of
    other dialects send more. A longer one is known by its hash."""
    return key if len(key) <= LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()


# -- usage


def usage_of(
    prompt: int, output: int, prompt_details: Any, output_details: Any, searches: int | None = None
) -> Usage:
    """OpenAI's counts, in which the prompt's tokens include those read from the cache and written to it."""
    cache_read = count_in(prompt_details, "cached_tokens") or 0
    # OpenRouter tells tokens that were written and read again in both: they count once.
    cache_write = min(count_in(prompt_details, "cache_write_tokens") or 0, max(prompt - cache_read, 0))
    return Usage(
        input=max(prompt - cache_read - cache_write, 0),
        cache_read=cache_read,
        cache_write_5m=cache_write,
        output=output,
        reasoning=count_in(output_details, "reasoning_tokens"),
        audio_input=count_in(prompt_details, "audio_tokens") or None,
        web_searches=searches or None,
    )


def count_in(details: Any, name: str) -> int | None:
    """A count of tokens; None where there is none."""
    value = details.get(name) if isinstance(details, dict) else None
    if type(value) is int:  # nearly always; a bool is another type
        return value if value >= 0 else None
    is_count = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    return int(value) if is_count and value is not None else None


# -- tools that take any text: to other dialects each is a function of one text

CUSTOM_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


def custom_arguments(text: str) -> str:
    """A call of such a tool as a call of that function."""
    return msgspec.json.encode({"input": text}).decode()


def custom_input(arguments: str) -> str:
    """The text in a call of that function; what is no such call is the text itself."""
    value = decode_json(arguments.encode())
    text = value.get("input") if isinstance(value, dict) and len(value) == 1 else None
    return text if isinstance(text, str) else arguments
