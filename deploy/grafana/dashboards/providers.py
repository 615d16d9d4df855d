"""How providers and their models do."""

from __future__ import annotations

from .panels import Dashboard, Panel, Row, of, quantile, rate

PROVIDERS = Dashboard(
    "providers",
    "modelbroker: providers and members",
    "How providers do: attempts, failures and their causes, times, who is out and how much of "
    "rate limits is left.",
    (
        Row(
            "Who is there",
            (
                Panel(
                    "Members in service, by pool",
                    "1: each member of the pool gets calls. 0: none does.",
                    "percentunit",
                    (
                        (
                            f"min by (pool) ({of('modelbroker_pool_members_in_service')}"
                            f" / ({of('modelbroker_pool_members')} > 0))",
                            "{{pool}}",
                        ),
                    ),
                ),
                Panel(
                    "Members in service, by provider",
                    "The same by the account that they are at.",
                    "percentunit",
                    (
                        (
                            "min by (provider) ("
                            + of("modelbroker_provider_members_in_service", by_pool=False)
                            + " / "
                            + of("modelbroker_provider_members", by_pool=False)
                            + ")",
                            "{{provider}}",
                        ),
                    ),
                ),
                Panel(
                    "Members that are out",
                    "Of one pool by Envoy (ejected), or of all by their own word or by what failed.",
                    "none",
                    (
                        (
                            "sum by (member, reason) ("
                            + of("modelbroker_member_out", by_pool=False)
                            + ") or vector(0)",
                            "{{member}} {{reason}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Rate limits: what is left",
                    "By providers' own words (x-ratelimit-…), until they run out. Below 10 % a "
                    "member gets fewer calls.",
                    "percentunit",
                    (
                        (
                            "min by (member, limit) ("
                            + of("modelbroker_rate_limit_left_ratio", by_pool=False)
                            + ")",
                            "{{member}} {{limit}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Ejections",
                    "Members that Envoy took out of a pool, an hour.",
                    "none",
                    (
                        (
                            f"3600 * {rate('modelbroker_ejections_total', 'pool, member')}",
                            "{{pool}} {{member}}",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "Attempts",
            (
                Panel(
                    "Attempts by member",
                    "Each try at a member is one; a call may have several.",
                    "reqps",
                    ((rate("modelbroker_attempts_total", "member", by_pool=False), "{{member}}"),),
                    stacked=True,
                ),
                Panel(
                    "Failures by member and cause",
                    "docs/failures.md says what each cause is, and what is done about it.",
                    "reqps",
                    (
                        (
                            rate("modelbroker_attempt_failures_total", "member, cause", by_pool=False),
                            "{{member}}: {{cause}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Share of attempts that fail, by member",
                    "Those that nobody waited for any more (hedges, clients that left) count as good.",
                    "percentunit",
                    (
                        (
                            rate("modelbroker_attempt_failures_total", "member", by_pool=False)
                            + " / "
                            + rate("modelbroker_attempts_total", "member", by_pool=False),
                            "{{member}}",
                        ),
                    ),
                ),
                Panel(
                    "Attempts a call",
                    "1 where nothing has to be tried again.",
                    "none",
                    (
                        (
                            rate("gen_ai_client_operation_duration_seconds_count", "pool")
                            + " / "
                            + rate("modelbroker_calls_total", "pool", 'outcome!="refused"'),
                            "{{pool}}",
                        ),
                    ),
                ),
                Panel(
                    "Hedges, by who won",
                    "Calls with two attempts side by side.",
                    "reqps",
                    ((rate("modelbroker_hedged_calls_total", "pool, won"), "{{pool}}: {{won}}"),),
                    stacked=True,
                ),
                Panel(
                    "Waits for a member",
                    "Where all members had said that they take no calls.",
                    "s",
                    ((quantile(0.95, "modelbroker_queue_seconds", "pool"), "p95 {{pool}}"),),
                ),
            ),
        ),
        Row(
            "Time",
            (
                Panel(
                    "Duration of attempts, p95",
                    "By member.",
                    "s",
                    (
                        (
                            quantile(0.95, "gen_ai_client_operation_duration_seconds", "member"),
                            "{{member}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "First event of streams, p95",
                    "By member.",
                    "s",
                    (
                        (
                            quantile(0.95, "gen_ai_client_operation_time_to_first_chunk_seconds", "member"),
                            "{{member}}",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)
