"""What the calls of a conversation have in common, for pools that keep it at one member (docs/affinity.md).

Who sends what: Claude Code ("Gateway protocol reference": `x-claude-code-session-id`; its issue 68900: what
its system prompt begins with), Codex (pull requests 21757, 22193: `session-id`, once `session_id`), OpenCode
(session/llm/request.ts: `x-session-id`, `x-session-affinity`, `x-opencode-session`), xAI ("Maximizing cache
hits": `x-grok-conv-id`), OpenRouter ("Prompt caching": `session_id`), OpenAI's and Anthropic's references.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..core.call import Caller
from ..core.catalog import Affinity
from .base import ABSENT


class AffinityKey(NamedTuple):
    """What the calls of one conversation (or user) have in common: 32 hex digits, others for another caller.
    `source` says to people where it was found."""

    value: str
    source: str


# Headers in which agents name a session. The first that is there counts.
SESSION_HEADERS = (
    "x-session-id",
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "x-session-affinity",
    "x-opencode-session",
    "x-grok-conv-id",
)


class _Said(msgspec.Struct):
    """What of a body names a session or a user. Raw, since whatever stands there is nobody's error here."""

    conversation: msgspec.Raw = ABSENT
    session_id: msgspec.Raw = ABSENT
    prompt_cache_key: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT
    safety_identifier: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Conversation(msgspec.Struct):
    id: str = ""


class _ClaudeCode(msgspec.Struct):
    """Its `metadata.user_id` since 2.1.78, in JSON."""

    session_id: str = ""
    device_id: str = ""
    account_uuid: str = ""


class _Chat(msgspec.Struct):
    messages: list[msgspec.Raw]
    tools: msgspec.Raw = ABSENT


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw]
    system: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT


class _Items(msgspec.Struct):
    input: list[msgspec.Raw]
    instructions: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT


class _OneText(msgspec.Struct):
    input: msgspec.Raw
    instructions: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT


class _Item(msgspec.Struct):
    role: str | None = None
    content: msgspec.Raw = ABSENT


_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # ValidationError is a DecodeError
_text = msgspec.json.Decoder(str)
_said = msgspec.json.Decoder(_Said)
_metadata = msgspec.json.Decoder(_Metadata)
_conversation = msgspec.json.Decoder(_Conversation | str)
_claude_code = msgspec.json.Decoder(_ClaudeCode)
_chat = msgspec.json.Decoder(_Chat)
_messages = msgspec.json.Decoder(_Messages)
_items = msgspec.json.Decoder(_Items)
_one_text = msgspec.json.Decoder(_OneText)
_item = msgspec.json.Decoder(_Item)
_parts = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])

_SESSION_FIELDS = ("session_id", "prompt_cache_key")
_USER_FIELDS = ("user", "safety_identifier")
_SESSION_MARK = "_session_"
_INSTRUCTIONS = ("system", "developer")
_TEXT_PARTS = (b'"text"', b'"input_text"')
# Marks where a cache is to end: they move on to the newest message at each turn.
_CACHE_MARKS = ("cache_control", "prompt_cache_breakpoint")
# Claude Code begins its system prompt with a line that changes with every request.
_ATTRIBUTION = b'"x-anthropic-billing-header:'
_LINE_END = b"\\n"
_LONGEST_LINE = 1_000
# What is longer than two of these is known by its two ends and its length.
_END_BYTES = 4_096


def affinity_key(
    affinity: Affinity, dialect: str, caller: Caller, header: Callable[[str], str], body: bytes
) -> AffinityKey | None:
    """The key of a call in a client's `dialect`; None where the call has none, and is routed by weight.

    `header` gives the first value of a request's header by its name in lower case, "" where there is none.
    `body` has been read by the dialect before. The caller is part of the key: what one caller says can't meet
    the keys of another one.
    """
    if affinity.by == "prefix":
        begun, source = _prefix(dialect, body), "what the conversation begins with"
    else:
        name, source = _named(affinity, dialect, caller, header, body)
        begun = name.encode("utf-8", "surrogateescape")
    if not begun:
        return None
    # Neither of the first two holds a NUL.
    whole = b"\0".join((affinity.by.encode(), caller.name.encode(), begun))
    return AffinityKey(hashlib.blake2b(whole, digest_size=16).hexdigest(), source)


# -- who says that it belongs together


def _named(
    affinity: Affinity, dialect: str, caller: Caller, header: Callable[[str], str], body: bytes
) -> tuple[str, str]:
    """(the name of the session or user, where it was found); "" where there is none."""
    is_session = affinity.by == "session"
    if not is_session and caller.user:
        return caller.user, "the caller's user"
    own = (affinity.header,) if affinity.header else ()
    for name in (*own, *(SESSION_HEADERS if is_session else ())):
        if value := header(name).strip():
            return value, f"the header {name}"
    said = _fields(body)
    if is_session and dialect == "openai-responses" and (value := _conversation_id(said.conversation)):
        return value, "conversation"
    for name in _SESSION_FIELDS if is_session else _USER_FIELDS:
        if value := _string(getattr(said, name)):
            return value, name
    if dialect == "anthropic-messages":
        session, user = _session_and_user(_user_id(said))
        return session if is_session else user, "metadata.user_id"
    return "", ""


def _fields(body: bytes) -> _Said:
    try:
        return _said.decode(body)
    except _NOT_READ:
        return _Said()


def _string(raw: msgspec.Raw) -> str:
    if raw is ABSENT:
        return ""
    try:
        return _text.decode(raw).strip()
    except _NOT_READ:
        return ""


def _conversation_id(raw: msgspec.Raw) -> str:
    if raw is ABSENT:
        return ""
    try:
        found = _conversation.decode(raw)
    except _NOT_READ:
        return ""
    return found if isinstance(found, str) else found.id


def _user_id(said: _Said) -> str:
    if said.metadata is ABSENT:
        return ""
    try:
        return (_metadata.decode(said.metadata).user_id or "").strip()
    except _NOT_READ:
        return ""


def _session_and_user(user_id: str) -> tuple[str, str]:
    """(session, user) in Anthropic's `metadata.user_id`. Claude Code names both there: in JSON, formerly as
    `user_…_account_…_session_…`. Anybody else names the user alone."""
    if user_id.startswith("{"):
        try:
            told = _claude_code.decode(user_id)
        except _NOT_READ:
            return "", user_id
        return told.session_id, f"{told.account_uuid} {told.device_id}".strip()
    user, _, session = user_id.rpartition(_SESSION_MARK)
    return (session, user) if user else ("", user_id)


# -- what a provider's cache of prompts goes by


def _prefix(dialect: str, body: bytes) -> bytes:
    """A digest of tools, instructions and what the client says before the first reply; b"" where it says
    nothing there. Taken as it is spelled: who repeats a conversation spells it as before."""
    digest = _Digest()
    try:
        if dialect == "openai-chat":
            chat = _chat.decode(body)
            digest.add(chat.tools)
            said = digest.beginning(chat.messages)
        elif dialect == "anthropic-messages":
            messages = _messages.decode(body)
            digest.add(messages.tools)
            digest.content(messages.system)
            said = digest.beginning(messages.messages)
        elif dialect == "openai-responses":
            said = _responses_prefix(body, digest)
        else:
            said = False
    except _NOT_READ:
        said = False
    return digest.value() if said else b""


def _responses_prefix(body: bytes, digest: _Digest) -> bool:
    try:
        items = _items.decode(body)
    except msgspec.ValidationError:  # no list: one text, which at the next turn is the first of the items
        one = _one_text.decode(body)
        digest.add(one.tools)
        digest.content(one.instructions)
        return _begins(one.input, b'"') and digest.message("user", one.input)
    digest.add(items.tools)
    digest.content(items.instructions)
    return digest.beginning(items.input)


class _Digest:
    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def value(self) -> bytes:
        return self._hash.digest()

    def beginning(self, items: list[msgspec.Raw]) -> bool:
        """All up to the first reply, since what an agent says first as the user is often the same in all its
        sessions. False: there is nothing of the user's."""
        has_user = False
        for raw in items:
            item = _item.decode(raw)
            if has_user and item.role != "user" and item.role not in _INSTRUCTIONS:
                break
            said = raw if item.content is ABSENT else item.content
            has_user = self.message(item.role or "", said) or has_user
        return has_user

    def message(self, role: str, content: msgspec.Raw) -> bool:
        """Is it the user's?"""
        self.add(role.encode())
        self.content(content)
        return role == "user"

    def content(self, raw: msgspec.Raw) -> None:
        """A text, or parts: a text that is the only part is the same as the text alone."""
        if not _begins(raw, b"["):
            self._text(raw)
            return
        for part in _parts.decode(raw):
            if (text := part.get("text")) is not None and bytes(part.get("type", ABSENT)) in _TEXT_PARTS:
                self._text(text)
                continue
            for name in sorted(part):
                if name not in _CACHE_MARKS:
                    self.add(name.encode())
                    self.add(part[name])

    def _text(self, raw: msgspec.Raw) -> None:
        view = memoryview(raw)
        if _begins(raw, _ATTRIBUTION):
            end = bytes(view[:_LONGEST_LINE]).find(_LINE_END)
            if end < 0:
                return
            view = view[end:]
        self.add(view)

    def add(self, said: bytes | memoryview | msgspec.Raw) -> None:
        view = memoryview(said)
        self._hash.update(len(view).to_bytes(8, "big"))
        if len(view) <= 2 * _END_BYTES:
            self._hash.update(view)
        else:
            self._hash.update(view[:_END_BYTES])
            self._hash.update(view[-_END_BYTES:])


def _begins(raw: msgspec.Raw, with_: bytes) -> bool:
    return bytes(memoryview(raw)[: len(with_)]) == with_
