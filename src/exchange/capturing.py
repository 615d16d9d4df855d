"""What a call leaves for the store of traffic, if it is one that is captured."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ..core.call import Facts
from ..core.capture import CaptureRule
from ..core.traffic import CLIENT_CALL, CUT_BY_SIZE, SHADOW, Sample
from ..policy.capturing import captured
from .commands import Reply
from .view import View


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


# A shadow's reply is what it is for: it is captured whatever the rules say.
_SHADOWS = CaptureRule(SHADOW, ())


def to_capture(
    view: View,
    facts: Facts,
    request_id: str,
    body: bytes,
    at_s: float,
    asked_pool: str,
    pool: str,
    purpose: str = CLIENT_CALL,
    shadow_of: str = "",
) -> ToCapture | None:
    """`asked_pool` is what the call was for, which rules go by; `pool` the one that serves it. `purpose` and
    `shadow_of` are a Sample's: a call of an evaluation is not captured."""
    if not view.captures:
        return None
    capture = view.catalog.capture
    if purpose == CLIENT_CALL:
        rule = captured(capture, facts, asked_pool, request_id)
    else:
        rule = _SHADOWS if purpose == SHADOW else None
    if rule is None:
        return None
    made = _made(rule, facts, request_id, body, at_s, pool, capture.body_bytes)
    if purpose == CLIENT_CALL:
        return made
    return made._replace(sample=replace(made.sample, purpose=purpose, shadow_of=shadow_of))


def _made(
    rule: CaptureRule, facts: Facts, request_id: str, body: bytes, at_s: float, pool: str, most_bytes: int
) -> ToCapture:
    is_cut = rule.request and len(body) > most_bytes
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
