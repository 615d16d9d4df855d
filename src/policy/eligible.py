"""Which members of a pool can serve a call, why the others can't, and which sets of them can arise."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from ..core.call import Facts, RuledOut, Surface
from ..core.catalog import Capabilities, Catalog, Member, Pool, Provider

_NOTHING: Mapping[str, str] = MappingProxyType({})

# What a call may need of a member, by the name in Capabilities: the code where the member lacks it, and why.
_NEEDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "tools": ("no_tools", "takes no tools"),
        "images": ("no_images", "takes no images"),
        "documents": ("no_documents", "takes no documents"),
        "audio": ("no_audio", "takes no audio"),
        "schema": ("no_schema", "can't be held to a schema"),
        "reasoning": ("no_reasoning", "does not reason"),
        "choices": ("one_choice_only", "gives one answer to a call"),
        "keeps_replies": ("keeps_no_replies", "keeps no replies"),
        "image_urls": ("no_image_urls", "takes no images by their URL"),
        "document_urls": ("no_document_urls", "takes no documents by their URL"),
        "hosted_tools": ("no_hosted_tools", "has no tools that run at the provider"),
        "files": ("keeps_no_files", "keeps no files that a call can name"),
        "chat": ("no_chat", "has no conversations"),
        "embeddings": ("no_embeddings", "makes no embeddings"),
    }
)
# Facts of the same names.
_CONTENT = (
    "tools",
    "images",
    "documents",
    "audio",
    "schema",
    "reasoning",
    "image_urls",
    "document_urls",
    "hosted_tools",
    "files",
)
_content_of = operator.attrgetter(*_CONTENT)
# A call that needs one of these needs the other as well: so who lacks the other makes no further set. What a
# provider is said to fetch, it fetches, though its dialect by itself has no place for URLs.
_URLS: Mapping[str, str] = MappingProxyType({"image_urls": "images", "document_urls": "documents"})
# Nobody else runs them, or has them.
_OF_OWN_DIALECT = frozenset(("keeps_replies", "hosted_tools", "files"))
# What calls of an operation can need. To count a prompt is also how one learns that it is too large, and
# the inputs of one call for embeddings do not stand in one context.
_NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"chat": (*_CONTENT, "choices", "keeps_replies"), "count": _CONTENT, "embed": ()}
)
# And what each of them needs.
_ALWAYS: Mapping[str, str] = MappingProxyType({"chat": "chat", "count": "chat", "embed": "embeddings"})
_SIZED = frozenset(("chat",))

# Why a member is out at the moment, whatever the call holds.
_OUT_NOW = frozenset(("dialect_not_built", "credential_missing"))
# What a call asks for that a member can't do: its sender can change that.
BY_CONTENT = frozenset(
    (
        *(code for code, _ in _NEEDS.values()),
        "context_too_large",
        "output_too_large",
        "needs_dialect",
        "other_account",
        "no_translation",
    )
)
# What of a call asks for it, by its name in the canonical conversation.
ASKED_BY: Mapping[str, str] = MappingProxyType(
    {
        "no_tools": "tools",
        "no_images": "messages",
        "no_documents": "messages",
        "no_audio": "messages",
        "no_image_urls": "messages",
        "no_document_urls": "messages",
        "no_hosted_tools": "tools",
        "no_chat": "model",
        "no_embeddings": "model",
        "no_schema": "output",
        "one_choice_only": "choices",
        "keeps_no_replies": "store",
        "output_too_large": "max_output_tokens",
        "context_too_large": "messages",
    }
)
# Sets of one pool that are listed: who asks refuses a pool that has far fewer.
_MOST_SETS = 1_000

Reason = tuple[str, str]  # (code, why)


@dataclass(frozen=True, slots=True)
class State:
    """What is true now and not in the configuration: providers that can't be used, and why; where a
    credential stands in Envoy's configuration itself, provider → its digest; and providers with a new
    credential whose `spare` is the one before, for as long as that is good."""

    providers_out: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    signing: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    spare: frozenset[str] = frozenset()


def served_dialect(dialects: tuple[str, ...], surface: Surface) -> str:
    """In which of a provider's dialects it gets calls of `surface`: the call's own, or the first one that
    the call can be translated into; "" where there is none."""
    if surface.dialect in dialects:
        return surface.dialect
    for dialect in dialects:
        if dialect in surface.served_by:
            return dialect
    return ""


class Wants(NamedTuple):
    """What of a call decides who can serve it."""

    surface: Surface
    only_model: str | None
    needs: tuple[str, ...]  # names in Capabilities
    context_tokens: int
    max_output_tokens: int
    own_field: str  # the first field that only members of the call's own dialect can serve; "" for none
    owners: tuple[str, ...]  # providers that issued ids in the call


def wants_of(facts: Facts, only_model: str | None) -> Wants:
    surface = facts.surface
    needs = _needs(surface.operation, _content_of(facts), facts.choices > 1, facts.stateful)
    is_sized = surface.operation in _SIZED
    return Wants(
        surface,
        only_model,
        needs,
        facts.context_tokens if is_sized else 0,
        (facts.max_output_tokens or 0) if is_sized else 0,
        facts.same_dialect or facts.unowned_ids,
        facts.owners,
    )


@functools.lru_cache(maxsize=4_096)
def _needs(operation: str, content: tuple[bool, ...], choices: bool, keeps_replies: bool) -> tuple[str, ...]:
    """Names in Capabilities. Kept, since the same few come again and again; `content` as in `_CONTENT`."""
    possible = _NEEDED[operation]
    needs = [_ALWAYS[operation]]
    needs += [name for name, asked in zip(_CONTENT, content, strict=True) if asked and possible]
    if choices and "choices" in possible:
        needs.append("choices")
    if keeps_replies and "keeps_replies" in possible:
        needs.append("keeps_replies")
    return tuple(needs)


def without_reasoning(wants: Wants) -> Wants:
    """The same without a wish that is a knob: where nobody is left who reasons, it is dropped."""
    return wants._replace(needs=tuple(name for name in wants.needs if name != "reasoning"))


def eligible_members(
    wants: Wants, pool: Pool, catalog: Catalog, state: State
) -> tuple[tuple[Member, ...], tuple[RuledOut, ...]]:
    """(who can serve the call, the others and why not), each in the pool's order."""
    eligible: list[Member] = []
    ruled_out: list[RuledOut] = []
    for member in pool.members:
        provider = catalog.providers[member.provider]
        out = _out_now(provider, state) or _unfit(member, provider, wants, catalog.wires)
        if out is None:
            eligible.append(member)
        else:
            ruled_out.append(RuledOut(member, *out))
    return tuple(eligible), tuple(ruled_out)


def at_best(ruled_out: Iterable[RuledOut], wants: Wants, catalog: Catalog) -> list[RuledOut]:
    """The same members, each with the reason that would stay if nothing were out at the moment; only who is
    out and could serve the call otherwise keeps the reason of now."""
    result = []
    for out in ruled_out:
        member = out.member
        if out.code in _OUT_NOW:
            unfit = _unfit(member, catalog.providers[member.provider], wants, catalog.wires)
            out = RuledOut(member, *unfit) if unfit else out
        result.append(out)
    return result


def is_out_now(out: RuledOut) -> bool:
    return out.code in _OUT_NOW


def _out_now(provider: Provider, state: State) -> Reason | None:
    if not provider.built:
        return "dialect_not_built", f"this version does not speak {', '.join(provider.dialects)} yet"
    if why := state.providers_out.get(provider.name):
        return "credential_missing", why
    return None


def _unfit(
    member: Member, provider: Provider, wants: Wants, wires: Mapping[str, Capabilities]
) -> Reason | None:
    """Why the member can't serve the call at any time. What is not known refuses nothing."""
    surface, only_model, needs, _, _, own_field, owners = wants
    dialect = served_dialect(provider.dialects, surface)
    if not dialect:
        spoken = ", ".join(provider.dialects)
        return "no_translation", f"the call is {surface.name}, the provider speaks {spoken}"
    if only_model is not None and member.model != only_model:
        return "other_model", f"the call asks for {only_model}"
    if member.weight == 0:
        return "weight_zero", "its weight is 0"
    is_own = dialect == surface.dialect
    if not is_own and (own_field or owners):
        what = own_field or "an id in the call"
        return "needs_dialect", f"{what} is for providers that speak {surface.dialect}, and this one does not"
    if owners and owners != (provider.name,):
        return "other_account", f"an id in the call lives at {' and at '.join(owners)}"
    for name in needs:
        said = getattr(member.capabilities, name)
        if said is False:
            code, why = _NEEDS[name]
            return code, f"{member.model} {why}"
        if not is_own and not (said and name in _URLS) and _wire_lacks(name, dialect, wires):
            code, why = _NEEDS[name]
            return code, f"a call that is translated into {dialect} {_WIRE_WHY.get(name, why)}"
    return _too_large(member.capabilities, wants)


# What a dialect lacks is said of the call, what a model lacks of the model.
_WIRE_WHY = {
    **{name: f"can hold no {name}" for name in ("tools", "images", "documents", "audio", "schema")},
    "reasoning": "can't ask for reasoning",
    "choices": "gets one answer",
    "keeps_replies": "leaves no reply at the provider",
    "image_urls": "can hold no URLs of images",
    "document_urls": "can hold no URLs of documents",
}


def _wire_lacks(name: str, dialect: str, wires: Mapping[str, Capabilities]) -> bool:
    if name in _OF_OWN_DIALECT:
        return True
    wire = wires.get(dialect)
    return wire is not None and getattr(wire, name) is False


def _too_large(can: Capabilities, wants: Wants) -> Reason | None:
    size, limit = wants.context_tokens, can.context_tokens
    if limit is not None and size > limit:
        return "context_too_large", f"about {size} tokens are more than its context of {limit}"
    size, limit = wants.max_output_tokens, can.max_output_tokens
    if limit is not None and size > limit:
        return "output_too_large", f"{size} tokens of output are more than the {limit} that it can write"
    return None


# -- every set that can arise


class _Kind(NamedTuple):
    """What of a member decides what it can serve. Numbers stand for names, so that pools that are alike but
    for these are one and the same question."""

    usable: bool
    dialects: tuple[str, ...]
    account: int
    model: int
    capabilities: Capabilities


def class_members(
    pool: Pool, catalog: Catalog, state: State, surfaces: Iterable[Surface]
) -> Iterator[tuple[Member, ...]]:
    """Every eligible set that a call of these surfaces can meet in this pool, each once.

    Each thing that a call may ask for cuts the members of a surface down to those that have it, and calls ask
    for any of them together: the sets are all intersections of the cuts.
    """
    accounts: dict[str, int] = {}
    models: dict[str, int] = {}
    kinds = []
    for member in pool.members:
        provider = catalog.providers[member.provider]
        kinds.append(
            _Kind(
                member.weight > 0 and _out_now(provider, state) is None,
                provider.dialects,
                accounts.setdefault(provider.name, len(accounts)),
                models.setdefault(member.model, len(models)) if catalog.limits.concrete_models else 0,
                member.capabilities,
            )
        )
    for chosen in _sets(tuple(kinds), tuple(surfaces), tuple(catalog.wires.items())):
        yield tuple([member for place, member in enumerate(pool.members) if chosen >> place & 1])


@functools.lru_cache(maxsize=2_048)
def _sets(
    kinds: tuple[_Kind, ...], surfaces: tuple[Surface, ...], wires: tuple[tuple[str, Capabilities], ...]
) -> tuple[int, ...]:
    """The sets as bits: bit n stands for the member at place n."""
    found: dict[int, None] = {}
    asked: set[tuple[int, frozenset[int]]] = set()
    for surface in surfaces:
        question = _base_and_cuts(kinds, surface, dict(wires))
        if question in asked:
            continue
        asked.add(question)
        for chosen in _intersections(*question):
            found[chosen] = None
            if len(found) >= _MOST_SETS:
                return tuple(found)
    return tuple(found)


def _base_and_cuts(
    kinds: tuple[_Kind, ...], surface: Surface, wires: Mapping[str, Capabilities]
) -> tuple[int, frozenset[int]]:
    """Who can serve calls of this surface that ask for nothing, and whom each single wish leaves."""
    by_dialect: dict[str, int] = {}
    by_account: dict[int, int] = {}
    by_model: dict[int, int] = {}
    by_capabilities: dict[Capabilities, int] = {}
    for place, kind in enumerate(kinds):
        dialect = served_dialect(kind.dialects, surface) if kind.usable else ""
        if not dialect:
            continue
        bit = 1 << place
        by_dialect[dialect] = by_dialect.get(dialect, 0) | bit
        by_model[kind.model] = by_model.get(kind.model, 0) | bit
        by_capabilities[kind.capabilities] = by_capabilities.get(kind.capabilities, 0) | bit
        if dialect == surface.dialect:
            by_account[kind.account] = by_account.get(kind.account, 0) | bit

    def lacking(name: str) -> int:
        mask = sum(bits for can, bits in by_capabilities.items() if getattr(can, name) is False)
        fetching = sum(bits for can, bits in by_capabilities.items() if name in _URLS and getattr(can, name))
        for dialect, bits in by_dialect.items():
            if dialect != surface.dialect and _wire_lacks(name, dialect, wires):
                mask |= bits & ~fetching
        return mask | lacking(_URLS[name]) if name in _URLS else mask

    base = sum(by_dialect.values()) & ~lacking(_ALWAYS[surface.operation])
    cuts = {by_dialect.get(surface.dialect, 0), *by_account.values(), *by_model.values()}
    cuts.update(base & ~lacking(name) for name in _NEEDED[surface.operation])
    if surface.operation in _SIZED:
        for name in ("context_tokens", "max_output_tokens"):
            limits = [(getattr(can, name), mask) for can, mask in by_capabilities.items()]
            for least, _ in limits:
                if least is not None:
                    too_small = sum(mask for limit, mask in limits if limit is not None and limit <= least)
                    cuts.add(base & ~too_small)
    return base, frozenset({base & cut for cut in cuts} - {base})


def _intersections(base: int, cuts: frozenset[int]) -> Iterator[int]:
    """`base` cut by any of `cuts` in any number, each result once, the empty one left out."""
    seen = {base, 0}
    todo = [base] if base else []
    while todo:
        chosen = todo.pop()
        yield chosen
        for cut in cuts:
            smaller = chosen & cut
            if smaller not in seen:
                seen.add(smaller)
                todo.append(smaller)
