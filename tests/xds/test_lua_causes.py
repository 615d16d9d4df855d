"""causes.lua in the LuaJIT of the real Envoy against the same table in Python."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from modelbroker.dialects.causes import cause_of
from modelbroker.xds.lua_causes import lua_source, lua_texts
from support.error_bodies import DIALECTS, ErrorReply, recorded, simulated
from support.error_draws import STATUSES, error_replies
from support.error_spellings import SPELLINGS
from support.lua_envoy import LuaEnvoy

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


class LuaCauses:
    def __init__(self, envoy: LuaEnvoy) -> None:
        self._envoy = envoy

    def cause_of(self, reply: ErrorReply) -> str:
        headers = {"x-dialect": reply.dialect, "x-status": str(reply.status)}
        if reply.kind:
            headers["x-kind"] = reply.kind
        return self._envoy.answer(reply.body, headers)


@pytest.fixture(scope="module")
def lua(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuaCauses]:
    source = "\n".join((lua_source(), f"local TEXTS = {lua_texts(DIALECTS)}", ANSWER))
    with LuaEnvoy(tmp_path_factory.mktemp("lua"), source) as envoy:
        yield LuaCauses(envoy)


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
