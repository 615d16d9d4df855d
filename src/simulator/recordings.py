"""Recorded exchanges, and finding the one whose request equals the one at hand.

A recording is one JSON object a line: `id`, `kind`, `request` {body}, `response` {status, headers, body}; a
response body is JSON, or text (an SSE stream), or {"base64": ...}.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import event_stream
from .script import ScriptError

_SURFACES = {
    "openai-chat": "openai-chat",
    "openai-compatible-chat": "openai-chat",
    "openai-responses": "openai-responses",
    "openai-embeddings": "openai-embeddings",
    "anthropic-messages": "anthropic-messages",
    "anthropic-count-tokens": "anthropic-count-tokens",
    "bedrock-converse": "bedrock-converse",
    "bedrock-converse-stream": "bedrock-converse",
    "gemini-generate-content": "gemini",
}
# The kinds whose streams are asked for by path, so that equal bodies are two requests.
_BY_PATH = frozenset(("bedrock-converse", "gemini"))
# Those that describe the recorded connection rather than the answer.
_HOP = frozenset(("content-length", "transfer-encoding", "connection", "content-encoding", "date"))


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded answer; `stream` says its body is a stream of events."""

    id: str
    surface: str  # empty for a protocol the simulator does not speak itself
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    stream: bool
    key: str  # what must be equal beside the body for this to be the answer

    @property
    def is_binary(self) -> bool:
        """Whether the stream is AWS's, and not of server-sent events."""
        return self.surface == "bedrock-converse"


def _key(surface: str, stream: bool) -> str:
    return f"{surface}:stream" if stream and surface in _BY_PATH else surface


class Library:
    """Recordings by id and by request body; of equal requests the first recorded one answers."""

    def __init__(self, paths: Iterable[Path], ignore: Iterable[str]) -> None:
        """Reads the files whole. Raises ScriptError naming file and line."""
        self._ignore = frozenset(ignore)
        self._by_id: dict[str, Recording] = {}
        self._by_body: dict[tuple[str, str], Recording] = {}
        for path in paths:
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ScriptError([f"recordings: {path}: cannot be read: {reason}"]) from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                made, asked = _recording(row), row["request"].get("body")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                what = f"not a recorded exchange: {type(error).__name__}: {error}"
                raise ScriptError([f"recordings: {path}:{number}: {what}"]) from None
            self._by_id.setdefault(made.id, made)
            self._by_body.setdefault((made.key, self._body_key(asked)), made)

    def _body_key(self, body: Any) -> str:
        if isinstance(body, dict):
            body = {k: v for k, v in body.items() if k not in self._ignore}
        return json.dumps(body, sort_keys=True, separators=(",", ":"))

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def find(self, surface: str | None, stream: bool, body: Any) -> Recording | None:
        """The recording of an equal request body on that surface; of a stream where one is asked for."""
        return self._by_body.get((_key(surface or "", stream), self._body_key(body)))

    def get(self, ident: str) -> Recording | None:
        """The recording of that id."""
        return self._by_id.get(ident)


def _recording(row: Mapping[str, Any]) -> Recording:
    answer = row["response"]
    body, status = answer["body"], int(answer["status"])
    headers = [(str(k).lower(), str(v)) for k, v in (answer.get("headers") or {}).items()]
    headers = [(k, v) for k, v in headers if k not in _HOP]
    kind = dict(headers).get("content-type", "")
    stream = isinstance(body, str)
    if isinstance(body, str):
        raw = body.encode("utf-8")
    elif isinstance(body, dict) and set(body) == {"base64"}:
        raw = base64.b64decode(body["base64"], validate=True)
        stream = not kind or "eventstream" in kind
    else:
        raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    surface = _SURFACES.get(str(row.get("kind")), "")
    if not kind:
        streamed = event_stream.CONTENT_TYPE if surface == "bedrock-converse" else "text/event-stream"
        headers.append(("content-type", streamed if stream else "application/json"))
    stream = stream and (not kind or "event-stream" in kind or "eventstream" in kind)
    asked = str(row.get("kind")).endswith("-stream") or ":stream" in str(row["request"].get("url"))
    return Recording(str(row["id"]), surface, status, headers, raw, stream, _key(surface, asked))
