"""Keys of conversations: who names a session or a user, and what a conversation begins with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.call import Caller
from modelbroker.core.catalog import Affinity
from modelbroker.dialects import AffinityKey, affinity_key

CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"
DIALECTS = (CHAT, RESPONSES, MESSAGES)
SESSION = "3b2c9f6e-8d0f-4c5b-9b61-0a7e4f1d2c3b"
# As Claude Code sends it, before 2.1.78 and since.
CLAUDE_CODE_OLD = f"user_4f1c9d_account_77aa-22_session_{SESSION}"
CLAUDE_CODE = json.dumps({"device_id": "4f1c9d", "account_uuid": "77aa-22", "session_id": SESSION})
TESTER = Caller(name="tester")
KEYS = ["e5ec59d62735", "004aaae6b42d", "79d3154afdc2", "8ab5ab686071", "4fcb83b22c20"]
ABOUT = "what the conversation begins with"


def key_of(
    affinity: Affinity | str,
    dialect: str,
    body: Mapping[str, Any] | bytes,
    headers: Mapping[str, str] | None = None,
    caller: Caller = TESTER,
) -> AffinityKey | None:
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = Affinity(affinity) if isinstance(affinity, str) else affinity
    return affinity_key(given, dialect, caller, lambda name: (headers or {}).get(name, ""), said)


def source_of(*args: Any, **named: Any) -> str:
    key = key_of(*args, **named)
    return key.source if key else ""


# -- sessions


@pytest.mark.parametrize(
    ("dialect", "headers", "body", "source"),
    [
        (CHAT, {"x-session-id": "s"}, {}, "the header x-session-id"),
        (CHAT, {"x-session-affinity": "s"}, {}, "the header x-session-affinity"),
        (CHAT, {"x-opencode-session": "s"}, {}, "the header x-opencode-session"),
        (CHAT, {"x-grok-conv-id": "s"}, {}, "the header x-grok-conv-id"),
        (RESPONSES, {"session-id": "s", "thread-id": "t"}, {}, "the header session-id"),
        (RESPONSES, {"session_id": "s"}, {"prompt_cache_key": "k"}, "the header session_id"),
        (MESSAGES, {"x-claude-code-session-id": "s"}, {}, "the header x-claude-code-session-id"),
        # An operator's own header comes before all of these.
        (CHAT, {"x-mine": "s", "x-session-id": "t"}, {}, "the header x-mine"),
        (CHAT, {"x-session-id": " "}, {"session_id": "s"}, "session_id"),
        (CHAT, {}, {"session_id": "s", "prompt_cache_key": "k"}, "session_id"),
        (CHAT, {}, {"session_id": 5, "prompt_cache_key": "k"}, "prompt_cache_key"),
        (CHAT, {}, {"session_id": None, "prompt_cache_key": ""}, ""),
        (CHAT, {}, {"conversation": "c"}, ""),
        (RESPONSES, {}, {"conversation": "c", "prompt_cache_key": "k"}, "conversation"),
        (RESPONSES, {}, {"conversation": {"id": "c"}}, "conversation"),
        (RESPONSES, {}, {"conversation": {"id": 5}, "prompt_cache_key": "k"}, "prompt_cache_key"),
        # It is another one at each turn, and names its account by itself.
        (RESPONSES, {}, {"previous_response_id": "resp_1@a"}, ""),
        (MESSAGES, {}, {"metadata": {"user_id": CLAUDE_CODE}}, "metadata.user_id"),
        (MESSAGES, {}, {"metadata": {"user_id": CLAUDE_CODE_OLD}}, "metadata.user_id"),
        (MESSAGES, {}, {"metadata": {"user_id": "user-7"}}, ""),
        (MESSAGES, {}, {"metadata": {"user_id": "{not JSON"}}, ""),
        (MESSAGES, {}, {"metadata": {"user_id": None}}, ""),
        (MESSAGES, {}, {"metadata": "text"}, ""),
        (CHAT, {}, {"metadata": {"user_id": CLAUDE_CODE}}, ""),
        ("openai-embeddings", {"x-session-id": "s"}, {"input": "x"}, "the header x-session-id"),
        ("openai-embeddings", {}, {"input": "x"}, ""),
        (CHAT, {}, b"no JSON", ""),
        (CHAT, {}, b"[]", ""),
        (CHAT, {}, b'{"session_id": "\\ud800"}', ""),
    ],
)
def test_where_a_session_is_named(dialect: str, headers: Any, body: Any, source: str) -> None:
    assert source_of(Affinity("session", "x-mine"), dialect, body, headers) == source


def test_a_session_is_the_same_wherever_it_is_named() -> None:
    """Requests of an agent's side calls may name it in another place than those of its main loop."""
    keys = [
        key_of("session", CHAT, {}, {"x-session-id": SESSION}),
        key_of("session", CHAT, {}, {"x-session-id": f" {SESSION} "}),
        key_of("session", CHAT, {"session_id": SESSION}),
        key_of("session", RESPONSES, {"prompt_cache_key": SESSION}),
        key_of("session", MESSAGES, {"metadata": {"user_id": CLAUDE_CODE}}),
        key_of("session", MESSAGES, {"metadata": {"user_id": CLAUDE_CODE_OLD}}),
        key_of("session", MESSAGES, {}, {"x-claude-code-session-id": SESSION}),
    ]
    assert len({key.value for key in keys if key}) == 1
    assert None not in keys


def test_keys_are_short_hex_whatever_is_sent() -> None:
    key = key_of("session", CHAT, {}, {"x-session-id": "\udcff" * 10_000})
    assert key is not None
    assert len(key.value) == 32
    assert int(key.value, 16) >= 0


@pytest.mark.parametrize("affinity", ["session", "user", "prefix"])
def test_callers_and_kinds_have_keys_of_their_own(affinity: str) -> None:
    body = {"session_id": "x", "user": "x", "messages": [{"role": "user", "content": "x"}]}
    other = Caller(name="tester\u00a0")
    keys = {key_of(kind, CHAT, body, caller=who) for kind in ("session", "user") for who in (TESTER, other)}
    mine = key_of(affinity, CHAT, body)
    theirs = key_of(affinity, CHAT, body, caller=other)
    assert len({key.value for key in keys if key}) == 4
    assert mine and theirs
    assert mine.value != theirs.value
    # What a caller says in a session's name can't make up for the caller's name.
    forged = key_of(affinity, CHAT, {**body, "session_id": "er\0x"}, caller=Caller(name="test"))
    assert forged and forged.value != mine.value


# -- users


@pytest.mark.parametrize(
    ("dialect", "body", "headers", "source"),
    [
        (CHAT, {"user": "u", "safety_identifier": "v"}, {}, "user"),
        (RESPONSES, {"safety_identifier": "v"}, {}, "safety_identifier"),
        (RESPONSES, {"user": ""}, {}, ""),
        (CHAT, {"user": "u"}, {"x-my-user": "w"}, "the header x-my-user"),
        (CHAT, {}, {"x-session-id": "s"}, ""),
        (MESSAGES, {"metadata": {"user_id": "user-7"}}, {}, "metadata.user_id"),
        (MESSAGES, {"metadata": {"user_id": CLAUDE_CODE}}, {}, "metadata.user_id"),
        (MESSAGES, {"metadata": {"user_id": "{not JSON"}}, {}, "metadata.user_id"),
        (MESSAGES, {"metadata": {}}, {}, ""),
    ],
)
def test_where_a_user_is_named(dialect: str, body: Any, headers: Any, source: str) -> None:
    affinity = Affinity("user", "x-my-user")
    assert source_of(affinity, dialect, body, headers) == source
    known = Caller(name="tester", user="alice")
    assert source_of(affinity, dialect, body, headers, known) == "the caller's user"


def test_all_sessions_of_a_user_of_claude_code_are_the_users() -> None:
    def key(user_id: str) -> AffinityKey | None:
        return key_of("user", MESSAGES, {"metadata": {"user_id": user_id}})

    assert key(CLAUDE_CODE) == key(CLAUDE_CODE.replace(SESSION, "another"))
    assert key(CLAUDE_CODE_OLD) == key(CLAUDE_CODE_OLD.replace(SESSION, "another"))
    assert key(CLAUDE_CODE) != key(CLAUDE_CODE.replace("77aa", "88bb"))


# -- prefixes


def chat(*turns: str, system: Any = "Be brief.") -> dict[str, Any]:
    """A conversation: the user and the model in turn."""
    roles = ("user", "assistant")
    said = [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    return {"model": "m", "messages": [{"role": "system", "content": system}, *said], "tools": tools}


def messages(*turns: str, system: Any = "Be brief.") -> dict[str, Any]:
    said = chat(*turns)["messages"][1:]
    return {"model": "m", "max_tokens": 9, "system": system, "messages": said, "tools": [{"name": "f"}]}


def responses(*turns: str, system: Any = "Be brief.") -> dict[str, Any]:
    said: Any = chat(*turns)["messages"][1:]
    if len(turns) == 1:  # as the SDK's users write it; later turns are lists
        said = turns[0]
    return {"model": "m", "instructions": system, "input": said, "tools": [{"type": "web_search"}]}


WRITERS: Mapping[str, Callable[..., dict[str, Any]]] = {
    CHAT: chat,
    RESPONSES: responses,
    MESSAGES: messages,
}
TEXTS = st.text(min_size=1, max_size=12)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(turns=st.lists(TEXTS, min_size=2, max_size=7), other=TEXTS, model=TEXTS)
def test_turns_stay_together_and_conversations_apart(
    dialect: str, turns: list[str], other: str, model: str
) -> None:
    write = WRITERS[dialect]
    first = key_of("prefix", dialect, write(turns[0]))
    assert first is not None
    assert first.source == ABOUT
    for count in range(1, len(turns) + 1):
        assert key_of("prefix", dialect, {**write(*turns[:count]), "model": model}) == first
    assert (key_of("prefix", dialect, write(other)) == first) == (other == turns[0])
    assert (key_of("prefix", dialect, write(turns[0], system=other)) == first) == (other == "Be brief.")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_other_tools_are_another_prefix(dialect: str) -> None:
    body = WRITERS[dialect]("Hello")
    changed = {**body, "tools": [*body["tools"], *body["tools"]]}
    assert key_of("prefix", dialect, changed) != key_of("prefix", dialect, body)


@pytest.mark.parametrize(
    ("dialect", "mark", "kind"),
    [
        (MESSAGES, {"cache_control": {"type": "ephemeral"}}, "text"),
        (CHAT, {"cache_control": {"type": "ephemeral"}}, "text"),
        (CHAT, {"prompt_cache_breakpoint": {"ttl": "30m"}}, "text"),
        (RESPONSES, {"prompt_cache_breakpoint": {"ttl": "30m"}}, "input_text"),
    ],
)
def test_marks_of_caches_move_on(dialect: str, mark: dict[str, Any], kind: str) -> None:
    """At each turn the mark is at the newest message: what was a marked part is a plain text next time."""
    plain = WRITERS[dialect]("Hello", "Hi", "Go on")
    marked = json.loads(json.dumps(plain))
    field = "input" if dialect == RESPONSES else "messages"
    first = next(item for item in marked[field] if item["role"] == "user")
    first["content"] = [{"type": kind, "text": "Hello", **mark}]
    assert key_of("prefix", dialect, marked) == key_of("prefix", dialect, plain)
    first["content"] = [{"text": "Hello", "type": kind}]
    assert key_of("prefix", dialect, marked) == key_of("prefix", dialect, plain)
    first["content"] = [{"type": kind, "text": "Hallo", **mark}]
    assert key_of("prefix", dialect, marked) != key_of("prefix", dialect, plain)


def test_a_marked_image_is_the_same_image() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}
    plain = {"messages": [{"role": "user", "content": [image]}]}
    marked = {"messages": [{"role": "user", "content": [{"cache_control": {"type": "ephemeral"}, **image}]}]}
    other = {**image, "source": {"type": "url", "url": "https://x/b.png"}}
    assert key_of("prefix", MESSAGES, marked) == key_of("prefix", MESSAGES, plain)
    assert key_of("prefix", MESSAGES, {"messages": [{"role": "user", "content": [other]}]}) != key_of(
        "prefix", MESSAGES, plain
    )


def test_claude_codes_line_about_itself_changes_with_every_request() -> None:
    def blocks(line: str, system: str = "You are Claude Code.") -> dict[str, Any]:
        return messages("Hello", system=[{"type": "text", "text": line}, {"type": "text", "text": system}])

    one, two = (f"x-anthropic-billing-header: cc_version=2.1.177; cch={n};" for n in ("36ee5", "0aaa9"))
    assert key_of("prefix", MESSAGES, blocks(one)) == key_of("prefix", MESSAGES, blocks(two))
    assert key_of("prefix", MESSAGES, blocks(one)) != key_of("prefix", MESSAGES, blocks(one, "You are new."))
    as_text = [messages("Hello", system=f"{line}\nYou are Claude Code.") for line in (one, two)]
    assert key_of("prefix", MESSAGES, as_text[0]) == key_of("prefix", MESSAGES, as_text[1])
    other = messages("Hello", system=f"{one}\nYou are new.")
    assert key_of("prefix", MESSAGES, other) != key_of("prefix", MESSAGES, as_text[0])


def test_what_an_agent_says_first_in_all_sessions_does_not_make_them_one() -> None:
    """Codex begins with instructions and its environment, both before the user's own words."""

    def codex(question: str, *more: dict[str, Any]) -> dict[str, Any]:
        said = [("developer", "sandbox"), ("user", "<environment_context>/repo</…>"), ("user", question)]
        items = [
            {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
            for role, text in said
        ]
        return {"model": "m", "instructions": "You are Codex.", "input": [*items, *more]}

    reply = ({"type": "reasoning", "summary": []}, {"role": "user", "content": "go on"})
    assert key_of("prefix", RESPONSES, codex("a", *reply)) == key_of("prefix", RESPONSES, codex("a"))
    assert key_of("prefix", RESPONSES, codex("b")) != key_of("prefix", RESPONSES, codex("a"))


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (CHAT, {"messages": [{"role": "system", "content": "Be brief."}]}),
        (CHAT, {"messages": []}),
        (CHAT, {"messages": "text"}),
        (CHAT, {"messages": [5]}),
        (CHAT, {"messages": [{"role": 5, "content": "x"}]}),
        (CHAT, {"messages": [{"role": "user", "content": ["x"]}]}),
        (CHAT, {}),
        (MESSAGES, {"system": "Be brief.", "messages": []}),
        (MESSAGES, {"system": [5], "messages": [{"role": "user", "content": "x"}]}),
        (RESPONSES, {"instructions": "Be brief."}),
        (RESPONSES, {"instructions": "Be brief.", "input": None}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}),
        ("openai-embeddings", {"input": "x"}),
        (CHAT, b"no JSON"),
        (CHAT, b'{"messages": ' + b"[" * 5_000),
    ],
)
def test_without_the_users_words_there_is_no_prefix(dialect: str, body: Any) -> None:
    """What all calls of an agent begin with would bring all of them to one member."""
    assert key_of("prefix", dialect, body) is None


def test_long_texts_are_known_by_their_ends_and_length() -> None:
    long = "x" * 100_000
    key = key_of("prefix", CHAT, chat(long))
    assert key != key_of("prefix", CHAT, chat(long + "x"))
    assert key != key_of("prefix", CHAT, chat("y" + long[1:]))
    assert key != key_of("prefix", CHAT, chat(long[:-1] + "y"))
    assert key == key_of("prefix", CHAT, chat(long, "Hi", "Go on"))


def test_a_compacted_conversation_has_a_prefix() -> None:
    begin = {"type": "compaction", "id": "cmp_1", "encrypted_content": "abc"}
    ask = {"role": "user", "content": "Go on"}
    key = key_of("prefix", RESPONSES, {"input": [begin, ask]})
    assert key is not None
    assert key != key_of("prefix", RESPONSES, {"input": [{**begin, "encrypted_content": "abd"}, ask]})


def test_it_is_the_same_in_every_version() -> None:
    """Replicas of two versions run side by side during an upgrade."""
    keys = [
        key_of("session", CHAT, {"session_id": "s"}),
        key_of("user", CHAT, {"user": "u"}),
        *(key_of("prefix", dialect, WRITERS[dialect]("Hello")) for dialect in DIALECTS),
    ]
    assert [key.value[:12] for key in keys if key] == KEYS


NAMES = st.sampled_from(
    [
        "messages",
        "input",
        "system",
        "instructions",
        "tools",
        "role",
        "user",
        "content",
        "type",
        "text",
        "id",
        "session_id",
        "prompt_cache_key",
        "conversation",
        "metadata",
        "user_id",
        "safety_identifier",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["user", "text", "", "{"])
JSON = st.recursive(
    LEAVES | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=20
)


@given(
    st.sampled_from(["session", "user", "prefix"]),
    st.sampled_from([*DIALECTS, "openai-embeddings"]),
    st.dictionaries(NAMES, JSON).map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40),
)
def test_whatever_is_sent_there_is_a_key_or_none(by: str, dialect: str, body: bytes) -> None:
    key = key_of(by, dialect, body)
    assert key is None or len(key.value) == 32
    assert key_of(by, dialect, body) == key
