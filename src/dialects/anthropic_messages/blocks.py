"""The blocks of a request as clients write them. Fields that are not here are refused, as Anthropic does.

Source: Anthropic API reference, "Messages"; the SDK's `*_block_param.py`, and `*_block.py` for what clients
send back of a reply.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from ..base import ABSENT


class CacheControl(msgspec.Struct, gc=False):
    type: str = "ephemeral"
    ttl: str | None = None


class _Block(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, gc=False):
    pass


# -- citations


class CharLocation(_Block, tag="char_location"):
    cited_text: str
    document_index: int
    start_char_index: int
    end_char_index: int
    document_title: str | None = None
    file_id: str | None = None


class PageLocation(_Block, tag="page_location"):
    cited_text: str
    document_index: int
    start_page_number: int
    end_page_number: int
    document_title: str | None = None
    file_id: str | None = None


class BlockLocation(_Block, tag="content_block_location"):
    cited_text: str
    document_index: int
    start_block_index: int
    end_block_index: int
    document_title: str | None = None
    file_id: str | None = None


class WebLocation(_Block, tag="web_search_result_location"):
    cited_text: str
    url: str
    encrypted_index: str = ""
    title: str | None = None


class SearchLocation(_Block, tag="search_result_location"):
    cited_text: str
    source: str
    search_result_index: int = 0
    start_block_index: int = 0
    end_block_index: int = 0
    title: str | None = None


Citation: TypeAlias = CharLocation | PageLocation | BlockLocation | WebLocation | SearchLocation


# -- blocks


class Base64Source(_Block, tag="base64"):
    media_type: str
    data: str


class UrlSource(_Block, tag="url"):
    url: str


class TextSource(_Block, tag="text"):
    data: str
    media_type: str = "text/plain"


class ContentSource(_Block, tag="content"):
    content: str | list[TextBlock | ImageBlock]


class FileSource(_Block, tag="file"):
    file_id: str


class TextBlock(_Block, tag="text"):
    text: str
    cache_control: CacheControl | None = None
    citations: list[Citation] | None = None


class ImageBlock(_Block, tag="image"):
    source: Base64Source | UrlSource | FileSource
    cache_control: CacheControl | None = None
    transformations: msgspec.Raw = ABSENT


class CitationsConfig(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool | None = None


class DocumentBlock(_Block, tag="document"):
    source: Base64Source | UrlSource | TextSource | ContentSource | FileSource
    title: str | None = None
    context: str | None = None
    citations: CitationsConfig | None = None
    cache_control: CacheControl | None = None


class ThinkingBlock(_Block, tag="thinking"):
    thinking: str
    signature: str | None = None


class RedactedBlock(_Block, tag="redacted_thinking"):
    data: str


class Caller(msgspec.Struct):
    type: str = "direct"


class ToolUseBlock(_Block, tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw
    cache_control: CacheControl | None = None
    caller: Caller | None = None
    toolset_name: str | None = None


class ToolResultBlock(_Block, tag="tool_result"):
    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: str | None = None


Block: TypeAlias = (
    TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | RedactedBlock | ToolUseBlock | ToolResultBlock
)


class MessageIn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block] = ""
    clear_at: str | None = None
    output_config: msgspec.Raw = ABSENT


# -- what stands beside the messages


class ToolChoiceIn(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class ThinkingIn(msgspec.Struct):
    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = None
    display: str | None = None
    block_binding: msgspec.Raw = ABSENT


class FormatIn(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]
    name: str = ""


class OutputConfigIn(msgspec.Struct):
    effort: str | None = None
    format: FormatIn | None = None
    task_budget: msgspec.Raw = ABSENT


class MetadataIn(msgspec.Struct):
    user_id: str | None = None
