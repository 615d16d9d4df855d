"""Ids that live at an account: what is not this account's is refused.

The shapes are the providers' own; so are the words, as far as they are known.
https://platform.openai.com/docs/api-reference/files
https://docs.anthropic.com/en/docs/build-with-claude/files, "Error handling"
"""

from collections.abc import Iterator
from typing import Any

from ..memory import Memory
from ..reading import member, objects
from ..refusal import Refusal
from ..requests import Call

_NOT_OURS = "invalid_request_error"
_OPENAIS_WORDS = {
    "file_id": "No such File object: {}",
    "file_ids": "No such File object: {}",
    "vector_store_ids": "Vector store with id ['{}'] not found.",
    "container": "Container with id '{}' not found.",
    "container_id": "Container with id '{}' not found.",
    "id": "Audio with id '{}' not found.",
}


def check_openai(call: Call, memory: Memory) -> None:
    """Files, vector stores, containers and audio that a request names. Raises Refusal."""
    fields = call.fields
    for holder in ("input", "messages", "tools", "prompt"):
        for key, ident in _named(fields.get(holder)):
            if not memory.owns(ident):
                raise Refusal(404, _OPENAIS_WORDS[key].format(ident), None, "", _NOT_OURS)


def _named(value: Any) -> Iterator[tuple[str, str]]:
    """(key, id), but for citations and what the client's own tools say."""
    if isinstance(value, list):
        for inner in value:
            yield from _named(inner)
    elif isinstance(value, dict) and value.get("type") != "function":
        audio = member(value.get("audio"), "id")
        if isinstance(audio, str):
            yield "id", audio
        for key, inner in value.items():
            for ident in inner if isinstance(inner, list) else [inner]:
                if key in _OPENAIS_WORDS and key != "id" and isinstance(ident, str):
                    yield key, ident
            if key != "annotations":
                yield from _named(inner)


def check_anthropic(call: Call, memory: Memory) -> None:
    """Files and the container that a request names. Raises Refusal."""
    given = call.fields.get("container")
    ident = given if isinstance(given, str) else member(given, "id")
    if isinstance(ident, str) and not memory.owns(ident):
        raise Refusal(404, f"container: Container {ident} not found.")
    for skill in objects(member(given, "skills")):
        ident = skill.get("skill_id")
        if skill.get("type") == "custom" and isinstance(ident, str) and not memory.owns(ident):
            raise Refusal(404, f"Skill {ident} not found.")
    for message in objects(call.fields.get("messages")):
        for key, ident in _named(message.get("content")):
            if key == "file_id" and not memory.owns(ident):
                raise Refusal(404, f"File not found: {ident}")
