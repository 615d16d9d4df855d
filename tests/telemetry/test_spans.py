"""Records → spans and log records. Golden files: what a backend shows of each kind of call."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Provider
from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Record, Saved
from modelbroker.core.usage import EXACT, NOTHING, Usage
from modelbroker.settings.builtin import builtins
from modelbroker.telemetry.places import places_of
from modelbroker.telemetry.spans import CLIENT, SERVER, Place, Span, log_of, operation_of, spans_of

GOLDEN = Path(__file__).parent / "golden"
PLACES = {
    "anthropic": Place("anthropic", "api.anthropic.com", 443),
    "own": Place("own", "models.internal", 8000),
}
AT_S = 1_796_000_000.123456
TRACE, CALL, AGENT = "4bf92f3577b34da6a3ce929d0e0e4736", "8f0123456789ab00", "00f067aa0ba902b7"
USAGE = Usage(100, cache_read=20, cache_write_5m=3, cache_write_1h=4, output=50, reasoning=7, audio_input=5)


def record(**more: Any) -> Record:
    told: dict[str, Any] = {
        "request_id": "0190a5d3c4b27cde8f0123456789abcd",
        "started_s": AT_S,
        "duration_ms": 1500.5,
        "first_byte_ms": 400.25,
        "status": 200,
        "method": "POST",
        "path": "/v1/chat/completions",
        "caller": "support",
        "team": "search",
        "dialect": "openai-chat",
        "model": "reasoning-tier",
        "pool": "reasoning-tier",
        "member": "anthropic/claude-opus-4-7",
        "revision": "6c4b190fad7d",
        "outcome": "ok",
        "attempts_made": 1,
        "trace_id": TRACE,
        "span_id": CALL,
        "parent_span_id": AGENT,
        "sampled": True,
        "attempts": (attempt(),),
    }
    return Record(**(told | more))


def attempt(member: str = "anthropic/claude-opus-4-7", number: int = 1, **more: Any) -> Attempt:
    told: dict[str, Any] = {
        "status": 200,
        "duration_ms": 1400.0,
        "first_byte_ms": 300.0,
        "started_s": AT_S + 0.05,
        "span_id": f"{CALL[:14]}{number:02x}",
        "usage_state": EXACT,
    }
    return Attempt(member, **(told | more))


def failed(member: str, number: int, status: int, cause: str, code: str, **more: Any) -> Attempt:
    return attempt(member, number, status=status, cause=cause, code=code, usage_state=NOTHING, **more)


CASES = {
    "streamed": record(
        stream=True,
        agent="bot",
        user="u-1",
        customer="acme",
        feature="chat",
        tier="premium",
        rule="premium",
        usage=USAGE,
        usage_state=EXACT,
        cost=Cost(4_747_500, {"output": 4_747_500}),
        max_output_tokens=500,
        context_tokens=90,
        added_ms=0.4,
        attempts=(
            attempt(
                usage=USAGE,
                first_event_ms=350.0,
                cost=Cost(4_747_500),
                dropped=("seed",),
                service_tier="priority",
            ),
        ),
    ),
    "failed-over": record(
        attempts_made=3,
        usage_state="unknown",
        cost=Cost(None, {"input": 5}, ("output",)),
        attempts=(
            failed("own/qwen", 1, 529, "overloaded", "upstream_overloaded"),
            failed("gone/model", 2, 502, "credential", "upstream_credential_refused", provider_status=401),
            attempt(number=3),
        ),
    ),
    "hedged": record(
        hedged=True,
        attempts_made=2,
        parent_span_id="",
        attempts=(
            attempt("own/qwen", status=0, code="cancelled", first_byte_ms=None),
            attempt(number=2, hedge=True),
        ),
    ),
    "failed": record(
        status=504,
        outcome="error",
        error_source="provider",
        code="upstream_timeout",
        member="own/qwen",
        attempts=(failed("own/qwen", 1, 504, "timeout", "upstream_timeout", first_byte_ms=None),),
    ),
    "broken-off": record(
        stream=True,
        outcome="error",
        error_source="provider",
        code="upstream_truncated",
        attempts=(attempt(cause="cut", code="upstream_truncated"),),
    ),
    "denied": record(
        status=429,
        outcome="refused",
        error_source="policy",
        code="budget_exceeded",
        budget="team-day",
        member="",
        attempts_made=0,
        attempts=(),
    ),
    "bad-request": record(
        status=400,
        outcome="error",
        error_source="client",
        code="upstream_refused",
        attempts=(failed("anthropic/claude-opus-4-7", 1, 400, "bad-request", "upstream_refused"),),
    ),
    "unknown-model": record(
        status=404,
        outcome="refused",
        error_source="policy",
        code="model_not_found",
        model="no-such" * 100,
        pool="",
        member="",
        attempts_made=0,
        attempts=(),
    ),
    "cached": record(
        cache="hit",
        cached_request_id="0190a5d3c4b27cde8f0123456789ffff",
        attempts_made=0,
        attempts=(),
        cost=Cost(0),
        saved=Saved(USAGE, "", Cost(4_747_500)),
    ),
    "left": record(
        status=0, outcome="client_gone", error_source="client", code="client_gone", member="", attempts=()
    ),
    "lost": record(
        status=0,
        outcome="lost",
        error_source="broker",
        path="",
        duration_ms=0.0,
        first_byte_ms=None,
        attempts=(),
    ),
    "embeddings": record(path="/v1/embeddings", dialect="openai-embeddings", choices=1),
    "shadow": record(
        purpose="shadow",
        shadow_of="0190a5d3c4b27cde8f0123456789fffe",
        rollout="r",
        arm="candidate",
        stage="10%",
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_spans_are_as_written_down(name: str) -> None:
    seen = [one._asdict() for one in spans_of(CASES[name], PLACES)] + [log_of(CASES[name], PLACES)._asdict()]
    for one in seen:
        one["attributes"] = {k: list(v) if isinstance(v, tuple) else v for k, v in one["attributes"].items()}
    text = yaml.safe_dump(seen, sort_keys=False, width=110)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_what_is_not_sampled_has_no_span_and_a_log_record() -> None:
    quiet = record(sampled=False)
    assert spans_of(quiet, PLACES) == []
    assert (log_of(quiet, PLACES).trace_id, log_of(quiet, PLACES).sampled) == (TRACE, False)
    old = record(trace_id="", span_id="", parent_span_id="", sampled=False, attempts=(attempt(span_id=""),))
    assert spans_of(old, PLACES) == [] and log_of(old, PLACES).trace_id == ""


def test_an_attempt_whose_span_nobody_told_has_its_own() -> None:
    """Of a member's listener that was there before calls were traced."""
    spans = spans_of(record(attempts=(attempt(span_id=""), attempt(span_id=""))), PLACES)
    assert [span.span_id for span in spans] == [CALL, f"{CALL[:14]}01", f"{CALL[:14]}02"]


@given(
    st.floats(0, 4e9),
    st.floats(0, 1e9),
    st.lists(
        st.tuples(st.sampled_from(["", "overloaded", "cut"]), st.sampled_from(["", "cancelled", "x"])),
        max_size=5,
    ),
    st.sampled_from(["ok", "refused", "error", "client_gone", "lost"]),
    st.sampled_from(["", "client", "policy", "provider", "broker"]),
)
def test_laws(at_s: float, lasts_ms: float, ends: list[tuple[str, str]], outcome: str, source: str) -> None:
    tried = tuple(
        attempt(number=number, cause=cause, code=code, started_s=at_s)
        for number, (cause, code) in enumerate(ends, 1)
    )
    told = record(started_s=at_s, duration_ms=lasts_ms, outcome=outcome, error_source=source, attempts=tried)
    spans = spans_of(told, PLACES)
    call, *attempts = spans
    assert len({span.span_id for span in spans}) == len(spans) == len(ends) + 1
    assert all(0 <= span.start_ns <= span.end_ns < 2**63 for span in spans)
    assert all((one.parent_id, one.trace_id, one.kind) == (CALL, TRACE, CLIENT) for one in attempts)
    assert (call.parent_id, call.kind, call.is_remote) == (AGENT, SERVER, True)
    assert bool(call.error) == (outcome in ("error", "lost") and source != "client")
    for span, (cause, code) in zip(attempts, ends, strict=True):
        assert bool(span.error) == bool(cause or code == "x") == ("error.type" in span.attributes)
    for attributes in [*(span.attributes for span in spans), log_of(told, PLACES).attributes]:
        assert all(value not in ("", ()) and value is not None for value in attributes.values())


@pytest.mark.parametrize(
    ("path", "dialect", "operation"),
    [
        ("/v1/chat/completions", "openai-chat", "chat"),
        ("/v1/messages", "anthropic-messages", "chat"),
        ("/v1/messages/count_tokens", "anthropic-messages", "count_tokens"),
        ("/v1/responses", "openai-responses", "chat"),
        ("/v1/embeddings", "openai-embeddings", "embeddings"),
        ("", "openai-embeddings", "embeddings"),
        ("", "", "chat"),
    ],
)
def test_operations(path: str, dialect: str, operation: str) -> None:
    assert operation_of(record(path=path, dialect=dialect)) == operation


def test_where_providers_are() -> None:
    made = {
        "openai": Provider("openai", ("openai-chat",), "https://api.openai.com/v1"),
        "azure-eu": Provider(
            "azure-eu", ("openai-chat",), "https://r.openai.azure.com/openai", variant="azure"
        ),
        "bedrock": Provider(
            "bedrock", ("bedrock-converse",), "https://bedrock-runtime.eu-west-1.amazonaws.com"
        ),
        "vertex": Provider(
            "vertex", ("gemini",), "https://europe-west1-aiplatform.googleapis.com/v1", variant="vertex"
        ),
        "second": Provider("second", ("openai-chat",), "https://api.mistral.ai/v1"),
        "in-house": Provider("in-house", ("openai-chat",), "http://models.internal:8000/v1"),
        "xai": Provider("xai", ("openai-chat",), "http://127.0.0.1:9/v1"),
        "unset": Provider("unset", ("openai-chat",), ""),
    }
    assert places_of(made.values()) == {
        "openai": Place("openai", "api.openai.com", 443),
        "azure-eu": Place("azure.ai.openai", "r.openai.azure.com", 443),
        "bedrock": Place("aws.bedrock", "bedrock-runtime.eu-west-1.amazonaws.com", 443),
        "vertex": Place("gcp.vertex_ai", "europe-west1-aiplatform.googleapis.com", 443),
        "second": Place("mistral_ai", "api.mistral.ai", 443),
        "in-house": Place("in-house", "models.internal", 8000),
        "xai": Place("x_ai", "127.0.0.1", 9),
        "unset": Place("unset", "", 0),
    }


def test_every_built_in_provider_has_a_name_of_the_conventions_or_its_own() -> None:
    known = {"openai", "anthropic", "aws.bedrock", "azure.ai.openai", "gcp.gemini", "gcp.vertex_ai", "cohere"}
    known |= {"deepseek", "groq", "mistral_ai", "moonshot_ai", "perplexity", "x_ai"}
    made = [
        Provider(
            one.name,
            (one.dialect,) if isinstance(one.dialect, str) else tuple(one.dialect),
            one.base_url or "",
            variant=one.variant,
        )
        for one in builtins().values()
    ]
    names = {name: place.name for name, place in places_of(made).items()}
    assert known <= set(names.values())
    assert {name for name, said in names.items() if said not in known} == {
        *(
            "openrouter",
            "together",
            "fireworks",
            "cerebras",
            "huggingface",
            "ollama",
            "vllm",
            "zai",
            "alibaba",
        ),
        *("nvidia", "sambanova", "databricks"),
    }


def test_a_span_is_told_of_no_text_at_all() -> None:
    """Every field of a span is a name, a number, a word of the broker's or what a caller is called."""
    span: Span = spans_of(CASES["streamed"], PLACES)[0]
    assert not {
        name for name in span.attributes if name.endswith((".messages", ".prompt", ".completion", ".content"))
    }


def test_every_attribute_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "traces.md").read_text().partition("\n## Prompt text")[0]
    made = {name for case in CASES.values() for name in log_of(case, PLACES).attributes}
    made |= {name for case in CASES.values() for span in spans_of(case, PLACES) for name in span.attributes}
    documented = set(re.findall(r"`((?:gen_ai|modelbroker|http|url|server|error)\.[a-z_.]+)`", page))
    assert made - documented == set()
    unmade = documented - made - {"modelbroker.call"}
    assert unmade == {"modelbroker.cache_reason", "modelbroker.captured", "modelbroker.conversation"} | {
        *("modelbroker.degraded_from", "gen_ai.request.choice.count"),
    }
