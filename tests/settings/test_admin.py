"""The section `admin`."""

from __future__ import annotations

import pytest
from modelbroker.core.admin import DEFAULT_ADMIN, Admin
from modelbroker.core.catalog import SecretRef
from modelbroker.core.console import TokenUser
from modelbroker.settings import SettingsError, compile_texts

POOL = "pools: [{name: p, members: [{provider: openai, model: m}]}]\n"


def admin_of(text: str) -> tuple[Admin, str]:
    """And the revision."""
    loaded = compile_texts({"a": POOL + text}, dialects=("openai-chat",), built=("openai-chat",))
    return loaded.catalog.admin, loaded.catalog.revision


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", DEFAULT_ADMIN),
        ("admin: {}", DEFAULT_ADMIN),
        ("admin: {commands: token}", Admin("token")),
        (
            "admin: {commands: local, users: [{name: ana, token: {env: T}}]}",
            Admin("local", (TokenUser("ana", SecretRef("env", "T")),)),
        ),
    ],
)
def test_what_it_means(text: str, meant: Admin) -> None:
    found, revision = admin_of(text)
    assert found == meant
    assert (revision == admin_of("")[1]) == (meant == DEFAULT_ADMIN)


@pytest.mark.parametrize(
    ("text", "line", "field", "wrong"),
    [
        ("admin: {commands: none}", 2, "admin.commands", "give local or token"),
        ("admin: {users: [{name: ana}]}", 2, "admin.users[0].token", "is missing"),
        (
            "admin:\n  users:\n  - {name: ana, token: s3cret-in-plain}",
            4,
            "admin.users[0].token",
            "plain text",
        ),
        ("admin: {users: [{name: 'a b', token: {env: T}}]}", 2, "admin.users[0].name", "give letters"),
        (
            "admin:\n  users:\n  - {name: a, token: {env: T}}\n  - {name: a, token: {env: U}}",
            5,
            "admin.users[1].name",
            "stands twice",
        ),
        ("admin: {users: [{name: a, token: {vault: x}}]}", 2, "admin.users[0].token", "store"),
        ("admin: {token: x}", 2, "admin.token", ""),
    ],
)
def test_what_is_wrong_is_said(text: str, line: int, field: str, wrong: str) -> None:
    with pytest.raises(SettingsError) as error:
        admin_of(text)
    (problem,) = error.value.problems
    assert (problem.line, problem.field) == (line, field)
    assert wrong in str(problem) and "s3cret-in-plain" not in str(problem)
