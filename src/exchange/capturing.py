"""What a call leaves for the store of traffic, if it is one that is captured."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from ..core.call import Facts
from ..core.capture import PPM, CaptureRule
from ..core.traffic import CUT_BY_SIZE, Sample
from ..policy.capturing import captured, is_drawn, is_exempt, rule_for
from .commands import Reply
from .errand import Errand
from .view import View

# Why a call is not captured; "": it is.
WhyNot = Literal["", "off", "unavailable", "eval", "exempt", "no_rule", "share"]


class ToCapture(NamedTuple):
    """`sample` has no reply yet; `wants_reply`: it is to have one."""

    sample: Sample
    wants_reply: bool
    most_bytes: int  # of the reply

    @property
    def word(self) -> str:
        """What of the call is captured, as its record says."""
        if not self.wants_reply:
            return "request"
        return "both" if self.sample.request is not None or self.sample.cut else "reply"


def to_capture(
    view: View,
    facts: Facts,
    request_id: str,
    body: bytes,
    at_s: float,
    asked_pool: str,
    pool: str,
    errand: Errand | None = None,
) -> ToCapture | None:
    """`asked_pool` is what the call was for, which rules go by; `pool` the one that serves it. Of the
    broker's own errands copies are captured as their calls are; a call of an evaluation is not."""
    if not view.captures:
        return None
    capture = view.catalog.capture
    if errand is not None:
        return _copied(errand, facts, request_id, body, at_s, pool, capture.body_bytes)
    rule = captured(capture, facts, asked_pool, request_id) if not facts.caller.purpose else None
    if rule is None:
        return None
    return _made(rule, facts, request_id, body, at_s, pool, capture.body_bytes)


class Foretold(NamedTuple):
    """Would a call be captured? `why_not` "": it is by `rule`, of which `is_certain` says whether a lot is
    still to be drawn. `rule`: under which it falls, also where it is not drawn."""

    rule: CaptureRule | None
    why_not: WhyNot
    is_certain: bool = True


def foretold(view: View, facts: Facts, asked_pool: str, request_id: str = "") -> Foretold:
    """Of a client's call, by what `to_capture` goes by. `request_id` "": nobody has drawn its lot yet."""
    capture = view.catalog.capture
    if not view.captures:
        return Foretold(None, "unavailable" if capture.rules else "off")
    if facts.caller.purpose:
        return Foretold(None, "eval")
    if is_exempt(capture, facts):
        return Foretold(None, "exempt")
    rule = rule_for(capture, facts, asked_pool)
    if rule is None:
        return Foretold(None, "no_rule")
    if not request_id and 0 < rule.share_ppm < PPM:
        return Foretold(rule, "", is_certain=False)
    return Foretold(rule, "" if is_drawn(rule, request_id) else "share")


def is_left_out(rule: CaptureRule, body: bytes, most_bytes: int) -> bool:
    """A request that would be kept, were it not so large."""
    return rule.request and len(body) > most_bytes


def _copied(
    errand: Errand, facts: Facts, request_id: str, body: bytes, at_s: float, pool: str, most_bytes: int
) -> ToCapture | None:
    """Of a copy that is captured which is of its call: who is exempt is so wherever its call is sent."""
    if not (errand.captures_request or errand.captures_reply):
        return None
    rule = CaptureRule("", (), request=errand.captures_request, reply=errand.captures_reply)
    made = _made(rule, facts, request_id, body, at_s, pool, most_bytes)
    sample = replace(made.sample, purpose=errand.purpose, shadow_of=errand.shadow_of)
    return made._replace(sample=sample)


def _made(
    rule: CaptureRule, facts: Facts, request_id: str, body: bytes, at_s: float, pool: str, most_bytes: int
) -> ToCapture:
    is_cut = is_left_out(rule, body, most_bytes)
    caller = facts.caller
    sample = Sample(
        request_id,
        at_s,
        dialect=facts.surface.dialect,
        path=facts.surface.path,
        model=facts.model,
        pool=pool,
        stream=facts.stream,
        caller=caller.name,
        agent=caller.agent,
        user=caller.user,
        team=caller.team,
        customer=caller.customer,
        feature=caller.feature,
        tier=caller.tier,
        request=body if rule.request and not is_cut else None,
        cut=CUT_BY_SIZE if is_cut else "",
    )
    return ToCapture(sample, rule.reply, most_bytes)


def with_reply(reply: Reply, to: ToCapture | None) -> Reply:
    """An answer of the broker's own, from its cache: it is captured as a member's would be."""
    if to is None:
        return reply
    sample = to.sample
    if to.wants_reply:
        is_cut = len(reply.body) > to.most_bytes
        sample = replace(
            sample,
            status=reply.status,
            member=dict(reply.headers).get("x-broker-member", ""),
            reply=None if is_cut else reply.body,
            cut=CUT_BY_SIZE if is_cut else sample.cut,
        )
    return replace(reply, sample=sample, facts=(*reply.facts, ("captured", to.word)))


def with_error(reply: Reply, to: ToCapture | None) -> Reply:
    """The broker's own last word on a call that an attempt was made of: all else of it is captured as it was
    sent."""
    told = with_reply(reply, to)
    return told if to is None or to.wants_reply else replace(told, sample=None)
