"""What a call leaves for the store of traffic, if it is one that is captured."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from ..core.call import Facts
from ..core.capture import PPM, CaptureRule
from ..core.keys import REPLY_SEEN
from ..core.traffic import CUT_BY_SIZE, Sample
from ..core.trials import ToScore
from ..policy.capturing import captured, is_drawn, is_exempt, rule_for
from .commands import Reply
from .errand import Errand
from .view import View

# Why a call is not captured; "": it is.
WhyNot = Literal["", "off", "unavailable", "eval", "exempt", "no_rule", "share"]


class ToCapture(NamedTuple):
    """`sample` has no reply yet; `wants_reply`: it is to have one. `word`: what of it is for the store, as
    the call's record says: `request`, `reply`, `both`, or "": nothing. `scores`: it is to be scored, in
    memory alone."""

    sample: Sample
    wants_reply: bool
    most_bytes: int  # of the reply
    word: str = "both"
    scores: ToScore | None = None

    def facts(self) -> tuple[tuple[str, str], ...]:
        """For the record, and for the routes that show replies."""
        kept = (("captured", self.word),) if self.word else ()
        return (*kept, (REPLY_SEEN, "yes")) if self.wants_reply else kept

    def kept(self, sample: Sample) -> Sample:
        """What of it is for the store."""
        if self.scores is None:
            return sample
        return replace(
            sample,
            request=sample.request if self.word != "reply" else None,
            reply=sample.reply if self.word != "request" else None,
        )


def to_capture(
    view: View,
    facts: Facts,
    request_id: str,
    body: bytes,
    at_s: float,
    asked_pool: str,
    pool: str,
    errand: Errand | None = None,
    scores: ToScore | None = None,
) -> ToCapture | None:
    """`asked_pool` is what the call was for, which rules go by; `pool` the one that serves it. Of the
    broker's own errands copies are captured as their calls are; a call of an evaluation is not. What is to be
    scored is seen whole, whatever of it is kept."""
    rule = _rule(view, facts, request_id, asked_pool, errand) if view.captures else None
    if rule is None and scores is None:
        return None
    most_bytes = view.catalog.capture.body_bytes
    seen = rule if scores is None and rule is not None else _ALL
    made = _made(seen, facts, request_id, body, at_s, pool, most_bytes)
    word = "" if rule is None else "request" if not rule.reply else "both" if rule.request else "reply"
    sample = made.sample
    if errand is not None:
        sample = replace(sample, purpose=errand.purpose, shadow_of=errand.shadow_of)
    return made._replace(sample=sample, word=word, scores=scores)


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
    if is_exempt(capture, facts.caller.name):
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


_ALL = CaptureRule("", ())


def _rule(
    view: View, facts: Facts, request_id: str, asked_pool: str, errand: Errand | None
) -> CaptureRule | None:
    """What of the call is for the store. Of a copy it is what is of its call: who is exempt is so wherever
    its call is sent."""
    if errand is not None:
        if not (errand.captures_request or errand.captures_reply):
            return None
        return CaptureRule("", (), request=errand.captures_request, reply=errand.captures_reply)
    if facts.caller.purpose:
        return None
    return captured(view.catalog.capture, facts, asked_pool, request_id)


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
    if to is None or not to.word:
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
    return replace(reply, sample=to.kept(sample), facts=(*reply.facts, ("captured", to.word)))


def with_error(reply: Reply, to: ToCapture | None) -> Reply:
    """The broker's own last word on a call that an attempt was made of: all else of it is captured as it was
    sent."""
    told = with_reply(reply, to)
    return told if to is None or to.wants_reply else replace(told, sample=None)
