"""What becomes of each field of a request when it is translated. Held against the official SDK's own types by
a test: a field that a new SDK version brings shows up there."""

from __future__ import annotations

from collections.abc import Mapping

from ..translation import Field

_CARRIED = Field("carried")
_OWN = Field("same-dialect")
_NO_PLACE = Field("dropped", "no other dialect has it")
_IF_KNOWN = Field("dropped", "where the provider has none")
_IF_TAKEN = Field("dropped", "where the model takes none")
_HINT = Field("dropped", "where the provider takes no cache hints")
_FREE = Field("carried", "as a function of one text, `input`")

# Fields of the request itself.
FIELDS: Mapping[str, Field] = {
    "audio": Field("same-dialect", "audio output"),
    "frequency_penalty": _IF_TAKEN,
    "function_call": Field("carried", "as tool_choice"),
    "functions": Field("carried", "as tools; the reply has function_call"),
    "logit_bias": Field("dropped", "its tokens are those of one model"),
    "logprobs": _IF_KNOWN,
    "max_completion_tokens": _CARRIED,
    "max_tokens": Field("carried", "where max_completion_tokens is not given"),
    "messages": Field("carried", "each kind of part has its own line below"),
    "metadata": Field("dropped", "where the provider takes none: few do"),
    "modalities": Field("same-dialect", "with audio only"),
    "model": Field("carried", "names a pool"),
    "moderation": Field("same-dialect", "a policy that only OpenAI enforces"),
    "n": Field("carried", "more than one only to members that can"),
    "parallel_tool_calls": _IF_KNOWN,
    "prediction": _NO_PLACE,
    "presence_penalty": _IF_TAKEN,
    "prompt_cache_key": _IF_KNOWN,
    "prompt_cache_options": Field("carried", "its TTL, as a hint for the whole prompt"),
    "prompt_cache_retention": Field("carried", "24h, as a hint for the whole prompt"),
    "reasoning_effort": Field("carried", "as the nearest that the model has"),
    "response_format": Field("carried", "a schema only to members that can be held to it"),
    "safety_identifier": Field("dropped", "where the provider takes no user"),
    "seed": _IF_KNOWN,
    "service_tier": Field("dropped", "where the provider has no such tier"),
    "stop": _IF_TAKEN,
    "store": Field("same-dialect", "true only"),
    "stream": _CARRIED,
    "stream_options": Field("carried", "usage; obfuscation is dropped"),
    "temperature": _IF_TAKEN,
    "tool_choice": Field("carried", "also of allowed_tools"),
    "tools": Field("carried", "functions, and custom tools without a grammar"),
    "top_logprobs": _IF_KNOWN,
    "top_p": _IF_TAKEN,
    "user": Field("dropped", "where the provider takes no user"),
    "verbosity": _IF_KNOWN,
    "web_search_options": Field("same-dialect", "a hosted tool"),
}

_OUTPUT = "response_format.json_schema"
_GRAMMAR = Field("same-dialect", "a grammar; free text is carried")
_AT_ACCOUNT = Field("same-dialect", "lives at one account")

# Fields inside them: `[]` is any of a list.
CONTENT_FIELDS: Mapping[str, Field] = {
    **dict.fromkeys(("audio.format", "audio.voice", "audio.voice.id"), Field("same-dialect", "audio output")),
    "function_call.name": _CARRIED,
    "functions[].description": _CARRIED,
    "functions[].name": _CARRIED,
    "functions[].parameters": _CARRIED,
    # -- messages
    "messages[].audio": _AT_ACCOUNT,
    "messages[].audio.id": _AT_ACCOUNT,
    "messages[].content": Field("carried", "text, or parts"),
    "messages[].function_call": Field("carried", "as a tool call"),
    "messages[].function_call.arguments": _CARRIED,
    "messages[].function_call.name": _CARRIED,
    "messages[].name": Field("dropped", "where the provider has none"),
    "messages[].refusal": _CARRIED,
    "messages[].role": Field("carried", "developer as system; function as tool"),
    "messages[].tool_call_id": _CARRIED,
    "messages[].tool_calls": _CARRIED,
    "messages[].tool_calls[].custom": _FREE,
    "messages[].tool_calls[].custom.input": _FREE,
    "messages[].tool_calls[].custom.name": _CARRIED,
    "messages[].tool_calls[].function": _CARRIED,
    "messages[].tool_calls[].function.arguments": _CARRIED,
    "messages[].tool_calls[].function.name": _CARRIED,
    "messages[].tool_calls[].id": _CARRIED,
    "messages[].tool_calls[].type": Field("carried", "function or custom"),
    # -- parts
    "messages[].content[].file": _CARRIED,
    "messages[].content[].file.file_data": Field("carried", "a URL where the provider takes one"),
    "messages[].content[].file.file_id": _AT_ACCOUNT,
    "messages[].content[].file.filename": _CARRIED,
    "messages[].content[].image_url": _CARRIED,
    "messages[].content[].image_url.detail": _IF_KNOWN,
    "messages[].content[].image_url.url": _CARRIED,
    "messages[].content[].input_audio": _CARRIED,
    "messages[].content[].input_audio.data": _CARRIED,
    "messages[].content[].input_audio.format": _CARRIED,
    "messages[].content[].prompt_cache_breakpoint": _HINT,
    "messages[].content[].prompt_cache_breakpoint.mode": _HINT,
    "messages[].content[].prompt_cache_breakpoint.ttl": Field(
        "carried", "as the longest that the provider has"
    ),
    "messages[].content[].refusal": _CARRIED,
    "messages[].content[].text": _CARRIED,
    "messages[].content[].type": Field("carried", "those that OpenAI has; others only in this dialect"),
    # -- knobs
    **dict.fromkeys(
        (
            "moderation.model",
            "moderation.policy",
            "moderation.policy.input",
            "moderation.policy.input.mode",
            "moderation.policy.output",
            "moderation.policy.output.mode",
        ),
        Field("same-dialect", "a policy that only OpenAI enforces"),
    ),
    **dict.fromkeys(
        (
            "prediction.content",
            "prediction.content[].prompt_cache_breakpoint",
            "prediction.content[].prompt_cache_breakpoint.mode",
            "prediction.content[].prompt_cache_breakpoint.ttl",
            "prediction.content[].text",
            "prediction.content[].type",
            "prediction.type",
        ),
        _NO_PLACE,
    ),
    "prompt_cache_options.mode": Field("carried", "explicit: no hint for the whole prompt"),
    "prompt_cache_options.ttl": Field("carried", "as the longest that the provider has"),
    _OUTPUT: _CARRIED,
    f"{_OUTPUT}.description": _CARRIED,
    f"{_OUTPUT}.name": _CARRIED,
    f"{_OUTPUT}.schema": _CARRIED,
    f"{_OUTPUT}.strict": _IF_KNOWN,
    "response_format.type": Field("carried", "text, json_object or json_schema"),
    "stream_options.include_obfuscation": Field("dropped", "a translated stream has none"),
    "stream_options.include_usage": _CARRIED,
    # -- tools
    "tool_choice.allowed_tools": _CARRIED,
    "tool_choice.allowed_tools.mode": _CARRIED,
    "tool_choice.allowed_tools.tools": _CARRIED,
    "tool_choice.custom": _CARRIED,
    "tool_choice.custom.name": _CARRIED,
    "tool_choice.function": _CARRIED,
    "tool_choice.function.name": _CARRIED,
    "tool_choice.type": _CARRIED,
    "tools[].custom": _FREE,
    "tools[].custom.description": _CARRIED,
    "tools[].custom.format": _GRAMMAR,
    "tools[].custom.format.grammar": _GRAMMAR,
    "tools[].custom.format.grammar.definition": _GRAMMAR,
    "tools[].custom.format.grammar.syntax": _GRAMMAR,
    "tools[].custom.format.type": _GRAMMAR,
    "tools[].custom.name": _CARRIED,
    "tools[].function": _CARRIED,
    "tools[].function.description": _CARRIED,
    "tools[].function.name": _CARRIED,
    "tools[].function.parameters": _CARRIED,
    "tools[].function.strict": Field("dropped", "where the provider has no strict tools"),
    "tools[].type": Field("carried", "function or custom; others only in this dialect"),
    **dict.fromkeys(
        (
            "web_search_options.search_context_size",
            "web_search_options.user_location",
            "web_search_options.user_location.approximate",
            "web_search_options.user_location.approximate.city",
            "web_search_options.user_location.approximate.country",
            "web_search_options.user_location.approximate.region",
            "web_search_options.user_location.approximate.timezone",
            "web_search_options.user_location.type",
        ),
        Field("same-dialect", "a hosted tool"),
    ),
}

# What the client calls what Chat calls otherwise.
OWN_NAMES: Mapping[str, str] = {
    "max_output_tokens": "max_completion_tokens",
    "choices": "n",
    "output": "response_format",
    "effort": "reasoning_effort",
    "parallel_tools": "parallel_tool_calls",
    "cache_key": "prompt_cache_key",
    "cached": "prompt_cache_breakpoint",
    "system": "messages",
}


def own_field(param: str) -> str:
    """The client's name of a field of Chat. Messages are counted otherwise there, so they have no number."""
    if param.startswith("messages["):
        return "messages"
    head, dot, rest = param.partition(".")
    return OWN_NAMES.get(head, head) + dot + rest
