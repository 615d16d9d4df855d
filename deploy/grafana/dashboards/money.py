"""What calls cost."""

from __future__ import annotations

from .panels import CLIENTS, NANO, Dashboard, Panel, Row, cost, of, quantile, rate

_OF_BUDGET = ("modelbroker_budget_spent", "modelbroker_budget_reserved", "modelbroker_budget_limit")
_SPENT, _RESERVED, _LIMIT = (of(metric, by_pool=False) for metric in _OF_BUDGET)

MONEY = Dashboard(
    "money",
    "modelbroker: money and budgets",
    "What calls cost and use, where budgets stand, what the cache saves. The ledger "
    "(modelbroker spend) is exact.",
    (
        Row(
            "Cost",
            (
                Panel(
                    "Cost an hour, by pool",
                    "What attempts cost, those in vain included, as far as it is known.",
                    "currencyUSD",
                    (
                        (
                            cost("pool"),
                            "{{pool}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Cost an hour, by member",
                    "The same by who is paid.",
                    "currencyUSD",
                    (
                        (
                            cost("member"),
                            "{{member}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Cost an hour, by purpose",
                    "Clients' calls have none; shadow, score and eval are the broker's own.",
                    "currencyUSD",
                    (
                        (
                            cost("purpose"),
                            "{{purpose}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Attempts without a known cost",
                    "And what of them is not known: price, usage, a bucket, the rest of a "
                    "reply that broke off.",
                    "reqps",
                    (
                        (
                            rate("modelbroker_cost_unknown_attempts_total", "member, unknown"),
                            "{{member}}: {{unknown}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Cost a call",
                    "On average, by pool.",
                    "currencyUSD",
                    (
                        (
                            rate("modelbroker_cost_nano_dollars_total", "pool", CLIENTS)
                            + " / "
                            + rate("modelbroker_calls_total", "pool", f'{CLIENTS}, outcome!="refused"')
                            + f" / {NANO}",
                            "{{pool}}",
                        ),
                    ),
                ),
                Panel(
                    "What is known of usage",
                    "exact: by the provider's word. unknown: it may have worked, and did not say how much.",
                    "reqps",
                    ((rate("modelbroker_attempts_usage_total", "state", by_pool=False), "{{state}}"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Tokens",
            (
                Panel(
                    "Tokens by bucket",
                    "Disjoint: input is what was not read from a provider's cache.",
                    "cps",
                    ((rate("modelbroker_tokens_total", "bucket"), "{{bucket}}"),),
                    stacked=True,
                ),
                Panel(
                    "Tokens by member",
                    "All buckets.",
                    "cps",
                    ((rate("modelbroker_tokens_total", "member"), "{{member}}"),),
                    stacked=True,
                ),
                Panel(
                    "Tokens an attempt",
                    "Half of the attempts use more, and half less.",
                    "none",
                    (
                        (
                            quantile(0.5, "gen_ai_client_token_usage", "gen_ai_token_type"),
                            "p50 {{gen_ai_token_type}}",
                        ),
                        (
                            quantile(0.95, "gen_ai_client_token_usage", "gen_ai_token_type"),
                            "p95 {{gen_ai_token_type}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Budgets and rate limits",
            (
                Panel(
                    "How much of each is used",
                    "Spent in its window and reserved for calls under way; of each budget the "
                    "100 fullest accounts.",
                    "percentunit",
                    ((f"({_SPENT} + {_RESERVED}) / {_LIMIT}", "{{budget}} {{scope}} ({{unit}})"),),
                    "bargauge",
                    12,
                    steps=(("green", None), ("orange", 0.8), ("red", 1.0)),
                ),
                Panel(
                    "Refusals, degradations and warnings",
                    "By budget.",
                    "reqps",
                    (
                        (
                            rate("modelbroker_budget_denied_total", "budget", by_pool=False),
                            "{{budget}} denied",
                        ),
                        (
                            rate("modelbroker_budget_degraded_total", "budget", by_pool=False),
                            "{{budget}} degraded",
                        ),
                        (
                            rate("modelbroker_budget_warnings_total", "budget, at", by_pool=False),
                            "{{budget}} at {{at}}",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "Cache",
            (
                Panel(
                    "Answers from the cache",
                    "Share of the calls that could have one.",
                    "percentunit",
                    (
                        (
                            rate("modelbroker_cache_hits_total", "pool")
                            + f" / ({rate('modelbroker_cache_hits_total', 'pool')}"
                            + f" + {rate('modelbroker_cache_misses_total', 'pool')})",
                            "{{pool}}",
                        ),
                    ),
                ),
                Panel(
                    "Saved an hour",
                    "What hits would have cost, as far as it is known.",
                    "currencyUSD",
                    (
                        (
                            f"3600 * {rate('modelbroker_cache_saved_nano_dollars_total', 'pool')} / {NANO}",
                            "{{pool}}",
                        ),
                    ),
                ),
                Panel(
                    "Memory of the cache",
                    "What replies take.",
                    "bytes",
                    (
                        (
                            "sum by (instance) (" + of("modelbroker_cache_bytes", by_pool=False) + ")",
                            "{{instance}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
