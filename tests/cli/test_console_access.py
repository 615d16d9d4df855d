"""Who may look at the console, as the configuration and what is installed have it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli.console import MISSING, access_of
from modelbroker.cli.console_link import link, link_of
from modelbroker.core.catalog import SecretRef
from modelbroker.core.console import Console, TokenUser

ROOT = Path(__file__).parents[2]
ANA = TokenUser("ana", SecretRef("env", "ANA"))
LONG = "a-token-that-is-long-enough"


def test_users_and_their_tokens() -> None:
    console = Console(users=(ANA,), networks=("10.0.0.0/8",), session_s=60)
    access, warnings = access_of(console, {"ANA": LONG})
    assert (access.users, access.networks, access.session_s, warnings) == (
        {"ana": (LONG,)},
        ("10.0.0.0/8",),
        60,
        (),
    )


def test_a_token_that_is_missing_or_short_lets_nobody_in() -> None:
    access, (warning,) = access_of(Console(users=(ANA,)), {})
    assert access.users == {"ana": ()} and warning.startswith("console.users[0].token: ")
    access, (warning,) = access_of(Console(users=(ANA,)), {"ANA": "short"})
    assert access.users == {"ana": ()} and "5 characters of at least 16" in warning and "short" not in warning


def test_without_its_extra_it_says_so_before_any_login(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec

    def find(name: str, *more: Any) -> Any:
        return None if name == "jinja2" else known(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    access, warnings = access_of(Console(), {})
    assert (access.why_not, warnings) == (MISSING, ())
    access, warnings = access_of(Console(users=(ANA,)), {"ANA": LONG})
    assert access.why_not == MISSING and warnings == (f"console: {MISSING}",)


def test_links(tmp_path: Path) -> None:
    assert link("http://h:1/") == "http://h:1/console"
    assert link_of(tmp_path, "http://h:1") == "http://h:1/console"
    (tmp_path / "console-token").write_text(f"{LONG}\n")
    assert link_of(tmp_path, "http://h:1") == f"http://h:1/console/login#{LONG}"


def test_what_the_readme_starts_and_the_image_have_a_console() -> None:
    run = re.search(r"^run\(\) \{\n    ensure (\S+)$", (ROOT / "dev").read_text(), re.M)
    assert run is not None and "console" in run[1].split(",")
    image = re.search(r"^ARG EXTRAS=(\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert image is not None and "console" in image[1].split(",")
