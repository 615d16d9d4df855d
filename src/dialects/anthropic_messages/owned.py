"""Replies that stay in this dialect and name the account that they come from: its container, files and
message, and the thinking that only its issuer takes back.

Source: Anthropic API reference, "Messages", "Files", "Code execution tool", "Extended thinking".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..blobs import owned_id, tagged
from ..conversation import Blob
from ..event_filter import EventFilter
from .wire import REDACTED, SIGNATURE

# Blocks that name files of the account's.
WITH_FILES = frozenset(
    (
        "bash_code_execution_tool_result",
        "code_execution_tool_result",
        "container_upload",
        "text_editor_code_execution_tool_result",
    )
)
_WORDS = (b'"message_start"', b'"container"', b'"file_id"', b'"signature"', b'"redacted_thinking"')


def files_renamed(value: Any, change: Callable[[str], str]) -> Any:
    """The same with every id of a file changed."""
    if isinstance(value, list):
        return [files_renamed(inner, change) for inner in value]
    if isinstance(value, dict):
        return {
            key: change(inner)
            if key == "file_id" and isinstance(inner, str)
            else files_renamed(inner, change)
            for key, inner in value.items()
        }
    return value


def owned_reply(body: bytes, provider: str) -> bytes:
    """A whole reply. ValueError where it is none."""
    message = msgspec.json.decode(body)
    if not isinstance(message, dict):
        raise ValueError("no message of Anthropic's")
    return msgspec.json.encode(_Owner(provider).message(message))


def owned_stream(provider: str) -> EventFilter:
    return EventFilter(_Owner(provider).event, _WORDS)


class _Owner:
    """Puts a provider's name to what is its own."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def ident(self, ident: str) -> str:
        return owned_id(ident, self._provider)

    def message(self, message: dict[str, Any]) -> dict[str, Any]:
        owned = self._container(message)
        if isinstance(content := message.get("content"), list):
            owned["content"] = [self._block(block) for block in content]
        if isinstance(ident := message.get("id"), str):
            owned["id"] = self.ident(ident)
        return owned

    def event(self, data: bytes) -> bytes | None:
        value = msgspec.json.decode(data)
        if not isinstance(value, dict):
            return None
        if isinstance(message := value.get("message"), dict):
            value["message"] = self.message(message)
        if isinstance(delta := value.get("delta"), dict):
            value["delta"] = self._tagged(self._container(delta), "signature", SIGNATURE)
        if "content_block" in value:
            value["content_block"] = self._block(value["content_block"])
        return msgspec.json.encode(value)

    def _container(self, value: dict[str, Any]) -> dict[str, Any]:
        container = value.get("container")
        if isinstance(container, dict) and isinstance(ident := container.get("id"), str):
            return {**value, "container": {**container, "id": self.ident(ident)}}
        return dict(value)

    def _block(self, block: Any) -> Any:
        if not isinstance(block, dict):
            return block
        match block.get("type"):
            case "thinking":
                return self._tagged(block, "signature", SIGNATURE)
            case "redacted_thinking":
                return self._tagged(block, "data", REDACTED)
            case kind if kind in WITH_FILES:
                return files_renamed(block, self.ident)
        return block

    def _tagged(self, holder: dict[str, Any], key: str, kind: str) -> dict[str, Any]:
        data = holder.get(key)
        return (
            {**holder, key: tagged(Blob(self._provider, kind, data))}
            if data and isinstance(data, str)
            else holder
        )
