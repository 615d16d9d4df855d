"""Names that both directions of the dialect share: kinds of blobs, types of blocks, stop reasons, paths.

Source: Anthropic API reference, "Messages"; for the paths Anthropic's Python SDK, lib/vertex and lib/bedrock.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from ..blobs import MARK, untagged
from ..conversation import Blob, Upstream
from ..replies import Stop
from ..translation import CannotCarry

SIGNATURE = "anthropic-messages.signature"
REDACTED = "anthropic-messages.redacted_thinking"

# A signature of reasoning whose issuer gave nothing to be sent back. Everything that the broker puts where
# only Anthropic writes has a tag, so that it can be told from Anthropic's own and is never sent there.
NO_BLOB = f"{MARK}::"
# The same for a citation of a web page that Anthropic's own search did not find.
NO_INDEX = f"{MARK}:citation:"
# A redacted_thinking block whose tagged kind ends so holds the blob of the tool call or text in front of it.
_BACKWARDS = "<"

API_VERSION = "2023-06-01"
# Since then the API takes no temperature, top_p and top_k ("Migrating to API version 2026-10-21").
NO_SAMPLING_SINCE = "2026-10-21"
VERTEX_VERSION = "vertex-2023-10-16"
BEDROCK_VERSION = "bedrock-2023-05-31"

# Blocks and sources that can be said in other dialects.
CARRIED_BLOCKS = frozenset(
    ("text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result")
)
# Blocks that only this dialect knows: searches and tools that run at Anthropic, and what goes with them.
OWN_BLOCKS = frozenset(
    (
        "search_result",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "advisor_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
        "mcp_tool_listing",
        "container_upload",
        "compaction",
        "fallback",
        "tool_addition",
        "tool_removal",
        "tool_reference",
        "browser_state",
    )
)
STOPS: Mapping[str, Stop] = {
    "end_turn": Stop.END,
    "max_tokens": Stop.MAX_TOKENS,
    "stop_sequence": Stop.STOP_SEQUENCE,
    "tool_use": Stop.TOOL_CALLS,
    "refusal": Stop.REFUSAL,
    "model_context_window_exceeded": Stop.CONTEXT_WINDOW,
    "pause_turn": Stop.PAUSE,
    "compaction": Stop.PAUSE,
}
STOP_REASONS: Mapping[Stop, str] = {
    **{stop: reason for reason, stop in STOPS.items() if reason != "compaction"},
    Stop.CONTENT_FILTER: "refusal",
}


def attached(blob: Blob) -> str:
    """The tag of a blob that belongs to the block in front."""
    return f"{MARK}{blob.issuer}:{blob.kind}{_BACKWARDS}:{blob.data}"


def detached(text: str, native_kind: str) -> tuple[Blob | None, bool]:
    """(what a signature or a redacted block of a request holds, whether it is the block's in front)."""
    if not text:
        return None, False
    blob = untagged(text, native_kind)
    if not (blob.kind and blob.data):
        return None, False
    if blob.kind.endswith(_BACKWARDS):
        return Blob(blob.issuer, blob.kind.removesuffix(_BACKWARDS), blob.data), True
    return blob, False


def path(upstream: Upstream, stream: bool, operation: str) -> str:
    """What stands behind the provider's base path. `operation`: `chat` or `count`."""
    match upstream.variant:
        case "vertex":
            place = f"/projects/{upstream.project}/locations/{upstream.region}/publishers/anthropic/models"
            if operation == "count":
                return f"{place}/count-tokens:rawPredict"
            # A server that drops `;` and the rest of its segment would drop what stands behind it.
            verb = "streamRawPredict" if stream else "rawPredict"
            return f"{place}/{quote(upstream.model, safe='@:')}:{verb}"
        case "bedrock":
            if operation == "count":
                raise CannotCarry("a token count", "InvokeModel has none in this dialect", "model")
            verb = "invoke-with-response-stream" if stream else "invoke"
            return f"/model/{quote(upstream.model, safe=':')}/{verb}"
    return "/v1/messages/count_tokens" if operation == "count" else "/v1/messages"
