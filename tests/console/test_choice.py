"""Every choice is a URL that says the same again, and a command that asks for the same."""

from __future__ import annotations

import argparse
import shlex
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.cli import ledger_parser
from modelbroker.console.asked import Missing
from modelbroker.console.choice import Choice, choice_of
from modelbroker.console.spans import CHOICES, span_of
from modelbroker.ledger.questions import FILTERS
from support.ledgers import NOW_S
from support.spent import TEAMS

spans = st.one_of(
    st.sampled_from(list(CHOICES)).map(lambda name: {"span": name}),
    st.dates(min_value=span_of({"from": "2026-01-01"}, NOW_S).first, max_value=span_of({}, NOW_S).last).map(
        lambda day: {"from": day.isoformat(), "to": "2026-11-29"}
    ),
)
values = st.one_of(st.sampled_from(TEAMS), st.text(st.characters(exclude_categories=("Cs",)), max_size=8))
choices = st.builds(
    lambda span, by, measure, where, compares: Choice(
        span_of(span, NOW_S), tuple(by), measure, (), compares
    ).with_filter(*where.items()),
    spans,
    st.lists(st.sampled_from(FILTERS), min_size=1, max_size=2, unique=True),
    st.sampled_from(["cost", "calls", "tokens"]),
    st.dictionaries(st.sampled_from(FILTERS), values, max_size=3),
    st.booleans(),
)


def read(url: str) -> Choice:
    """As the console's server reads a URL: values that are empty do not arrive."""
    return choice_of(dict(parse_qsl(urlsplit(url).query)), NOW_S)


@given(choices)
def test_urls_say_the_same_again(choice: Choice) -> None:
    assert read(choice.url()) == choice
    assert read(choice.url("/console/spend.csv")) == choice


@given(choices, st.lists(values, min_size=2, max_size=2))
def test_a_group_leads_on(choice: Choice, key: list[str]) -> None:
    """It is added to the filters, and what it is cut by is no filter: there is something to see."""
    inside = choice.inside(tuple(key[: len(choice.by)]))
    assert read(inside.url()) == inside
    assert set(dict(choice.where)) | set(choice.by) == set(dict(inside.where))
    assert set(inside.by).isdisjoint(dict(inside.where)) or len(inside.where) > 7
    for name, value in inside.where:
        assert name not in dict(inside.without(name).where) and (name, value) in inside.where


@given(choices)
def test_the_command_asks_the_same(choice: Choice) -> None:
    parser = argparse.ArgumentParser()
    ledger_parser.add(parser.add_subparsers(), lambda commands, name, *_: commands.add_parser(name))
    options = parser.parse_args(shlex.split(choice.command("--config config/"))[1:])
    asked, wanted = ledger_parser.question_of(options), choice.question()
    assert (asked["by"], asked["since_ms"], asked["where"]) == (wanted.by, wanted.since_ms, wanted.where)
    assert choice.span.is_open or asked["until_ms"] == wanted.until_ms


def test_from_team_to_feature_to_model() -> None:
    first = read("/console/spend").inside(("search",))
    second = first.inside(("",))
    assert (first.by, first.url()) == (("feature",), "/console/spend?by=feature&team=search")
    assert (second.by, second.url()) == (("model",), "/console/spend?by=model&team=search&none=feature")
    assert second.without("team").where == (("feature", ""),)


def test_forms() -> None:
    base = "/console/spend?team=a&"
    assert read(base + "by=pool&then=model").by == ("pool", "model")
    assert read(base + "by=pool&then=pool").by == ("pool",)
    assert read(base + "dimension=customer&value=x").where == (("team", "a"), ("customer", "x"))
    assert read(base + "dimension=customer").where == (("team", "a"), ("customer", ""))
    assert read(base + "dimension=team&value=b").where == (("team", "b"),)


@pytest.mark.parametrize(
    "query", ["by=day", "by=<x>", "measure=errors", "by=team,nothing", "by=team,pool,model"]
)
def test_what_there_is_not_is_said(query: str) -> None:
    with pytest.raises(Missing):
        read(f"/console/spend?{query}")


def test_calls_are_linked_where_that_page_can_ask_for_them() -> None:
    choice = read("/console/spend?by=customer&pool=p")
    assert choice.calls_url(("a&b",)) == "/console/calls?pool=p&customer=a%26b"
    assert choice.calls_url(("",)) == ""
    assert read("/console/spend?by=model").calls_url(("m",)) == ""
