"""Cases: what is asked of every candidate, and what is known of a good answer. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..core.errors import BadRequest
from ..core.traffic import Sample
from ..dialects import dialect_named, surface_for_path
from .answers import Answer, Used, parsed, read_answer

PATHS = MappingProxyType(
    {
        "openai-chat": "/v1/chat/completions",
        "openai-responses": "/v1/responses",
        "anthropic-messages": "/v1/messages",
    }
)
PEOPLE = ("caller", "agent", "user", "team", "customer", "feature", "tier")
_SIZES = ((1_000, "up to 1k"), (8_000, "up to 8k"), (32_000, "up to 32k"), (128_000, "up to 128k"))
_FIELDS = ("id", "question", "messages", "request", "dialect", "stream", "expected", "reply", *PEOPLE)


class NoCase(ValueError):
    """What can't be asked again, in words."""


@dataclass(frozen=True, slots=True)
class Case:
    """`request`: the body as its client sent it, of `dialect`. `expected`: what a file says is right (None:
    nothing); `captured`: what the client got. `people`: who asked. `slices`: name → value, by which figures
    are told apart."""

    id: str
    dialect: str
    request: Mapping[str, Any]
    stream: bool = False
    expected: Any = None
    captured: Answer | None = None
    people: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    slices: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def path(self) -> str:
        return PATHS[self.dialect]

    @property
    def model(self) -> str:
        """What its client asked for."""
        return str(self.request.get("model", ""))


def case_of_line(line: str, number: int) -> Case:
    """A line of a file of cases: docs/evals.md. NoCase says what is wrong."""
    tree = parsed(line)
    if not isinstance(tree, dict):
        raise NoCase("is no JSON object")
    if unknown := tree.keys() - set(_FIELDS):
        raise NoCase(f"has {', '.join(sorted(unknown))}, which is no field of a case: {', '.join(_FIELDS)}")
    ways = [name for name in ("question", "messages", "request") if name in tree]
    if len(ways) != 1:
        raise NoCase("needs one of question, messages and request")
    dialect = str(tree.get("dialect", "openai-chat"))
    if ways == ["request"]:
        request = tree["request"]
    else:
        said = tree[ways[0]]
        messages = said if ways == ["messages"] else [{"role": "user", "content": str(said)}]
        request = _asked(dialect, messages)
    if not isinstance(request, dict):
        raise NoCase("request is no JSON object")
    request = {"model": "", **request}
    if "stream" in tree:
        request["stream"] = bool(tree["stream"])
    captured = _captured(dialect, tree.get("reply"))
    people = {name: str(tree[name]) for name in PEOPLE if tree.get(name)}
    return _case(str(tree.get("id") or number), dialect, request, tree.get("expected"), captured, people)


def _asked(dialect: str, messages: Any) -> dict[str, Any]:
    if dialect == "openai-responses":
        return {"input": messages}
    return {"messages": messages, **({"max_tokens": 4096} if dialect == "anthropic-messages" else {})}


def _captured(dialect: str, reply: Any) -> Answer | None:
    if reply is None:
        return None
    if isinstance(reply, str):
        return Answer(reply)
    try:
        return read_answer(dialect, json.dumps(reply).encode(), False)
    except ValueError as error:
        raise NoCase(f"reply: {error}") from None


def case_of_sample(sample: Sample) -> Case:
    """Captured traffic. NoCase where it can't be asked again: no request, cut, or not of a conversation."""
    if sample.request is None:
        raise NoCase("its request was not captured")
    if sample.cut == "size":
        raise NoCase("its body was cut")
    surface = surface_for_path(sample.path)
    if sample.dialect not in PATHS or (surface is not None and surface.operation != "chat"):
        raise NoCase(f"{sample.path or sample.dialect} is no conversation")
    request = parsed(sample.request.decode("utf-8", "replace"))
    if not isinstance(request, dict):
        raise NoCase("its request is no JSON object")
    captured = None
    if sample.reply is not None and sample.status == 200 and not sample.cut:
        try:
            captured = read_answer(sample.dialect, sample.reply, sample.stream)
        except ValueError:
            captured = None
    people = {name: value for name in PEOPLE if (value := getattr(sample, name))}
    return _case(sample.request_id, sample.dialect, request, None, captured, people)


def _case(
    name: str,
    dialect: str,
    request: dict[str, Any],
    expected: Any,
    captured: Answer | None,
    people: Mapping[str, str],
) -> Case:
    if dialect not in PATHS:
        raise NoCase(f"{dialect} is no dialect of conversations: {', '.join(PATHS)}")
    try:
        facts = dialect_named(dialect).read(
            json.dumps({**request, "model": request["model"] or "x"}).encode()
        )
    except BadRequest as error:
        raise NoCase(f"request: {error.message}") from None
    except KeyError:
        raise NoCase("its request names no model") from None
    if facts.hosted_tools:
        raise NoCase("it lets the provider run tools, and an evaluation runs none")
    slices = {
        **{fact: people.get(fact, "") for fact in ("team", "customer", "feature", "agent", "tier")},
        "dialect": dialect,
        "stream": "yes" if facts.stream else "no",
        "tools": "yes" if facts.tools else "no",
        "context": size_of(facts.context_tokens),
        "model": str(request["model"]),
    }
    return Case(name, dialect, request, facts.stream, expected, captured, people, slices)


def size_of(tokens: int) -> str:
    """The bucket of a context's size."""
    return next((name for most, name in _SIZES if tokens <= most), "over 128k")


def reference_of(case: Case, kind: str, baseline: Answer | None) -> Answer | None:
    """What an answer is held against: by the suite's `reference`. None: there is nothing."""
    if kind == "baseline":
        return baseline
    return case.captured if kind == "captured" else expected_answer(case.expected)


def expected_answer(expected: Any) -> Answer | None:
    """`expected` of a file as an answer: text, a JSON value, or `{tool_calls: [{name, arguments}]}`."""
    if expected is None:
        return None
    if isinstance(expected, dict) and isinstance(expected.get("tool_calls"), list):
        calls = [call for call in expected["tool_calls"] if isinstance(call, dict)]
        used = tuple(Used(str(call.get("name", "")), call.get("arguments", {})) for call in calls)
        return Answer(str(expected.get("text", "")), used)
    return Answer(expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False))


def stratified(cases: Iterable[Case], most: int, strata: Sequence[str], seed: int) -> list[Case]:
    """At most so many, each stratum with its share (the largest remainders are rounded up, and none is
    left out while there is room), in an order by lot. The same seed draws the same."""
    groups: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        groups.setdefault(tuple(case.slices.get(name, "") for name in strata), []).append(case)
    for group in groups.values():
        group.sort(key=lambda case: _lot(seed, case.id))
    total = sum(map(len, groups.values()))
    most = min(most, total)
    shares = {key: most * len(group) / total for key, group in groups.items()} if total else {}
    taken = {key: int(share) for key, share in shares.items()}
    by_need = sorted(shares, key=lambda key: (taken[key] > 0, taken[key] - shares[key], key))
    for key in by_need[: most - sum(taken.values())]:
        taken[key] += 1
    for key in [key for key in by_need if not taken[key]]:
        richest = max(taken, key=lambda one: (taken[one] > 1, taken[one] - shares[one], one))
        if taken[richest] < 2:
            break  # there is room for no more strata
        taken[richest], taken[key] = taken[richest] - 1, 1
    drawn = [case for key, group in groups.items() for case in group[: taken[key]]]
    return sorted(drawn, key=lambda case: _lot(seed + 1, case.id))


def _lot(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
