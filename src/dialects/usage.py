"""Usage between what finds it in a reply and what makes a record of it: as the provider wrote it, where a
reply passes through Envoy alone, and as our own text, where Python has read the reply anyway."""

from __future__ import annotations

from typing import Any

import msgspec

from ..core.usage import Usage
from .anthropic_messages.replies_in import UsageOut, added
from .anthropic_messages.replies_in import usage_of as _anthropic
from .openai_chat.replies_in import usage_of as _chat
from .openai_responses.replies_in import usage_of as _responses


class Used(msgspec.Struct, frozen=True):
    """`is_final`: no more will be told. `tier`: the provider's name of the service tier, "" where it says
    none."""

    usage: Usage
    tier: str = ""
    is_final: bool = True


_encode_used = msgspec.json.Encoder().encode
_decode_used = msgspec.json.Decoder(Used).decode
_decode_any = msgspec.json.Decoder().decode
_decode_anthropic = msgspec.json.Decoder(list[UsageOut]).decode


def used_text(used: Used) -> str:
    """ASCII but for a provider's own names."""
    return _encode_used(used).decode()


def used_from(text: str) -> Used | None:
    """None where the text is none of ours."""
    try:
        return _decode_used(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def provider_usage(dialect: str, last: str, so_far: str = "", tier: str = "") -> Used | None:
    """Of a reply in `dialect`, from the texts of its `usage` objects: `last` those that are told at the end
    (of Anthropic's, one behind the other with commas), `so_far` what was told before; "" where there is none.
    The same buckets as the dialect's decoder of replies gives. None where they tell nothing."""
    if not (last or so_far):
        return None
    try:
        if dialect != "anthropic-messages":
            return _openais(dialect, _decode_any(last or so_far), tier, bool(last))
        usage = UsageOut()
        for more in _decode_anthropic(f"[{so_far}{',' if so_far and last else ''}{last}]"):
            usage = added(usage, more)
        return Used(_anthropic(usage), usage.service_tier or "", bool(last))
    except (ValueError, RecursionError):  # msgspec's are ValueErrors, too
        return None


def _openais(dialect: str, told: Any, tier: str, is_final: bool) -> Used | None:
    usage = _responses(told) if dialect == "openai-responses" else _chat({"usage": told})
    return Used(usage, tier, is_final) if usage is not None else None
