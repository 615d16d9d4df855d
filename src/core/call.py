"""What is known of one call: who calls, what for, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .catalog import NO_ITEMS, CallerEntry, Member


@dataclass(frozen=True, slots=True)
class Surface:
    """One operation that clients may call: `POST path` in a dialect.

    `suffix` is what stands behind a provider's base URL for this operation. `operation` is `chat`, `count`
    or `embed`; `served_by` are the other dialects that it can be translated into.
    """

    name: str
    dialect: str
    path: str
    suffix: str
    operation: str = "chat"
    served_by: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a call, from a verified credential. Empty text where a field is not known."""

    name: str = ""
    user: str = ""
    customer: str = ""
    feature: str = ""
    # What follows is left out of the hash, which every call takes: callers are told apart without it.
    agent: str = field(default="", hash=False)
    team: str = field(default="", hash=False)
    tier: str = field(default="", hash=False)
    pools: tuple[str, ...] = field(default=("*",), hash=False)
    trusted_for: frozenset[str] = field(default=frozenset(), hash=False)
    # What its calls are for, where they are no client's: `shadow`, `eval`.
    purpose: str = field(default="", hash=False)


def caller_of(entry: CallerEntry) -> Caller:
    """What a caller's credential stands for."""
    return Caller(
        name=entry.name,
        agent=entry.agent,
        user=entry.user,
        team=entry.team,
        customer=entry.customer,
        tier=entry.tier,
        pools=entry.pools,
        trusted_for=entry.trusted_for,
        purpose=entry.purpose,
    )


class Facts(NamedTuple):
    """What is known of a call before routing. None: not known. (One is made for every call: a frozen
    dataclass of so many fields takes three times as long.)"""

    caller: Caller
    surface: Surface
    model: str
    context_tokens: int = 0  # estimated
    max_output_tokens: int | None = None
    tools: bool = False
    images: bool = False
    documents: bool = False
    schema: bool = False
    reasoning: bool = False
    stream: bool = False
    audio: bool = False
    choices: int = 1
    same_dialect: str = ""  # the first field that only members of this very dialect can serve
    owners: tuple[str, ...] = ()  # providers that issued ids in the request
    owned_ids: tuple[str, ...] = ()  # of each of `owners` the first field with an id of its
    unowned_ids: str = ""  # the first field whose id does not say who issued it
    stateful: bool = False  # the reply is to be kept at the provider
    hosted_tools: bool = False  # asks for tools that run at the provider
    files: bool = False  # names a file, or another thing at an account that is no reply
    image_urls: bool = False  # of `images`, one that the provider is to fetch itself
    document_urls: bool = False
    cost_estimate: int | None = None  # nano-dollars
    headers: Mapping[str, str] = NO_ITEMS  # only those declared as facts

    def again(
        self, caller: Caller, context_tokens: int, max_output_tokens: int | None, choices: int
    ) -> Facts:
        """Those of another such call. (As `_replace`, in a fifth of the time.)"""
        sizes = (context_tokens, max_output_tokens)
        return tuple.__new__(Facts, (caller, *self[1:3], *sizes, *self[5:12], choices, *self[13:]))

    def get(self, name: str) -> str | int | bool | None:
        """The fact by its name in YAML (`context.tokens`); None where it is not known."""
        caller = self.caller
        match name:
            case "context.tokens":
                return self.context_tokens
            case "max_output.tokens":
                return self.max_output_tokens
            case "cost.estimate":
                return self.cost_estimate
            case "dialect":
                return self.surface.dialect
            case "caller":
                return caller.name or None
            case "model" | "tools" | "images" | "documents" | "audio" | "schema" | "reasoning" | "stream":
                value: str | bool = getattr(self, name)
                return value
            case "agent" | "user" | "team" | "customer" | "feature" | "tier":
                text: str = getattr(caller, name)
                return text or None
        return self.headers.get(name)


class Money(int):
    """The kind of facts that are amounts of money: nano-dollars, written as dollars."""


# Every fact a rule may match on, beside the declared headers, with the kind of value it has.
FACT_KINDS: Mapping[str, type] = {
    "caller": str,
    "agent": str,
    "user": str,
    "team": str,
    "customer": str,
    "feature": str,
    "tier": str,
    "dialect": str,
    "model": str,
    "context.tokens": int,
    "max_output.tokens": int,
    "tools": bool,
    "images": bool,
    "documents": bool,
    "audio": bool,
    "schema": bool,
    "reasoning": bool,
    "stream": bool,
    "cost.estimate": Money,
}


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A member that can't serve a call, and why: a stable `code` and a sentence."""

    member: Member
    code: str
    why: str


class Decision(NamedTuple):
    """Which pool, by which rule, and who may serve. `rule` is "" where `model` named the pool."""

    revision: str
    rule: str
    pool: str
    eligible: tuple[Member, ...]
    ruled_out: tuple[RuledOut, ...]
    failover: int
