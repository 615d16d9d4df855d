"""Which members can serve a call, what the others lack, and who is told what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from modelbroker.core.call import Decision
from modelbroker.core.errors import BadRequest, CallError, Unavailable
from modelbroker.dialects import SURFACES
from modelbroker.policy import State, class_members, decide, served_dialect
from modelbroker.policy.eligible import BY_CONTENT
from support.catalogs import catalog, facts, surface

NOW = State()


def members(*entries: str, **capabilities: dict[str, Any]) -> list[dict[str, Any]]:
    """`a/model` → a member, with the capabilities that are given under the provider's name."""
    made = []
    for entry in entries:
        provider, _, model = entry.partition("/")
        made.append({"provider": provider, "model": model, "capabilities": capabilities.get(provider, {})})
    return made


def decided(pool: list[dict[str, Any]], call: Any, state: State = NOW) -> Decision:
    return decide(call, catalog(pools=[{"name": "p", "members": pool}]), state)


def codes(decision: Decision) -> dict[str, str]:
    return {out.member.provider: out.code for out in decision.ruled_out}


def refused(pool: list[dict[str, Any]], call: Any, state: State = NOW) -> CallError:
    with pytest.raises(CallError) as error:
        decided(pool, call, state)
    return error.value


@pytest.mark.parametrize(
    ("surface_name", "dialects", "served"),
    [
        ("openai-chat", ("anthropic-messages", "openai-chat"), "openai-chat"),
        ("openai-chat", ("openai-responses", "anthropic-messages"), "openai-responses"),
        ("anthropic-messages", ("gemini",), "gemini"),
        ("openai-embeddings", ("anthropic-messages",), ""),
        ("openai-embeddings", ("anthropic-messages", "openai-embeddings"), "openai-embeddings"),
    ],
)
def test_a_provider_serves_a_call_in_its_own_dialect_or_the_first_that_will_do(
    surface_name: str, dialects: tuple[str, ...], served: str
) -> None:
    provider = replace(next(iter(catalog(pools=POOL).providers.values())), dialects=dialects)
    assert served_dialect(provider.dialects, surface(surface_name)) == served


POOL = [{"name": "p", "members": members("a/x", "b/y", "r/z")}]


@pytest.mark.parametrize(
    ("asked", "lacking", "code"),
    [
        ({"tools": True}, {"tools": False}, "no_tools"),
        ({"images": True}, {"images": False}, "no_images"),
        ({"documents": True}, {"documents": False}, "no_documents"),
        ({"audio": True}, {"audio": False}, "no_audio"),
        ({"schema": True}, {"schema": False}, "no_schema"),
        ({"choices": 2}, {"choices": False}, "one_choice_only"),
        ({"stateful": True}, {"keeps_replies": False}, "keeps_no_replies"),
        ({"same_dialect": "tools[0]", "hosted_tools": True}, {"hosted_tools": False}, "no_hosted_tools"),
        ({"same_dialect": "file_id", "files": True}, {"files": False}, "keeps_no_files"),
        ({"images": True, "image_urls": True}, {"image_urls": False}, "no_image_urls"),
        ({"documents": True, "document_urls": True}, {"document_urls": False}, "no_document_urls"),
        ({"context_tokens": 129_000}, {"context": "128k"}, "context_too_large"),
        ({"max_output_tokens": 4097}, {"max_output": 4096}, "output_too_large"),
    ],
)
def test_a_member_that_can_not_do_it_is_not_asked(
    asked: dict[str, Any], lacking: dict[str, Any], code: str
) -> None:
    pool = members("b/m", "c/m", b=lacking)
    decision = decided(pool, facts("p", **asked))
    assert [member.provider for member in decision.eligible] == ["c"]
    assert codes(decision) == {"b": code}
    assert decided(pool, facts("p")).ruled_out == ()

    error = refused(members("b/m", b=lacking), facts("p", **asked))
    assert isinstance(error, BadRequest)
    assert (error.status, error.code) == (400, "content_not_supported")
    assert "b/m: " in error.message


def test_who_does_not_reason_is_asked_only_where_nobody_does() -> None:
    call, pool = facts("p", reasoning=True), members("b/m", "c/m", b={"reasoning": False})
    assert codes(decided(pool, call)) == {"b": "no_reasoning"}
    assert [m.id for m in decided(pool, call, State({"c": "out"})).eligible] == ["b/m"]
    assert decided(members("b/m", b={"reasoning": False}), call).ruled_out == ()


def test_what_just_fits_is_asked() -> None:
    pool = members("b/m", b={"context": 100, "max_output": 10})
    assert decided(pool, facts("p", context_tokens=100, max_output_tokens=10)).ruled_out == ()


def test_what_nobody_knows_refuses_nothing() -> None:
    everything: dict[str, Any] = dict.fromkeys(
        ("tools", "images", "documents", "audio", "schema", "reasoning", "stateful"), True
    )
    call = facts("p", **everything, choices=5, context_tokens=10**9, max_output_tokens=10**9)
    assert decided(members("b/m", "c/m"), call).ruled_out == ()


def test_a_dialect_limits_only_calls_that_are_translated_into_it() -> None:
    decision = decided(members("a/m", "b/m", "r/m"), facts("p", audio=True))
    assert codes(decision) == {"a": "no_audio", "r": "no_audio"}
    assert "translated into anthropic-messages" in decision.ruled_out[0].why
    own = decided(members("a/m"), facts("p", "anthropic-messages", audio=True))
    assert own.ruled_out == ()


def test_urls_go_to_those_who_fetch_them() -> None:
    """Bedrock's own dialect takes bytes, a chat provider takes documents by their URL only if it says so."""
    chat = {"name": "chat", "dialect": "openai-chat", "base_url": "http://h.test/v1"}
    providers = [
        {"name": "bedrock", "region": "eu-west-1"},
        {"name": "vertex-anthropic", "project": "p", "region": "us-east5"},
        {"name": "own-vertex", "dialect": "anthropic-messages", "variant": "vertex", "project": "p"}
        | {"region": "us-east5", "base_url": "https://h.test/v1", "credential": {"env": "K"}},
        {"name": "anthropic"},
        chat,
        {**chat, "name": "fetching", "deviations": {"document_urls": True}},
        {**chat, "name": "mistral-like", "deviations": {"parts": ["text", "document_url"]}},
    ]
    names = [str(entry["name"]) for entry in providers]
    pool = members(*(f"{name}/m" for name in names))
    loaded = catalog(providers=providers, pools=[{"name": "p", "members": pool}])

    def out(**fields: Any) -> dict[str, str]:
        return codes(decide(facts("p", "anthropic-messages", **fields), loaded, NOW))

    hosts = ("bedrock", "vertex-anthropic", "own-vertex")
    assert out(images=True, image_urls=True) == dict.fromkeys(hosts, "no_image_urls")
    documents = out(documents=True, document_urls=True)
    assert documents == dict.fromkeys((*hosts, "chat"), "no_document_urls")
    assert out(images=True, documents=True) == {}


def test_tools_that_run_at_a_provider_go_to_those_that_have_them() -> None:
    """As the built-in providers are said to: others of the same dialect have none."""
    for dialect, names, without in (
        ("openai-responses", ("openai", "vllm", "perplexity"), "vllm"),
        ("openai-chat", ("openai", "openrouter", "mistral"), "mistral"),
    ):
        pool = [{"name": "p", "members": members(*(f"{name}/m" for name in names))}]
        loaded = catalog(pools=pool)
        for hosted, out in ((True, {without: "no_hosted_tools"}), (False, {})):
            call = facts("p", dialect, same_dialect="tools[0]", hosted_tools=hosted)
            assert codes(decide(call, loaded, NOW)) == out


def test_an_account_that_keeps_no_files_leaves_no_doubt_whose_one_is() -> None:
    for other in ("mistral", "vllm", "groq"):
        loaded = catalog(pools=[{"name": "p", "members": members("openai/m", f"{other}/m")}])
        field = "messages[0].content[0].file.file_id"
        call = facts("p", same_dialect=field, unowned_ids=field, files=True, documents=True)
        assert [member.provider for member in decide(call, loaded, NOW).eligible] == ["openai"]
        # Also while the one that may have it is out.
        with pytest.raises(Unavailable):
            decide(call, loaded, State({"openai": "KEY is not set"}))


def test_a_count_is_asked_of_those_who_could_serve_the_call_whatever_its_size() -> None:
    pool = members("a/m", "r/m", r={"context": 10, "images": False})
    count = "anthropic-count-tokens"
    assert codes(decided(pool, facts("p", count, context_tokens=11))) == {}
    assert codes(decided(pool, facts("p", count, images=True))) == {"r": "no_images"}


def test_what_only_the_own_dialect_knows() -> None:
    decision = decided(members("a/m", "b/m"), facts("p", same_dialect="web_search_options"))
    assert codes(decision) == {"a": "needs_dialect"}
    error = refused(members("a/m"), facts("p", same_dialect="web_search_options"))
    assert (error.status, error.code, error.param) == (400, "content_not_supported", "web_search_options")
    assert "web_search_options" in error.message


def test_a_reply_that_is_to_be_kept_stays_in_its_dialect() -> None:
    assert codes(decided(members("b/m", "r/m"), facts("p", "openai-responses", stateful=True))) == {
        "b": "keeps_no_replies"
    }


OWNED: dict[str, Any] = {"same_dialect": "file_id", "owners": ("b",)}


def test_an_id_goes_to_the_account_that_issued_it() -> None:
    decision = decided(members("a/m", "b/m", "b/n", "c/m"), facts("p", **OWNED))
    assert [member.id for member in decision.eligible] == ["b/m", "b/n"]
    assert codes(decision) == {"a": "needs_dialect", "c": "other_account"}


def test_an_account_that_is_out_is_named_and_where_its_key_should_be_is_not() -> None:
    error = refused(members("b/m", "c/m"), facts("p", **OWNED), State({"b": "KEY_B is not set"}))
    assert isinstance(error, Unavailable)
    assert (error.status, error.code) == (503, "no_eligible_member")
    assert "lives at b, and that account can't be used right now" in error.message
    assert "KEY_B" not in error.message


# "a" has a member in the pool, but of another dialect.
@pytest.mark.parametrize(
    ("owners", "code"),
    [(("elsewhere",), "unknown_account"), (("a",), "unknown_account"), (("b", "c"), "several_accounts")],
)
def test_ids_that_no_member_can_have_are_the_clients_to_change(owners: tuple[str, ...], code: str) -> None:
    fields = tuple(f"field_{name}" for name in owners)
    call = facts("p", same_dialect="file_id", owners=owners, owned_ids=fields)
    error = refused(members("a/m", "b/m", "c/m"), call, State({"b": "KEY_B is not set"}))
    assert isinstance(error, BadRequest)
    assert (error.status, error.code, error.param) == (400, code, fields[0])
    assert all(name in error.message for name in (*owners, *fields))


def test_an_account_without_weight_is_out_and_its_ids_are_not_the_clients_fault() -> None:
    pool = [members("b/m")[0] | {"weight": 0}, *members("c/m")]
    error = refused(pool, facts("p", **OWNED))
    assert (error.status, error.code) == (503, "no_eligible_member")
    assert "lives at b, and that account can't be used right now (its weight is 0)" in error.message


def test_an_id_without_an_account_is_good_where_there_is_only_one() -> None:
    call = facts("p", same_dialect="file_id", unowned_ids="messages[0].content[1].file.file_id")
    assert [m.id for m in decided(members("a/m", "b/m", "b/n"), call).eligible] == ["b/m", "b/n"]
    # Who is out at the moment may have issued it.
    for state in (State(), State({"c": "out"}), State({"b": "out", "c": "out"})):
        error = refused(members("b/m", "c/m"), call, state)
        assert isinstance(error, BadRequest)
        assert (error.status, error.code, error.param) == (400, "ambiguous_account", call.unowned_ids)
        assert "<id>@b" in error.message and call.unowned_ids in error.message


def test_who_is_out_keeps_a_call_from_being_the_clients_fault_only_where_it_could_serve_it() -> None:
    pool = members("b/m", "c/m", b={"images": False})
    out = State({"c": "KEY_C is not set"})
    error = refused(pool, facts("p", images=True), out)
    assert (error.status, error.code) == (503, "no_eligible_member")
    assert "c/m: its provider can't be used right now" in error.message
    pool = members("b/m", "c/m", b={"images": False}, c={"images": False})
    error = refused(pool, facts("p", images=True), out)
    assert (error.status, error.code) == (400, "content_not_supported")
    assert "c/m: m takes no images" in error.message


def test_a_chat_model_makes_no_embeddings_and_an_embedding_model_has_no_conversations() -> None:
    providers = [
        {"name": "both", "dialect": ["openai-chat", "openai-embeddings"], "base_url": "http://h.test/v1"},
        {"name": "bedrock", "region": "eu-west-1"},
    ]
    named = ["both/text-embedding-3-small", "both/gpt-5.1", "both/unheard-of", "bedrock/claude-haiku-4-5"]
    pool = [{"name": "p", "members": members(*named)}]
    loaded = catalog(providers=providers, pools=pool)

    def out(dialect: str) -> dict[str, str]:
        return {each.member.id: each.code for each in decide(facts("p", dialect), loaded, NOW).ruled_out}

    assert out("openai-embeddings") == dict.fromkeys((named[1], named[3]), "no_embeddings")
    for dialect in ("openai-chat", "anthropic-messages"):
        assert out(dialect) == {named[0]: "no_chat"}


def test_a_configuration_knows_better_who_makes_embeddings() -> None:
    providers = [{"name": "e", "dialect": "openai-embeddings", "base_url": "http://h.test/v1"}]
    pool = members("e/gpt-4-of-our-own", e={"embeddings": True})
    loaded = catalog(providers=providers, pools=[{"name": "p", "members": pool}])
    assert decide(facts("p", "openai-embeddings"), loaded, NOW).ruled_out == ()


def test_nobody_speaks_it() -> None:
    error = refused(members("a/m"), facts("p", "openai-embeddings"))
    assert (error.status, error.code) == (400, "content_not_supported")
    assert "a/m: the call is openai-embeddings, the provider speaks anthropic-messages" in error.message


def test_nobody_is_there() -> None:
    pool = members("b/m")
    error = refused(pool, facts("p"), State({"b": "KEY_B is not set"}))
    assert (error.status, error.code) == (503, "no_eligible_member")
    assert error.message.endswith("b/m: its provider can't be used right now")


def test_every_code_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "capabilities.md").read_text()
    codes = {*BY_CONTENT, "dialect_not_built", "credential_missing", "other_model", "weight_zero"}
    assert {code for code in codes if f"`{code}`" not in text} == set()


def test_a_pool_of_equals_has_one_class() -> None:
    loaded = catalog(pools=[{"name": "p", "members": members("b/m", "b/n")}])
    chat = [surface("openai-chat")]
    assert list(class_members(loaded.pools["p"], loaded, NOW, chat)) == [loaded.pools["p"].members]


def test_a_pool_of_many_kinds_is_listed_in_time() -> None:
    sizes = [{"context": 1000 + i, "max_output": 1000 - i} for i in range(40)]
    pool = [{"provider": "b", "model": f"m{i}", "capabilities": can} for i, can in enumerate(sizes)]
    loaded = catalog(pools=[{"name": "p", "members": pool}])
    assert 64 < len(list(class_members(loaded.pools["p"], loaded, NOW, SURFACES))) <= 1_000
