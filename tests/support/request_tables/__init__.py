"""Requests that clients send, by dialect, in the official SDKs' own types: what their documents offer, alone
and in combination. Content is marked (`M1`, `M2` …), so that it can be looked for at its destination.

A row's third field names the providers' dialects that can serve it, where not all can.
"""

from .chat import CHAT_ROWS
from .common import ALL, BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES, Row
from .messages import MESSAGES_ROWS
from .responses import RESPONSES_ROWS

__all__ = ["ALL", "BEDROCK", "CHAT", "GEMINI", "MESSAGES", "RESPONSES", "ROWS"]

ROWS: dict[str, list[Row]] = {CHAT: CHAT_ROWS, RESPONSES: RESPONSES_ROWS, MESSAGES: MESSAGES_ROWS}
