"""`explain` says whom a token or certificate would stand for, without any."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli.main import main

CONFIG = """\
providers: [{name: own, dialect: openai-chat, base_url: "http://127.0.0.1:9/v1", auth: none}]
issuers:
  - {name: corp, issuer: "https://i", audiences: any, jwks: not/there.json, claims: {user: sub}}
callers:
  - {name: data, jwt: {issuer: corp, match: {groups: data-*}}}
  - {name: agents, spiffe: "spiffe://prod/agents/*"}
listen: {tls: {cert_file: c, key_file: k, client_ca_file: a}}
pools: [{name: p, members: [{provider: own, model: m}]}]
"""


@pytest.fixture
def story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    path, body = tmp_path / "broker.yaml", tmp_path / "body.json"
    path.write_text(CONFIG)
    body.write_text(json.dumps({"model": "p", "messages": [{"role": "user", "content": "hi"}]}))

    def run(*arguments: str) -> Any:
        code = main(["explain", "--config", str(path), "--json", *arguments, str(body)])
        out, err = capsys.readouterr()
        return json.loads(out) if out else (code, err)

    return run


def test_whom_it_stands_for(story: Callable[..., Any]) -> None:
    facts = story("--claims", '{"iss": "https://i", "groups": ["x", "data-1"], "sub": "alice"}')["facts"]
    assert (facts["caller"], facts["user"]) == ("data", "alice")
    assert story("--certificate", "spiffe://prod/agents/7")["facts"]["caller"] == "agents"
    for nobody in (("--claims", '{"iss": "https://i"}'), ("--certificate", "spiffe://prod/x")):
        assert story(*nobody)["refused"]["code"] == "identity_not_allowed"
    assert story()["refused"]["code"] == "missing_api_key"


@pytest.mark.parametrize("claims", ["{", "[]", "{}", '{"iss": []}', '{"iss": "corp"}'])
def test_claims_that_are_none(story: Callable[..., Any], claims: str) -> None:
    code, told = story("--claims", claims)
    assert code == 1
    assert "--claims is not JSON" in told if claims == "{" else "there are: https://i" in told
