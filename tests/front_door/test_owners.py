"""Ids that live at an account: they lead to their account, and where it is out the client is told so.

Several accounts that speak one dialect, official SDKs, and simulators that refuse ids of other accounts.
"""

from __future__ import annotations

import asyncio
import collections
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import openai
import pytest
from support.broker import KEY, KEY_SHA256, Broker, provider
from support.simulators import Simulators

ACCOUNTS = ("a", "b", "c")
DIALECTS = {
    "openai-responses": ("/v1", "gpt-5"),
    "openai-chat": ("/v1", "gpt-5"),
    "anthropic-messages": ("", "claude-sonnet-4-5"),
}
OWNED = [
    "file-*",
    "file_*",
    "vs_*",
    "conv_*",
    "cntr_*",
    "container_*",
    "skill_*",
    "pmpt_*",
    "audio_*",
    "wrkspc_*",
]
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
EXECUTION = {"type": "code_execution_20250825", "name": "code_execution"}


def members(dialect: str, accounts: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"provider": f"{dialect}-{name}", "model": DIALECTS[dialect][1], **fields} for name in accounts]


def config(sims: Simulators, without: str = "", keyless: str = "") -> dict[str, Any]:
    """`without`: an account that is no member of pools any more; `keyless`: one that has no credential."""
    providers = [
        provider(f"{dialect}-{sim.name}", sim.port, dialect, path)
        for sim in sims
        for dialect, (path, _) in DIALECTS.items()
    ]
    for entry in providers:
        if keyless and entry["name"].endswith(f"-{keyless}"):
            entry["credential"] = {"env": "NO_SUCH_KEY_OF_PROVIDERS"}
    pools = []
    for dialect in DIALECTS:
        other = "openai-chat" if dialect == "anthropic-messages" else "anthropic-messages"
        accounts = "abc".replace(without or "-", "")
        pools += [
            {"name": dialect, "ejection": "off", "members": members(dialect, accounts)},
            {
                "name": f"mixed.{dialect}",
                "ejection": "off",
                "members": members(dialect, "ab") + members(other, "c"),
            },
            {
                "name": f"one.{dialect}",
                "ejection": "off",
                "members": members(dialect, "a") + members(other, "c", priority=1),
            },
        ]
    blind = members("openai-responses", "a", capabilities={"images": False})
    pools.append({"name": "able", "members": blind + members("openai-responses", "b")})
    return {
        "providers": providers,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": pools,
    }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*ACCOUNTS) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()
    for sim in sims:
        sim.script(strict=True, owns=OWNED, replies=[{"hosted": True, "text": "Hi"}])


# -- asking as the SDKs do


@dataclass
class Said:
    """A reply as its SDK reads it, and who gave it."""

    reply: Any
    member: str

    @property
    def account(self) -> str:
        return self.member.partition("/")[0]


def ask(broker: Broker, dialect: str, pool: str, stream: bool, **asked: Any) -> Said:
    if dialect == "anthropic-messages":
        return ask_claude(broker, {"model": pool, "max_tokens": 100, "messages": text("Hi"), **asked}, stream)
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        if dialect == "openai-responses":
            asked = {"model": pool, "input": "Hi", **asked}
            if stream:
                with sdk.responses.stream(**asked) as events:
                    return Said(events.get_final_response(), events._response.headers["x-broker-member"])
            raw: Any = sdk.responses.with_raw_response.create(**asked)
            return Said(raw.parse(), raw.headers["x-broker-member"])
        asked = {"model": pool, "messages": text("Hi"), **asked}
        if stream:
            raw = sdk.chat.completions.with_raw_response.create(**asked, stream=True)
            return Said(list(raw.parse()), raw.headers["x-broker-member"])
        raw = sdk.chat.completions.with_raw_response.create(**asked)
        return Said(raw.parse(), raw.headers["x-broker-member"])


def ask_claude(broker: Broker, asked: dict[str, Any], stream: bool) -> Said:
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as sdk:
        if stream:
            with sdk.beta.messages.stream(**asked) as events:
                return Said(events.get_final_message(), events.response.headers["x-broker-member"])
        raw: Any = sdk.beta.messages.with_raw_response.create(**asked)
        return Said(raw.parse(), raw.headers["x-broker-member"])


def text(said: str) -> list[Any]:
    return [{"role": "user", "content": said}]


def part(**fields: Any) -> list[Any]:
    return [
        {"role": "user", "content": [fields, {"type": KIND_OF_TEXT.get(fields["type"], "text"), "text": "?"}]}
    ]


KIND_OF_TEXT = {"input_file": "input_text", "input_image": "input_text"}


def replaced(value: Any, **words: str) -> Any:
    """With every `{owner}` in texts of the value filled in."""
    if isinstance(value, str):
        return value.replace("{owner}", words["owner"])
    if isinstance(value, list):
        return [replaced(inner, **words) for inner in value]
    return (
        {key: replaced(inner, **words) for key, inner in value.items()} if isinstance(value, dict) else value
    )


@dataclass(frozen=True)
class Case:
    """A call whose ids end with `{owner}`; `field` is where the first of them stands."""

    dialect: str
    field: str
    asked: dict[str, Any] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.dialect}:{self.field}"


CASES = [
    Case("openai-responses", "conversation", {"conversation": "conv_1{owner}"}),
    Case("openai-responses", "conversation", {"conversation": {"id": "conv_1{owner}"}}),
    Case(
        "openai-responses",
        "input[0].content[0].file_id",
        {"input": part(type="input_file", file_id="file-1{owner}")},
    ),
    Case(
        "openai-responses",
        "input[0].content[0].file_id",
        {"input": part(type="input_image", file_id="file-1{owner}", detail="auto")},
    ),
    Case(
        "openai-responses",
        "tools[1].vector_store_ids[0]",
        {
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "parameters": {"type": "object", "default": {"file_id": "x@y"}},
                },
                {"type": "file_search", "vector_store_ids": ["vs_1{owner}", "vs_2{owner}"]},
            ]
        },
    ),
    Case(
        "openai-responses",
        "tools[0].container",
        {"tools": [{"type": "code_interpreter", "container": "cntr_1{owner}"}]},
    ),
    Case(
        "openai-responses",
        "tools[0].container.file_ids[0]",
        {"tools": [{**CODE, "container": {"type": "auto", "file_ids": ["file-1{owner}"]}}]},
    ),
    Case(
        "openai-responses",
        "prompt",
        {"prompt": {"id": "pmpt_1{owner}", "variables": {"id": "bob@x.example"}}},
    ),
    Case(
        "openai-responses",
        "prompt.variables.paper.file_id",
        {
            "prompt": {
                "id": "pmpt_1{owner}",
                "variables": {"paper": {"type": "input_file", "file_id": "file-1{owner}"}},
            }
        },
    ),
    Case(
        "openai-chat",
        "messages[0].content[0].file.file_id",
        {"messages": part(type="file", file={"file_id": "file-1{owner}"})},
    ),
    Case(
        "openai-chat",
        "messages[1].audio.id",
        {"messages": [*text("Hi"), {"role": "assistant", "audio": {"id": "audio_1{owner}"}}, *text("And?")]},
    ),
    Case(
        "anthropic-messages",
        "messages[0].content[0].source.file_id",
        {"messages": part(type="document", title="a@b", source={"type": "file", "file_id": "file_1{owner}"})},
    ),
    Case(
        "anthropic-messages",
        "messages[0].content[0].source.file_id",
        {"messages": part(type="image", source={"type": "file", "file_id": "file_1{owner}"})},
    ),
    Case(
        "anthropic-messages",
        "messages[0].content[0].file_id",
        {"messages": part(type="container_upload", file_id="file_1{owner}"), "tools": [EXECUTION]},
    ),
    Case("anthropic-messages", "container", {"container": "container_1{owner}", "tools": [EXECUTION]}),
    Case(
        "anthropic-messages",
        "container",
        {
            "container": {
                "id": "container_1{owner}",
                "skills": [
                    {"type": "anthropic", "skill_id": "xlsx"},
                    {"type": "custom", "skill_id": "skill_1{owner}"},
                ],
            },
            "tools": [EXECUTION],
        },
    ),
]
EACH_WAY = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=str)


def bodies_of(sims: Simulators) -> dict[str, list[dict[str, Any]]]:
    """Account → the bodies of its requests."""
    return {sim.name: [json.loads(call["body"]) for call in sim.settled_calls()] for sim in sims}


def refused(broker: Broker, case: Case, pool: str, stream: bool, owner: str) -> Any:
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as error:
        ask(broker, case.dialect, pool, stream, **replaced(case.asked, owner=owner))
    return error.value


def told(error: Any) -> tuple[str, str]:
    """(code, message), from where the client's own dialect has them."""
    if isinstance(error, anthropic.APIStatusError):
        body: Any = error.body
        assert body["type"] == "error" and body["error"]["type"]
        return body["error"].get("code", ""), body["error"]["message"]
    assert error.type
    return error.code or "", error.body["message"]


# -- every kind of id


@EACH_WAY
@EACH_CASE
@pytest.mark.parametrize("shape", ["", "mixed."], ids=["alike", "mixed"])
def test_an_id_leads_to_its_account(
    broker: Broker, sims: Simulators, case: Case, shape: str, stream: bool
) -> None:
    for name in "ab":
        said = ask(
            broker,
            case.dialect,
            shape + case.dialect,
            stream,
            **replaced(case.asked, owner=f"@{case.dialect}-{name}"),
        )
        assert said.account == f"{case.dialect}-{name}"
    bodies = bodies_of(sims)
    asked = replaced(case.asked, owner="")
    for name in "ab":
        (body,) = bodies[name]
        assert {key: body[key] for key in asked} == asked
    assert bodies["c"] == []


@EACH_WAY
@EACH_CASE
def test_an_account_that_fails_is_named_and_nobody_else_is_asked(
    broker: Broker, sims: Simulators, case: Case, stream: bool
) -> None:
    account = f"{case.dialect}-b"
    for fault, status in (
        ({"status": 503}, 503),
        ({"status": 429, "retry_after_s": 7}, 429),
        ({"reset": "before-headers"}, 503),
    ):
        sims["b"].script(strict=True, owns=OWNED, faults=[fault])
        broker.forget()  # or a call waits for an account that said no
        error = refused(broker, case, case.dialect, stream, f"@{account}")
        assert error.status_code == status
        assert account in told(error)[1], told(error)
        assert error.response.headers.get("retry-after") == ("7" if status == 429 else None)
    assert [bodies_of(sims)[name] for name in "ac"] == [[], []]


@EACH_CASE
def test_a_stream_that_begins_with_an_error_names_the_account(
    broker: Broker, sims: Simulators, case: Case
) -> None:
    account = f"{case.dialect}-b"
    sims["b"].script(strict=True, owns=OWNED, faults=[{"error_event": True}])
    error = refused(broker, case, case.dialect, True, f"@{account}")
    assert error.status_code >= 500 and f"lives at {account} and nowhere else" in told(error)[1]
    assert [bodies_of(sims)[name] for name in "ac"] == [[], []]


@EACH_WAY
@EACH_CASE
def test_what_the_account_says_of_the_id_passes(
    broker: Broker, sims: Simulators, case: Case, stream: bool
) -> None:
    if case.field.startswith("prompt"):
        return  # prompts are not looked up by the simulator
    sims["b"].script(strict=True)
    # Other ids than those that it has served before.
    error = refused(broker, case, case.dialect, stream, f"0@{case.dialect}-b")
    assert error.status_code == 404 and "not found" in told(error)[1].lower().replace(
        "no such file object", "not found"
    )
    assert "@" not in told(error)[1]


@EACH_CASE
def test_an_id_without_an_owner(broker: Broker, sims: Simulators, case: Case) -> None:
    error = refused(broker, case, case.dialect, False, "")
    assert (error.status_code, told(error)[0]) == (400, "ambiguous_account")
    assert case.field in told(error)[1] or case.field.startswith("prompt")
    # Where there is only one account of the dialect, it can only be its own.
    said = ask(broker, case.dialect, f"one.{case.dialect}", False, **replaced(case.asked, owner=""))
    assert said.account == f"{case.dialect}-a"
    asked = replaced(case.asked, owner="")
    assert {key: bodies_of(sims)["a"][0][key] for key in asked} == asked


@EACH_CASE
@pytest.mark.parametrize("owner", ["nowhere", "openai-embeddings", "x" * 500])
def test_an_owner_that_is_none(broker: Broker, sims: Simulators, case: Case, owner: str) -> None:
    error = refused(broker, case, case.dialect, False, f"@{owner}")
    assert (error.status_code, told(error)[0]) == (400, "unknown_account")
    assert owner[:50] in told(error)[1] and len(told(error)[1]) < 500
    assert bodies_of(sims) == {"a": [], "b": [], "c": []}


@pytest.mark.parametrize(
    ("dialect", "asked"),
    [
        (
            "openai-responses",
            {
                "conversation": "conv_1@openai-responses-a",
                "input": part(type="input_file", file_id="file-1@openai-responses-b"),
            },
        ),
        (
            "anthropic-messages",
            {
                "container": "container_1@anthropic-messages-b",
                "messages": part(
                    type="document", source={"type": "file", "file_id": "file_1@anthropic-messages-a"}
                ),
            },
        ),
        (
            "openai-chat",
            {
                "messages": part(type="file", file={"file_id": "file-1@openai-chat-a"})
                + part(type="file", file={"file_id": "file-1@openai-chat-b"})
            },
        ),
    ],
)
def test_ids_of_two_owners(broker: Broker, sims: Simulators, dialect: str, asked: dict[str, Any]) -> None:
    error = refused(broker, Case(dialect, "", asked), dialect, False, "")
    assert (error.status_code, told(error)[0]) == (400, "several_accounts")
    assert f"at {dialect}-a" in told(error)[1] and f"at {dialect}-b" in told(error)[1]
    assert bodies_of(sims) == {"a": [], "b": [], "c": []}


@pytest.mark.parametrize("escape", ["\\u0040", "@"])
def test_escapes(broker: Broker, sims: Simulators, escape: str) -> None:
    """An id may be spelled as JSON lets one spell it."""
    bodies = [
        (
            "/v1/responses",
            '{"model":"openai-responses","input":"Hi","conversation":"conv_1%sopenai-responses-b"}',
        ),
        (
            "/v1/responses",
            '{"model":"openai-responses","input":[{"role":"user","content":[{"type":"input_file","file_id":"file\\u002d1%sopenai-responses-b"}]}]}',
        ),
        (
            "/v1/chat/completions",
            '{"model":"openai-chat","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1%sopenai-chat-b"}}]}]}',
        ),
        (
            "/v1/messages",
            '{"model":"anthropic-messages","max_tokens":9,"messages":[{"role":"user","content":"Hi"}],"container":"container_1%santhropic-messages-b"}',
        ),
        (
            "/v1/messages",
            '{"model":"anthropic-messages","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"file_1%santhropic-messages-b"}}]}]}',
        ),
    ]
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    for path, body in bodies:
        reply = httpx.post(broker.url + path, content=body % escape, headers=headers, trust_env=False)
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-broker-member"].partition("/")[0].endswith("-b")
    assert len(bodies_of(sims)["b"]) == len(bodies)


# -- what replies leave at their account


@EACH_WAY
def test_what_a_response_leaves_is_used_at_its_account(
    broker: Broker, sims: Simulators, stream: bool
) -> None:
    reply = {"hosted": True, "text": "Hi", "reasoning": "Hm"}
    for sim in sims:
        sim.script(strict=True, replies=[reply])
    for _ in range(6):
        first = ask(broker, "openai-responses", "openai-responses", stream, tools=[CODE])
        account = first.account
        thought, call, said = first.reply.output
        assert all(item.id.endswith(f"@{account}") for item in first.reply.output)
        cited = said.content[0].annotations[0]
        assert (cited.container_id, call.container_id.endswith(f"@{account}")) == (call.container_id, True)
        items = [item.model_dump(exclude_none=True) for item in first.reply.output]
        follow_ups: list[dict[str, Any]] = [
            {"previous_response_id": first.reply.id},
            {"tools": [{"type": "code_interpreter", "container": call.container_id}]},
            {
                "input": [
                    {"type": "item_reference", "id": thought.id},
                    {"id": said.id, "type": "item_reference"},
                    *text("And?"),
                ]
            },
            {"input": [*items, *text("And?")]},
        ]
        for asked in follow_ups:
            then = ask(broker, "openai-responses", "openai-responses", stream, **asked)
            assert (then.account, then.reply.output_text) == (account, "Hi")
            # Of the response before it nobody can speak but who has it.
            before = then.reply.previous_response_id
            assert before == asked.get("previous_response_id")
    assert not [body for bodies in bodies_of(sims).values() for body in bodies if "@" in json.dumps(body)]


@EACH_WAY
def test_inline_items_of_another_account(broker: Broker, sims: Simulators, stream: bool) -> None:
    """They are whole, so they go anywhere; what only their account can read or has names for does not."""
    for sim in sims:
        sim.script(strict=True, replies=[{"text": "Hi", "reasoning": "Hm"}])
    first = ask(broker, "openai-responses", "openai-responses", stream)
    history = [item.model_dump(exclude_none=True) for item in first.reply.output] + text("And?")
    for sim in sims:
        faults = [{"status": 503}] if first.account.endswith(sim.name) else []
        sim.script(strict=True, replies=[{"text": "Hi", "reasoning": "Hm"}], faults=faults)
    then = ask(broker, "openai-responses", "openai-responses", stream, input=[*text("Hi"), *history])
    assert then.account != first.account
    (body,) = bodies_of(sims)[then.account[-1]][-1:]
    assert [item.get("type") for item in body["input"]] == [None, "message", None]
    assert "id" not in body["input"][1] and body["input"][1]["content"] == history[1]["content"]


@EACH_WAY
def test_what_a_message_leaves_is_used_at_its_account(broker: Broker, sims: Simulators, stream: bool) -> None:
    for sim in sims:
        sim.script(strict=True, replies=[{"hosted": True, "text": "Hi"}])
    for _ in range(6):
        first = ask(broker, "anthropic-messages", "anthropic-messages", stream, tools=[EXECUTION])
        account = first.account
        call, result, _said = first.reply.content
        assert call.input == {"command": "echo 42"}
        file = result.content.content[0].file_id
        assert file.endswith(f"@{account}") and first.reply.container.id.endswith(f"@{account}")
        answered = {"role": "assistant", "content": [block.model_dump() for block in first.reply.content]}
        follow_ups: list[dict[str, Any]] = [
            {"container": first.reply.container.id, "tools": [EXECUTION]},
            {"messages": part(type="document", source={"type": "file", "file_id": file})},
            {"messages": [*text("Hi"), answered, *text("And?")], "tools": [EXECUTION]},
        ]
        for asked in follow_ups:
            assert ask(broker, "anthropic-messages", "anthropic-messages", stream, **asked).account == account
    assert not [body for bodies in bodies_of(sims).values() for body in bodies if "@" in json.dumps(body)]


@EACH_WAY
def test_audio_that_was_spoken_is_known_where_it_was(broker: Broker, sims: Simulators, stream: bool) -> None:
    for sim in sims:
        sim.script(strict=True, replies=[{"text": "Hi"}])
    spoken: dict[str, Any] = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
    for _ in range(6):
        first = ask(broker, "openai-chat", "openai-chat", stream, **spoken)
        if stream:
            deltas = [
                chunk.choices[0].delta.model_dump(exclude_none=True) for chunk in first.reply if chunk.choices
            ]
            (ident,) = {delta["audio"]["id"] for delta in deltas if "audio" in delta}
        else:
            ident = first.reply.choices[0].message.audio.id
        assert ident.endswith(f"@{first.account}")
        messages = [*text("Hi"), {"role": "assistant", "audio": {"id": ident}}, *text("And?")]
        assert ask(broker, "openai-chat", "openai-chat", stream, messages=messages).account == first.account


def test_who_is_named_does_not_depend_on_who_could_serve_this_very_call(
    broker: Broker, sims: Simulators
) -> None:
    """Only b takes images; what b keeps of such a call has to be found in the next one, too."""
    image = part(type="input_image", image_url="data:image/png;base64,AAAA", detail="auto")
    first = ask(broker, "openai-responses", "able", False, input=image)
    assert (first.account, first.reply.id[-3:]) == ("openai-responses-b", "s-b")
    for _ in range(4):
        then = ask(broker, "openai-responses", "able", False, previous_response_id=first.reply.id)
        assert then.account == "openai-responses-b"


def test_forty_chains_stay_where_they_began(broker: Broker, sims: Simulators) -> None:
    async def chain(sdk: openai.AsyncOpenAI, number: int) -> list[str]:
        asked: dict[str, Any] = {"model": "openai-responses", "input": f"Chain {number}", "store": True}
        accounts = []
        for _ in range(3):
            if number % 2:
                async with sdk.responses.stream(**asked) as events:
                    reply: Any = await events.get_final_response()
                    member = events._response.headers["x-broker-member"]
            else:
                raw = await sdk.responses.with_raw_response.create(**asked)
                reply, member = raw.parse(), raw.headers["x-broker-member"]
            accounts.append(member.partition("/")[0])
            assert reply.id.endswith(f"@{accounts[-1]}") and reply.output_text == "Hi"
            asked["previous_response_id"] = reply.id
        return accounts

    async def every() -> list[list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
            return await asyncio.gather(*(chain(sdk, number) for number in range(40)))

    chains = asyncio.run(every())
    assert all(len(set(chain)) == 1 for chain in chains)
    began = collections.Counter(chain[0] for chain in chains)
    assert set(began) == {f"openai-responses-{name}" for name in "abc"}, began


@EACH_WAY
def test_a_pool_with_one_account_names_nobody(broker: Broker, sims: Simulators, stream: bool) -> None:
    """There bytes pass as they are, in both directions."""
    for dialect, path in (
        ("openai-responses", "responses"),
        ("openai-chat", "chat/completions"),
        ("anthropic-messages", "messages"),
    ):
        sims.reset()
        for sim in sims:
            sim.script(
                strict=True, owns=OWNED, replies=[{"hosted": True, "text": "mb1: a@b", "reasoning": "Hm"}]
            )
        turn = (
            '"input": "a@b"'
            if dialect == "openai-responses"
            else '"messages": [{"role":"user","content":"a@b"}]'
        )
        body = f'{{"model" : "one.{dialect}", {turn}, "max_{"output_" if "input" in turn else ""}tokens":  99'
        body += ', "stream" : true' if stream else ""
        body += ', "stream_options": {"include_usage": true}}' if stream and "chat" in path else "}"
        headers = {
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "anthropic-version": "2023-06-01",
        }
        for _ in range(3):
            reply = httpx.post(f"{broker.url}/v1/{path}", content=body, headers=headers, trust_env=False)
            assert reply.status_code == 200, reply.text
            assert "@openai" not in reply.text and "@anthropic" not in reply.text
            assert "mb1:openai" not in reply.text and "mb1:anthropic" not in reply.text
        model = DIALECTS[dialect][1]
        received = [call["body"] for call in sims["a"].settled_calls()]
        assert received == [body.replace(f"one.{dialect}", model)] * 3


# -- an account that is out, or gone


def test_edits(broker: Broker, sims: Simulators) -> None:
    """A chain whose account loses its credential, then its place in the pool."""
    first = ask(broker, "openai-responses", "openai-responses", False)
    name = first.account[-1]
    chain = Case("openai-responses", "previous_response_id", {"previous_response_id": first.reply.id})
    cases = [chain, *[case for case in CASES if case.dialect != "openai-responses"]]
    try:
        broker.edit(config(sims, keyless=name))
        for sim in sims:
            sim.forget()
        for stream in (False, True):
            for case in cases:
                account = f"{case.dialect}-{name}"
                error = refused(broker, case, case.dialect, stream, f"@{account}")
                assert (error.status_code, told(error)[0]) == (503, "no_eligible_member")
                assert f"{case.field}: the id lives at {account}" in told(error)[1]
                assert "NO_SUCH_KEY" not in told(error)[1]
        broker.edit(config(sims, without=name))
        for case in cases:
            account = f"{case.dialect}-{name}"
            error = refused(broker, case, case.dialect, False, f"@{account}")
            assert (error.status_code, told(error)[0]) == (400, "unknown_account")
            assert account in told(error)[1] and case.field in told(error)[1]
        assert bodies_of(sims) == {"a": [], "b": [], "c": []}
    finally:
        broker.edit(config(sims))
    then = ask(broker, "openai-responses", "openai-responses", False, previous_response_id=first.reply.id)
    assert then.account == first.account


def test_kept_responses_can_not_be_fetched(broker: Broker, sims: Simulators) -> None:
    with openai.OpenAI(base_url=f"{broker.url}/v1", api_key=KEY, max_retries=0) as sdk:
        made = sdk.responses.create(model="openai-responses", input="Hi", store=True)
        for fetch in (
            lambda: sdk.responses.retrieve(made.id),
            lambda: sdk.responses.delete(made.id),
            lambda: sdk.responses.cancel(made.id),
            lambda: sdk.responses.input_items.list(made.id),
            lambda: sdk.files.retrieve("file-1"),
            lambda: sdk.conversations.retrieve("conv_1"),
            lambda: sdk.batches.list(),
        ):
            with pytest.raises(openai.NotFoundError) as error:
                fetch()
            assert told(error.value)[0] == "unknown_path"
    with anthropic.Anthropic(base_url=broker.url, api_key=KEY, max_retries=0) as claude:
        for fetch in (lambda: claude.messages.batches.list(), lambda: claude.beta.files.list()):
            with pytest.raises(anthropic.NotFoundError) as failed:
                fetch()
            assert told(failed.value)[0] == "unknown_path"
