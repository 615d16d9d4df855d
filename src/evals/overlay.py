"""The configuration under which candidates are called: the user's own, with callers and a budget of the
evaluation's, and without what would come between a case and its candidate. Pure; the user's files stay as
they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ..settings.yamltext import parse
from .cases import Case
from .suite import Candidate, Suite

JUDGE = "eval-judge"
_OWN_FILE = "000-eval.yaml"
# Budgets are customers', a cache would answer in a candidate's place, and records, bodies and traces are not
# of clients' calls.
_LEFT_OUT = (
    "listen",
    "issuers",
    "callers",
    "budgets",
    "rate_limits",
    "redis",
    "ledger",
    "cache",
    "capture",
    "audit",
    "traffic",
    "telemetry",
)
_OF_POOLS = ("cache", "shadow", "rollout")
_WHO = ("caller", "agent", "user", "team", "tier")


@dataclass(frozen=True, slots=True)
class Stage:
    """A broker that is to run. `config`: the candidate's own path, "" for the user's. `budget`: nano-dollars;
    None: none."""

    config: str
    candidates: tuple[Candidate, ...]
    budget: int | None


def stages_of(suite: Suite, left: int | None) -> tuple[Stage, ...]:
    """A broker for each configuration; what is `left` of the money is shared by the number of candidates
    (a judge counts as one), for brokers share no budget without a Redis."""
    by_config: dict[str, list[Candidate]] = {}
    for one in suite.candidates:
        by_config.setdefault(one.config, []).append(one)
    judges = any(one.pool and one.kind in ("judge", "similarity") for one in suite.scorers)
    if judges:
        by_config.setdefault("", [])
    heads = len(suite.candidates) + judges
    return tuple(
        Stage(
            config,
            tuple(candidates),
            None if left is None else left * (len(candidates) + (judges and not config)) // heads,
        )
        for config, candidates in sorted(by_config.items())
    )


def model_of(candidate: Candidate, case: Case) -> str:
    """What is asked for."""
    if candidate.config:
        return case.model
    return candidate.pool or pool_of(candidate)


def pool_of(candidate: Candidate) -> str:
    """The pool that a member has to itself."""
    return f"eval-{candidate.name}".lower()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the caller's name in the broker, and the facts that its headers say."""

    name: str
    headers: tuple[tuple[str, str], ...] = ()


Who = Mapping[tuple[str, ...], str]


def askers(cases: Iterable[Case]) -> Who:
    """Facts of people → the caller that a whole configuration is asked as, for its rules may look at them.
    The first of those that have a caller's name keeps it: rules may look at that, too."""
    names: dict[tuple[str, ...], str] = {}
    for case in cases:
        facts = _facts(case)
        if facts not in names:
            told = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:8]
            name = facts[0] or "eval-nobody"
            names[facts] = name if name not in names.values() else f"{name}-{told}"
    return names


def _facts(case: Case) -> tuple[str, ...]:
    return tuple(case.people.get(name, "") for name in _WHO)


def asker_of(candidate: Candidate, case: Case, who: Who) -> Asker:
    """Pools and members are asked by the candidate's own caller."""
    if not candidate.config:
        return Asker(f"eval-{candidate.name}")
    said = [(name, case.people[name]) for name in ("feature", "customer") if case.people.get(name)]
    return Asker(who[_facts(case)], tuple((f"x-broker-{name}", value) for name, value in said))


def key_of(secret: str, asker: str) -> str:
    """The key of a caller: made of the run's secret, so that none is kept."""
    return f"mb-eval-{hashlib.sha256(f'{secret}:{asker}'.encode()).hexdigest()[:40]}"


def files_of(texts: Mapping[str, str], suite: Suite, stage: Stage, who: Who, secret: str) -> dict[str, str]:
    """Name → text of the configuration that is run."""
    files: dict[str, str] = {}
    for number, text in enumerate(texts.values()):
        tree, _ = parse(text)
        if not isinstance(tree, dict):
            continue
        for name in _LEFT_OUT:
            tree.pop(name, None)
        if not stage.config:  # each candidate is asked for by name
            tree.pop("rules", None)
        for entry in tree.get("pools") or ():
            for name in _OF_POOLS:
                entry.pop(name, None)
        files[f"{number + 1:03d}.yaml"] = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    files[_OWN_FILE] = yaml.safe_dump(_own(suite, stage, who, secret), sort_keys=False, allow_unicode=True)
    return files


def _own(suite: Suite, stage: Stage, who: Who, secret: str) -> dict[str, Any]:
    own: dict[str, Any] = {
        "listen": {"address": "127.0.0.1", "port": 0},
        "ledger": {"url": "none"},
        "callers": _callers(stage, who, secret),
    }
    members = [one for one in stage.candidates if one.provider]
    if members:
        own["pools"] = [
            {
                "name": pool_of(one),
                "failover": "none",
                "ejection": "off",
                "members": [{"provider": one.provider, "model": one.model}],
            }
            for one in members
        ]
    if stage.budget is not None:
        said = suite.said.budget
        unknown = said.on_unknown_cost
        own["budgets"] = [
            {
                "name": "eval",
                "purpose": "eval",
                "amount": f"${max(stage.budget, 1) / 1e9:.9f}",
                "per": "rolling 366d",
                "reserve_output": said.reserve_output,
                "on_unknown_cost": f"${unknown / 1e9:.9f}" if isinstance(unknown, int) else str(unknown),
            }
        ]
    return own


def _callers(stage: Stage, who: Who, secret: str) -> list[dict[str, Any]]:
    callers: dict[str, dict[str, Any]] = {}
    if not stage.config:
        names = [f"eval-{one.name}" for one in stage.candidates] + [JUDGE]
        callers = {name: {"name": name} for name in names}
    else:
        for facts, name in who.items():
            known = {fact: value for fact, value in zip(_WHO[1:], facts[1:], strict=True) if value}
            callers[name] = {"name": name, **known, "trusted_for": ["feature", "customer"]}
    for name, entry in callers.items():
        entry["key"] = {"sha256": hashlib.sha256(key_of(secret, name).encode()).hexdigest()}
        entry["purpose"] = "eval"
    return list(callers.values())
