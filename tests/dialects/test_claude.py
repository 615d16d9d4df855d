"""One table of Claude models for all who serve them."""

from __future__ import annotations

import itertools

import pytest
from modelbroker.dialects.anthropic_messages import models as messages
from modelbroker.dialects.bedrock_converse import models as converse
from modelbroker.dialects.claude import claude
from modelbroker.dialects.conversation import Upstream


@pytest.mark.parametrize(
    ("names", "tier", "version"),
    [
        (("claude-3-5-sonnet-20241022", "anthropic/claude-3.5-sonnet"), "sonnet", (3, 5)),
        (("claude-3-7-sonnet-latest", "claude-3.7-sonnet:thinking"), "sonnet", (3, 7)),
        (("claude-opus-4-20250514", "claude-opus-4@20250514", "claude-opus-4-0"), "opus", (4, 0)),
        (("claude-opus-4-7", "CLAUDE-Opus-4.7", "us.anthropic.claude-opus-4-7-v1:0"), "opus", (4, 7)),
        (("claude-haiku-4-5-20251001", "eu.anthropic.claude-haiku-4-5-20251001-v1:0"), "haiku", (4, 5)),
        (("claude-fable-5-1", "anthropic/claude-fable-5.1"), "fable", (5, 1)),
        (("claude-v2:1", "claude-2.1", "claude-instant-v2"), "", (2, 0)),
        (("claude-mythos-preview",), "mythos", (5, 0)),
        (("claude-next", "claude"), "", (5, 0)),
    ],
)
def test_names(names: tuple[str, ...], tier: str, version: tuple[int, int]) -> None:
    for name in names:
        model = claude(name)
        assert (model.tier, model.version) in {(tier, version), (tier, (2, 1))}, name


@pytest.mark.parametrize(
    ("name", "budget", "adaptive", "off", "samples", "forced", "schemas", "prefills", "late"),
    [
        ("claude-3-5-haiku-latest", False, False, "", True, True, False, True, False),
        ("claude-3-7-sonnet-latest", True, False, "", True, True, False, True, False),
        ("claude-opus-4-1", True, False, "", True, True, True, True, False),
        ("claude-sonnet-4-5", True, False, "", True, True, True, True, False),
        ("claude-sonnet-4-6", True, True, "", True, True, True, False, False),
        ("claude-opus-4-7", False, True, "", False, True, True, False, False),
        ("claude-opus-4-8", False, True, "", False, True, True, False, True),
        ("claude-opus-5", False, True, "disabled", False, True, True, False, True),
        ("claude-sonnet-5-5", False, True, "between_tools", False, False, True, False, True),
        ("claude-haiku-5-5", False, True, "disabled", False, True, True, False, True),
        ("claude-opus-5-5", False, True, None, False, False, True, False, True),
        ("claude-fable-5", False, True, None, False, True, True, False, True),
        ("claude-mythos-5-1", False, True, None, False, False, True, False, True),
    ],
)
def test_facts(
    name: str,
    budget: bool,
    adaptive: bool,
    off: str | None,
    samples: bool,
    forced: bool,
    schemas: bool,
    prefills: bool,
    late: bool,
) -> None:
    model = claude(name)
    assert (model.budget, model.adaptive, model.off, model.samples) == (budget, adaptive, off, samples)
    assert (model.can_be_forced, model.enforces_schemas) == (forced, schemas)
    assert (model.prefills, model.late_system) == (prefills, late)


NUMBERS = ("3-5", "4-0", "4-1", "4-5", "4-6", "4-7", "4-8", "5", "5-1", "5-5")


@pytest.mark.parametrize(
    ("tier", "number"), list(itertools.product(("opus", "sonnet", "haiku", "fable", "mythos"), NUMBERS))
)
def test_both_dialects_say_the_same_of_a_model(tier: str, number: str) -> None:
    """What they may differ in is what Bedrock does otherwise: schemas of Opus 4.1 and of Fable."""
    name = f"claude-{tier}-{number}"
    here = messages.traits_of(Upstream("a", "anthropic-messages", name))
    there = converse.model_of(f"us.anthropic.{name}-20260101-v1:0", {})
    assert here.samples == there.samples == bool(there.top_k)
    assert (here.samples_both, here.prefills) == (there.samples_both, there.prefills)
    assert here.can_be_forced == bool(there.choices)
    if tier != "fable" and (tier, number) != ("opus", "4-1"):
        assert here.enforces_schemas == there.enforces_schemas
    else:
        assert not there.enforces_schemas
