"""The part of docs/failures.md that is made from the tables of causes.

`python -m modelbroker.dialects.cause_reference <page` writes the page with that part made again; `./dev docs`
does it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from ..core.causes import ALWAYS_CLIENTS, BLAMELESS, DEFAULT_ACTIONS, MEANINGS, Action, Cause
from ..core.pages import made_again
from .cause_rule import Rule
from .cause_rules import RULES
from .causes import BY_STATUS

BEGIN, END = "<!-- causes: made by ./dev docs -->\n", "<!-- end of causes -->\n"

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
        cells = (f"`{cause.value}`", MEANINGS[cause], _statuses(_of_status(cause)), action, blamed)
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
