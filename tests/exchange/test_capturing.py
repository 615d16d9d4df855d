"""What a call leaves for the store of traffic."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.call import Caller, Facts
from modelbroker.core.capture import Capture, CaptureRule
from modelbroker.core.catalog import Condition, Op
from modelbroker.core.trials import STABLE, Scores, ToScore
from modelbroker.dialects import SURFACES
from modelbroker.exchange.capturing import ToCapture, foretold, to_capture, with_error, with_reply
from modelbroker.exchange.commands import Reply
from modelbroker.exchange.errand import Errand
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


def made(rule: CaptureRule = SALES, body: bytes = b"{}", **more: Errand) -> ToCapture | None:
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


def errand(request: bool, reply: bool) -> Errand:
    return Errand("shadow", "first", "other", "shadow:p", "", "", "", 9.0, request, reply)


@pytest.mark.parametrize(
    ("request_", "reply", "word"), [(True, True, "both"), (False, True, "reply"), (True, False, "request")]
)
def test_a_copy_is_captured_as_its_call_is(request_: bool, reply: bool, word: str) -> None:
    """Whatever rules say of who sends it: its caller is nobody that they know."""
    to = made(replace(SALES, share_ppm=0), errand=errand(request_, reply))
    assert to is not None and (to.sample.purpose, to.sample.shadow_of) == ("shadow", "first")
    assert to.word == word
    assert made(SALES, errand=errand(False, False)) is None  # its own was exempt, say


def test_a_call_of_an_evaluation_is_not_captured() -> None:
    evaluated = Facts(Caller(name="e", team="sales", purpose="eval"), SURFACES[0], "p")
    assert to_capture(view(SALES), evaluated, "id", b"{}", 5.0, "p", "other") is None


def test_an_answer_of_the_cache_is_captured_as_a_members_would_be() -> None:
    reply = Reply(200, (("x-broker-member", "a/m"),), b"hello", facts=(("cache", "hit"),))
    assert with_reply(reply, None) is reply
    said = with_reply(reply, made())
    assert said.sample is not None and (said.sample.reply, said.sample.member) == (b"hello", "a/m")
    assert said.facts == (("cache", "hit"), ("captured", "both")) and said.sample.status == 200
    large = with_reply(replace(reply, body=b"x" * 500), made())
    assert large.sample is not None and (large.sample.reply, large.sample.cut) == (None, "size")
    alone = with_reply(reply, made(replace(SALES, reply=False)))
    assert alone.sample is not None and (alone.sample.reply, alone.sample.status) == (None, None)


def test_the_brokers_own_last_word_on_a_call_under_way() -> None:
    reply = Reply(503, (), b"nobody is left")
    said = with_error(reply, made())
    assert said.sample is not None and (said.sample.status, said.sample.reply) == (503, b"nobody is left")
    alone = with_error(reply, made(replace(SALES, reply=False)))
    assert (alone.sample, alone.facts) == (None, (("captured", "request"),))  # it was kept when it was sent
    assert with_error(reply, None) is reply


@pytest.mark.parametrize(("request_", "reply"), [(True, False), (False, True), (True, True)])
def test_of_what_is_scored_as_well_no_more_is_kept_of_the_brokers_own_answer(
    request_: bool, reply: bool
) -> None:
    scores = ToScore(Scores("r", "p", (), 1_000_000), "r", STABLE, "id", False)
    rule = replace(SALES, request=request_, reply=reply)
    to = to_capture(view(rule), facts(), "id", b"ask", 5.0, "p", "p", scores=scores)
    said = with_reply(Reply(200, (), b"said"), to).sample
    assert said is not None
    assert (said.request, said.reply) == (b"ask" if request_ else None, b"said" if reply else None)


rules = st.builds(
    CaptureRule,
    st.just("r"),
    st.sampled_from([(), SALES.conditions]),
    st.sampled_from([("p",), ("*",), ("q*",)]),
    st.sampled_from([0, 300_000, 1_000_000]),
)
calls = st.tuples(
    st.sampled_from(["sales", "legal"]), st.sampled_from(["anna", "payroll-1"]), st.sampled_from(["", "eval"])
)


@given(st.lists(rules, max_size=3), st.booleans(), calls, st.integers(0, 50))
def test_what_is_foretold_is_what_becomes_of_the_call(
    said: list[CaptureRule], out: bool, call: tuple[str, str, str], number: int
) -> None:
    team, name, purpose = call
    known = catalog(pools=[POOL])
    seen = View(
        "g",
        replace(known, capture=Capture(tuple(said), exempt=("payroll-*",), body_bytes=100)),
        State({}, {}),
        {},
        capture_is_out=out,
    )
    asked = Facts(Caller(name=name, team=team, purpose=purpose), SURFACES[0], "m")
    ident = f"call-{number}"
    to = to_capture(seen, asked, ident, b"{}", 5.0, "p", "p")
    found = foretold(seen, asked, "p", ident)
    assert found.is_certain and (to is not None) == (not found.why_not)
    before = foretold(seen, asked, "p")
    if before.is_certain:
        assert before == found
    else:  # a lot decides, and nothing else
        assert found.why_not in ("", "share") and before.rule is found.rule
