"""Names that promise a secret, texts that hold one, and how changes tell of either: never what it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.changes import changes
from modelbroker.changes.hiding import are_secrets, is_secret, without_secrets
from support.catalogs import catalog

SECRET = "S3CRET-unseen"
POOLS = [{"name": "chat", "members": [{"provider": "b", "model": "m"}]}]


SECRETS = (
    "password apiKey APIKey api_key x-api-key clientSecret CLIENT_SECRET secretAccessKey authToken token "
    "Cookie x-goog-api-key dbPassword2 password_for_redis signature X-Amz-Signature sig sha256 key keyOld"
)
NONE = (
    "tokens max_tokens tokenUrl token_url key_file secretName secrets passwordFile credentials name monkey "
    "by keyboard hash_key_of signature_type cookie_name design per unit user input headers authority"
)


@pytest.mark.parametrize("name", SECRETS.split())
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", NONE.split())
def test_names_of_what_is_none(name: str) -> None:
    assert not is_secret(name)


def test_many_are_secrets_in_a_list() -> None:
    assert (
        are_secrets("tokens")
        and are_secrets("apiKeys")
        and are_secrets("API_KEYS")
        and not are_secrets("pools")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://host/v1?api-version=1&api_key=S", "https://host/v1?api-version=1&api_key=<S>"),
        ("https://host/v1?token=S&sig=T#frag", "https://host/v1?token=<S>&sig=<T>#<frag>"),
        ("redis://:pa/ss@host:6379/0", "redis://<:pa/ss>@host:6379/0"),
        ("redis://:pa ss@host:6379/0", "redis://<:pa ss>@host:6379/0"),
        ("redis://u:p?a#s'\"s@h@host/0", "redis://<u:p?a#s'\"s@h>@host/0"),
        ("//user@host/x", "//<user>@host/x"),
        ("see https://a/b, ask ops@host", "see https://a/b, ask ops@host"),
        ("a https://u:p@h/ and https://h?k=v.", "a https://<u:p>@h/ and https://h?k=<v.>"),
        ("host=h password=a b", "host=h password=<a b>"),
        ("send Bearer abc to it", "send Bearer <abc> to it"),
        ("of ghp_0123456789abc here", "of <ghp_0123456789abc> here"),
        ("https://hooks/T01/a1b2c3d4e5f6g7h8i9j0k", "https://hooks/T01/<a1b2c3d4e5f6g7h8i9j0k>"),
        ("no secret: none", "no secret: <none>"),
        ("gpt-5-thinking-2025-08-07", "gpt-5-thinking-2025-08-07"),
        ("", ""),
    ],
)
def test_texts(text: str, said: str) -> None:
    assert without_secrets(text, lambda value: f"<{value}>") == said


@given(st.text())
def test_nothing_is_added_to_any_text(text: str) -> None:
    assert without_secrets(text, lambda value: value) == text


@pytest.mark.parametrize(
    "piece", ["//", "a://", "key:", "x-", "--a ", "//'", "a@", "//:a ", "Bearer ", "sk-"]
)
def test_a_long_text_is_looked_at_once(piece: str) -> None:
    """If it were looked at from each of its characters on, this would take hours."""
    text = piece * (1_000_000 // len(piece))
    assert without_secrets(text, lambda value: value) == text


def test_a_change_tells_of_headers_by_their_names_alone() -> None:
    old = catalog(pools=POOLS)
    name, provider = next(iter(old.providers.items()))
    was = replace(provider, headers=(("x-a", SECRET), ("x-b", "S3CRET-1"), ("x-c", "1")))
    now = replace(provider, headers=(("x-a", "S3CRET-other"), ("x-c", "1"), ("x-d", SECRET)))
    (change,) = changes(
        replace(old, providers={**old.providers, name: was}),
        replace(old, providers={**old.providers, name: now}),
    )
    assert change.what == (
        "headers.x-a changed: (hidden)",
        "headers: x-b goes",
        "headers: x-d is new: (hidden)",
    )


@pytest.mark.parametrize(
    "url", [f"https://user:{SECRET}/x@host/v1", f"https://host/v1?sig={SECRET}", f"https://host/v1?{SECRET}"]
)
def test_no_change_of_an_address_tells_a_secret(url: str) -> None:
    old = catalog(pools=POOLS)
    name, provider = next(iter(old.providers.items()))
    new = replace(provider, base_url=url)
    for a, b in (
        (old, replace(old, providers={**old.providers, name: new})),
        (old, replace(old, providers={**old.providers, "another": replace(new, name="another")})),
    ):
        (change,) = changes(a, b)
        (said,) = change.what
        assert "S3CRET" not in said and "(hidden)" in said and "host/v1" in said
