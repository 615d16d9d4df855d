"""What a recorded call would have cost at another member: by what it used, the price of its time, and what is
known of the two members' tokens."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import msgspec

from ..core.prices import MILLION, Price, PriceBook, Rates
from ..core.usage import NOTHING, Usage
from ..policy.prices import cost_of
from .learning import LEAST_CALLS, Learned
from .policies import Shares
from .recorded import Recorded, Used
from .tokens import Sums

# Providers keep a prompt at least so long after it was last read.
PROMPT_KEPT_S = 300.0
_MOST_CONVERSATIONS = 200_000
BY_MEAN = ""  # in the place of a member: what a call used is not known, and a mean stands for it


class Reckoned(msgspec.Struct, frozen=True, gc=False):
    """Nano-dollars, the parts of it that prompt and answer have, tokens, and from whose usage that was made:
    a member, or BY_MEAN."""

    total: int
    prompt: float
    answer: float
    tokens: int
    source: str


class Reckoner:
    """By one price book."""

    def __init__(self, book: PriceBook, learned: Learned) -> None:
        self._book = book
        self._learned = learned
        self._found: dict[str, Tariff] = {}
        self._all = _together(learned)

    def as_recorded(self, call: Recorded, member_of_answer: bool = False) -> int | None:
        """All of its attempts, by this book's prices."""
        total = 0
        for tried in call.attempts:
            if tried.usage_state == NOTHING:
                continue
            cost = self._cost(tried.usage, tried.member, tried.service_tier, tried.started_s)
            if cost is None or tried.usage_state != "exact":
                return None
            total += cost
        return total if len(call.attempts) >= call.attempts_made else None

    def at(self, call: Recorded, used: Used | None, member: str, at_s: float, cold: float) -> Reckoned | None:
        """None: not known. `cold`: how likely the member does not have the conversation's prompt."""
        if used is None:
            if _is_free(call):
                return Reckoned(0, 0.0, 0.0, 0, member)
            usage, source, tier = self._mean(call, member), BY_MEAN, ""
            if usage is None:
                return None
        else:
            usage, source, tier = used.usage, used.member, used.service_tier
            if source != member:
                prompts, answers = self._learned.ratios(source, member)
                usage = _scaled(usage, prompts.value, answers.value)
                tier = ""  # another provider's word
        tariff = self._tariff(member, at_s)
        price = tariff.price
        if price is None:
            return None
        if usage.cache_read:
            if price.scale.rates.cache_read is None:
                cold = 1.0
            if cold > 0:
                usage = _chilled(usage, cold, price)
        tokens = usage.input + usage.cache_read + usage.cache_write_5m + usage.cache_write_1h + usage.output
        if (plain := tariff.plain_cost(usage, tier)) is not None:
            return Reckoned(sum(plain), float(plain[0]), float(plain[1]), tokens, source)
        cost = cost_of(usage, price, tier)
        if cost.total is None:
            return None
        answer = cost.buckets.get("output", 0) + cost.buckets.get("reasoning", 0)
        fixed = cost.buckets.get("request", 0) + cost.buckets.get("web_searches", 0)
        return Reckoned(cost.total, float(cost.total - answer - fixed), float(answer), tokens, source)

    def _mean(self, call: Recorded, member: str) -> Usage | None:
        sums = self._learned.members.get(member)
        if sums is None or sums.n < LEAST_CALLS:
            sums = self._all
        if not sums.n:
            return None
        prompt = sums.per_estimate * (call.context_tokens or 0)
        written = sums.written
        if call.max_output_tokens is not None:
            written = min(written, call.max_output_tokens * max(1, call.choices))
        return Usage(input=round(prompt), output=round(written))

    def _cost(self, usage: Usage | None, member: str, tier: str, at_s: float) -> int | None:
        tariff = self._tariff(member, at_s)
        if usage is not None:
            plain = tariff.plain_cost(usage, tier)
            if plain is not None:
                return plain[0] + plain[1]
        return cost_of(usage, tariff.price, tier).total

    def _tariff(self, member: str, at_s: float) -> Tariff:
        found = self._found.get(member)
        if found is None or not found.from_s <= at_s < found.until_s:
            provider, _, model = member.partition("/")
            at = int(at_s)
            price = self._book.find(provider, model, at)
            found = self._found[member] = Tariff(*self._book.span(provider, model, at), price)
        return found


_HALF = MILLION // 2


class Tariff:
    """A member's price, from `from_s` until `until_s` (unix time)."""

    __slots__ = ("from_s", "plain", "price", "until_s")

    def __init__(self, from_s: float, until_s: float, price: Price | None) -> None:
        self.from_s, self.until_s, self.price = from_s, until_s, price
        # Its rates, where nothing but tokens of text counts.
        self.plain = price.scale.rates if price is not None and is_plain(price) else None

    def plain_cost(self, usage: Usage, tier: str) -> tuple[int, int] | None:
        """(prompt, answer), the same as `policy.prices.cost_of`, of a call of text by a price without steps;
        None: ask that. Nearly all are such, and there are millions of them."""
        rates = self.plain
        if rates is None or tier or usage.audio_input is not None or usage.beside or usage.web_searches:
            return None
        prompt = answer = 0
        if usage.input:
            if rates.input is None:
                return None
            prompt = (usage.input * rates.input + _HALF) // MILLION
        if usage.cache_read or usage.cache_write_5m or usage.cache_write_1h:
            cached = _cached(usage, rates)
            if cached is None:
                return None
            prompt += cached
        if usage.output:
            if rates.output is None:
                return None
            answer = (usage.output * rates.output + _HALF) // MILLION
        return prompt, answer


def _cached(usage: Usage, rates: Rates) -> int | None:
    """Nano-dollars of what was read from a provider's cache, or written there."""
    total = 0
    for count, rate in (
        (usage.cache_read, rates.cache_read),
        (usage.cache_write_5m, rates.cache_write_5m),
        (usage.cache_write_1h, rates.cache_write_1h),
    ):
        if count:
            if rate is None:
                return None
            total += (count * rate + _HALF) // MILLION
    return total


def is_plain(price: Price) -> bool:
    rates = price.scale.rates
    odd = (rates.request, rates.reasoning, rates.audio_output, rates.media_input, rates.media_output)
    return not (price.scale.above or price.commitment) and all(rate is None for rate in odd)


def _is_free(call: Recorded) -> bool:
    """An operation that costs nothing: to count tokens."""
    return bool(call.attempts) and call.status < 400 and call.attempts[-1].usage_state == NOTHING


def _together(learned: Learned) -> Sums:
    total = Sums()
    for sums in learned.members.values():
        total.merge(sums)
    return total


def _scaled(usage: Usage, prompts: float, answers: float) -> Usage:
    """Searches are not the tokenizer's; what other models did beside is not known there."""
    if prompts == 1.0 and answers == 1.0:
        return usage
    reasoning, heard = usage.reasoning, usage.audio_input
    return Usage(
        round(usage.input * prompts),
        round(usage.cache_read * prompts),
        round(usage.cache_write_5m * prompts),
        round(usage.cache_write_1h * prompts),
        round(usage.output * answers),
        None if reasoning is None else round(reasoning * answers),
        None if heard is None else round(heard * prompts),
        usage.web_searches,
    )


def _chilled(usage: Usage, cold: float, price: Price) -> Usage:
    """With so much of what was read from the provider's cache read anew, and written where that is priced and
    the call asked for it."""
    moved = round(usage.cache_read * cold)
    writes = usage.cache_write_5m + usage.cache_write_1h > 0
    if writes and price.scale.rates.cache_write_5m is not None:
        return replace(
            usage, cache_read=usage.cache_read - moved, cache_write_5m=usage.cache_write_5m + moved
        )
    return replace(usage, cache_read=usage.cache_read - moved, input=usage.input + moved)


class Prompts:
    """Whose providers have which conversation's prompt, as one policy would have sent them."""

    def __init__(self) -> None:
        self._cold: OrderedDict[str, tuple[float, dict[str, float]]] = OrderedDict()

    def cold(self, conversation: str, member: str, at_s: float) -> float:
        """How likely the member does not have it."""
        known = self._cold.get(conversation)
        if known is None or at_s - known[0] > PROMPT_KEPT_S:
            return 1.0
        return known[1].get(member, 1.0)

    def sent(self, conversation: str, shares: Shares, at_s: float) -> None:
        known = self._cold.pop(conversation, None)
        colds = known[1] if known is not None and at_s - known[0] <= PROMPT_KEPT_S else {}
        for member, share in shares:
            colds[member] = colds.get(member, 1.0) * (1.0 - share)
        self._cold[conversation] = at_s, colds
        if len(self._cold) > _MOST_CONVERSATIONS:
            self._cold.popitem(last=False)
