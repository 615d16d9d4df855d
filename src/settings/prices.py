"""The prices of a configuration → terms, and with the list that comes with the broker → the price book."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from ..core.catalog import Provider
from ..core.globs import glob_matches
from ..core.prices import DAY_S, FREE, SERVICE_TIERS, Price, PriceBook, PriceTerm, Scale, book_of
from .merge import Merged
from .pricing import PriceIn, ScaleIn
from .problems import field_name, show, suggestion
from .yamltext import Path

_RATES = "give rates in dollars per million tokens, e.g. {input: 2.50, output: 10}"


class PriceList(Protocol):
    """Prices that come with the broker."""

    def find(self, provider: Provider, model: str) -> tuple[Price, ...]:
        """Of a model, by the name that members use: in rising order of precedence; () where there is none."""


def read_terms(
    merged: Merged, entries: list[PriceIn | None], known: Iterable[str], *, lines: bool
) -> tuple[PriceTerm, ...]:
    """The terms in rising order of precedence; what is wrong is noted. `known` are the providers there are.
    With `lines` each names its line as its source, which costs a second reading of the file."""
    providers = set(known)
    terms: list[PriceTerm] = []
    seen: dict[tuple[object, ...], Path] = {}
    for index, entry in enumerate(entries):
        if entry is None:
            continue
        path: Path = ("prices", index)
        if entry.provider not in providers:
            right = suggestion(entry.provider, providers, "give the name of a provider that members use")
            merged.wrong((*path, "provider"), f"there is no provider {show(entry.provider)}", right)
        _check(merged, index, entry)
        key = (entry.provider, entry.model or "*", entry.from_, entry.discount is None)
        if key in seen:
            what = "discount" if entry.discount is not None else "price"
            whose = f"{entry.provider}/{entry.model or '*'}"
            wrong = f"a {what} of {whose} with this `from` stands already at {{also}}"
            merged.wrong(path, wrong, "keep one, or give one another `from`", also=seen[key])
        seen.setdefault(key, path)
        terms.append(_term(entry, _source(merged, path, lines)))
    return tuple(sorted(terms, key=_precedence))


def _source(merged: Merged, path: Path, lines: bool) -> str:
    if lines:
        place = merged.problem(path, "", "")
        return f"{place.file}:{place.line}"
    file, local = merged.locate(path)
    return f"{file}: {field_name(local)}"


def _check(merged: Merged, index: int, entry: PriceIn) -> None:
    path: Path = ("prices", index)
    kinds = {
        "rates": entry.gives_rates(),
        "discount": entry.discount is not None,
        "commitment": entry.commitment,
    }
    said = [name for name, is_there in kinds.items() if is_there]
    if not said:
        right = "give rates, a discount or `commitment: true`, e.g. {input: 2.50, output: 10}"
        merged.wrong(path, "says no price", right)
    elif len(said) > 1:
        right = "give each an entry of its own"
        if entry.commitment:
            right = "leave one out: what is paid otherwise costs nothing by the token"
        merged.wrong((*path, said[-1]), f"has {' and '.join(said)} in one entry", right)
    if entry.gives_rates() and entry.model is None:
        merged.wrong((*path, "model"), "is missing", 'give the name of a model, or a pattern: model: "*"')
    if entry.until is not None and entry.from_ is not None and entry.until < entry.from_:
        merged.wrong((*path, "until"), "is before `from`", "give a later day")
    for name in SERVICE_TIERS:
        scale: ScaleIn | None = getattr(entry, name)
        if scale is not None:
            _check_scale(merged, (*path, name), scale, merged.lists["prices"][index][name])
    if entry.gives_rates():
        _check_scale(merged, path, entry, merged.lists["prices"][index])


def _check_scale(merged: Merged, path: Path, scale: ScaleIn, raw: Mapping[str, Any]) -> None:
    if not scale.rates().items() and not (isinstance(scale, PriceIn) and _tiers(scale)):
        merged.wrong(path, "has no rates", _RATES)
    if len(scale.above) < len(raw.get("above", ())):
        merged.wrong((*path, "above"), "has a number of tokens twice", "keep one of the two")
    for tokens, rates in scale.above.items():
        if not rates.rates().items():
            merged.wrong((*path, "above"), f"has no rates above {tokens} tokens", _RATES)


def _term(entry: PriceIn, source: str) -> PriceTerm:
    from_s = entry.from_ or 0
    until_s = None if entry.until is None else entry.until + DAY_S
    price: Price | None = None
    if entry.commitment:
        price = Price(Scale(FREE), from_s=from_s, until_s=until_s, commitment=True, source=source)
    elif entry.discount is None:
        price = Price(_scale(entry), _tiers(entry), from_s, until_s, source=source)
    return PriceTerm(
        entry.provider, entry.model or "*", price, entry.discount or 0, from_s, until_s, source=source
    )


def _tiers(entry: PriceIn) -> tuple[tuple[str, Scale], ...]:
    named = ((name, getattr(entry, name)) for name in SERVICE_TIERS)
    return tuple((name, _scale(scale)) for name, scale in named if scale is not None)


def _scale(entry: ScaleIn) -> Scale:
    rates = entry.rates()
    above = []
    for tokens, over in sorted(entry.above.items()):
        rates = type(rates)(**{**dict(rates.items()), **dict(over.rates().items())})
        above.append((tokens, rates))
    return Scale(entry.rates(), tuple(above))


def _precedence(term: PriceTerm) -> tuple[object, ...]:
    """A name goes before a pattern, a longer pattern before a shorter one, a later day before an earlier."""
    is_name = not any(c in term.model for c in "*?")
    return term.provider, is_name, len(term.model), term.model, term.from_s, term.price is None


def without_sources(terms: Iterable[PriceTerm]) -> list[PriceTerm]:
    """What they mean, wherever they stand."""
    return [replace(term, source="", price=term.price and replace(term.price, source="")) for term in terms]


def price_book(
    providers: Mapping[str, Provider],
    models: Iterable[tuple[str, str]],
    terms: Iterable[PriceTerm],
    price_list: PriceList | None,
) -> PriceBook:
    """The prices of these models, (provider, model as members name it) each. The terms are those of the
    catalog, in their order."""
    by_provider: dict[str, list[PriceTerm]] = {}
    for term in terms:
        by_provider.setdefault(term.provider, []).append(term)
    prices: dict[tuple[str, str], tuple[Price, ...]] = {}
    for name, model in models:
        if (name, model) in prices or name not in providers:
            continue
        provider = providers[name]
        own = provider.own_model(model)
        listed = price_list.find(provider, model) if price_list is not None else ()
        prices[name, model] = _in_effect(
            listed,
            [
                term
                for term in by_provider.get(name, ())
                if glob_matches(term.model, model) or glob_matches(term.model, own)
            ],
        )
    return book_of(prices)


def _in_effect(listed: tuple[Price, ...], terms: list[PriceTerm]) -> tuple[Price, ...]:
    """In rising order of precedence: each price, and in the place of each discount what it makes of the
    prices below it while it holds. They don't add up: a discount is on prices, not on other discounts."""
    below, result = list(listed), list(listed)
    for term in terms:
        if term.price is not None:
            below.append(term.price)
            result.append(term.price)
            continue
        for price in below:
            ends = [end for end in (price.until_s, term.until_s) if end is not None]
            from_s, until_s = max(price.from_s, term.from_s), min(ends, default=None)
            if until_s is None or from_s < until_s:
                less = price if price.commitment else price.less(term.discount_ppm, term.source)
                result.append(replace(less, from_s=from_s, until_s=until_s))
    return tuple(result)
