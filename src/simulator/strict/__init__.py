"""What real providers refuse and a lenient simulator would let pass: `strict: false` does let it pass.

Each check raises the Refusal that its provider answers with. Requests of odd shapes, which a provider refuses
for plainer reasons, are let through here: whatever is not of the kind that a rule is about does not break it.
"""

from collections.abc import Callable

from ..memory import Memory
from ..requests import Call
from ..seals import Seals
from . import bedrock, chat, gemini, messages, responses

_CHECKS: dict[str, Callable[[Call, Seals, Memory], None]] = {
    "openai-chat": chat.check,
    "openai-responses": responses.check,
    "openai-count-tokens": responses.check,
    "anthropic-messages": messages.check,
    "anthropic-count-tokens": messages.check,
    "bedrock-converse": bedrock.check,
    "gemini": gemini.check,
    "gemini-count-tokens": gemini.check_count,
    "gemini-embeddings": gemini.check_embeddings,
}


def check(call: Call, seals: Seals, memory: Memory) -> None:
    """Raises Refusal."""
    strictness = _CHECKS.get(call.surface or "")
    if strictness is not None:
        strictness(call, seals, memory)
