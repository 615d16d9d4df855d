"""What requests of all client dialects have in common: pictures, schemas, the names of dialects."""

from __future__ import annotations

import base64
from typing import Any

CHAT, RESPONSES, MESSAGES, BEDROCK, GEMINI = ALL = (
    "openai-chat",
    "openai-responses",
    "anthropic-messages",
    "bedrock-converse",
    "gemini",
)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF").decode()
WAV = base64.b64encode(b"RIFF$\x00\x00\x00WAVEfmt ").decode()
PNG_URL, PDF_URL = f"data:image/png;base64,{PNG}", f"data:application/pdf;base64,{PDF}"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "M90 Wo? 東京"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
NESTED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "at": {"$ref": "#/$defs/Point"},
        "way": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
        "unit": {"type": "string", "enum": ["m", "ft"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["at", "way", "unit", "note"],
    "additionalProperties": False,
    "$defs": {
        "Point": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
            "required": ["x", "y"],
            "additionalProperties": False,
        }
    },
}
OPEN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "minLength": 1, "pattern": "^.+$"},
        "limit": {"type": "integer", "minimum": 1},
    },
    "required": ["query"],
}
Row = tuple[str, Any, tuple[str, ...]]


def user(content: Any = "M1 Hello ❄") -> Any:
    return {"role": "user", "content": content}
