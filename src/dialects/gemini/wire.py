"""A GenerateContentResponse, whole or one chunk of a stream, as far as it is read.

Sources: Gemini API reference, `GenerateContentResponse`, `Candidate`, `UsageMetadata`; Vertex AI's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..base import ABSENT


class Wire(msgspec.Struct, rename="camel"):
    pass


class FunctionCall(Wire):
    name: str = ""
    args: msgspec.Raw = ABSENT
    id: str = ""
    partial_args: msgspec.Raw = ABSENT
    will_continue: bool = False


class Data(Wire):
    """inlineData (`data` is base64) or fileData."""

    mime_type: str = ""
    data: str = ""
    file_uri: str = ""


class Code(Wire):
    """executableCode (`language`, `code`) or codeExecutionResult (`outcome`, `output`)."""

    language: str = ""
    code: str = ""
    outcome: str = ""
    output: str = ""


class Part(Wire):
    text: str | None = None
    thought: bool = False
    thought_signature: str = ""
    function_call: FunctionCall | None = None
    inline_data: Data | None = None
    file_data: Data | None = None
    executable_code: Code | None = None
    code_execution_result: Code | None = None
    # A search that Google's servers ran, where the request asked to see that.
    tool_call: msgspec.Raw = ABSENT
    tool_response: msgspec.Raw = ABSENT


class Content(Wire):
    parts: tuple[Part, ...] = ()


class Web(Wire):
    uri: str = ""
    title: str = ""


class GroundingChunk(Wire):
    web: Web | None = None
    maps: Web | None = None
    retrieved_context: Web | None = None


class Segment(Wire):
    """Bytes of UTF-8, from the beginning of the text."""

    start_index: int = 0
    end_index: int | None = None
    text: str = ""


class GroundingSupport(Wire):
    segment: Segment | None = None
    grounding_chunk_indices: tuple[int, ...] = ()


class Grounding(Wire):
    grounding_chunks: tuple[GroundingChunk, ...] = ()
    grounding_supports: tuple[GroundingSupport, ...] = ()


class CitationSource(Wire):
    uri: str = ""
    title: str = ""
    start_index: int = 0
    end_index: int | None = None


class CitationMetadata(Wire):
    """The Gemini API calls them citationSources, Vertex AI citations."""

    citation_sources: tuple[CitationSource, ...] = ()
    citations: tuple[CitationSource, ...] = ()


class Token(Wire):
    token: str = ""
    log_probability: float = 0.0


class TopTokens(Wire):
    candidates: tuple[Token, ...] = ()


class Logprobs(Wire):
    chosen_candidates: tuple[Token, ...] = ()
    top_candidates: tuple[TopTokens, ...] = ()


class Candidate(Wire):
    index: int = 0
    content: Content | None = None
    finish_reason: str = ""
    finish_message: str = ""
    grounding_metadata: Grounding | None = None
    citation_metadata: CitationMetadata | None = None
    logprobs_result: Logprobs | None = None


class Modality(Wire):
    modality: str = ""
    token_count: int = 0


class UsageMetadata(Wire):
    prompt_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    cached_content_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int | None = None
    prompt_tokens_details: tuple[Modality, ...] = ()
    cache_tokens_details: tuple[Modality, ...] = ()
    service_tier: str = ""
    traffic_type: str = ""


class PromptFeedback(Wire):
    block_reason: str = ""


class Response(Wire):
    candidates: tuple[Candidate, ...] = ()
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str = ""
    response_id: str = ""
    create_time: str = ""
    error: dict[str, Any] | None = None


decode_response = msgspec.json.Decoder(Response).decode
