"""Catalog → resources, held by golden files: a change of what Envoy is told shows up as a diff.

`UPDATE_GOLDEN=1 ./dev test tests/xds` writes them again; read the diff before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.core.errors import Misconfigured
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN, SURFACES
from modelbroker.envoyapi import api
from modelbroker.policy import State
from modelbroker.settings import compile_texts
from modelbroker.xds.build import build, generation_of
from modelbroker.xds.snapshot import missing_references, snapshot
from modelbroker.xds.types import CLUSTER, ENDPOINTS, LISTENER, SECRET, type_name
from support.catalogs import catalog

GOLDEN = Path(__file__).parent / "golden"

CASES: dict[str, dict[str, Any]] = {
    "captured": {
        "pools": [{"name": "fast", "members": [{"provider": "a", "model": "claude-x"}]}],
        "capture": {"rules": [{"match": {}, "share": "5%"}], "encryption": "none"},
    },
    "one-pool": {
        "pools": [
            {
                "name": "fast",
                "members": [
                    {"provider": "a", "model": "claude-x", "weight": 70},
                    {"provider": "b", "model": "gpt-x", "weight": 25},
                    {"provider": "c", "model": "gpt-y", "weight": 5},
                ],
            }
        ]
    },
    "levels-and-edges": {
        "providers": [
            {
                "name": "tls",
                "dialect": "openai-chat",
                "base_url": "https://models.example.com/api/v1",
                "credential": {"file": "/run/secrets/key"},
                "auth": "api-key",
                "headers": {"x-team": "platform"},
                "models": {"gpt-x": "deployment-7"},
            },
            {"name": "b", "dialect": "openai-chat", "base_url": "http://127.0.0.1:9", "auth": "none"},
        ],
        "limits": {"request_bytes": "1MiB", "concrete_models": True},
        "listen": {"tls": {"cert_file": "/c.pem", "key_file": "/k.pem", "client_ca_file": "/a.pem"}},
        "issuers": [
            {
                "name": "corp",
                "issuer": "https://login.example.com",
                "audiences": ["modelbroker"],
                "jwks": {"url": "https://login.example.com/keys", "cache": "1h", "ca_file": "/ca.pem"},
            },
            {"name": "own", "issuer": "own", "audiences": "any", "jwks": "/keys.json"},
        ],
        "callers": [
            {"name": "staff", "jwt": "corp"},
            {"name": "jobs", "jwt": "own", "spiffe": "spiffe://prod/jobs/*"},
        ],
        "pools": [
            {
                "name": "levels",
                "ejection": "off",
                "members": [
                    {"provider": "tls", "model": "gpt-x"},
                    {"provider": "b", "model": "odd:name@1", "weight": 0},
                    {"provider": "b", "model": "gpt-x", "priority": 7},
                ],
            }
        ],
    },
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_resources_are_as_written_down(name: str) -> None:
    resources = build(catalog_of(name), State(), SURFACES, {"a": "s3cret", "tls": "s3cret"})
    text = yaml.safe_dump({k: dict(v) for k, v in resources.items()}, sort_keys=True, width=110)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def catalog_of(name: str) -> Any:
    sections = CASES[name]
    return catalog_from(**sections) if "providers" in sections else catalog(**sections)


def catalog_from(**sections: Any) -> Any:
    """With these providers only."""
    texts = {"t.yaml": yaml.safe_dump(sections)}
    return compile_texts(texts, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog


@pytest.mark.parametrize("name", sorted(CASES))
def test_envoys_own_api_knows_every_field(name: str) -> None:
    for type_url, trees in build(catalog_of(name), State(), SURFACES, {}).items():
        for tree in trees.values():
            api().from_dict(type_name(type_url), tree)


def test_what_is_out_has_no_listener_and_no_endpoint() -> None:
    resources = build(catalog_of("one-pool"), State({"b": "no key"}), SURFACES, {})
    names = list(resources[LISTENER])
    assert not [name for name in names if name.startswith("member/b/")]
    (tree,) = resources[ENDPOINTS].values()
    ids = [
        host["endpoint"]["address"]["envoy_internal_address"]["endpoint_id"]
        for locality in tree["endpoints"]
        for host in locality["lb_endpoints"]
    ]
    assert ids == ["a/claude-x", "c/gpt-y"]


def test_members_of_two_pools_share_a_listener_and_a_cluster() -> None:
    pools = [
        {"name": name, "members": [{"provider": "b", "model": "gpt-x", "weight": weight}]}
        for name, weight in (("one", 1), ("two", 9))
    ]
    resources = build(catalog(pools=pools), State(), SURFACES, {})
    assert len([name for name in resources[LISTENER] if name.startswith("member/")]) == 1
    assert len([name for name in resources[CLUSTER] if name.startswith("provider/")]) == 1
    assert len(resources[ENDPOINTS]) == 2


def test_an_edit_of_a_weight_changes_endpoints_and_nothing_that_calls_rest_on() -> None:
    def resources(weight: int) -> Any:
        pools = [{"name": "p", "members": [{"provider": "b", "model": "m", "weight": weight}]}]
        return build(catalog(pools=pools), State(), SURFACES, {})

    one, two = resources(1), resources(2)
    assert one[LISTENER] == two[LISTENER]
    assert one[CLUSTER] == two[CLUSTER]
    assert one[SECRET] == two[SECRET]
    assert one[ENDPOINTS] != two[ENDPOINTS]


def test_a_member_that_changes_gets_a_new_name() -> None:
    def names(url: str) -> set[str]:
        providers = [{"name": "p", "dialect": "openai-chat", "base_url": url, "auth": "none"}]
        pools = [{"name": "p", "members": [{"provider": "p", "model": "m"}]}]
        loaded = catalog_from(providers=providers, pools=pools)
        return {name for name in build(loaded, State(), SURFACES, {})[LISTENER] if name != "outer"}

    assert names("http://127.0.0.1:1").isdisjoint(names("http://127.0.0.1:2"))


def test_too_many_classes_are_refused_with_the_pools_name() -> None:
    members = [{"provider": "b", "model": f"m-{number}"} for number in range(70)]
    loaded = catalog(pools=[{"name": "big", "members": members}], limits={"concrete_models": True})
    with pytest.raises(Misconfigured, match="pool big"):
        build(loaded, State(), SURFACES, {})


def test_a_reference_to_nothing_is_found_before_it_is_pushed() -> None:
    resources = {k: dict(v) for k, v in build(catalog_of("one-pool"), State(), SURFACES, {}).items()}
    gone = next(name for name in resources[LISTENER] if name.startswith("member/"))
    del resources[LISTENER][gone]
    assert any(gone in text for text in missing_references(resources))
    with pytest.raises(ValueError, match="not there"):
        snapshot("g", "r", resources)


def test_the_generation_tells_the_revision_and_what_was_out() -> None:
    loaded = catalog_of("one-pool")
    assert generation_of(loaded, State()).startswith(loaded.revision + ".")
    assert generation_of(loaded, State()) != generation_of(loaded, State({"a": "x"}))
    assert generation_of(loaded, State({"a": "x"})) == generation_of(loaded, State({"a": "y"}))
