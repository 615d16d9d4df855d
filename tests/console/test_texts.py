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


@st.composite
def secretive(draw: st.DrawFn) -> str:
    """YAML in any style, with secrets where they may stand."""
    where = draw(
        st.sampled_from(
            [
                {"headers": {"x-tenant": SECRET, "authorization": [SECRET, f"Bearer {SECRET}"]}},
                {"api_key": SECRET, "password": SECRET},
                {"callers": [{"key": {"sha256": SECRET}}]},
                {"x-access-token": f"{SECRET}\nin two lines"},
                {"base_url": f"https://user:{SECRET}@host/path"},
                {"url": f"redis://:p@{SECRET}@host/0"},
            ]
        )
    )
    tree = {"before": draw(_trees), **where, "behind": draw(_trees)}
    return yaml.safe_dump(
        draw(st.sampled_from([tree, [tree], {"deep": {"er": tree}}])),
        default_flow_style=draw(st.booleans()),
        allow_unicode=draw(st.booleans()),
        default_style=draw(st.sampled_from([None, '"', "'"])),
    )


@given(secretive())
def test_no_secret_is_seen(text: str) -> None:
    said = shown(text)
    assert "S3CRET" not in said and "(hidden: " in said


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
