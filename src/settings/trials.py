"""Shadows and rollouts of pools → the catalog's, with the pools and budgets that are made for them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from ..core.budgets import NANO_DOLLARS, Budget, Window
from ..core.catalog import Condition, Member, Op, Pool, Routing
from ..core.causes import DEFAULT_ACTIONS, Action
from ..core.trials import ALL_PPM, SHADOW, Gates, Rollout, Shadow, Stage, Trials, candidate_pool
from . import match
from .merge import Merged
from .problems import listing, show, suggestion
from .providers import Providers
from .schema import PoolIn
from .trial_schema import GatesIn, RolloutIn, ScoresIn, ShadowIn, StageIn
from .trial_scores import check_scores, scores_of
from .values import duration_text
from .yamltext import Path

_DEFAULT_SHARES = ("1%", "10%", "50%", "100%")


class Tried(NamedTuple):
    """All pools, those of candidates among them; what is tried beside which; what that may cost."""

    pools: Mapping[str, Pool]
    trials: Mapping[str, Trials]
    budgets: tuple[Budget, ...]


def use_targets(
    pools_in: Sequence[PoolIn | None], pool_names: Mapping[str, int], providers: Providers
) -> None:
    """Take in the providers of members that only trials name."""
    for index, entry in enumerate(pools_in):
        if entry is None:
            continue
        path: Path = ("pools", index)
        targets = [((*path, "shadow", i, "to"), said.to) for i, said in enumerate(entry.shadow)]
        if entry.rollout is not None:
            targets.append(((*path, "rollout", "to"), entry.rollout.to))
        for here, said in targets:
            if (member := _member_named(said, pool_names)) is not None:
                providers.need(member[0], here)


def _member_named(said: tuple[str, str], pool_names: Container[str]) -> tuple[str, str] | None:
    """(provider, model); None: it is a pool's name, or nothing."""
    if said[1]:
        return said
    if said[0] in pool_names or "/" not in said[0]:
        return None
    provider, _, model = said[0].partition("/")
    return (provider, model) if provider and model else None


class _Reader:
    def __init__(
        self,
        merged: Merged,
        pools: Mapping[str, Pool],
        providers: Providers,
        declared: Mapping[str, str],
    ) -> None:
        self.merged = merged
        self.pools = pools
        self.providers = providers
        self.declared = declared
        self.made: dict[str, Pool] = {}
        self.budgets: list[Budget] = []
        self.names: dict[str, Path] = {}  # of rollouts

    def target(self, path: Path, pool: Pool, said: tuple[str, str]) -> tuple[str, str]:
        """(the pool's name, how the configuration names it); ("", …) where there is none."""
        to = "/".join(filter(None, said))
        member = _member_named(said, self.pools)
        if member is None:
            if to not in self.pools:
                names = [name for name in self.pools if name != pool.name]
                otherwise = f"give a member (provider/model), or a pool: {listing(names) or 'none so far'}"
                self.merged.wrong(path, f"there is no pool {show(to)}", suggestion(to, names, otherwise))
                return "", to
            if to == pool.name:
                self.merged.wrong(path, f"{show(to)} is this very pool", "name another one, or a member")
                return "", to
            return to, to
        return self._made_for(pool, *member), to

    def _made_for(self, pool: Pool, provider: str, model: str) -> str:
        """A pool of that member alone. What fails there, `pool` answers."""
        own = next((one for one in pool.members if (one.provider, one.model) == (provider, model)), None)
        member = own or Member(provider, model, capabilities=self.providers.capabilities(provider, model))
        name = candidate_pool(pool.name, member.id)
        said = dict(pool.on)
        on = tuple(
            (cause, pool.name if action is not Action.CLIENT else action)
            for cause, action in sorted({**DEFAULT_ACTIONS, **said}.items(), key=lambda one: one[0].value)
            if not isinstance(action, str)
        )
        self.made[name] = replace(
            pool,
            name=name,
            members=(replace(member, weight=1, priority=0),),
            routing=Routing(),
            cache=None,
            aliases=(),
            hedge=None,
            on=(*on, *((cause, action) for cause, action in pool.on if isinstance(action, str))),
        )
        return name

    def shadow(self, path: Path, pool: Pool, number: int, said: ShadowIn) -> Shadow | None:
        target, to = self.target((*path, "to"), pool, said.to)
        conditions, problems = match.conditions(said.match, self.declared)
        for problem in problems:
            self.merged.wrong((*path, "match", *problem.path), problem.wrong, problem.right)
        if not target:
            return None
        name = f"{pool.name}>{to}" + (f"#{number}" if number > 1 else "")
        shadow = Shadow(name, pool.name, target, to, said.share, conditions, said.concurrency, said.timeout)
        self._budget(path, shadow, said.budget)
        return shadow

    def _budget(self, path: Path, shadow: Shadow, cap: tuple[int, Window] | None) -> None:
        if cap is None:
            wrong = f"nothing bounds what copies of calls to {shadow.to} cost"
            self.merged.warn(path, wrong, "add e.g. budget: $20/day")
            return
        conditions = (
            Condition("caller", Op.IN, (shadow.caller,)),
            Condition("agent", Op.IN, (shadow.name,)),
        )
        name = f"{SHADOW}:{shadow.name}"
        self.budgets.append(Budget(name, cap[0], NANO_DOLLARS, cap[1], conditions=conditions))

    def rollout(self, path: Path, pool: Pool, said: RolloutIn) -> Rollout | None:
        target, to = self.target((*path, "to"), pool, said.to)
        name = said.name or f"{pool.name}>{to}"
        if name in self.names:
            wrong = f"the name {show(name)} is taken already at {{also}}"
            self.merged.wrong((*path, "name"), wrong, "give each rollout its own", also=self.names[name])
        self.names.setdefault(name, path)
        candidate = self.made.get(target) or self.pools.get(target)
        ours, theirs = ({one.id for one in found.members} if found else set() for found in (pool, candidate))
        if ours == theirs and len(ours) == 1:
            wrong = f"{show(to)} has the only member that {show(pool.name)} has: both arms are the same"
            right = "name another one, or keep it to see what chance alone does (an A/A test)"
            self.merged.warn((*path, "to"), wrong, right)
        stages: list[Stage] = []
        entries = said.stages or [StageIn.model_validate({"share": share}) for share in _DEFAULT_SHARES]
        for index, entry in enumerate(entries):
            here: Path = (*path, "stages", index)
            stage = self._stage(here, pool, said, entry, name, target, to)
            if stage is not None:
                self._check_order(here, stage, stages)
                stages.append(stage)
        if stages and stages[-1].share_ppm != ALL_PPM and len(stages) == len(entries):
            wrong = "the last stage is not 100%, so that the rollout would never be whole"
            self.merged.wrong((*path, "stages"), wrong, "add {share: 100%}")
        if not target:
            return None
        if len(stages) == len(entries):
            stages = self._scored(path, pool, said, entries, stages, name, target)
        return Rollout(name, pool.name, target, to, tuple(stages))

    def _scored(
        self,
        path: Path,
        pool: Pool,
        rollout: RolloutIn,
        entries: Sequence[StageIn],
        stages: Sequence[Stage],
        name: str,
        target: str,
    ) -> list[Stage]:
        """The stages with their scores: their own, or the rollout's."""
        parts: list[tuple[Path, ScoresIn, str, list[int]]] = []
        rest = [index for index, entry in enumerate(entries) if entry.scores is None]
        if rollout.scores is not None:
            parts.append(((*path, "scores"), rollout.scores, name, rest))
        for index, entry in enumerate(entries):
            if entry.scores is not None:
                here: Path = (*path, "stages", index, "scores")
                parts.append((here, entry.scores, f"{name}#{stages[index].name}", [index]))
        found = list(stages)
        for here, said, its_name, numbers in parts:
            its = [stages[number] for number in numbers]
            check_scores(
                self.merged, here, said, {**self.pools, **self.made}, (target, pool.name), its, numbers
            )
            scores, budget = scores_of(said, its_name, pool.name)
            self.budgets += [budget] if budget is not None else []
            for number, stage in zip(numbers, its, strict=True):
                if stage.gates.quality_ppm is not None:
                    found[number] = replace(stage, scores=scores)
        return found

    def _stage(
        self, path: Path, pool: Pool, rollout: RolloutIn, said: StageIn, name: str, target: str, to: str
    ) -> Stage | None:
        if (said.shadow is None) == (said.share is None):
            self.merged.wrong(path, "a stage has either shadow or share", "give e.g. {share: 10%}")
            return None
        hold_ms = rollout.hold if said.hold is None else said.hold
        limit_ms = rollout.within if said.within is None else said.within
        if limit_ms <= hold_ms:
            wrong = f"within ({duration_text(limit_ms)}) is no longer than hold ({duration_text(hold_ms)})"
            self.merged.wrong(path, wrong, "give it more time")
        gates = _gates(said.gates or rollout.gates)
        shadow = None
        if said.shadow is not None:
            shadow = Shadow(f"{name}#shadow", pool.name, target, to, said.shadow, rollout=name)
            if target:
                self._budget(path, shadow, said.budget)
        elif said.budget is not None:
            self.merged.wrong((*path, "budget"), "only copies have a budget of their own", "leave it out")
        min_calls = said.min_calls or rollout.min_calls
        share_ppm = 0 if said.share is None else said.share
        label = "shadow" if shadow else f"{share_ppm / 10_000:g}%"
        return Stage(label, share_ppm, hold_ms, min_calls, limit_ms, gates, shadow)

    def _check_order(self, path: Path, stage: Stage, before: Sequence[Stage]) -> None:
        if not before:
            return
        if stage.shadow is not None:
            self.merged.wrong(path, "a shadow comes before shares, and once", "put it first, or leave it out")
        elif stage.share_ppm <= before[-1].share_ppm:
            self.merged.wrong((*path, "share"), "is no larger than the share before it", "let shares rise")

    def check_cycles(self, trials: Mapping[str, Trials]) -> None:
        """Copies are not copied, and candidates' calls not drawn again: what a target tries itself would be
        tried by its own callers alone. That is as it should be, but for pools that go round in a circle."""
        indexes = self.merged.names("pools")
        following = {name: one.rollout.target for name, one in trials.items() if one.rollout is not None}
        for name in following:
            seen, at = [name], following[name]
            while at in following and at not in seen:
                seen.append(at)
                at = following[at]
            if at == name:
                wrong = f"rollouts go round in a circle: {' > '.join([*seen, at])}"
                self.merged.wrong(("pools", indexes[name], "rollout", "to"), wrong, "take one of them out")


def _gates(said: GatesIn) -> Gates:
    return Gates(said.confidence, said.errors, said.quality, said.p95, said.first_event, said.cost)


def read_trials(
    merged: Merged,
    pools_in: Sequence[PoolIn | None],
    pools: Mapping[str, Pool],
    providers: Providers,
    declared: Mapping[str, str],
) -> Tried:
    """`declared`: facts that headers set. What is wrong is noted."""
    reader = _Reader(merged, pools, providers, declared)
    trials: dict[str, Trials] = {}
    for index, entry in enumerate(pools_in):
        if entry is None or (pool := pools.get(entry.name)) is None:
            continue
        path: Path = ("pools", index)
        shadows = [
            reader.shadow((*path, "shadow", i), pool, i + 1, said) for i, said in enumerate(entry.shadow)
        ]
        rollout = None
        if entry.rollout is not None:
            rollout = reader.rollout((*path, "rollout"), pool, entry.rollout)
        found = Trials(tuple(one for one in shadows if one is not None), rollout)
        if found != Trials():
            trials[entry.name] = found
    reader.check_cycles(trials)
    _check_listener(merged, trials)
    all_pools = MappingProxyType(dict(sorted({**pools, **reader.made}.items()))) if reader.made else pools
    return Tried(all_pools, MappingProxyType(dict(sorted(trials.items()))), tuple(reader.budgets))


def _check_listener(merged: Merged, trials: Mapping[str, Trials]) -> None:
    """Copies, and questions to judges, come through the broker's own listener, and have no certificate to
    show."""
    tls = merged.mappings["listen"].get("tls")
    if not isinstance(tls, dict) or not tls.get("require_client_cert"):
        return
    indexes = merged.names("pools")
    for name, one in trials.items():
        stages = one.rollout.stages if one.rollout is not None else ()
        what = "copies of calls" if one.shadows or any(stage.shadow for stage in stages) else ""
        if not what and any(stage.scores is not None and stage.scores.asks for stage in stages):
            what = "questions to judges"
        if what:
            wrong = f"{what} come through `listen`, which asks for a certificate (require_client_cert)"
            right = "let keys or tokens say who calls, or leave out what sends them"
            merged.wrong(("pools", indexes[name]), wrong, right)
