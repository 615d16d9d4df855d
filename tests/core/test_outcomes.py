"""What calls came to, by their codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from modelbroker.core.causes import CODES, Cause
from modelbroker.core.outcomes import SOURCES, outcome_of

ERRORS = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
SECTIONS = {
    "By the request": "client",
    "By policy": "policy",
    "By providers": "provider",
    "By the broker": "broker",
}


def documented() -> dict[str, set[str]]:
    """Section → its codes."""
    found: dict[str, set[str]] = {}
    for part in ERRORS.split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        found[title] = set(re.findall(r"^\| \w+ \| `([a-z_]+)` \|", text, re.M))
    return found


def test_the_documents_sections_say_whose_doing_it_is() -> None:
    codes = documented()
    for section, source in SECTIONS.items():
        assert codes[section] and {SOURCES.get(code) for code in codes[section]} == {source}, section
    assert set().union(*codes.values()) == set(SOURCES)


def test_every_cause_has_a_code_that_is_documented() -> None:
    assert set(CODES) == set(Cause)
    assert set(CODES.values()) <= set(SOURCES)


@pytest.mark.parametrize(
    ("status", "code", "attempts", "expected"),
    [
        (200, "", 1, ("ok", "")),
        (200, "upstream_reset", 1, ("error", "provider")),
        (529, "upstream_overloaded", 3, ("error", "provider")),
        (503, "no_member_ready", 0, ("error", "provider")),
        (400, "upstream_refused", 1, ("error", "client")),
        (400, "invalid_json", 0, ("refused", "client")),
        (403, "denied_by_rule", 0, ("refused", "policy")),
        (503, "broker_unavailable", 0, ("error", "broker")),
        (500, "of_a_later_version", 0, ("error", "broker")),
        (0, "client_gone", 1, ("client_gone", "client")),
        (500, "", 0, ("error", "broker")),
    ],
)
def test_what_a_call_came_to(status: int, code: str, attempts: int, expected: tuple[str, str]) -> None:
    assert outcome_of(status, code, attempts) == expected
