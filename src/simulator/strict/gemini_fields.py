"""The fields of Gemini's requests, message by message, and what Google says of others.

https://ai.google.dev/api/generate-content, https://ai.google.dev/api/caching (Content, Tool, Schema),
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference, and the official SDK's types
"""

from typing import Any

from ..reading_gemini import snake
from ..refusal import Refusal

# Of each message: field → the message it holds; "" is a plain value, or one that is not looked into.
# "{}Schema" is a map of messages. Names are camelCase; snake_case is the same field.
Fields = dict[str, str]


def _plain(names: str) -> Fields:
    return dict.fromkeys(names.split(), "")


_SCHEMA: Fields = {
    **_plain("type format title description nullable enum maxItems minItems required minProperties"),
    **_plain("maxProperties minLength maxLength pattern example propertyOrdering default minimum maximum"),
    "properties": "{}Schema",
    "anyOf": "Schema",
    "items": "Schema",
}
_CONFIG: Fields = {
    **_plain("stopSequences responseMimeType responseJsonSchema responseModalities candidateCount"),
    **_plain("maxOutputTokens temperature topP topK seed presencePenalty frequencyPenalty responseLogprobs"),
    **_plain("logprobs enableEnhancedCivicAnswers speechConfig mediaResolution imageConfig responseFormat"),
    **_plain("audioTranscriptionConfig translationConfig enableAffectiveDialog"),
    "responseSchema": "Schema",
    "thinkingConfig": "ThinkingConfig",
}
MESSAGES: dict[str, Fields] = {
    "GenerateContentRequest": {
        **_plain("model cachedContent serviceTier store continuationToken"),
        "contents": "Content",
        "systemInstruction": "Content",
        "tools": "Tool",
        "toolConfig": "ToolConfig",
        "safetySettings": "SafetySetting",
        "generationConfig": "GenerationConfig",
    },
    "CountTokensRequest": {
        **_plain("model"),
        "contents": "Content",
        "generateContentRequest": "GenerateContentRequest",
    },
    "EmbedContentRequest": {
        **_plain("model taskType title outputDimensionality embedContentConfig"),
        "content": "Content",
    },
    "BatchEmbedContentsRequest": {"requests": "EmbedContentRequest"},
    "Content": {"role": "", "parts": "Part"},
    "Part": {
        **_plain("text thought thoughtSignature partMetadata mediaResolution audioTranscription"),
        **_plain("mediaProcessing speechMetadata documentMetadata spreadsheetMetadata audioMetadata"),
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "executableCode": "ExecutableCode",
        "codeExecutionResult": "CodeExecutionResult",
        "toolCall": "ToolCall",
        "toolResponse": "ToolResponse",
        "videoMetadata": "VideoMetadata",
    },
    "Blob": _plain("mimeType data"),
    "FileData": _plain("mimeType fileUri"),
    "FunctionCall": _plain("id name args"),
    "FunctionResponse": {**_plain("id name response willContinue scheduling"), "parts": "ResponsePart"},
    "ResponsePart": {
        **_plain("mediaProcessing mediaResolution videoMetadata documentMetadata spreadsheetMetadata"),
        **_plain("audioMetadata"),
        "inlineData": "NamedBlob",
        "fileData": "NamedFileData",
    },
    "NamedBlob": _plain("mimeType data displayName"),
    "NamedFileData": _plain("mimeType fileUri displayName"),
    "ExecutableCode": _plain("id language code"),
    "CodeExecutionResult": _plain("id outcome output"),
    "ToolCall": _plain("id toolType args"),
    "ToolResponse": _plain("id toolType response"),
    "VideoMetadata": _plain("startOffset endOffset fps contentLayers"),
    "Tool": {
        **_plain("googleSearchRetrieval codeExecution googleSearch computerUse urlContext fileSearch"),
        **_plain("googleMaps mcpServers retrieval"),
        "functionDeclarations": "FunctionDeclaration",
    },
    "FunctionDeclaration": {
        **_plain("name description behavior parametersJsonSchema responseJsonSchema"),
        "parameters": "Schema",
        "response": "Schema",
    },
    "ToolConfig": {
        **_plain("retrievalConfig includeServerSideToolInvocations"),
        "functionCallingConfig": "FunctionCallingConfig",
    },
    "FunctionCallingConfig": _plain("mode allowedFunctionNames"),
    "SafetySetting": _plain("category threshold"),
    "GenerationConfig": _CONFIG,
    "ThinkingConfig": _plain("includeThoughts thinkingBudget thinkingLevel"),
    "Schema": _SCHEMA,
}
# What Vertex AI knows beside.
VERTEX: dict[str, Fields] = {
    "GenerateContentRequest": _plain("labels modelArmorConfig"),
    "CountTokensRequest": {
        "instances": "",
        "systemInstruction": "Content",
        "tools": "Tool",
        "generationConfig": "GenerationConfig",
    },
    "Blob": _plain("displayName"),
    "FileData": _plain("displayName"),
    "FunctionCall": _plain("partialArgs willContinue"),
    "FunctionCallingConfig": _plain("streamFunctionCallArguments"),
    "Tool": _plain("enterpriseWebSearch parallelAiSearch exaAiSearch"),
    "SafetySetting": _plain("method"),
    "GenerationConfig": _plain("routingConfig modelConfig audioTimestamp outputConfig"),
    "Schema": {
        **_plain("additionalProperties ref $ref"),
        "defs": "{}Schema",
        "$defs": "{}Schema",
    },
}
_MOST_VIOLATIONS = 20
_DEEPEST = 100


def check(kind: str, body: Any, on_vertex: bool) -> None:
    """That a message and those in it have no field that is unknown. Raises Refusal."""
    found: list[tuple[str, str]] = []
    _walk(kind, body, "", on_vertex, found, 0)
    if not found:
        return
    lines = [
        f'Invalid JSON payload received. Unknown name "{name}"{_at(where)}: Cannot find field.'
        for name, where in found
    ]
    raise Refusal(400, "\n".join(lines), found[0][1] or found[0][0])


def _at(where: str) -> str:
    return f" at '{where}'" if where else ""


def _walk(
    kind: str, value: Any, where: str, on_vertex: bool, found: list[tuple[str, str]], depth: int
) -> None:
    if depth > _DEEPEST or len(found) >= _MOST_VIOLATIONS:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            _walk(kind, item, f"{where}[{index}]", on_vertex, found, depth + 1)
    elif isinstance(value, dict) and kind.startswith("{}"):
        for index, item in enumerate(value.values()):
            _walk(kind[2:], item, f"{where}[{index}].value", on_vertex, found, depth + 1)
    elif isinstance(value, dict):
        known = MESSAGES[kind]
        more = VERTEX.get(kind, {}) if on_vertex else {}
        for name, item in value.items():
            field = camel(name)
            below = known.get(field, more.get(field))
            if below is None:
                found.append((name, where))
            elif below:
                place = f"{where}.{snake(field)}" if where else snake(field)
                _walk(below, item, place, on_vertex, found, depth + 1)


def camel(name: str) -> str:
    """`system_instruction` as `systemInstruction`."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)
