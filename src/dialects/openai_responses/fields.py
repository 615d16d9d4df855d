"""What becomes of each field of a request when it is translated. Held against the official SDK's own types
by a test: a field that a new SDK version brings shows up there."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..translation import Field

_CARRIED = Field("carried")
_DROPPED = Field("dropped")
_OWN = Field("same-dialect")
_LABEL = Field("label")
_ID = Field("same-dialect", "lives at one account")

# Fields of the request itself.
FIELDS: Mapping[str, Field] = {
    "access_programs": Field("dropped", "OpenAI's own programmes"),
    "background": Field("same-dialect", "true only"),
    "background_options": Field("dropped", "says something of background calls only"),
    "context_management": Field("same-dialect", "compaction is OpenAI's"),
    "conversation": _ID,
    "image": Field("dropped", "compression of images"),
    "include": Field("carried", "logprobs and encrypted reasoning; what hosted tools add is dropped"),
    "input": Field("carried", "each item and part has its own line below"),
    "instructions": Field("carried", "in front of the system prompt"),
    "max_output_tokens": _CARRIED,
    "max_tool_calls": Field("dropped", "bounds hosted tools only"),
    "metadata": Field("dropped", "where the provider takes none: few do; the reply says it again"),
    "model": Field("carried", "names a pool"),
    "moderation": Field("same-dialect", "a policy that only OpenAI enforces"),
    "parallel_tool_calls": Field("dropped", "where the provider can't say it"),
    "previous_response_id": _ID,
    "prompt": _ID,
    "prompt_cache_key": Field("dropped", "where the provider has none"),
    "prompt_cache_options": Field("carried", "its TTL, as a hint for the whole prompt"),
    "prompt_cache_retention": Field("carried", "24h, as a hint for the whole prompt"),
    "reasoning": Field("carried", "each of its fields has its own line below"),
    "safety_identifier": Field("dropped", "where the provider takes no user"),
    "service_tier": Field("dropped", "where the provider has no such tier"),
    "store": Field("same-dialect", "true only: who does not say it gets a reply that is not kept"),
    "stream": _CARRIED,
    "stream_options": Field("dropped", "obfuscation: a translated stream has none"),
    "temperature": Field("dropped", "where the model takes none"),
    "text": Field("carried", "each of its fields has its own line below"),
    "tool_choice": Field("carried", "also of allowed_tools"),
    "tools": Field("carried", "each kind has its own line below"),
    "top_logprobs": Field("dropped", "where the provider has none"),
    "top_p": Field("dropped", "where the model takes none"),
    "truncation": Field("dropped", "auto: a prompt that is too long is refused instead"),
    "user": Field("dropped", "where the provider takes no user"),
}

# Fields inside: `<field>.<name>`. What `input`, `tools` and `tool_choice` hold is told by its type:
# `input.function_call.name`; where no field of a type is named, the line is for all of it.
CONTENT_FIELDS: Mapping[str, Field] = {
    "reasoning.context": Field("dropped", "which of OpenAI's own reasoning items count"),
    "reasoning.effort": Field("carried", "as the nearest that the model has"),
    "reasoning.generate_summary": Field("carried", "as summary"),
    "reasoning.mode": _DROPPED,
    "reasoning.summary": Field("carried", "that reasoning is to be shown; how long is left to the provider"),
    "text.format": _CARRIED,
    "text.format.description": _CARRIED,
    "text.format.name": _CARRIED,
    "text.format.schema": _CARRIED,
    "text.format.strict": _CARRIED,
    "text.format.type": Field("carried", "text, json_object or json_schema"),
    "stream_options.include_obfuscation": Field("dropped", "a translated stream has none"),
    "text.verbosity": Field("dropped", "where the provider has none"),
    "prompt_cache_options.comparison_response_id": Field("dropped", "diagnostics"),
    "prompt_cache_options.mode": Field("carried", "explicit: no hint for the whole prompt"),
    "prompt_cache_options.prewarm": Field("same-dialect", "true only"),
    "prompt_cache_options.ttl": Field("carried", "as the longest that the provider has"),
    # -- messages and their parts
    "input.message.content": _CARRIED,
    "input.message.id": _LABEL,
    "input.message.phase": Field("dropped", "a label for OpenAI's own models"),
    "input.message.role": Field("carried", "developer as system"),
    "input.message.status": _LABEL,
    "input.input_text.prompt_cache_breakpoint": _CARRIED,
    "input.input_text.text": _CARRIED,
    "input.input_image.detail": Field("dropped", "where the provider has none"),
    "input.input_image.file_id": _ID,
    "input.input_image.image_url": _CARRIED,
    "input.input_image.prompt_cache_breakpoint": _CARRIED,
    "input.input_file.detail": _DROPPED,
    "input.input_file.file_data": _CARRIED,
    "input.input_file.file_id": _ID,
    "input.input_file.file_url": _CARRIED,
    "input.input_file.filename": _CARRIED,
    "input.input_file.prompt_cache_breakpoint": _CARRIED,
    "input.input_audio.input_audio": _CARRIED,
    "input.output_text.annotations": Field("label", "citations are not read back"),
    "input.output_text.logprobs": Field("label", "no content"),
    "input.output_text.text": _CARRIED,
    "input.refusal.refusal": _CARRIED,
    # -- tool calls and their results
    "input.function_call.arguments": _CARRIED,
    "input.function_call.async": Field("same-dialect", "true only"),
    "input.function_call.call_id": _CARRIED,
    "input.function_call.caller": Field("same-dialect", "a program's calls"),
    "input.function_call.id": _LABEL,
    "input.function_call.name": _CARRIED,
    "input.function_call.namespace": Field("same-dialect", "a tool that tool search has found"),
    "input.function_call.status": _LABEL,
    "input.function_call_output.call_id": _CARRIED,
    "input.function_call_output.caller": Field("same-dialect", "a program's calls"),
    "input.function_call_output.id": _LABEL,
    "input.function_call_output.name": _LABEL,
    "input.function_call_output.namespace": Field("same-dialect", "a tool that tool search has found"),
    "input.function_call_output.output": _CARRIED,
    "input.function_call_output.status": _LABEL,
    "input.custom_tool_call.async": Field("same-dialect", "true only"),
    "input.custom_tool_call.call_id": _CARRIED,
    "input.custom_tool_call.caller": Field("same-dialect", "a program's calls"),
    "input.custom_tool_call.id": _LABEL,
    "input.custom_tool_call.input": Field("carried", "as the argument `input`"),
    "input.custom_tool_call.name": _CARRIED,
    "input.custom_tool_call.namespace": Field("same-dialect", "a tool that tool search has found"),
    "input.custom_tool_call_output.call_id": _CARRIED,
    "input.custom_tool_call_output.caller": Field("same-dialect", "a program's calls"),
    "input.custom_tool_call_output.id": _LABEL,
    "input.custom_tool_call_output.output": _CARRIED,
    "input.reasoning.content": Field("carried", "to the provider that issued it; else left out"),
    "input.reasoning.encrypted_content": Field("carried", "to the provider that issued it; else left out"),
    "input.reasoning.id": _LABEL,
    "input.reasoning.status": _LABEL,
    "input.reasoning.summary": Field("carried", "to the provider that issued it; else left out"),
    # -- items of OpenAI's own
    "input.additional_tools": _OWN,
    "input.apply_patch_call": _OWN,
    "input.apply_patch_call_output": _OWN,
    "input.code_interpreter_call": _OWN,
    "input.compaction": _OWN,
    "input.compaction_trigger": _OWN,
    "input.computer_call": _OWN,
    "input.computer_call_output": _OWN,
    "input.configuration_update": _OWN,
    "input.file_search_call": _OWN,
    "input.image_generation_call": _OWN,
    "input.item_reference": _ID,
    "input.local_shell_call": _OWN,
    "input.local_shell_call_output": _OWN,
    "input.mcp_approval_request": _OWN,
    "input.mcp_approval_response": _OWN,
    "input.mcp_call": _OWN,
    "input.mcp_list_tools": _OWN,
    "input.program": _OWN,
    "input.program_output": _OWN,
    "input.shell_call": _OWN,
    "input.shell_call_output": _OWN,
    "input.tool_search_call": _OWN,
    "input.tool_search_output": _OWN,
    "input.web_search_call": _OWN,
    # -- tools
    "tools.function.allowed_callers": Field("dropped", "a program is a hosted tool"),
    "tools.function.async": Field("same-dialect", "true only"),
    "tools.function.defer_loading": Field("dropped", "tool search is a hosted tool"),
    "tools.function.description": _CARRIED,
    "tools.function.name": _CARRIED,
    "tools.function.output_schema": _DROPPED,
    "tools.function.parameters": _CARRIED,
    "tools.function.strict": Field("dropped", "where the provider has no strict tools"),
    "tools.custom.allowed_callers": Field("dropped", "a program is a hosted tool"),
    "tools.custom.async": Field("same-dialect", "true only"),
    "tools.custom.defer_loading": Field("dropped", "tool search is a hosted tool"),
    "tools.custom.description": _CARRIED,
    "tools.custom.format": Field("same-dialect", "grammars; free text is carried"),
    "tools.custom.name": Field("carried", "as a function of one text, `input`"),
    "tools.apply_patch": _OWN,
    "tools.code_interpreter": _OWN,
    "tools.computer": _OWN,
    "tools.computer_use_preview": _OWN,
    "tools.file_search": _OWN,
    "tools.image_generation": _OWN,
    "tools.local_shell": _OWN,
    "tools.mcp": _OWN,
    "tools.namespace": _OWN,
    "tools.programmatic_tool_calling": _OWN,
    "tools.shell": _OWN,
    "tools.tool_search": _OWN,
    "tools.web_search": _OWN,
    "tools.web_search_2025_08_26": _OWN,
    "tools.web_search_preview": _OWN,
    "tools.web_search_preview_2025_03_11": _OWN,
    "tool_choice.auto": _CARRIED,
    "tool_choice.none": _CARRIED,
    "tool_choice.required": _CARRIED,
    "tool_choice.allowed_tools": Field("carried", "of functions and custom tools"),
    "tool_choice.custom": _CARRIED,
    "tool_choice.function": _CARRIED,
    "tool_choice.apply_patch": _OWN,
    "tool_choice.code_interpreter": _OWN,
    "tool_choice.computer": _OWN,
    "tool_choice.computer_use": _OWN,
    "tool_choice.computer_use_preview": _OWN,
    "tool_choice.file_search": _OWN,
    "tool_choice.image_generation": _OWN,
    "tool_choice.mcp": _OWN,
    "tool_choice.programmatic_tool_calling": _OWN,
    "tool_choice.shell": _OWN,
    "tool_choice.web_search_preview": _OWN,
    "tool_choice.web_search_preview_2025_03_11": _OWN,
}

# The client's own names of fields of `Chat`, where they are others.
OWN_NAMES: Mapping[str, str] = {
    "messages": "input",
    "system": "instructions",
    "parallel_tools": "parallel_tool_calls",
    "output": "text.format",
    "effort": "reasoning",
    "verbosity": "text.verbosity",
    "user": "safety_identifier",
    "cache_key": "prompt_cache_key",
    "cached": "prompt_cache_options",
    "logprobs": "include",
}
# The other way: a provider's field → the field of `Chat`.
CHAT_NAMES: Mapping[str, str] = {own: name for name, own in OWN_NAMES.items()} | {
    "text": "output",
    "user": "user",
    "reasoning.effort": "effort",
    "reasoning.summary": "effort",
}
_NAMES = re.compile(r"[^.\[\]]+(?=[.\[]|$)")


def own_field(param: str) -> str:
    """`messages[2].parts[0]` → `input`: items and messages are not the same in number."""
    if not param:
        return param
    head = param.partition("[")[0].partition(".")[0]
    own = OWN_NAMES.get(head)
    if own is None:
        return param
    return own if head in ("messages", "system") else own + param[len(head) :]


def chat_field(param: str) -> str:
    """`text.format.schema` → `output`; a name that `Chat` does not have stays as it is."""
    names = _NAMES.findall(param)
    for name in (".".join(names[:2]), *names[:1]):
        if name in CHAT_NAMES:
            return CHAT_NAMES[name]
    return param
