"""Names that both directions of the dialect share: kinds of blobs, ids, paths, types of items.

Source: OpenAI API reference, "Responses"; Microsoft Learn, "Azure OpenAI Responses API".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...core.deviation import Deviation
from ..blobs import MARK, untagged
from ..conversation import Blob, Upstream

# Encrypted reasoning. OpenAI binds it to the id of its item and refuses it under another one, so the blob's
# data is `<item id>:<encrypted content>`; without an id it is the content alone, which holds no colon.
ENCRYPTED = "openai-responses.encrypted_content"
# Reasoning of a translated reply whose issuer gave nothing to be sent back. Every item that the broker made
# has a tag, so that it can be told from a provider's own and is never sent to one.
NO_BLOB = f"{MARK}::"
# The tag of a blob that belongs to the tool call or text in front of its item ends its kind so.
_BACKWARDS = "<"

RESPONSE_PREFIX = "resp_mb_"
_OWN_ITEM = re.compile(r"(?:msg|rs|fc|ctc|ig)_[0-9a-f]{32}_\d+")

# Items that can be said in other dialects. "" is a message without its type.
CARRIED_ITEMS = frozenset(
    (
        "",
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    )
)


# What another dialect's model drew, as the broker told it; OpenAI's own tool makes items of the same type.
DRAWN = "image_generation_call"

# How providers that speak this dialect differ from OpenAI.
DEVIATIONS: Mapping[str, Deviation] = {
    "cache_breakpoints": Deviation("it takes prompt_cache_breakpoint at content", False),
    "system_role": Deviation(
        "the role of instructions in the middle of a conversation", "developer", ("system", "developer")
    ),
    "unsupported": Deviation(
        "knobs that it refuses, by their names in the conversation",
        (),
        ("temperature", "top_p", "logprobs", "effort"),
    ),
}


def deviation(upstream: Upstream, name: str) -> Any:
    """What a provider says of itself, or OpenAI's own way."""
    return upstream.deviations.get(name, DEVIATIONS[name].usual)


def attached(blob: Blob) -> str:
    """The tag of a blob of the part in front."""
    return f"{MARK}{blob.issuer}:{blob.kind}{_BACKWARDS}:{blob.data}"


def detached(text: str) -> tuple[Blob | None, bool]:
    """(what a reasoning item of a client's request holds, whether it is the part's in front)."""
    blob = untagged(text, ENCRYPTED)
    if not (blob.kind and blob.data):
        return None, False
    if blob.kind.endswith(_BACKWARDS):
        return Blob(blob.issuer, blob.kind.removesuffix(_BACKWARDS), blob.data), True
    return blob, False


def sealed(item_id: str, encrypted: str) -> str:
    """A blob's data for encrypted reasoning as a provider sent it."""
    return f"{item_id}:{encrypted}" if item_id else encrypted


def unsealed(data: str) -> tuple[str, str]:
    """(the id of the item or "", its encrypted content)."""
    item_id, found, encrypted = data.partition(":")
    return (item_id, encrypted) if found else ("", data)


def is_brokers_response(ident: str) -> bool:
    """Was this response made from the reply of another dialect's member, which keeps none?"""
    return ident.startswith(RESPONSE_PREFIX)


def is_brokers_item(ident: str) -> bool:
    return _OWN_ITEM.fullmatch(ident) is not None


def path(upstream: Upstream, suffix: str) -> str:
    """Where an operation is, behind the provider's base path; `suffix` is OpenAI's own path.

    Azure has it under /openai with a version in the query; its undated `v1` API is under /openai/v1.
    """
    if upstream.variant != "azure":
        return suffix
    if upstream.api_version in ("", "v1"):
        return f"/openai/v1{suffix}"
    return f"/openai{suffix}?api-version={upstream.api_version}"
