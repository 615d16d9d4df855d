"""The fields of Anthropic's requests, and what it says of others.

https://docs.anthropic.com/en/api/messages, and the parameter types of the official SDK, beta ones too
"""

from collections.abc import Iterable
from typing import Any

from ..reading import objects
from ..refusal import Refusal
from ..requests import Call

COMMON = frozenset(
    (
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "output_format",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        "user_profile_id",
        "workspace_id",
    )
)
MESSAGES = COMMON | {
    "billing_policy",
    "compaction",
    "container",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
    "temperature",
    "thread",
    "top_k",
    "top_p",
}
# Bedrock and Vertex AI have the model in the path, and versions and betas in the body.
_HOSTED = (MESSAGES - {"model", "stream"}) | {"anthropic_version", "anthropic_beta"}
BLOCKS: dict[str, frozenset[str]] = {
    "text": frozenset(("cache_control", "citations", "text", "type")),
    "image": frozenset(("cache_control", "source", "transformations", "type")),
    "document": frozenset(("cache_control", "citations", "context", "source", "title", "type")),
    "search_result": frozenset(("cache_control", "citations", "content", "source", "title", "type")),
    "thinking": frozenset(("signature", "thinking", "type")),
    "redacted_thinking": frozenset(("data", "type")),
    "tool_use": frozenset(("cache_control", "caller", "id", "input", "name", "toolset_name", "type")),
    "tool_result": frozenset(("cache_control", "content", "is_error", "tool_use_id", "toolset_name", "type")),
}
# Blocks of which only the names are known here.
OTHER_BLOCKS = frozenset(
    (
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "browser_state",
        "code_execution_tool_result",
        "compaction",
        "container_upload",
        "fallback",
        "mcp_tool_listing",
        "mcp_tool_result",
        "mcp_tool_use",
        "server_tool_use",
        "text_editor_code_execution_tool_result",
        "tool_addition",
        "tool_reference",
        "tool_removal",
        "tool_search_tool_result",
        "web_fetch_tool_result",
        "web_search_tool_result",
    )
)
TOOL = frozenset(
    (
        "allowed_callers",
        "cache_control",
        "defer_loading",
        "description",
        "eager_input_streaming",
        "input_examples",
        "input_schema",
        "name",
        "strict",
        "type",
    )
)


def check(call: Call) -> None:
    """The fields of a request, of its messages and their blocks, and of its tools. Raises Refusal."""
    _refuse_extra("", call.fields, _known(call))
    for index, message in enumerate_objects(call.fields.get("messages")):
        _refuse_extra(f"messages.{index}.", message, ("role", "content"))
        for number, block in enumerate_objects(message.get("content")):
            _check_block(f"messages.{index}.content.{number}", block)
    for index, tool in enumerate_objects(call.fields.get("tools")):
        if tool.get("type") in ("custom", None):
            _refuse_extra(f"tools.{index}.custom.", tool, TOOL)


def _known(call: Call) -> frozenset[str]:
    if call.surface == "anthropic-count-tokens":
        return COMMON | {"anthropic_version", "anthropic_beta"} if call.platform == "vertex" else COMMON
    if call.platform == "direct":
        return MESSAGES
    # Vertex streams by path, and still takes the word of the body.
    return _HOSTED | {"stream"} if call.platform == "vertex" else _HOSTED


def _check_block(where: str, block: dict[str, Any]) -> None:
    kind = block.get("type")
    known = BLOCKS.get(kind) if isinstance(kind, str) else None
    if known is not None:
        _refuse_extra(f"{where}.{kind}.", block, known)
    elif isinstance(kind, str) and kind not in OTHER_BLOCKS:
        expected = ", ".join(f"'{name}'" for name in sorted((*BLOCKS, *OTHER_BLOCKS)))
        message = f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
        raise Refusal(400, f"{message}: {expected}")
    if kind == "tool_result":
        for number, inner in enumerate_objects(block.get("content")):
            _check_block(f"{where}.tool_result.content.{number}", inner)


def _refuse_extra(where: str, fields: dict[str, Any], known: Iterable[str]) -> None:
    for name in fields:
        if name not in known:
            raise Refusal(400, f"{where}{name}: Extra inputs are not permitted")


def enumerate_objects(value: Any) -> list[tuple[int, dict[str, Any]]]:
    """The JSON objects of a list, each with its place in it."""
    if not objects(value):
        return []
    return [(index, item) for index, item in enumerate(value) if isinstance(item, dict)]
