"""causes.lua in the LuaJIT of the real Envoy against the same table in Python."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from modelbroker.dialects.causes import cause_of
from modelbroker.envoyapi import envoy_binary
from modelbroker.xds.lua_causes import lua_source, lua_texts
from support.error_bodies import DIALECTS, ErrorReply, recorded, simulated
from support.error_draws import STATUSES, error_replies
from support.error_spellings import SPELLINGS
from support.waiting import wait_until

# Answers the cause of the body that is posted to it.
ANSWER = """
function envoy_on_request(handle)
  local body = handle:body(true)
  local text = body and body:length() > 0 and body:getBytes(0, body:length()) or ""
  local headers = handle:headers()
  local rules = rules_of(TEXTS, headers:get("x-dialect"))
  handle:respond({[":status"] = "200"}, cause_of(rules, headers:get("x-status"), text, headers:get("x-kind")))
end
"""


def typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **fields}


def bootstrap(path: Path) -> dict[str, Any]:
    """An Envoy at the socket `path` whose only filter is Lua."""
    source = "\n".join((lua_source(), f"local TEXTS = {lua_texts(DIALECTS)}", ANSWER))
    lua = typed("filters.http.lua.v3.Lua", default_source_code={"inline_string": source})
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="causes",
        http_filters=[
            {"name": "lua", "typed_config": lua},
            {"name": "router", "typed_config": typed("filters.http.router.v3.Router")},
        ],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": []}]},
    )
    listener = {
        "name": "causes",
        "address": {"pipe": {"path": str(path)}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


class LuaCauses(http.client.HTTPConnection):
    """A connection to that Envoy."""

    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))

    def cause_of(self, reply: ErrorReply) -> str:
        headers = {"x-dialect": reply.dialect, "x-status": str(reply.status)}
        if reply.kind:
            headers["x-kind"] = reply.kind
        self.request("POST", "/", reply.body, headers)
        response = self.getresponse()
        said = response.read().decode()
        assert response.status == 200, said
        return said


@pytest.fixture(scope="module")
def lua(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuaCauses]:
    folder = tmp_path_factory.mktemp("lua")
    path, config = folder / "envoy.sock", folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(path)))
    command = [str(envoy_binary()), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, "--log-level", "error"], stdout=log, stderr=log)
    try:
        wait_until(lambda: path.exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        connection = LuaCauses(path)
        yield connection
        connection.close()
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_all_that_is_known(lua: LuaCauses) -> None:
    replies = (*SPELLINGS, *simulated(), *recorded())
    assert [reply for reply in replies if lua.cause_of(reply) != told(reply)] == []


def told(reply: ErrorReply) -> str:
    return cause_of(reply.dialect, reply.status, reply.body, reply.kind).value


def test_every_body_that_is_known_in_every_dialect_at_every_status(lua: LuaCauses) -> None:
    """Each body at a few statuses that are not its own, and in other dialects."""
    turns = itertools.cycle(STATUSES)
    for reply in (*SPELLINGS, *recorded()):
        for dialect in DIALECTS:
            for _ in range(3):
                other = reply._replace(dialect=dialect, status=next(turns))
                assert lua.cause_of(other) == told(other), other


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=error_replies())
def test_all_that_is_drawn(lua: LuaCauses, reply: ErrorReply) -> None:
    assert lua.cause_of(reply) == told(reply)


def test_dialects_with_the_same_rules_share_them() -> None:
    openais = ("openai-chat", "openai-responses", "openai-embeddings")
    assert len(lua_texts(openais)) < 1.1 * len(lua_texts(openais[:1]))


def test_only_the_first_bytes_of_a_body_count(lua: LuaCauses) -> None:
    body = b'{"error": {"message": "Your credit balance is too low"}}'
    for fill in (0, 65_480, 65_490, 65_500, 65_510, 65_535, 65_536, 200_000):
        reply = ErrorReply("openai-chat", 400, b" " * fill + body)
        assert lua.cause_of(reply) == told(reply), fill
