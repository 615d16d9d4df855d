"""Which requests are equal, which replies are kept, and how they are given again."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from modelbroker.core.usage import Usage
from modelbroker.dialects import Used, dialect_named, used_text
from modelbroker.dialects.conversation import Reasoning, Text, ToolCall
from modelbroker.dialects.repeats import (
    INCOMPLETE,
    NOT_KEYED,
    STREAM,
    WHOLE,
    Again,
    Kept,
    asked,
    is_stream,
    kept,
    repeated,
)
from modelbroker.dialects.repeats import _read as read
from modelbroker.dialects.replies import Stop
from modelbroker.dialects.translation import Context
from support.dialects import Recorded, parameters

CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000)
DIALECTS = list(NOT_KEYED)
USAGE = Usage(input=7, output=5)  # of replies that don't tell theirs

NAMES = st.sampled_from(["model", "messages", "content", "a", "b", "é"]) | st.text(max_size=3)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(NAMES, VALUES, min_size=1, max_size=5)


def spelled(value: Any, draw: Any) -> str:
    """The same JSON otherwise: keys in another order, spaces, escapes."""
    if isinstance(value, dict):
        items = draw(st.permutations(list(value.items())))
        space = draw(st.sampled_from(["", " ", "\n\t"]))
        inside = f",{space}".join(f"{spelled(k, draw)}{space}:{space}{spelled(v, draw)}" for k, v in items)
        return f"{{{space}{inside}{space}}}"
    if isinstance(value, list):
        return "[" + " ,".join(spelled(each, draw) for each in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    return json.dumps(value)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in paths(inner, (*path, key)))]


def replaced(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(body)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def is_same(one: Any, other: Any) -> bool:
    """As JSON: 1 is not true, nor 1.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(st.sampled_from(DIALECTS), BODIES, st.data())
def test_spelling_does_not_matter(dialect: str, body: dict[str, Any], data: Any) -> None:
    plain = asked(dialect, json.dumps(body).encode())
    other = asked(dialect, spelled(body, data.draw).encode())
    assert plain is not None and plain == other


@given(st.sampled_from(DIALECTS), BODIES, VALUES, st.data())
def test_any_changed_value_matters(dialect: str, body: dict[str, Any], value: Any, data: Any) -> None:
    path = data.draw(st.sampled_from(paths(body)[1:]))
    changed = replaced(body, path, value)
    assume(not is_same(changed, body))
    before, after = asked(dialect, json.dumps(body).encode()), asked(dialect, json.dumps(changed).encode())
    assert before is not None and after is not None
    assert (before.content == after.content) == (path[0] in NOT_KEYED[dialect])


@given(st.sampled_from(DIALECTS), BODIES, NAMES, VALUES, st.data())
def test_a_field_more_or_less_matters(
    dialect: str, body: dict[str, Any], name: str, value: Any, data: Any
) -> None:
    where = data.draw(st.sampled_from([path for path in paths(body) if _is_object(body, path)]))
    inner = _at(body, where)
    assume(name not in inner)
    more = replaced(body, (*where, name), value)
    plain, with_it = asked(dialect, json.dumps(body).encode()), asked(dialect, json.dumps(more).encode())
    assert plain is not None and with_it is not None
    assert (plain.content == with_it.content) == ((*where, name)[0] in NOT_KEYED[dialect])


def _at(body: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


def _is_object(body: Any, path: tuple[Any, ...]) -> bool:
    return isinstance(_at(body, path), dict)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_left_out_does_not_matter(dialect: str) -> None:
    body = {"model": "m", "messages": []}
    labelled = {**body, **{name: {"x": [1]} for name in NOT_KEYED[dialect] - {"stream"}}}
    one, other = (asked(dialect, json.dumps(each).encode()) for each in (body, labelled))
    assert one is not None and other is not None
    assert one.content == other.content == b'{"messages":[],"model":"m"}'


def test_the_form_of_a_reply() -> None:
    def form(**fields: Any) -> str:
        got = asked("openai-chat", json.dumps({"model": "m", **fields}).encode())
        assert got is not None
        return got.form

    assert form() == form(stream=False) == form(stream=None) == WHOLE
    assert form(stream=True) == form(stream=True, stream_options=None) == STREAM
    with_usage = form(stream=True, stream_options={"include_usage": True})
    assert is_stream(with_usage) and with_usage not in (STREAM, form(stream=True, stream_options={"x": 1}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a": 1, "a": 2}',
        b'{"m": [{"a": 1, "b": {"c": 1, "c": 1}}]}',
        b'{"user": {"a": 1, "a": 2}}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a":' * 5_000,
    ],
    ids=range(10),
)
def test_what_is_not_clear_is_not_cached(body: bytes) -> None:
    assert asked("openai-chat", body) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a": 1}', b'{"a": 1.0}'),
        (b'{"a": 1.0}', b'{"a": 1.00}'),
        (b'{"a": 0.1}', b'{"a": 0.1000000000000000055}'),
        (b'{"a": 18446744073709551616}', b'{"a": 18446744073709551617}'),
        (b'{"a": 0.1}', b'{"a": "0.1"}'),
        (b'{"a": 0}', b'{"a": -0.0}'),
    ],
    ids=range(6),
)
def test_numbers_are_what_they_are(one: bytes, other: bytes) -> None:
    first, second = asked("openai-chat", one), asked("openai-chat", other)
    assert first is not None and second is not None and first != second


# -- recorded replies


def worth(row: Recorded) -> Kept | str:
    return kept(row.dialect, STREAM if row.streamed else WHOLE, row.reply, False)


@pytest.mark.parametrize("row", parameters(client=True))
def test_recorded_replies_are_kept_if_they_end_well_and_call_nothing(row: Recorded) -> None:
    form = STREAM if row.streamed else WHOLE
    try:
        reply = read(row.dialect, form, row.reply)
    except ValueError:
        assert worth(row) == INCOMPLETE
        return
    stops = {choice.stop for choice in reply.choices}
    calls = any(isinstance(part, ToolCall) for choice in reply.choices for part in choice.parts)
    is_good = stops <= {Stop.END, Stop.STOP_SEQUENCE} and not calls
    says = all(
        any(not isinstance(p, Reasoning) and getattr(p, "text", "x") for p in choice.parts)
        for choice in reply.choices
    )
    assert isinstance(worth(row), Kept) == (is_good and says)
    if calls and stops <= {Stop.END, Stop.TOOL_CALLS}:
        assert worth(row) == "tools"
        assert isinstance(kept(row.dialect, form, row.reply, True), Kept)


def is_turned(row: Recorded) -> bool:
    """And the request says nothing that only its own dialect knows."""
    found = kept(row.dialect, STREAM if row.streamed else WHOLE, row.reply, True)
    if not (isinstance(found, Kept) and found.turns):
        return False
    return not dialect_named(row.dialect).read(json.dumps(row.request).encode()).same_dialect


TURNED = [each for each in parameters(client=True) if each.values[0] is None or is_turned(each.values[0])]


def test_most_recorded_replies_can_be_turned() -> None:
    assert len(TURNED) > 100 or TURNED[0].values[0] is None


@pytest.mark.parametrize("row", TURNED)
def test_a_recorded_reply_in_the_other_form_says_the_same(row: Recorded) -> None:
    form, wanted = (STREAM, WHOLE) if row.streamed else (WHOLE, STREAM)
    request = json.dumps({**row.request, "stream": wanted == STREAM, "stream_options": None}).encode()
    used = used_text(Used(USAGE))
    again = repeated(row.dialect, form, row.reply, Again(request, wanted, CONTEXT, True, used))
    one, other = read(row.dialect, form, row.reply), read(row.dialect, wanted, again)
    assert [_told(choice) for choice in other.choices] == [_told(choice) for choice in one.choices]
    assert (other.model, other.usage) == (one.model, one.usage or USAGE)
    assert isinstance(kept(row.dialect, wanted, again, True), Kept)


def _told(choice: Any) -> Any:
    texts = [
        (type(part).__name__, getattr(part, "text", None) or getattr(part, "arguments", None))
        for part in choice.parts
        if not (isinstance(part, Text) and not part.text)
    ]
    return choice.index, choice.stop, texts


def test_a_reply_that_does_not_tell_its_usage_needs_it_from_elsewhere() -> None:
    body = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    body += b'"delta":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    request = b'{"model": "m", "messages": [{"role": "user", "content": "Hello"}]}'
    with pytest.raises(ValueError, match="not known"):
        repeated("openai-chat", STREAM, body, Again(request, WHOLE, CONTEXT))
    again = Again(request, WHOLE, CONTEXT, used=used_text(Used(USAGE)))
    assert json.loads(repeated("openai-chat", STREAM, body, again))["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("row", parameters(streamed=True, client=True))
def test_no_stream_that_was_cut_is_kept(row: Recorded) -> None:
    """But for a line's end, or what no SDK needs."""
    if not isinstance(worth(row), Kept):
        return
    whole = read(row.dialect, STREAM, row.reply)
    step = max(1, len(row.reply) // 60)
    for cut in range(0, len(row.reply) - 1, step):
        found = kept(row.dialect, STREAM, row.reply[:cut], False)
        if isinstance(found, Kept):
            assert read(row.dialect, STREAM, row.reply[:cut]).choices == whole.choices
        else:
            assert found == INCOMPLETE


@given(st.sampled_from(DIALECTS), st.sampled_from([WHOLE, STREAM]), st.binary(max_size=60), st.booleans())
def test_garbage_is_not_kept(dialect: str, form: str, body: bytes, tools: bool) -> None:
    assert isinstance(kept(dialect, form, body, tools), str)


@pytest.mark.parametrize(
    ("body", "is_kept"),
    [
        ({"data": [{"embedding": [0.1], "index": 0}], "model": "m"}, True),
        ({"data": []}, False),
        ({"error": {"message": "no"}}, False),
        ([], False),
    ],
    ids=range(4),
)
def test_embeddings_are_kept(body: Any, is_kept: bool) -> None:
    found = kept("openai-embeddings", WHOLE, json.dumps(body).encode(), False)
    assert (found == Kept(False)) is is_kept
