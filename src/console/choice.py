"""What of the spend somebody wants to see: every choice is a URL, and a command. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlencode

from ..ledger.questions import FILTERS, Question
from .asked import Missing
from .spans import DAYS, DEFAULT, Span, span_of

PATH = "/console/spend"
MEASURES = {"cost": "Cost", "calls": "Calls", "tokens": "Tokens"}
DEFAULT_BY = ("team",)
_NOBODY = "none"  # dimensions of which a call has to have none
_MOST_BY = 2
# From whom to what: where a group leads to.
_ON = {
    "tier": "team",
    "team": "feature",
    "customer": "feature",
    "feature": "model",
    "caller": "pool",
    "agent": "feature",
    "user": "feature",
    "asked": "model",
    "pool": "member",
    "provider": "model",
    "rule": "pool",
    "code": "member",
    "outcome": "code",
    "rollout": "arm",
    "stage": "arm",
    "arm": "member",
}
_THEN = ("team", "customer", "feature", "model", "pool", "user", "caller", "code")
# Filters that the page of calls knows by the same names.
_OF_CALLS = ("pool", "outcome", "team", "customer", "caller", "member", "code")


class Choice(NamedTuple):
    """`where`: (dimension, value) pairs in the order of FILTERS; an empty value is asked for, too."""

    span: Span
    by: tuple[str, ...] = DEFAULT_BY
    measure: str = "cost"
    where: tuple[tuple[str, str], ...] = ()
    compares: bool = False

    def question(self) -> Question:
        where = {name: (value,) for name, value in self.where}
        return Question(self.by, self.span.since_ms, self.span.until_ms, where)

    def url(self, path: str = PATH) -> str:
        words = urlencode(self.pairs())
        return f"{path}?{words}" if words else path

    def pairs(self) -> list[tuple[str, str]]:
        """What the query has to say: nothing of what goes without saying."""
        said = [*_span_pairs(self.span)]
        if self.by != DEFAULT_BY:
            said.append(("by", ",".join(self.by)))
        if self.measure != "cost":
            said.append(("measure", self.measure))
        if self.compares:
            said.append(("compare", "yes"))
        return [*said, *filter_pairs(self.where)]

    def with_filter(self, *more: tuple[str, str]) -> Choice:
        given = {**dict(self.where), **dict(more)}
        return self._replace(where=tuple((name, given[name]) for name in FILTERS if name in given))

    def without(self, name: str) -> Choice:
        return self._replace(where=tuple(one for one in self.where if one[0] != name))

    def inside(self, key: tuple[str, ...]) -> Choice:
        """One group of this, by what is most likely asked next."""
        chosen = self.with_filter(*zip(self.by, key, strict=True))
        taken = dict(chosen.where)
        likely = (_ON.get(self.by[-1], ""), *_THEN)
        return chosen._replace(by=(next((name for name in likely if name and name not in taken), "model"),))

    def calls_url(self, key: tuple[str, ...]) -> str:
        """The calls of this group; "": the page of calls does not know how to ask for them."""
        given = {**dict(self.where), **dict(zip(self.by, key, strict=True))}
        if any(name not in _OF_CALLS or not value for name, value in given.items()):
            return ""
        return f"/console/calls?{urlencode(given)}"

    def command(self, of: str) -> str:
        """What says the same on a command line. `of`: the options that say which broker's ledger is asked."""
        words = [f"modelbroker spend {of}", f"--by {','.join(self.by)}"]
        words.append(f"--since {_moment(self.span.since_ms)}")
        if not self.span.is_open:
            words.append(f"--until {_moment(self.span.until_ms)}")
        return " ".join([*words, *(shlex.quote(f"--{name}={value}") for name, value in self.where)])


def choice_of(query: Mapping[str, str], now_s: float) -> Choice:
    """Missing: it asks for what there is not."""
    named = [query.get("by", ",".join(DEFAULT_BY)), query.get("then", "")]
    by = tuple(dict.fromkeys(word for words in named for word in words.split(",") if word))
    for name in by:
        if name not in FILTERS:
            raise Missing(f"There is no {name[:50]} to group by: there are {', '.join(FILTERS)}.")
    if len(by) > _MOST_BY:
        raise Missing(f"This page groups by {_MOST_BY} at most: `modelbroker spend` does it by more.")
    measure = query.get("measure", "cost")
    if measure not in MEASURES:
        raise Missing(f"There is no measure {measure[:50]}: there are {', '.join(MEASURES)}.")
    given = {name: query[name] for name in FILTERS if name in query}
    given |= {name: "" for name in query.get(_NOBODY, "").split(",") if name in FILTERS}
    if (added := query.get("dimension", "")) in FILTERS:  # by the form
        given[added] = query.get("value", "")
    where = tuple((name, given[name]) for name in FILTERS if name in given)
    by = by or DEFAULT_BY
    return Choice(span_of(query, now_s), by, measure, where, query.get("compare") == "yes")


def filter_pairs(where: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    said = [(name, value) for name, value in where if value]
    without = ",".join(name for name, value in where if not value)
    return [*said, (_NOBODY, without)] if without else said


def _span_pairs(span: Span) -> list[tuple[str, str]]:
    if span.name == DAYS:
        return [("from", span.first.isoformat()), ("to", span.last.isoformat())]
    return [("span", span.name)] if span.name != DEFAULT else []


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
