"""Which members cost something else."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.catalog import Catalog
from ..core.prices import Price, PriceBook, dollars


def of_prices(
    old: Catalog, new: Catalog, old_prices: PriceBook, new_prices: PriceBook, at_s: int
) -> Iterator[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """(provider, model, pools that have it, what is different at `at_s`) of members that both have."""
    had = {(one.provider, one.model) for pool in old.pools.values() for one in pool.members}
    pools: dict[tuple[str, str], list[str]] = {}
    for pool in new.pools.values():
        for one in pool.members:
            pools.setdefault((one.provider, one.model), []).append(pool.name)
    for member in sorted(pools.keys() & had):
        before, now = old_prices.find(*member, at_s), new_prices.find(*member, at_s)
        if before == now:
            continue
        yield *member, tuple(pools[member]), tuple(_of_price(before, now))


def _of_price(before: Price | None, now: Price | None) -> Iterator[str]:
    if before is None or now is None:
        yield "its price is not known any more" if now is None else f"has a price now: {_said(now)}"
        return
    said = False
    rates = dict(before.scale.rates.items()), dict(now.scale.rates.items())
    for bucket in {**rates[0], **rates[1]}:
        a, b = (one.get(bucket) for one in rates)
        if a != b:
            said = True
            yield f"{bucket}: {_rate(a)} → {_rate(b)} a million"
    if before.discount_ppm != now.discount_ppm or not said:
        yield (
            f"{_said(before)} → {_said(now)}" if _said(before) != _said(now) else "in service tiers, or steps"
        )


def _said(price: Price) -> str:
    if price.commitment:
        return "paid by a commitment"
    rates = price.scale.rates
    off = f", {price.discount_ppm / 10_000:g}% off" if price.discount_ppm else ""
    return f"{_rate(rates.input)} in, {_rate(rates.output)} out{off}"


def _rate(rate: int | None) -> str:
    return "unknown" if rate is None else f"${dollars(rate)}"
