"""What is shown of a configuration's text: each line that is different, and no secret."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.texts import hidden, lines_between, shown

SECRET = "S3CRET-ünseen"
_words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
_trees = st.recursive(
    _words | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=12,
)


def _any_of(words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split())


_NAMES = _any_of(
    "password passwd PASSWORD redis_password dbPassword passphrase secret clientSecret client-secret "
    "CLIENT_SECRET webhook_secret_old token access_token accessToken x-access-token apiKey api_key api-key "
    "APIKEY x-api-key x-goog-api-key ocp-apim-subscription-key secretAccessKey aws_secret_access_key "
    "privateKey signing_key account_key authorization proxy-authorization cookie set-cookie credential "
    "sha256 key pwd sas signature sharedAccessSignature jwt password1 api_key_2 clientSecretValue"
)
_QUERIES = _any_of("api_key apikey token key sig code access_token X-Amz-Signature pw a")
# What stands around a secret in a URL's user: a password may hold any of these.
_marks = st.text(st.sampled_from("/?#:@&='\"ab1,%"), max_size=4)


@st.composite
def _places(draw: st.DrawFn) -> dict[str, Any]:
    """A mapping that holds a secret where one may stand."""
    name, query, before, behind = draw(_NAMES), draw(_QUERIES), draw(_marks), draw(_marks)
    is_late = draw(st.booleans())
    params = f"{query}={SECRET}&db=0" if is_late else f"db=0&{query}={SECRET}"
    places: list[dict[str, Any]] = [
        {"headers": {"x-tenant": SECRET, "authorization": [SECRET, f"Bearer {SECRET}"]}},
        {"headers": [{"name": "x-tenant", "value": SECRET}]},
        {name: SECRET},
        {name: [SECRET, "two"]},
        {name: {"value": SECRET}},
        {name: f"{SECRET}\nin two lines"},
        {f"{name}s": [SECRET]},
        {f"{name}s": SECRET},
        {"callers": [{"key": {"sha256": SECRET}}]},
        {"base_url": f"https://user:{SECRET}@host/path"},
        {"url": f"redis://:{before}{SECRET}{behind}@host:6379/0"},
        {"url": f"postgresql+psycopg://{SECRET}@host/db"},
        {"url": f"redis://:two {SECRET} words@host/0"},
        {"url": f"https://host/v1?{params}"},
        {"url": f"https://host/v1?{SECRET}"},
        {"url": f"https://host/v1#access_token={SECRET}"},
        {"url": f"https://host/v1?x=1;{query}={SECRET}"},
        {"text": f"the call with {name}={SECRET}"},
        {"text": f'{{"{name}": "{SECRET}"}}'},
        {"text": f"curl -H '{name}: {SECRET}' https://host/"},
        {"text": f"run --{name} {SECRET}"},
        {"text": f"first\n{name}: {SECRET}\nlast"},
        {"text": f"Bearer {SECRET}"},
        {"text": "sk-live-S3CRETunseen"},
        {"text": f"https://hooks.host/services/{SECRET[:6]}a1b2c3d4e5f6g7h8"},
    ]
    return draw(st.sampled_from(places))


@st.composite
def secretive(draw: st.DrawFn) -> str:
    """YAML in any style, with secrets where they may stand."""
    tree = {"before": draw(_trees), **draw(_places()), "behind": draw(_trees)}
    text = yaml.safe_dump(
        draw(st.sampled_from([tree, [tree], {"deep": {"er": tree}}])),
        default_flow_style=draw(st.booleans()),
        allow_unicode=draw(st.booleans()),
        default_style=draw(st.sampled_from([None, '"', "'", "|", ">"])),
        width=draw(st.sampled_from([20, 80, 1_000])),
    )
    return draw(
        st.sampled_from([text, f"\ufeff{text}", text.replace("\n", "\r\n"), f"---\na: 1\n---\n{text}"])
    )


@given(secretive())
def test_no_secret_is_seen(text: str) -> None:
    said = shown(text)
    assert "S3CRET" not in said and "nseen" not in said and "(hidden: " in said


@given(_places(), st.integers(0, 3), st.booleans())
def test_no_secret_is_seen_that_was_commented_out(place: dict[str, Any], indent: int, is_list: bool) -> None:
    text = yaml.safe_dump([place] if is_list else place, allow_unicode=True, width=1_000)
    lines = [f"{' ' * indent}# {line}" for line in text.splitlines()]
    said = shown("\n".join(["a: 1", *lines, "b: 2", ""]))
    assert "S3CRET" not in said and "nseen" not in said and said.endswith("\nb: 2\n")


@given(_NAMES, st.sampled_from(["", " # and so on"]), st.sampled_from(["'", '"', ""]))
def test_no_secret_is_seen_behind_an_anchor(name: str, behind: str, quote: str) -> None:
    value = f"{quote}{SECRET}{quote}"
    for text in (
        f"mine: &k {value}{behind}\nheaders: {{x-tenant: *k}}\n",
        f"headers: {{x-tenant: &k {value}}}\nmine: *k\n",
        f"mine: &k {value}{behind}\n{name}: *k\n",
        f"mine: &k [{value}]{behind}\n{name}: *k\n",
        f"mine: &h {{x-tenant: {value}}}{behind}\nproviders: [{{headers: *h}}]\n",
        f"mine: &h {{x-tenant: {value}}}{behind}\nproviders: [{{headers: {{<<: *h, b: c}}}}]\n",
        f"mine: &h {{x-tenant: {value}}}{behind}\nheaders: {{<<: [*h]}}\n",
        f"a: &a {value}{behind}\nb: &b {{x: *a}}\nheaders: {{<<: *b}}\n",
        f"mine: &h {{{name}: {value}}}{behind}\nproviders: [{{<<: *h}}]\n",
        f"a: &a {{b: *a, headers: {{x: {value}}}}}\n",
        f"one: !secret {value}\n{name}: !!str {value}\n" if name != "key" else f"{name}: !!str {value}\n",
        f"'{name}': {value}\n? {name}\n: {value}\n",
    ):
        assert "S3CRET" not in shown(text), text


def test_what_is_hidden_at_one_place_is_hidden_wherever_it_stands() -> None:
    said = shown(f"headers: {{x-tenant: {SECRET}}}\nname: of {SECRET}\n# it was {SECRET}\n")
    assert "S3CRET" not in said and said.count("(hidden: ") == 3


@given(_trees)
def test_what_holds_no_secret_is_seen_as_it_is(tree: Any) -> None:
    text = yaml.safe_dump({"pools": [{"name": "chat", "more": str(type(tree))}], "limits": {"n": 1}})
    assert shown(text) == text


def test_references_to_secrets_and_names_of_headers_stay() -> None:
    text = (
        "providers:\n"
        "  - name: a\n"
        "    credential: {env: KEY_OF_A}\n"
        "    headers: {x-org: org-1}\n"
        "    token: {vault: secret/a, key: token}\n"
        "facts:\n"
        "  headers: {task: x-task}\n"
        "budgets: [{tokens: 100, max_tokens: 5}]\n"
        "# password: hunter2, or bearer abcdef\n"
    )
    said = shown(text, lambda value: f"<{len(value)}>")
    assert "KEY_OF_A" in said and "vault: secret/a" in said and "{task: x-task}" in said
    assert "x-org: <5>}" in said and "max_tokens: 5" in said
    assert "hunter2" not in said and "abcdef" not in said


def test_what_is_no_secret_of_a_url_stays() -> None:
    text = (
        "providers:\n"
        "  - base_url: https://host.example/v1/models?api-version=2024-10-21&alt=sse\n"
        "    token_url: 'https://login.example/oauth2/token'\n"
        '    url: "redis://10.0.0.1:6379/0"\n'
        "  - {name: chat, key_file: /run/keys/a.pem, scope: read, max_tokens: 5, per: tokens, tokens: 7}\n"
        "secrets: {refresh: 5m, stores: [{name: vault, vault: {address: 'https://vault:8200'}}]}\n"
        "source: git+https://host/repository.git#subdirectory=config  # the team's, see https://wiki/x\n"
    )
    assert shown(text) == text
    said = shown("url: https://ana:pa/ss@host/v1?sig=abc&db=1 # why\n", lambda value: f"<{value}>")
    assert said == "url: https://<ana:pa/ss>@host/v1?sig=<abc>&db=1 # why\n"


def test_another_value_has_another_mark() -> None:
    old, new = (shown(f"headers:\n  x-org: {name}\nrest: 1\n") for name in ("one", "two"))
    kinds = [line.kind for line in lines_between({"a.yaml": old}, {"a.yaml": new})]
    assert kinds.count("minus") == kinds.count("plus") == 1
    assert hidden("one") == hidden("one") != hidden("two")


@pytest.mark.parametrize("text", ["{", "a: [", "\t: x", "&a *a"])
def test_what_is_no_yaml_is_not_shown(text: str) -> None:
    assert shown(f"{text}\npassword: hunter2 {{").startswith("# it is no YAML")


_lines = st.lists(st.sampled_from(["a", "b", "c", "  d: 1"]), max_size=30)


@given(_lines, _lines)
def test_lines_that_go_and_come_make_the_new_of_the_old(old: list[str], new: list[str]) -> None:
    texts = ["".join(f"{line}\n" for line in lines) for lines in (old, new)]
    found = list(lines_between({"x/a.yaml": texts[0]}, {"y/a.yaml": texts[1]}))
    assert bool(found) == (texts[0] != texts[1])
    gone = [line.text[2:] for line in found if line.kind == "minus"]
    come = [line.text[2:] for line in found if line.kind == "plus"]
    assert len(new) - len(old) == len(come) - len(gone)
    for line in {*old, *new}:
        assert new.count(line) - old.count(line) == come.count(line) - gone.count(line)


def test_files_that_come_and_go_say_so() -> None:
    old, new = {"c/a.yaml": "a: 1\n", "c/b.yaml": "b: 1\n"}, {"c/a.yaml": "a: 1\n", "c/d.yaml": "d: 1\n"}
    said = [line.text for line in lines_between(old, new)]
    assert said == ["b.yaml (gone)", "@@ line 1", "- b: 1", "d.yaml (new)", "@@ line 1", "+ d: 1"]


def test_files_that_have_little_in_common_are_told_of_in_short() -> None:
    old, new = ("".join(f"{kind}{n}\n" for n in range(7_000)) for kind in "ab")
    said = [line.text for line in lines_between({"a": old}, {"a": new})]
    assert said == ["a", "7,000 lines became 7,000: more than can be compared here"]


@pytest.mark.parametrize(
    "comment",
    [
        "# authorization: Bearer sk-live-1",
        '# "authorization": "Basic sk-live-1"',
        "# x-api-key : sk-live-1 ",
        "# curl -H 'x: bearer sk-live-1'",
    ],
)
def test_no_header_that_was_commented_out_is_shown(comment: str) -> None:
    assert "sk-live-1" not in shown(f"a: 1\n{comment}\n")
