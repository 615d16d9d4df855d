"""Why a call went where it went and what came of it, in words: out of its record alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from ..core.causes import MEANINGS
from ..policy.budgets import window_named
from .words import ms, percent, plural, short

Tree = Mapping[str, Any]
_CAUSES = {cause.value: said for cause, said in MEANINGS.items()}
_SOURCES = {
    "client": "the client's doing",
    "policy": "by the configuration's policy",
    "provider": "the provider's doing",
    "broker": "the broker's doing",
}
# As docs/cache.md has them.
_CACHE = {
    "hit": "It was answered from the cache, with the reply of call ",
    "joined": "It was answered from the cache, with the reply of an equal call that was under way: ",
    "stored": "Its reply is kept in the cache for others.",
    "miss": "It was not in the cache, and its reply is not kept",
    "bypass": "The cache was passed by: the call is none to be cached",
}
_PURPOSES = {
    "shadow": "It was sent to a shadow: no client waits for its reply.",
    "score": "It is a question to who scores answers of a rollout.",
    "eval": "It is a call of an evaluation.",
}
# Why a total is not known, as docs/records.md has it.
_UNKNOWN = {
    "usage": "nobody told what it used",
    "price": "its model has no price: add it to `prices`",
    "service_tier": "its service tier has no price",
    "rest": "the reply broke off behind the last word of usage: it used this or more",
}
_KINDS = {"ok": "good", "refused": "warn", "error": "bad", "lost": "bad"}
_STATES = {
    "exact": "all of it, by the provider's own word",
    "partial": "what was told before the reply broke off, or its client left: it used this or more",
    "unknown": "the provider may have worked, and did not say how much",
    "none": "nothing was used",
}


class Outcome(NamedTuple):
    """`kind`: good, warn, bad or ""."""

    kind: str
    word: str


def outcome_of(fields: Mapping[str, Any]) -> Outcome:
    said = str(fields["outcome"])
    return Outcome(_KINDS.get(said, ""), said.replace("_", " "))


class Link(NamedTuple):
    text: str
    href: str


Part = str | Link


class Line(NamedTuple):
    """`kind`: good, warn, bad or ""."""

    kind: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "".join(part.text if isinstance(part, Link) else part for part in self.parts)


def line(*parts: Part, kind: str = "") -> Line:
    return Line(kind, parts)


def notes_of(fields: Mapping[str, Any]) -> list[str]:
    """What is out of the ordinary about a call, a few words each."""
    found = []
    if fields["purpose"]:
        found.append(str(fields["purpose"]))
    if fields["cache"] in ("hit", "joined"):
        found.append("from the cache")
    if fields["hedged"]:
        found.append("hedged")
    if fields["degraded_from"]:
        found.append(f"degraded from {fields['degraded_from']}")
    if fields["budget"]:
        found.append(f"budget {fields['budget']}")
    if fields["arm"] and not fields["purpose"]:
        found.append(f"{fields['arm']} of {fields['rollout']}")
    return found


def story_of(call: Tree, attempts: Sequence[Tree], revision_href: str) -> list[Line]:
    """In the order in which it came about."""
    return [
        *_who(call),
        *_decided(call, revision_href),
        *_eligible(call),
        *_budgets(call),
        *_cache(call),
        *_attempts(call, attempts),
        *_ended(call),
    ]


def pool_href(name: str) -> str:
    return f"/console/pools/{quote(name, safe='')}"


def pool_link(name: str) -> Link:
    return Link(name, pool_href(name))


def call_href(request_id: str) -> str:
    return f"/console/calls/{quote(request_id, safe='')}"


def call_link(request_id: str) -> Link:
    return Link(request_id, call_href(request_id))


def calls_link(text: str, **where: str) -> Link:
    return Link(text, f"/console/calls?{urlencode(where)}")


def cause_words(cause: str) -> str:
    """As docs/failures.md has it; "" for what is none."""
    return _CAUSES.get(cause, "")


def why_unknown(reason: str) -> str:
    return _UNKNOWN.get(reason, f"there is no rate for `{reason}`")


def state_words(state: str) -> str:
    """Of usage."""
    return _STATES.get(state, state)


def window_words(window: str) -> str:
    """`day, Europe/Berlin`, `24h`, `at a time`."""
    read = window_named(window)
    if read.unit:
        return f"{read.unit}, {read.time_zone}"
    return read.written if read.length_ms else "at a time"


def _who(call: Tree) -> Iterator[Line]:
    caller = call["caller"]
    who: list[Part] = [calls_link(caller, caller=caller)] if caller else ["Nobody that the broker knows"]
    of: list[Part] = []
    for name in ("agent", "user", "team", "customer", "feature", "tier"):
        if (said := call[name]) and not (name == "agent" and said == caller):
            of += [", " if of else " (", f"{name} ", calls_link(said, **{name: said})]
    how = f" called {call['method']} {call['path']}" if call["path"] else " called"
    dialect = f", in {call['dialect']}" if call["dialect"] else ""
    stream = ", and asked for a stream" if call["stream"] else ""
    yield line(*who, *of, ")" if of else "", f"{how}{dialect}{stream}.")
    if said := _PURPOSES.get(call["purpose"] or ""):
        yield line(said)
        if call["shadow_of"]:
            yield line("It is a copy of call ", call_link(call["shadow_of"]), ".")
    elif call["purpose"]:
        yield line(f"It was no client's: {call['purpose']}.")
    if call["model"]:
        yield line("It asked for ", calls_link(call["model"], asked=call["model"]), f"{_content(call)}.")


def _content(call: Tree) -> str:
    said = []
    if call["context_tokens"] is not None:
        said.append(f"a prompt of about {plural(call['context_tokens'], 'token')}, as estimated")
    if call["max_output_tokens"] is not None:
        said.append(f"at most {plural(call['max_output_tokens'], 'token')} of answer")
    if call["choices"] > 1:
        said.append(f"{call['choices']} answers")
    if call["holds"]:
        said.append(f"it holds or asks for {', '.join(call['holds']).replace('_', ' ')}")
    return f": {'; '.join(said)}" if said else ""


def _decided(call: Tree, revision_href: str) -> Iterator[Line]:
    by: tuple[Part, ...] = ()
    if call["revision"]:
        by = (", by revision ", Link(call["revision"], revision_href))
    # The record's pool is the one that answered last: failing over may have led to another one.
    chosen = call["degraded_from"] or (call["pool"] if call["attempts_made"] < 2 else "")
    named: tuple[Part, ...] = (" ", pool_link(chosen)) if chosen else ()
    if call["rule"]:
        rule = calls_link(call["rule"], rule=call["rule"])
        yield line("The rule ", rule, *((" chose the pool", *named) if named else (" decided",)), *by, ".")
    elif call["pool"]:
        yield line("No rule matched: `model` names the pool", *named, *by, ".")
    elif call["revision"]:
        yield line("No pool was chosen", *by, ".")
    if call["degraded_from"]:
        budget = _budget(call["budget"]) if call["budget"] else "a budget"
        yield line("For want of ", budget, " it was sent on to ", pool_link(call["pool"]), ".", kind="warn")
    elif call["pool"] and not chosen:
        yield line("The pool that answered last is ", pool_link(call["pool"]), ".")
    if call["rollout"]:
        rollout = Link(call["rollout"], "/console/rollouts")
        yield line("In the rollout ", rollout, f" at its stage {call['stage']} it was the {call['arm']}'s.")


def _budget(name: str) -> Link:
    return Link(name, "/console/budgets")


def _eligible(call: Tree) -> Iterator[Line]:
    eligible = call["eligible"]
    if eligible:
        parts: list[Part] = ["Who could serve it: "]
        for number, one in enumerate(eligible):
            chance = f"first with {percent(one['chance'])}" if one["chance"] else "only behind the others"
            parts += [", " if number else "", calls_link(one["member"], member=one["member"]), f" {chance}"]
        yield line(*parts, ".")
    if call["same_dialect"]:
        yield line(f"Members of other dialects were ruled out: they can't say `{call['same_dialect']}`.")
    if call["owners"]:
        owners = ", ".join(call["owners"])
        yield line(f"It holds ids that {owners} issued: members at other accounts were ruled out.")
    if call["unowned_ids"]:
        yield line(f"Its `{call['unowned_ids']}` is an id that does not say who issued it.")
    if call["queue_ms"]:
        yield line(
            f"It waited {ms(call['queue_ms'])}: every member had said that it takes no calls.", kind="warn"
        )


def _budgets(call: Tree) -> Iterator[Line]:
    budget = call["budget"]
    if budget and not call["degraded_from"]:
        yield line("The budget or rate limit ", _budget(budget), " denied it.", kind="warn")
    if charges := call["budgets"]:
        names = ", ".join(dict.fromkeys(one["budget"] for one in charges))
        yield line(f"It was charged in {plural(len(charges), 'account')} of {names}.")


def _cache(call: Tree) -> Iterator[Line]:
    said = _CACHE.get(call["cache"] or "")
    if said is None:
        return
    if call["cache"] in ("hit", "joined"):
        filled = call["cached_request_id"]
        yield line(said, call_link(filled) if filled else "that is not known", ".", kind="good")
        return
    reason = f": {call['cache_reason']}." if call["cache_reason"] else "" if said.endswith(".") else "."
    yield line(f"{said}{reason}")


def _attempts(call: Tree, attempts: Sequence[Tree]) -> Iterator[Line]:
    for one in attempts:
        if not one["member"]:
            yield line("There was another attempt, of which nobody told.", kind="warn")
            continue
        which = "hedge, beside the one before" if one["hedge"] else "attempt"
        begins: list[Part] = [f"{_ordinal(one['number'])} {which}: "]
        begins.append(calls_link(one["member"], member=one["member"]))
        yield line(*begins, f" {came_to(one)}.", kind=kind_of(one))
    untold = call["attempts_made"] - len(attempts)
    if untold > 0:
        yield line(f"{plural(untold, 'more attempt')} never reached a provider.", kind="warn")


def kind_of(attempt: Tree) -> str:
    if attempt["code"] == "cancelled":
        return ""
    return "bad" if attempt["cause"] or attempt["code"] else "good"


def came_to(attempt: Tree) -> str:
    """What became of an attempt, in words that follow its member's name."""
    took = f" after {ms(attempt['duration_ms'])}"
    status = attempt["provider_status"] or attempt["status"]
    with_status = f" with {status}" if status else ""
    if attempt["code"] == "cancelled":
        return f"was cancelled{took}: nobody waited for it any more"
    if attempt["cause"]:
        words = cause_words(attempt["cause"])
        return f"failed{took}{with_status}: {attempt['cause']}" + (f" ({words})" if words else "")
    if attempt["code"]:
        return f"failed{took}{with_status}: {attempt['code']}"
    return f"answered{with_status}{took}"


def _ordinal(number: int) -> str:
    tail = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{tail}"


def _ended(call: Tree) -> Iterator[Line]:
    outcome, code, source = call["outcome"], call["code"], _SOURCES.get(call["error_source"], "")
    why = f": {code}" if code else ""
    whose = f", {source}" if source else ""
    match outcome:
        case "lost":
            yield line("Nobody told its end: the broker or its Envoy was killed.", kind="bad")
        case "client_gone":
            yield line(f"Its client went away after {ms(call['duration_ms'])}, before its reply was whole.")
        case "refused":
            yield line(f"It was refused with {call['status']}{why}{whose}; nobody was asked.", kind="warn")
        case "error":
            yield line(f"The client got {call['status']}{why}{whose}.", kind="bad")
        case _:
            yield line(f"The client got {call['status']} after {ms(call['duration_ms'])}.", kind="good")
    if call["input"] or call["output"]:
        read = sum(call[name] for name in ("input", "cache_read", "cache_write_5m", "cache_write_1h"))
        yield line(f"{short(read)} tokens were read and {short(call['output'])} generated.")
    if call["added_ms"] is not None:
        yield line(f"The broker added {_fine(call['added_ms'])} to what members took.")


def _fine(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else ms(value)
