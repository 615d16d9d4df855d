"""What `modelbroker status` says of secrets: nothing where all is well."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.cli.status_table import lines

NOW_S = 1_790_000_000.0


def told(**more: Any) -> list[str]:
    secret = {
        "secret": "vault:llm/openai#key",
        "state": "good",
        "version": "3",
        "since_s": NOW_S - 60,
        "good_until_s": NOW_S + 86_400,
        "replaced_until_s": None,
        "refused_until_s": None,
        "failures": 0,
        "error": None,
    }
    status: dict[str, Any] = {
        "revision": "r",
        "serving": "r",
        "in_effect": True,
        "envoys": [{}],
        "error": None,
        "warnings": [],
        "pools": [],
        "members": {},
        "secrets": [{**secret, **more}],
    }
    return [line for line in lines(status, NOW_S) if line.startswith("secret ")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, None),
        ({"state": "missing", "failures": 2, "error": "it is sealed"}, "missing: it is sealed"),
        ({"state": "missing"}, "missing: it has not answered yet"),
        (
            {"failures": 2, "error": "it is sealed"},
            "it is sealed; its last value is good for 24 h more",
        ),
        (
            {"replaced_until_s": NOW_S + 540},
            "replaced 60 s ago; the one before is good for 9 min more",
        ),
        (
            {"state": "refused", "refused_until_s": NOW_S + 15, "replaced_until_s": NOW_S + 540},
            "the new value is refused and the one before used; the new one again in 15 s; "
            "the one before is good for 9 min more",
        ),
    ],
)
def test_what_is_said(more: dict[str, Any], said: str | None) -> None:
    assert told(**more) == ([f"secret     vault:llm/openai#key: {said}"] if said else [])
