"""What holds for every text: an answer and no traceback; no secret in it; one revision for one meaning."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.call import FACT_KINDS
from modelbroker.settings import Loaded, SettingsError, compile_texts
from modelbroker.settings.schema import SECTIONS, inner_model

DIALECTS = {
    "openai-chat",
    "openai-responses",
    "openai-embeddings",
    "anthropic-messages",
    "bedrock-converse",
    "gemini",
}
SECRET = "hunter2secret"

BASE: dict[str, Any] = {
    "providers": [
        {"name": "anthropic", "headers": {"x-a": "1"}, "models": {"m1": "own-1"}},
        {
            "name": "mine",
            "dialect": ["openai-chat"],
            "base_url": "https://h:1/v1",
            "credential": {"env": "K"},
            "auth": "bearer",
        },
    ],
    "callers": [
        {
            "name": "c1",
            "key": {"sha256": "ab" * 32},
            "team": "t",
            "pools": ["p1"],
            "trusted_for": ["feature"],
        },
        {"name": "c2", "keys": [{"env": "A"}, {"file": "/b"}], "tier": "x"},
    ],
    "pools": [
        {
            "name": "p1",
            "failover": 2,
            "aliases": ["a*"],
            "members": [
                {"provider": "anthropic", "model": "m1", "weight": 7},
                {"provider": "mine", "model": "m2", "priority": 1},
            ],
            "timeouts": {"connect": "1s", "reply": "5m"},
            "ejection": {"consecutive_errors": 4},
        },
        {"name": "p2", "members": [{"provider": "gemini", "model": "m"}], "ejection": "off"},
    ],
    "rules": [
        {"match": {"tier": "x", "context.tokens": ">1k"}, "pool": "p2"},
        {"match": {"team": {"not": ["a", "b"]}}, "deny": "no"},
        {"name": "last", "match": {}, "pool": "p1"},
    ],
    "limits": {"request_bytes": "1MiB", "idle": "1m"},
    "listen": {"port": 99},
    "facts": {"headers": {"task": "x-task"}},
}


def compiled(files: dict[str, str]) -> Loaded | SettingsError:
    try:
        return compile_texts(files, dialects=DIALECTS, built=DIALECTS)
    except SettingsError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.wrong and problem.right and problem.line >= 0
            assert "\n" not in str(problem)
            if problem.file in files:
                assert problem.line <= len(files[problem.file].splitlines()) + 2
        return error


def loaded(files: dict[str, str]) -> Loaded:
    result = compiled(files)
    assert isinstance(result, Loaded), str(result)
    return result


def dump(data: Any, *, flow: bool | None = None) -> str:
    text: str = yaml.safe_dump(data, sort_keys=False, default_flow_style=flow, allow_unicode=True)
    return text


def known_words() -> list[str]:
    words = [
        *SECTIONS,
        *FACT_KINDS,
        "openai",
        "anthropic",
        "p1",
        "off",
        ">1k",
        "!x",
        "<<",
        "up to 3",
        "30s",
        "none",
    ]
    todo = list(SECTIONS.values())
    for model in todo:
        for name, info in model.model_fields.items():
            words.append(name)
            inner = inner_model(info)
            if inner is not None:
                todo.append(inner)
    return words


WORDS = st.sampled_from(known_words())
SCALARS = st.one_of(
    WORDS, st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none(), st.just("2020-01-01")
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(WORDS, st.text(max_size=4)), inner, max_size=4)
    ),
    max_leaves=12,
)
MARKS = st.text(
    alphabet=st.sampled_from(list("ab:-[]{},&*!|>'\"#%@`?\n\t  <=~.0123é\x85\u2028\x00")), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), MARKS))
def test_any_text_has_an_answer(text: str) -> None:
    compiled({"a.yaml": text})
    compiled({"a.yaml": text, "b.yaml": dump(BASE)})


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(list(SECTIONS)), VALUES, max_size=4), VALUES)
def test_any_data_has_an_answer(data: Any, other: Any) -> None:
    compiled({"a.yaml": dump(data)})
    compiled({"a.yaml": dump(BASE), "b.yaml": dump(other)})


def paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(found for key, value in items for found in paths(value, (*path, key)))]


def replaced(path: tuple[Any, ...], value: Any, base: Any = BASE) -> Any:
    data = copy.deepcopy(base)
    inner = data
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return data


PATHS = [path for path in paths(BASE) if path]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS), VALUES)
def test_any_value_anywhere_has_an_answer(path: tuple[Any, ...], value: Any) -> None:
    compiled({"a.yaml": dump(replaced(path, value))})


SECRETS: list[tuple[tuple[Any, ...], Any]] = [
    (path, value)
    for path in PATHS
    if path[-1] in ("key", "keys", "credential", "sha256", "env", "file", "headers", "x-a", "base_url")
    and path[0] != "facts"
    for value in (
        SECRET,
        [SECRET],
        [[SECRET]],
        {SECRET: 1},
        {"env": f"{SECRET}!"},
        {"file": f"{SECRET}\0"},
        {"sha256": SECRET},
        {"sha256": "ab" * 32, "key": SECRET},
        {"authorization": f"Bearer {SECRET}"},
        {"x-k": f"{SECRET}\n"},
        f"https://u:{SECRET}@h/",
        f"https://h/?key={SECRET}",
    )
]


@pytest.mark.parametrize("entry", ["api_key", "key", "token", "credential"])
def test_a_secret_under_a_wrong_key_is_not_repeated(entry: str) -> None:
    result = compiled({"a": dump(replaced(("providers", 0, entry), SECRET))})
    assert isinstance(result, SettingsError)
    assert SECRET not in str(result)


def test_no_secret_is_repeated() -> None:
    refused = 0
    for path, value in SECRETS:
        # A mapping's key that is no header, and a header that is one, are names and no secrets.
        if isinstance(value, dict) and (SECRET in value) and path[-1] == "headers":
            continue
        result = compiled({"a": dump(replaced(path, value))})
        if isinstance(result, SettingsError):
            refused += 1
            assert SECRET not in str(result), (path, value)
            assert SECRET not in repr(result.problems)
    assert refused > 60


def shuffled(data: Any, rng: random.Random) -> Any:
    """The same meaning: the keys of every mapping in another order."""
    if isinstance(data, dict):
        keys = list(data)
        rng.shuffle(keys)
        return {key: shuffled(data[key], rng) for key in keys}
    return [shuffled(each, rng) for each in data] if isinstance(data, list) else data


def split(data: Any, rng: random.Random) -> dict[str, str]:
    """The same meaning in several files, in another order where order means nothing, with comments."""
    files: list[dict[str, Any]] = [{} for _ in range(3)]
    for section, value in data.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                rng.choice(files).setdefault(section, {})[key] = inner
            continue
        entries = list(value)
        homes = sorted(rng.randrange(3) for _ in entries)
        if section != "rules":
            rng.shuffle(entries)
        for home, entry in zip(homes, entries, strict=True):
            files[home].setdefault(section, []).append(entry)
    result = {}
    for i, each in enumerate(files):
        text = dump(each, flow=rng.choice([True, False, None])) if each else ""
        result[f"{i}.yaml"] = "# a comment\n" * rng.randrange(3) + text
    return result


@settings(max_examples=60, deadline=None)
@given(st.integers())
def test_spelling_does_not_change_the_revision(seed: int) -> None:
    rng = random.Random(seed)
    first = loaded({"a.yaml": dump(BASE)}).catalog
    assert loaded(split(shuffled(BASE, rng), rng)).catalog == first


CHANGES: list[tuple[tuple[Any, ...], Any]] = [
    (("providers", 0, "headers", "x-a"), "2"),
    (("providers", 0, "models", "m1"), "own-2"),
    (("providers", 0, "base_url"), "https://other"),
    (("providers", 1, "dialect"), ["openai-chat", "openai-embeddings"]),
    (("providers", 1, "base_url"), "https://h:2/v1"),
    (("providers", 1, "credential"), {"env": "K2"}),
    (("providers", 1, "credential"), {"file": "K"}),
    (("providers", 1, "auth"), "api-key"),
    (("providers", 1, "region"), "eu"),
    (("providers", 1, "project"), "eu"),
    (("providers", 1, "api_version"), "eu"),
    (("providers", 1, "ca_file"), "eu"),
    (("providers", 0, "variant"), "bedrock"),
    (("providers", 1, "deviations"), {"a": 1}),
    (("providers", 1, "deviations"), {"a": ["b"]}),
    (("providers", 1, "capabilities"), {"m*": {"tools": True}}),
    (("providers", 1, "capabilities"), {"m*": {"context": "1k"}}),
    (("callers", 0, "key", "sha256"), "ac" * 32),
    (("callers", 0, "team"), "u"),
    (("callers", 0, "user"), "t"),
    (("callers", 0, "agent"), "t"),
    (("callers", 0, "customer"), "t"),
    (("callers", 0, "tier"), "t"),
    (("callers", 0, "pools"), ["p*"]),
    (("callers", 0, "trusted_for"), ["customer"]),
    (("callers", 0, "trusted_for"), ["feature", "customer"]),
    (("callers", 0, "name"), "c3"),
    (("callers", 1, "keys"), [{"env": "A"}]),
    (("pools", 0, "failover"), "none"),
    (("pools", 0, "aliases"), ["b*"]),
    (("pools", 0, "cache"), "short-context"),
    (("pools", 0, "members", 0, "weight"), 8),
    (("pools", 0, "members", 0, "model"), "m3"),
    (("pools", 0, "members", 1, "priority"), 0),
    (("pools", 0, "members", 0, "capabilities"), {"tools": False}),
    (("pools", 0, "members", 0, "capabilities"), {"max_output": 5}),
    (("pools", 0, "usage_event"), "pass"),
    (("pools", 0, "members"), BASE["pools"][0]["members"][::-1]),
    (("pools", 0, "timeouts", "connect"), "2s"),
    (("pools", 0, "timeouts", "first_event"), "2s"),
    (("pools", 0, "timeouts", "reply"), "2s"),
    (("pools", 0, "ejection", "consecutive_errors"), 5),
    (("pools", 0, "ejection", "base"), "5s"),
    (("pools", 0, "ejection", "max"), "50s"),
    (("pools", 1, "ejection"), "on"),
    (("pools", 1, "routing"), "cheapest"),
    (("pools", 1, "routing"), {"by": "cheapest", "tolerance": "10%"}),
    (("pools", 1, "routing"), {"by": "cheapest", "output": "2k"}),
    (("rules", 0, "match", "tier"), "y"),
    (("rules", 0, "match", "cost.estimate"), "> $0.05"),
    (("rules", 0, "match", "cost.estimate"), "> $0.5"),
    (("rules", 0, "match", "context.tokens"), ">=1k"),
    (("rules", 0, "match", "context.tokens"), ">2k"),
    (("rules", 0, "match", "context.tokens"), {"not": ">1k"}),
    (("rules", 0, "pool"), "p1"),
    (("rules", 0, "name"), "first"),
    (("rules", 1, "deny"), "never"),
    (("rules", 1, "deny"), True),
    (("rules",), BASE["rules"][::-1]),
    (("limits", "request_bytes"), "2MiB"),
    (("limits", "concurrency"), 5),
    (("limits", "idle"), "2m"),
    (("limits", "concrete_models"), True),
    (("listen", "port"), 100),
    (("listen", "address"), "::1"),
    (("listen", "tls"), {"cert_file": "c", "key_file": "k"}),
    (("listen", "tls"), {"cert_file": "c", "key_file": "k", "client_ca_file": "a"}),
    (
        ("listen", "tls"),
        {"cert_file": "c", "key_file": "k", "client_ca_file": "a", "require_client_cert": True},
    ),
    (("issuers",), [{"name": "n", "issuer": "i", "audiences": ["a"], "jwks": "/k"}]),
    (("issuers",), [{"name": "n", "issuer": "i", "audiences": "any", "jwks": "/k"}]),
    (("issuers",), [{"name": "n", "issuer": "i", "audiences": ["a"], "jwks": "https://h/k"}]),
    (
        ("issuers",),
        [{"name": "n", "issuer": "i", "audiences": "a", "jwks": "/k", "claims": {"user": "sub"}}],
    ),
    (("facts", "headers", "task"), "x-other"),
    (("facts", "headers", "more"), "x-task"),
]


def test_every_change_of_meaning_changes_the_revision() -> None:
    seen = {loaded({"a": dump(BASE)}).catalog.revision: "base"}
    for path, value in CHANGES:
        revision = loaded({"a": dump(replaced(path, value))}).catalog.revision
        assert revision not in seen, (path, value, seen[revision])
        seen[revision] = str((path, value))


def test_the_revision_is_the_same_in_every_process() -> None:
    # Golden: a change here means that every deployed revision changes with this release.
    assert loaded({"a": dump(BASE)}).catalog.revision == "8b4b1f1a92bb"


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    result = compiled({"a": "\n".join(lines)})
    assert isinstance(result, SettingsError)
    assert "aliases make this over 2,000,000 values" in str(result)
