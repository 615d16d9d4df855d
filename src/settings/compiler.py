"""Texts → Catalog: everything is checked, and all that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

from ..core.admin import DEFAULT_ADMIN
from ..core.audit import NO_AUDIT
from ..core.call import FACT_KINDS
from ..core.catalog import (
    Affinity,
    CacheStore,
    Caching,
    CallerEntry,
    Catalog,
    Ejection,
    Hedge,
    LedgerPlace,
    Limits,
    Listen,
    Member,
    Pool,
    Routing,
    Rule,
    Timeouts,
)
from ..core.causes import ALWAYS_CLIENTS, Action, Cause
from ..core.console import DEFAULT_CONSOLE
from ..core.deviation import Deviation
from ..core.identity import Issuer
from ..core.labels import NO_LABELS
from ..core.prices import NO_PRICES, PriceBook, PriceTerm
from ..core.problems import Problem
from ..core.secrets import NO_SECRETS
from ..core.telemetry import NO_TELEMETRY
from ..core.trials import Trials
from . import match
from .admin import read_admin
from .affordable import warn_of_prices
from .auditing import read_audit
from .budgets import budgets_of
from .caching import CacheStoreIn
from .callers import is_glob, read_callers, read_issuers
from .capturing import read_capture
from .console import read_console
from .explain import read_list, read_one
from .files import read_files
from .identity import IssuerIn
from .ledger import LedgerIn
from .merge import Merged, merge
from .metrics import MetricsIn
from .models import overlaid, wires
from .prices import PriceList, price_book, read_terms, without_sources
from .pricing import PriceIn
from .problems import kind, listing, show, suggestion
from .providers import Providers
from .revision import revision
from .schema import CallerIn, FactsIn, LimitsIn, ListenIn, MemberIn, PoolIn, ProviderIn, RuleIn
from .secret_stores import read_secrets
from .telemetry import read_telemetry
from .trials import read_trials, use_targets
from .values import duration_text
from .yamltext import Path

# Envoy draws by weight until it meets a member that it has not tried, and not for ever.
_RAREST = 500
_UINT32 = 2**32 - 1  # Envoy adds the weights of a cluster up in this
_START = (
    "begin with `pools: [{name: my-pool, members: [{provider: anthropic, model: claude-sonnet-4-6}]}]`; "
    "config/modelbroker.yaml is a whole example"
)


@dataclass(frozen=True)
class Loaded:
    """A good configuration, what in it is probably not as it was meant, and the prices of its members."""

    catalog: Catalog
    warnings: tuple[Problem, ...]
    prices: PriceBook = NO_PRICES


def load(
    path: FilePath,
    *,
    dialects: Collection[str],
    built: Collection[str],
    deviations: Mapping[str, Mapping[str, Deviation]] | None = None,
) -> Loaded:
    """`read_files` and `compile_texts`. Raises SettingsError."""
    return compile_texts(read_files(path), dialects=dialects, built=built, deviations=deviations)


def compile_texts(
    files: Mapping[str, str],
    *,
    dialects: Collection[str],
    built: Collection[str],
    deviations: Mapping[str, Mapping[str, Deviation]] | None = None,
    price_list: PriceList | None = None,
    priced_at_s: int | None = None,
    warned_at_s: int | None = None,
) -> Loaded:
    """The Catalog that these files (name → YAML) describe together; pure.

    `dialects` are all that are known, `built` those that this version can speak. `deviations` is, by dialect,
    what its providers may have under `deviations`; None: anything. `price_list` are the prices that those of
    the configuration go before. Members without a price at `priced_at_s` (Unix seconds) are warned of, and
    prices name their lines; at `warned_at_s` only those on whose price a budget or a routing depends.
    Raises SettingsError with every problem there is.
    """
    merged = merge(files)
    if not merged.lists["pools"] and not merged.problems:
        merged.wrong((), "the configuration has no pools", _START)
    declared = read_list(merged, "providers", ProviderIn)
    pools_in = read_list(merged, "pools", PoolIn)
    callers_in = read_list(merged, "callers", CallerIn)
    issuers_in = read_list(merged, "issuers", IssuerIn)
    rules_in = read_list(merged, "rules", RuleIn)
    limits_in = read_one(merged, ("limits",), LimitsIn, merged.mappings["limits"])
    listen_in = read_one(merged, ("listen",), ListenIn, merged.mappings["listen"])
    facts_in = read_one(merged, ("facts",), FactsIn, merged.mappings["facts"])
    ledger_in = read_one(merged, ("ledger",), LedgerIn, merged.mappings["ledger"])
    cache_in = read_one(merged, ("cache",), CacheStoreIn, merged.mappings["cache"])
    prices_in = read_list(merged, "prices", PriceIn)

    providers = Providers(merged, declared, dialects, built, deviations)
    providers.use(pools_in)
    pools = _pools(merged, pools_in, providers)
    has_client_ca = listen_in is None or (listen_in.tls is not None and bool(listen_in.tls.client_ca_file))
    callers = read_callers(merged, callers_in, has_client_ca)
    issuers = read_issuers(merged, issuers_in)
    facts = _facts(merged, facts_in)
    rules, more = _rules(merged, rules_in, facts), _more(merged, facts)
    limits = _limits(merged, limits_in)
    listen = _listen(merged, listen_in)
    _check_waits(merged, pools_in, limits)
    _check_sharing(merged, pools_in, callers, issuers)
    terms = read_terms(merged, prices_in, providers.known, lines=priced_at_s is not None)
    tried = read_trials(merged, pools_in, pools, providers, {**facts, **_raw_headers(merged)})
    budgets, fleet = budgets_of(merged, tried.budgets)
    provider_map = providers.finish()
    merged.stop_if_wrong()
    parts: dict[str, Any] = {
        "providers": provider_map,
        "callers": callers,
        "issuers": issuers,
        "pools": tried.pools,
        "rules": rules,
        "limits": limits,
        "listen": listen,
        "fact_headers": facts,
        "wires": wires(),
        "cache": CacheStore(cache_in.bytes, cache_in.redis) if cache_in else CacheStore(),
    }
    models = ((member.provider, member.model) for pool in tried.pools.values() for member in pool.members)
    book = price_book(provider_map, models, terms, price_list)
    at_s = warned_at_s if priced_at_s is None else priced_at_s
    if at_s is not None:
        told = (pools, book, at_s, providers.idle(provider_map), [b for b in budgets if not b.purpose])
        warn_of_prices(merged, *told, everybody=at_s == priced_at_s)
    parts |= more | ({"budgets": budgets, "fleet": fleet} if budgets or tried.trials or fleet else {})
    return Loaded(_named(parts, terms, tried.trials, ledger_in), merged.all_warnings(), book)


def _named(
    parts: dict[str, Any],
    terms: tuple[PriceTerm, ...],
    trials: Mapping[str, Trials],
    ledger_in: LedgerIn | None,
) -> Catalog:
    """The whole, with its revision. What says nothing else than its default is no part of that."""
    ledger = ledger_in.place() if ledger_in else LedgerPlace()
    parts |= {"trials": trials} if trials else {}
    said: dict[str, Any] = {"prices": without_sources(terms)} if terms else {}
    said |= {"ledger": ledger} if ledger != LedgerPlace() else {}
    return Catalog(revision=revision({**parts, **said}), prices=terms, ledger=ledger, **parts)


def _pools(merged: Merged, entries: list[PoolIn | None], providers: Providers) -> Mapping[str, Pool]:
    names = merged.names("pools")
    use_targets(entries, names, providers)
    result: dict[str, Pool] = {}
    taken: dict[str, Path] = {name: ("pools", index, "name") for name, index in names.items()}
    for index, entry in enumerate(entries):
        if entry is None:
            continue
        path: Path = ("pools", index)
        if names[entry.name] != index:
            wrong = f"the name {show(entry.name)} is taken already at {{also}}"
            merged.wrong((*path, "name"), wrong, "give each pool its own name", also=taken[entry.name])
        _aliases(merged, path, entry, taken)
        _check_members(merged, path, entry.members)
        result[entry.name] = _pool(merged, path, entry, providers)
    return MappingProxyType(dict(sorted(result.items())))


def _check_waits(merged: Merged, entries: list[PoolIn | None], limits: Limits) -> None:
    """No pool waits for longer than a call may be silent at all."""
    for index, entry in enumerate(entries):
        for name in ("first_event", "reply", "between_events"):
            if entry is not None and getattr(entry.timeouts, name) > limits.idle_ms:
                idle = duration_text(limits.idle_ms)
                wrong = f"calls that are silent for {idle} (limits.idle) end before that"
                merged.warn(("pools", index, "timeouts", name), wrong, "give a longer limits.idle")


def _aliases(merged: Merged, path: Path, entry: PoolIn, taken: dict[str, Path]) -> None:
    for i, alias in enumerate(entry.aliases):
        here = (*path, "aliases", i)
        if alias not in taken:
            taken[alias] = here
            continue
        what = "the pattern" if is_glob(alias) else "the name"
        wrong = f"{what} {show(alias)} is taken already at {{also}}"
        merged.wrong(here, wrong, "let one pool have it", also=taken[alias])


def _check_members(merged: Merged, path: Path, members: list[MemberIn]) -> None:
    seen: dict[tuple[str, str], int] = {}
    levels: dict[int, int] = {}
    for i, member in enumerate(members):
        here: Path = (*path, "members", i)
        key = (member.provider, member.model)
        levels[member.priority] = levels.get(member.priority, 0) + member.weight
        if key in seen:
            wrong = f"{member.provider}/{member.model} is a member already at {{also}}"
            right = "keep one, and give it the weight of both"
            merged.wrong(here, wrong, right, also=(*path, "members", seen[key]))
        seen.setdefault(key, i)
        if member.weight == 0:
            wrong = f"{member.provider}/{member.model} has weight 0 and gets no calls"
            merged.warn((*here, "weight"), wrong, "give it a weight of 1 or more, or take it out")
    for i, member in enumerate(members):
        if 0 < member.weight * _RAREST < levels[member.priority]:
            rare = f"{member.provider}/{member.model} gets less than one call in {_RAREST}"
            wrong = f"{rare}; when the others fail it may not be found in time"
            merged.warn(
                (*path, "members", i, "weight"), wrong, "give it more weight, or a priority of its own"
            )
    for level, weight in sorted(levels.items()):
        if weight == 0:
            wrong = f"the weights of priority {level} add up to nothing"
            merged.wrong((*path, "members"), wrong, "give one of its members a weight of 1 or more")
    if sum(levels.values()) > _UINT32:
        merged.wrong((*path, "members"), f"the weights add up to more than {_UINT32}", "make them smaller")


def _member(entry: MemberIn, providers: Providers) -> Member:
    can = providers.capabilities(entry.provider, entry.model)
    if entry.capabilities is not None:
        can = overlaid(can, entry.capabilities.model_dump(by_alias=True, exclude_none=True))
    return Member(
        entry.provider, entry.model, entry.weight, entry.priority, entry.concurrency or 0, capabilities=can
    )


def _pool(merged: Merged, path: Path, entry: PoolIn, providers: Providers) -> Pool:
    waits, eject = entry.timeouts, entry.ejection
    if eject.base > eject.max:
        wrong = f"base ({eject.base} ms) is longer than max ({eject.max} ms)"
        merged.wrong((*path, "ejection", "base"), wrong, "give a base of at most max")
    return Pool(
        name=entry.name,
        members=tuple([_member(m, providers) for m in entry.members]),
        routing=_routing(merged, path, entry),
        failover=entry.failover,
        cache=_caching(merged, path, entry),
        aliases=tuple(entry.aliases),
        timeouts=Timeouts(
            waits.connect, waits.first_event, waits.reply, waits.between_events, waits.call, waits.wait
        ),
        usage_event=entry.usage_event,
        ejection=Ejection(eject.enabled, eject.consecutive_errors, eject.base, eject.max, eject.ramp),
        on=_on(merged, path, entry),
        hedge=_hedge(merged, path, entry),
        affinity=_affinity(merged, path, entry),
        guard=entry.guard,
    )


def _routing(merged: Merged, path: Path, entry: PoolIn) -> Routing:
    said = Routing(entry.routing.by, entry.routing.tolerance, entry.routing.output)
    if said.tolerance_ppm and not said.is_cheapest:
        wrong = f"routing {said.by} is by weight, whatever members cost"
        merged.wrong((*path, "routing", "tolerance"), wrong, "say `by: cheapest`, or leave it out")
    if said.is_cheapest and entry.hedge is not None:
        wrong = "a call that is for the cheapest member is not hedged"
        right = "leave one of the two out, or give a tolerance that takes in all members of a priority"
        merged.warn((*path, "hedge"), wrong, right)
    return said


def _hedge(merged: Merged, path: Path, entry: PoolIn) -> Hedge | None:
    said, waits = entry.hedge, entry.timeouts
    if said is None:
        return None
    for name, after_ms, bound, most_ms in (
        ("after", said.after, "first_event", waits.first_event),
        ("reply_after", said.reply_after, "reply", waits.reply),
    ):
        if after_ms >= most_ms:
            wrong = f"an attempt is given up after {duration_text(most_ms)} (timeouts.{bound}) at the latest"
            merged.wrong((*path, "hedge", name), wrong, "give a shorter time")
    if not entry.failover:
        wrong = "a second attempt is one of `failover`, and there is none"
        merged.wrong((*path, "hedge"), wrong, "give `failover: up to 1` or more, or leave hedge out")
    if len(entry.members) < 2:
        wrong = "a pool with one member has nobody to hedge with"
        merged.wrong((*path, "hedge"), wrong, "give it another member, or leave hedge out")
    if entry.affinity is not None:
        wrong = f"a call that belongs to a member (affinity: {entry.affinity.by}) is not hedged"
        if entry.affinity.by == "prefix":
            wrong += ", and nearly every call has a prefix to go by"
        merged.warn((*path, "hedge"), wrong, "leave one of the two out, or have a pool for each")
    return Hedge(said.after, said.share, said.reply_after)


def _caching(merged: Merged, path: Path, entry: PoolIn) -> Caching | None:
    said = entry.cache
    if said is None:
        return None
    if said.scope != "all" and not merged.lists["callers"]:
        wrong = f"without callers there is no {said.scope} to keep replies for, and nothing is cached"
        merged.warn((*path, "cache"), wrong, "add callers, or say scope: all")
    return Caching(
        said.max_context_tokens,
        said.ttl,
        said.scope,
        said.max_reply_bytes,
        said.tool_effects,
        said.version,
    )


def _check_sharing(
    merged: Merged, entries: list[PoolIn | None], callers: Sequence[CallerEntry], issuers: Sequence[Issuer]
) -> None:
    """A caller's cached replies are those of all whose tokens stand for it, unless tokens tell the user."""
    with_user = {issuer.name for issuer in issuers if "user" in dict(issuer.claims)}
    many = [one.name for one in callers if one.token and not one.user and one.token.issuer not in with_user]
    for index, entry in enumerate(entries):
        if many and entry is not None and entry.cache is not None and entry.cache.scope == "caller":
            wrong = f"all whose tokens stand for {listing(many)} share replies: no claim tells who they are"
            right = "let `claims` of their issuer tell the user (e.g. user: sub), or choose another scope"
            merged.warn(("pools", index, "cache"), wrong, right)


def _affinity(merged: Merged, path: Path, entry: PoolIn) -> Affinity | None:
    said = entry.affinity
    if said is None:
        return None
    if said.header and said.by == "prefix":
        wrong = "a prefix is in the body, not in a header"
        merged.wrong((*path, "affinity", "header"), wrong, "leave it out, or say `by: session`")
    return Affinity(said.by, said.header)


_CAUSES = {cause.value: cause for cause in Cause if cause not in ALWAYS_CLIENTS}
_ACTIONS = {action.value: action for action in Action}


def _on(merged: Merged, path: Path, entry: PoolIn) -> tuple[tuple[Cause, Action | str], ...]:
    pools = merged.names("pools")
    result: list[tuple[Cause, Action | str]] = []
    for name, said in entry.on.items():
        here: Path = (*path, "on", name)
        if name not in _CAUSES:
            right = suggestion(name, _CAUSES, f"the causes are {listing(_CAUSES)}")
            merged.wrong(here, f"there is no cause {show(name)} to act on", right)
            continue
        is_name = isinstance(said, str)
        if not is_name or (said not in _ACTIONS and said not in pools):
            right = f"give {listing(_ACTIONS)}, or the name of a pool: {listing(pools)}"
            right = suggestion(said, (*_ACTIONS, *pools), right) if is_name else right
            none = f"{show(said)} is no action and no pool" if is_name else f"is {kind(said)}, not a name"
            merged.wrong(here, none, right)
            continue
        if said == entry.name:
            merged.wrong(here, f"{show(said)} is this very pool", "name another pool, or give next")
        result.append((_CAUSES[name], _ACTIONS.get(said, said)))
    return tuple(sorted(result, key=lambda one: one[0].value))


def _facts(merged: Merged, entry: FactsIn | None) -> Mapping[str, str]:
    headers = entry.headers if entry else {}
    for name in headers:
        if name in FACT_KINDS:
            wrong = f"{show(name)} is a fact of the broker's own"
            merged.wrong(("facts", "headers", name), wrong, "choose another name")
    return MappingProxyType(dict(sorted(headers.items())))


def _rules(merged: Merged, entries: list[RuleIn | None], facts: Mapping[str, str]) -> tuple[Rule, ...]:
    pools = merged.names("pools")
    # A fact that is declared wrongly is still meant: rules that use it are not wrong as well.
    declared = {**facts, **_raw_headers(merged)}
    result: list[Rule] = []
    names: dict[str, int] = {}
    catch_all: int | None = None
    for index, entry in enumerate(entries):
        if entry is None:
            continue
        path: Path = ("rules", index)
        name = entry.name or f"rule-{index + 1}"
        if name in names:
            wrong, also = f"the name {show(name)} is taken already at {{also}}", ("rules", names[name])
            merged.wrong((*path, "name"), wrong, "give each rule its own name", also=also)
        names.setdefault(name, index)
        conditions, problems = match.conditions(entry.match, declared)
        for problem in problems:
            merged.wrong((*path, "match", *problem.path), problem.wrong, problem.right)
        _check_target(merged, path, entry, pools)
        if catch_all is not None:
            wrong = f"no call gets to {name}: rule {catch_all + 1} matches every call"
            merged.warn(path, wrong, "put the rule that matches every call last")
        elif not entry.match:
            catch_all = index
        deny = f"rule {name} does not allow this call" if entry.deny == "" else entry.deny
        result.append(Rule(name, conditions, entry.pool, deny))
    return tuple(result)


def _more(merged: Merged, facts: Mapping[str, str]) -> dict[str, Any]:
    """Sections that are in the revision only where they say something."""
    capture = read_capture(merged, {**facts, **_raw_headers(merged)})
    secrets, audit = read_secrets(merged), read_audit(merged)
    metrics_in = read_one(merged, ("metrics",), MetricsIn, merged.mappings["metrics"])
    labels = metrics_in.call_labels() if metrics_in else NO_LABELS
    said: dict[str, Any] = {"capture": capture} if capture.is_set else {}
    said |= {"audit": audit} if audit != NO_AUDIT else {}
    console = read_console(merged)
    said |= {"console": console} if console != DEFAULT_CONSOLE else {}
    admin = read_admin(merged)
    said |= {"admin": admin} if admin != DEFAULT_ADMIN else {}
    said |= {"metrics": labels} if labels != NO_LABELS else {}
    said |= {"secrets": secrets} if secrets != NO_SECRETS else {}
    telemetry = read_telemetry(merged, capture)
    return said | ({"telemetry": telemetry} if telemetry != NO_TELEMETRY else {})


def _raw_headers(merged: Merged) -> dict[str, str]:
    headers = merged.mappings["facts"].get("headers")
    return dict.fromkeys(headers, "") if isinstance(headers, dict) else {}


def _check_target(merged: Merged, path: Path, entry: RuleIn, pools: Mapping[str, int]) -> None:
    if entry.pool and entry.deny is not None:
        merged.wrong((*path, "deny"), "the rule has both pool and deny", "keep one of the two")
    elif entry.pool and entry.pool not in pools:
        right = suggestion(entry.pool, pools, f"the pools are {listing(pools) or 'none so far'}")
        merged.wrong((*path, "pool"), f"there is no pool {show(entry.pool)}", right)
    elif not entry.pool and entry.deny is None:
        merged.wrong((*path, "pool"), "the rule has neither pool nor deny", "add pool: NAME or deny: TEXT")


def _limits(merged: Merged, entry: LimitsIn | None) -> Limits:
    if entry is None:
        return Limits()
    return Limits(entry.request_bytes, entry.concurrency, entry.idle, entry.concrete_models)


def _listen(merged: Merged, entry: ListenIn | None) -> Listen:
    if entry is None:
        return Listen()
    tls = entry.tls
    listen = Listen(entry.address, entry.port)
    if tls is not None:
        client_ca_file = tls.client_ca_file or ""
        if tls.require_client_cert and not client_ca_file:
            wrong = "is asked for, and no authority is named that could have signed one"
            merged.wrong(("listen", "tls", "require_client_cert"), wrong, "add client_ca_file: PATH")
        files = (tls.cert_file, tls.key_file, client_ca_file)
        listen = Listen(entry.address, entry.port, *files, tls.require_client_cert)
    if not listen.is_loopback and not merged.lists["callers"]:
        wrong = f"{listen.address} is open to others, and without callers only loopback listeners start"
        right = "add e.g. `callers: [{name: my-agent, key: {env: MY_AGENT_KEY}}]`, or listen on 127.0.0.1"
        merged.wrong(("listen", "address"), wrong, right)
    return listen
