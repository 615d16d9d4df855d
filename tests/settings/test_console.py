"""The section `console`."""

from __future__ import annotations

import pytest
from modelbroker.core.catalog import SecretRef, StoredSecret
from modelbroker.core.console import DEFAULT_CONSOLE, Console, TokenUser
from modelbroker.settings import compile_texts

POOL = "pools: [{name: p, members: [{provider: openai, model: m}]}]\n"
STORE = 'secrets: {stores: [{name: vault, vault: {address: "https://v", auth: {token: {env: T}}}}]}\n'


def console_of(text: str) -> Console:
    loaded = compile_texts({"a": POOL + STORE + text}, dialects=("openai-chat",), built=("openai-chat",))
    return loaded.catalog.console


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", DEFAULT_CONSOLE),
        ("console: {}", DEFAULT_CONSOLE),
        ("console: {enabled: off}", Console(enabled=False)),
        ("console: {session: 30m}", Console(session_s=1800)),
        (
            "console: {users: [{name: ana@corp, token: {env: T}}, {name: bob, token: {vault: c, field: f}}], "
            "networks: [10.20.0.0/16, 'fd00::/8', 10.1.2.3]}",
            Console(
                users=(
                    TokenUser("ana@corp", SecretRef("env", "T")),
                    TokenUser("bob", StoredSecret("store", "c", "vault", "f")),
                ),
                networks=("10.20.0.0/16", "fd00::/8", "10.1.2.3/32"),
            ),
        ),
    ],
)
def test_what_it_means(text: str, meant: Console) -> None:
    assert console_of(text) == meant
