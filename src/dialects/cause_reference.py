"""The part of docs/failures.md that is made from the tables of causes.

`python -m modelbroker.dialects.cause_reference <page` writes the page with that part made again; `./dev docs`
does it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from ..core.causes import ALWAYS_CLIENTS, BLAMELESS, DEFAULT_ACTIONS, Action, Cause
from ..core.pages import made_again
from .cause_rule import Rule
from .cause_rules import RULES
from .causes import BY_STATUS

BEGIN, END = "<!-- causes: made by ./dev docs -->\n", "<!-- end of causes -->\n"

_MEANINGS: Mapping[Cause, str] = {
    Cause.CONNECT: "the provider could not be connected to: refused, unreachable, or not there in time",
    Cause.DNS: "the provider's name was not found",
    Cause.TLS: "no encrypted connection came about: a certificate, a version",
    Cause.RESET: "the connection broke before the answer was whole",
    Cause.TIMEOUT: "no answer in time; also where the provider itself says so",
    Cause.FIRST_EVENT: "a stream began, and nothing came in it in time",
    Cause.STALL: "a reply that had begun fell silent",
    Cause.CUT: "a reply ended early, but cleanly",
    Cause.GARBAGE: "what answered is not the API: a page, a redirect, no status; mostly a wrong `base_url`",
    Cause.CAPACITY: "`concurrency` of the member or its provider is used up; nothing was sent",
    Cause.NOT_CARRIED: "the member's dialect can't say what the call holds; nothing was sent",
    Cause.CREDENTIAL: "the provider refuses the broker's key, or the place where the broker is",
    Cause.BILLING: "the account that the key belongs to has no credit, or its spending has reached a limit",
    Cause.MODEL_NOT_FOUND: "the member's model is not there, not any more, or not for this account",
    Cause.CONFLICT: "the provider could not do it at this moment",
    Cause.TOO_LARGE: "the request is larger than this provider or this account may take at once",
    Cause.RATE_LIMIT: "too many requests or tokens of this account",
    Cause.SERVER: "the provider failed",
    Cause.OVERLOADED: "the provider has no capacity at this moment, for anybody",
    Cause.CONTEXT_OVERFLOW: "the prompt is longer than the model's context",
    Cause.CONTENT_POLICY: "the provider will not have this content",
    Cause.NOT_FOUND: "the call names a file, a reply, a container … that is not at this account",
    Cause.BAD_REQUEST: "anything else that is wrong with the request",
}
_ACTIONS: Mapping[Action, str] = {
    Action.NEXT: "another member",
    Action.NEXT_PRIORITY: "a member of a later priority",
    Action.CLIENT: "back to the client",
}
_GROUPS = ("openai-chat", "anthropic-messages", "bedrock-converse", "gemini")
_GROUP_NAMES = {"openai-chat": "openai-*"}


def causes() -> str:
    """The part of the page, in Markdown, without its marks."""
    parts = ["| cause | what it means | statuses | by default | blames the member |\n|---|---|---|---|---|\n"]
    for cause in Cause:
        action = _ACTIONS[DEFAULT_ACTIONS[cause]] + (", always" if cause in ALWAYS_CLIENTS else "")
        blamed = "no" if cause in BLAMELESS else "yes"
        cells = (f"`{cause.value}`", _MEANINGS[cause], _statuses(_of_status(cause)), action, blamed)
        parts.append(f"| {' | '.join(cells)} |\n")
    parts.append(
        "\nOther statuses of 4xx are `bad-request`, others of 5xx `server-error`, and all that are none of "
        "these `garbage`. Words say more than the status. They are looked for in the first 64 KB of a "
        "body, in any case; the first line that fits says the cause:\n"
    )
    for dialect in _GROUPS:
        parts.append(
            f"\n**{_GROUP_NAMES.get(dialect, dialect)}**\n\n| whose words | statuses | words | cause |\n"
        )
        parts.append("|---|---|---|---|\n")
        parts += [_row(rule) for rule in RULES[dialect]]
    return "".join(parts)


def page_with_causes(page: str) -> str:
    """The page with its part made again. ValueError where it has no marks."""
    return made_again(page, BEGIN, END, f"\n{causes()}\n")


def _of_status(cause: Cause) -> list[int]:
    return [status for status, said in BY_STATUS.items() if said is cause]


def _row(rule: Rule) -> str:
    words = _words(rule.needles)
    if rule.also:
        words += " and one of " + _words(rule.also)
    if rule.lacks:
        words += (" and not " if words else "not ") + _words(rule.lacks)
    return f"| {rule.whose} | {_statuses(rule.statuses) or 'any'} | {words} | `{rule.cause.value}` |\n"


def _words(needles: Iterable[str]) -> str:
    return ", ".join(f"`{needle.replace(chr(10), '⏎')}`".replace("|", "\\|") for needle in needles)


def _statuses(statuses: Iterable[int]) -> str:
    return ", ".join(str(status) for status in statuses)


if __name__ == "__main__":
    sys.stdout.write(page_with_causes(sys.stdin.read()))
