"""`shadow` and `rollout` of pools: what they compile to, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from modelbroker.core.trials import ALL_PPM, is_made
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN
from modelbroker.settings import SettingsError, compile_texts
from modelbroker.settings.compiler import Loaded

POOL = {"name": "chat", "members": [{"provider": "anthropic", "model": "claude-opus-4-7"}]}
OTHER = {"name": "cheap", "members": [{"provider": "openai", "model": "gpt-5-mini"}]}


def load(**more: Any) -> Loaded:
    listen = more.pop("listen", {})
    tree = {"pools": [{**POOL, **more}, OTHER], "listen": listen}
    return compile_texts({"x.yaml": yaml.safe_dump(tree)}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)


def wrong(**more: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**more)
    return str(caught.value)


def test_nothing_said_is_nothing_new() -> None:
    """Not even another revision."""
    catalog = load().catalog
    assert catalog.trials == {} and list(catalog.pools) == ["chat", "cheap"]


def test_a_member_gets_a_pool_of_its_own_that_nobody_can_ask_for() -> None:
    catalog = load(shadow={"to": "openai/gpt-5-nano", "budget": "$20/day"}).catalog
    (shadow,) = catalog.trials["chat"].shadows
    made = catalog.pools[shadow.target]
    assert is_made(made.name) and [one.id for one in made.members] == ["openai/gpt-5-nano"]
    assert (shadow.share_ppm, shadow.caller) == (50_000, "shadow:chat")
    (budget,) = catalog.budgets
    assert (budget.purpose, budget.limit, budget.window.unit) == ("shadow", 20 * 10**9, "day")
    # What fails at a candidate, the pool itself answers.
    assert {action for _, action in made.on if isinstance(action, str)} == {"chat"}


def test_a_rollout_has_stages_by_default() -> None:
    rollout = load(rollout={"to": "cheap"}).catalog.trials["chat"].rollout
    assert rollout is not None and (rollout.name, rollout.target) == ("chat>cheap", "cheap")
    assert [stage.name for stage in rollout.stages] == ["1%", "10%", "50%", "100%"]
    assert rollout.stages[-1].share_ppm == ALL_PPM
    assert rollout.stages[0].gates.errors_ppm == 20_000 and rollout.stages[0].hold_ms == 3_600_000


def test_a_stage_may_have_gates_of_its_own() -> None:
    stages = [{"share": "1%", "gates": {"errors": "off", "p95": "10%"}}, {"share": "100%", "hold": "2m"}]
    rollout = load(rollout={"to": "cheap", "stages": stages, "within": "3h"}).catalog.trials["chat"].rollout
    assert rollout is not None
    first, last = rollout.stages
    assert (first.gates.errors_ppm, first.gates.latency_ppm) == (None, 100_000)
    assert (last.hold_ms, last.limit_ms, last.gates.errors_ppm) == (120_000, 10_800_000, 20_000)


def test_what_nothing_bounds_is_warned_of() -> None:
    (warning,) = load(shadow={"to": "cheap"}).warnings
    assert "nothing bounds what copies of calls to cheap cost" in str(warning)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"shadow": {"to": "nobody"}}, 'there is no pool "nobody"'),
        ({"shadow": {"to": "nobody/x"}}, 'there is no provider "nobody"'),
        ({"shadow": {"to": "chat"}}, '"chat" is this very pool'),
        ({"shadow": {"to": "cheap", "share": "0%"}}, "would be none at all"),
        ({"shadow": {"to": "cheap", "share": "0.0001%"}}, "has more than three digits behind the point"),
        ({"shadow": {"to": "cheap", "budget": "20"}}, "give e.g. $20/day"),
        ({"shadow": {"to": "cheap", "match": {"taem": "x"}}}, 'there is no fact "taem"'),
        ({"rollout": {"to": "cheap", "stages": [{"hold": "1h"}]}}, "a stage has either shadow or share"),
        ({"rollout": {"to": "cheap", "stages": [{"share": "50%"}]}}, "the last stage is not 100%"),
        (
            {"rollout": {"to": "cheap", "stages": [{"share": "50%"}, {"share": "10%"}]}},
            "is no larger than the share before it",
        ),
        (
            {"rollout": {"to": "cheap", "stages": [{"share": "5%"}, {"shadow": "10%"}, {"share": "100%"}]}},
            "a shadow comes before shares",
        ),
        ({"rollout": {"to": "cheap", "hold": "2h", "within": "1h"}}, "is no longer than hold"),
        ({"rollout": {"to": "cheap", "gates": {"errors": "5"}}}, "give e.g. 2%, or off"),
        ({"rollout": {"to": "cheap", "gates": {"confidence": "100%"}}}, "is no confidence"),
        ({"rollout": {"to": "cheap", "name": "a b"}}, "is no name"),
        (
            {
                "shadow": {"to": "cheap"},
                "listen": {
                    "tls": {
                        "cert_file": "a",
                        "key_file": "b",
                        "client_ca_file": "c",
                        "require_client_cert": True,
                    }
                },
            },
            "which asks for a certificate",
        ),
    ],
)
def test_what_is_wrong_is_said(said: dict[str, Any], told: str) -> None:
    assert told in wrong(**said)


def test_rollouts_do_not_go_round_in_a_circle() -> None:
    tree = {"pools": [{**POOL, "rollout": {"to": "cheap"}}, {**OTHER, "rollout": {"to": "chat"}}]}
    with pytest.raises(SettingsError, match="round in a circle: chat > cheap > chat"):
        compile_texts({"x.yaml": yaml.safe_dump(tree)}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)
