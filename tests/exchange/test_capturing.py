"""What a call leaves for the store of traffic."""

from __future__ import annotations

from dataclasses import replace

import pytest
from modelbroker.core.call import Caller, Facts
from modelbroker.core.capture import Capture, CaptureRule
from modelbroker.core.catalog import Condition, Op
from modelbroker.dialects import SURFACES
from modelbroker.exchange.capturing import ToCapture, to_capture, with_reply
from modelbroker.exchange.commands import Reply
from modelbroker.exchange.view import View
from modelbroker.policy import State
from support.catalogs import catalog

POOL = {"name": "p", "members": [{"provider": "a", "model": "m"}]}
SALES = CaptureRule("sales", (Condition("team", Op.IN, ("sales",)),))


def view(*rules: CaptureRule, out: bool = False) -> View:
    said = replace(catalog(pools=[POOL]), capture=Capture(rules, body_bytes=100))
    return View("g", said, State({}, {}), {}, capture_is_out=out)


def facts(team: str = "sales") -> Facts:
    return Facts(Caller(name="anna", team=team, feature="f"), SURFACES[0], "asked-for", stream=True)


def made(rule: CaptureRule = SALES, body: bytes = b"{}", **more: str) -> ToCapture | None:
    return to_capture(view(rule), facts(), "id", body, 5.0, "p", "other", **more)


def test_a_sample_says_who_called_what_for() -> None:
    to = made()
    assert to is not None and to.wants_reply and to.word == "both"
    sample = to.sample
    assert (sample.request_id, sample.at_s, sample.pool, sample.model) == ("id", 5.0, "other", "asked-for")
    assert (sample.caller, sample.team, sample.feature, sample.stream) == ("anna", "sales", "f", True)
    assert (sample.request, sample.reply, sample.cut) == (b"{}", None, "")


@pytest.mark.parametrize(
    ("request_", "reply", "size", "word", "cut"),
    [
        (True, True, 5, "both", ""),
        (True, False, 5, "request", ""),
        (False, True, 5, "reply", ""),
        (True, True, 500, "both", "size"),
        (False, True, 500, "reply", ""),
    ],
)
def test_which_bodies(request_: bool, reply: bool, size: int, word: str, cut: str) -> None:
    to = made(replace(SALES, request=request_, reply=reply), b"x" * size)
    assert to is not None and (to.word, to.sample.cut, to.wants_reply) == (word, cut, reply)
    assert (to.sample.request is not None) == (request_ and not cut)


def test_who_is_not_captured() -> None:
    asked = (facts("legal"), "id", b"{}", 5.0, "p", "p")
    assert to_capture(view(SALES), *asked) is None
    assert to_capture(view(), facts(), *asked[1:]) is None
    assert to_capture(view(SALES, out=True), facts(), *asked[1:]) is None  # its key can't be read


def test_shadows_are_and_evaluations_are_not() -> None:
    never = replace(SALES, share_ppm=0)
    assert made(never) is None and made(SALES, purpose="eval") is None
    to = made(never, purpose="shadow", shadow_of="first")
    assert to is not None and (to.sample.purpose, to.sample.shadow_of) == ("shadow", "first")


def test_an_answer_of_the_cache_is_captured_as_a_members_would_be() -> None:
    reply = Reply(200, (("x-broker-member", "a/m"),), b"hello", facts=(("cache", "hit"),))
    assert with_reply(reply, None) is reply
    said = with_reply(reply, made())
    assert said.sample is not None and (said.sample.reply, said.sample.member) == (b"hello", "a/m")
    assert said.facts == (("cache", "hit"), ("captured", "both")) and said.sample.status == 200
    large = with_reply(replace(reply, body=b"x" * 500), made())
    assert large.sample is not None and (large.sample.reply, large.sample.cut) == (None, "size")
    alone = with_reply(reply, made(replace(SALES, reply=False)))
    assert alone.sample is not None and (alone.sample.reply, alone.sample.status) == (None, 0)
