"""Effort, sampling, limits and the like, as each vendor's models take them."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.dialects.conversation import (
    Effort,
    ToolChoice,
)
from modelbroker.dialects.translation import CannotCarry
from support.bedrock_chats import (
    HAIKU_3,
    NOVA,
    NOVA_2,
    OPUS_47,
    SONNET_45,
    SONNET_46,
    TOOL,
    chat,
    fields,
    sent,
    to,
)

# -- effort


@pytest.mark.parametrize(
    ("model", "effort", "expected", "dropped"),
    [
        (SONNET_45, Effort(level="high"), {"thinking": {"type": "enabled", "budget_tokens": 16384}}, False),
        (SONNET_45, Effort(level="minimal"), {"thinking": {"type": "enabled", "budget_tokens": 1024}}, False),
        (
            SONNET_45,
            Effort(budget_tokens=5000),
            {"thinking": {"type": "enabled", "budget_tokens": 5000}},
            False,
        ),
        (SONNET_45, Effort(enabled=False), None, False),
        (SONNET_45, Effort(level="none"), None, False),
        (HAIKU_3, Effort(level="high"), None, True),
        (
            SONNET_46,
            Effort(level="high"),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            False,
        ),
        (
            SONNET_46,
            Effort(level="xhigh"),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            False,
        ),
        (
            SONNET_46,
            Effort(budget_tokens=3000),
            {"thinking": {"type": "enabled", "budget_tokens": 3000}},
            False,
        ),
        (SONNET_46, Effort(adaptive=True), {"thinking": {"type": "adaptive"}}, False),
        (
            OPUS_47,
            Effort(level="xhigh", show=True),
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
            False,
        ),
        (
            OPUS_47,
            Effort(budget_tokens=3000, show=False),
            {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "medium"}},
            False,
        ),
        (OPUS_47, Effort(enabled=False), None, False),
        ("anthropic.claude-opus-5", Effort(enabled=False), {"thinking": {"type": "disabled"}}, False),
        (
            "anthropic.claude-sonnet-5-5",
            Effort(enabled=False),
            {"thinking": {"type": "between_tools"}},
            False,
        ),
        (
            "anthropic.claude-fable-5",
            Effort(enabled=False),
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            True,
        ),
        (NOVA, Effort(level="high"), None, True),
        (NOVA, Effort(enabled=False), None, False),
        (
            NOVA_2,
            Effort(level="low"),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}},
            False,
        ),
        ("openai.gpt-oss-120b-1:0", Effort(level="xhigh"), {"reasoning_effort": "high"}, False),
        ("openai.gpt-oss-120b-1:0", Effort(enabled=False), {"reasoning_effort": "low"}, True),
        ("openai.gpt-6-sol", Effort(level="none", enabled=False), {"reasoning": {"effort": "none"}}, False),
        ("openai.gpt-6-astra", Effort(enabled=False), {"reasoning": {"effort": "low"}}, True),
        ("qwen.qwen3-32b-v1:0", Effort(level="medium"), {"reasoning_config": "high"}, False),
        ("qwen.qwen3-32b-v1:0", Effort(enabled=False), {"reasoning_config": "none"}, False),
        ("qwen.qwen3-coder-30b-a3b-v1:0", Effort(level="high"), None, True),
        ("deepseek.v3.2", Effort(level="low"), {"reasoning_effort": "high"}, False),
        ("us.deepseek.r1-v1:0", Effort(level="low"), None, True),
        ("zai.glm-4.7", Effort(enabled=False), {"reasoning_effort": "none"}, False),
        ("zai.glm-5.3", Effort(level="max"), {"reasoning_effort": "max"}, False),
        ("xai.grok-4.7", Effort(level="max"), {"reasoning": {"effort": "xhigh"}}, False),
        ("cohere.command-r-v1:0", Effort(level="high"), None, True),
        ("someone.new", Effort(budget_tokens=1024), None, True),
    ],
)
def test_effort(model: str, effort: Effort, expected: Any, dropped: bool) -> None:
    body, named = sent(chat(effort=effort), to(model))
    assert body.get("additionalModelRequestFields") == expected
    assert ("effort" in named) is dropped


@pytest.mark.parametrize(
    ("effort", "most", "known", "budget", "tokens"),
    [
        (Effort(level="high"), None, None, 16384, 16384 + 4096),
        (Effort(level="high"), None, 64000, 16384, 64000),
        (Effort(level="max"), None, 8192, 4096, 8192),
        (Effort(level="high"), 8000, None, 6000, 8000),
        (Effort(budget_tokens=4000), 4000, None, 3999, 4000),
        (Effort(level="low"), 1100, None, 1024, 1100),
        (Effort(level="low"), 1000, None, None, 1000),
        (Effort(budget_tokens=100), 4000, None, 1024, 4000),
    ],
)
def test_a_budget_leaves_room_for_the_answer(
    effort: Effort, most: int | None, known: int | None, budget: int | None, tokens: int
) -> None:
    body, dropped = sent(chat(effort=effort, max_output_tokens=most), to(max_output_tokens=known))
    thinking = body.get("additionalModelRequestFields", {}).get("thinking", {})
    assert thinking.get("budget_tokens") == budget
    assert body["inferenceConfig"]["maxTokens"] == tokens
    assert ("effort" in dropped) is (budget is None)


def test_a_forced_tool_is_worth_more_than_thinking() -> None:
    """Bedrock refuses both together for the older of the models that think as they like, too: "Thinking may
    not be enabled when tool_choice forces tool use"; they can still be told an effort."""
    request = chat(tools=(TOOL,), tool_choice=ToolChoice("required"), effort=Effort(level="low"))
    body, dropped = sent(request)
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert dropped == ("effort",)
    for model in (SONNET_46, OPUS_47):
        assert fields(request, model) == {"output_config": {"effort": "low"}}
    newer = fields(request, "anthropic.claude-opus-4-8")
    assert newer == {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}


def test_novas_high_effort_takes_no_limits() -> None:
    request = chat(effort=Effort(level="max"), temperature=0.5, top_p=0.5, top_k=5)
    body, dropped = sent(request, to(NOVA_2))
    assert body["additionalModelRequestFields"] == {
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}
    }
    assert "inferenceConfig" not in body
    assert dropped == ("temperature", "top_p", "top_k")
    limited, dropped = sent(chat(effort=Effort(level="max"), max_output_tokens=500), to(NOVA_2))
    assert limited["inferenceConfig"] == {"maxTokens": 500}
    config = limited["additionalModelRequestFields"]["reasoningConfig"]
    assert (config["maxReasoningEffort"], dropped) == ("medium", ())


# -- sampling


@pytest.mark.parametrize(
    ("model", "more", "config", "extra", "dropped"),
    [
        (HAIKU_3, {}, {"temperature": 0.5, "topP": 0.9}, {"top_k": 5}, ()),
        (SONNET_45, {}, {"temperature": 0.5}, {"top_k": 5}, ("top_p",)),
        (OPUS_47, {}, None, None, ("temperature", "top_p", "top_k")),
        ("openai.gpt-6-sol", {}, None, None, ("temperature", "top_p", "top_k")),
        (NOVA, {}, {"temperature": 0.5, "topP": 0.9}, {"inferenceConfig": {"topK": 5}}, ()),
        ("meta.llama3-3-70b-instruct-v1:0", {}, {"temperature": 0.5, "topP": 0.9}, None, ("top_k",)),
        (HAIKU_3, {"temperature": 1.7}, {"temperature": 1.0, "topP": 0.9}, {"top_k": 5}, ("temperature",)),
    ],
)
def test_sampling(model: str, more: Any, config: Any, extra: Any, dropped: tuple[str, ...]) -> None:
    request = chat(**{"temperature": 0.5, "top_p": 0.9, "top_k": 5, **more})
    body, named = sent(request, to(model))
    assert body.get("inferenceConfig") == config
    assert body.get("additionalModelRequestFields") == extra
    assert named == dropped


def test_a_thinking_claude_takes_hardly_any_sampling() -> None:
    request = chat(effort=Effort(level="low"), temperature=0.5, top_p=0.5, top_k=5)
    _, dropped = sent(request)
    assert dropped == ("temperature", "top_p", "top_k")
    body, dropped = sent(chat(effort=Effort(level="low"), temperature=1.0))
    assert body["inferenceConfig"]["temperature"] == 1 and dropped == ()
    body, dropped = sent(chat(effort=Effort(level="low"), top_p=0.97))
    assert body["inferenceConfig"]["topP"] == 0.97 and dropped == ()


def test_limits_and_stops() -> None:
    body, dropped = sent(chat(max_output_tokens=7, stop=("END", "\n")))
    assert body["inferenceConfig"] == {"maxTokens": 7, "stopSequences": ["END"]}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence", "/delta/stop_sequence"]
    assert dropped == ("stop",)
    body, dropped = sent(chat(stop=("\n",)), to(NOVA))
    assert body["inferenceConfig"] == {"stopSequences": ["\n"]}
    assert "additionalModelResponseFieldPaths" not in body and dropped == ()


def test_no_limit_is_over_what_the_model_can_write() -> None:
    upstream = to(NOVA, max_output_tokens=5000)
    assert sent(chat(max_output_tokens=9000), upstream)[0]["inferenceConfig"] == {"maxTokens": 5000}
    thinking = chat(max_output_tokens=90_000, effort=Effort(budget_tokens=80_000))
    body, _ = sent(thinking, to(max_output_tokens=64_000))
    assert body["inferenceConfig"]["maxTokens"] == 64_000
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 63_999


def test_a_claude_gets_its_own_limit_where_the_client_sets_none() -> None:
    """Bedrock's default is 4096 for some; older Claudes refuse limits beyond the context window."""
    assert sent(chat(), to(max_output_tokens=64000))[0]["inferenceConfig"] == {"maxTokens": 64000}
    assert "inferenceConfig" not in sent(chat(), to(HAIKU_3, max_output_tokens=4096))[0]
    assert "inferenceConfig" not in sent(chat(), to(NOVA, max_output_tokens=4096))[0]


def test_knobs_without_a_place_are_named() -> None:
    request = chat(
        frequency_penalty=0.1,
        presence_penalty=0.1,
        seed=1,
        logprobs=True,
        top_logprobs=3,
        verbosity="low",
        user="u",
        cache_key="k",
        service_tier="scale",
        parallel_tools=False,
    )
    assert set(sent(request)[1]) == {
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "logprobs",
        "verbosity",
        "user",
        "cache_key",
        "service_tier",
    }


def test_one_answer_only() -> None:
    with pytest.raises(CannotCarry) as refused:
        sent(chat(choices=2))
    assert refused.value.param == "choices"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("auto", None),
        ("default", "default"),
        ("flex", "flex"),
        ("priority", "priority"),
        ("standard_only", "default"),
    ],
)
def test_service_tiers(asked: str, said: str | None) -> None:
    body, dropped = sent(chat(service_tier=asked))
    assert body.get("serviceTier") == ({"type": said} if said else None)
    assert dropped == ()


def test_metadata() -> None:
    body, dropped = sent(chat(metadata={"team": "a-1", "user": "x@y"}))
    assert body["requestMetadata"] == {"team": "a-1", "user": "x@y"} and dropped == ()
    body, dropped = sent(chat(metadata={"team": "größe", "ok": "v" * 256, "long": "v" * 257, "": "x"}))
    assert body["requestMetadata"] == {"ok": "v" * 256} and dropped == ("metadata",)
    body, dropped = sent(chat(metadata={f"k{number}": "v" for number in range(17)}))
    assert len(body["requestMetadata"]) == 16 and dropped == ("metadata",)


def test_latency_is_the_operators_word() -> None:
    upstream = to(deviations={"latency": "optimized"})
    assert sent(chat(), upstream)[0]["performanceConfig"] == {"latency": "optimized"}
