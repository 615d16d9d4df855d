"""What clients see."""

from __future__ import annotations

from .panels import CLIENTS, Dashboard, Panel, Row, cost, of, quantile, quantiles, rate

OURS = f'{CLIENTS}, error_source=~"provider|broker"'
_GOOD = (
    f"1 - (({rate('modelbroker_call_errors_total', '', OURS)}) or vector(0))"
    f" / {rate('modelbroker_calls_total', '', CLIENTS)}"
)
_SHARE = (("red", None), ("orange", 0.99), ("green", 0.999))
_BAD_ABOVE_0 = (("green", None), ("red", 1.0))

OVERVIEW = Dashboard(
    "overview",
    "modelbroker: overview",
    "What clients see: how many calls, how many go wrong and by whose doing, how long they take.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Calls",
                    "Clients' calls a second.",
                    "reqps",
                    ((rate("modelbroker_calls_total", "", CLIENTS), "calls"),),
                    "stat",
                    4,
                ),
                Panel(
                    "Calls that providers and the broker let succeed",
                    "What an objective is held against: mistakes of clients and refusals by "
                    "policy count as good.",
                    "percentunit",
                    ((_GOOD, "good"),),
                    "stat",
                    4,
                    steps=_SHARE,
                ),
                Panel(
                    "Duration, p95",
                    "From the first byte of a request to the last of its reply.",
                    "s",
                    ((quantile(0.95, "gen_ai_server_request_duration_seconds"), "p95"),),
                    "stat",
                    4,
                ),
                Panel(
                    "First token, p95",
                    "Streams that went well: from the first byte of a request to the first "
                    "event of its reply.",
                    "s",
                    ((quantile(0.95, "gen_ai_server_time_to_first_token_seconds"), "p95"),),
                    "stat",
                    4,
                ),
                Panel(
                    "Cost an hour",
                    "What attempts cost, as far as it is known.",
                    "currencyUSD",
                    ((cost(), "cost"),),
                    "stat",
                    4,
                ),
                Panel(
                    "Pools without a member",
                    "All of their members are out, ejected or not set up.",
                    "none",
                    ((f"count({of('modelbroker_pool_members_in_service')} == 0) or vector(0)", "pools"),),
                    "stat",
                    4,
                    steps=_BAD_ABOVE_0,
                ),
            ),
        ),
        Row(
            "Calls",
            (
                Panel(
                    "Calls by pool",
                    "Clients' calls that ended.",
                    "reqps",
                    ((rate("modelbroker_calls_total", "pool", CLIENTS), "{{pool}}"),),
                    stacked=True,
                ),
                Panel(
                    "Calls by outcome",
                    "ok, error (also in the middle of a reply), refused (nobody was asked), "
                    "client_gone, lost.",
                    "reqps",
                    ((rate("modelbroker_calls_total", "outcome", CLIENTS), "{{outcome}}"),),
                    stacked=True,
                ),
                Panel(
                    "Calls that providers and the broker let succeed, by pool",
                    "Share of clients' calls.",
                    "percentunit",
                    (
                        (
                            f"1 - (({rate('modelbroker_call_errors_total', 'pool', OURS)})"
                            f" or 0 * {rate('modelbroker_calls_total', 'pool', CLIENTS)})"
                            f" / {rate('modelbroker_calls_total', 'pool', CLIENTS)}",
                            "{{pool}}",
                        ),
                    ),
                    steps=_SHARE,
                ),
                Panel(
                    "Errors by code",
                    "Whose doing it was, and the code that the client got (docs/errors.md).",
                    "reqps",
                    (
                        (
                            rate("modelbroker_call_errors_total", "error_source, code", CLIENTS),
                            "{{error_source}}: {{code}}",
                        ),
                    ),
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Denials by reason",
                    "Calls that policy refused, and which budget, rate limit, rule or pool that was.",
                    "reqps",
                    (
                        (
                            rate("modelbroker_denials_total", "reason, scope", by_pool=False),
                            "{{reason}} {{scope}}",
                        ),
                    ),
                    width=12,
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Time",
            (
                Panel(
                    "Duration",
                    "From the first byte of a request to the last of its reply.",
                    "s",
                    quantiles("gen_ai_server_request_duration_seconds"),
                ),
                Panel(
                    "Time to the first token",
                    "Streams that went well.",
                    "s",
                    quantiles("gen_ai_server_time_to_first_token_seconds"),
                ),
                Panel(
                    "Time per output token",
                    "Streams that went well, behind their first event.",
                    "s",
                    quantiles("gen_ai_server_time_per_output_token_seconds"),
                ),
                Panel(
                    "What the broker adds",
                    "Beside what members take, and without waits for them.",
                    "s",
                    quantiles("modelbroker_added_seconds"),
                    width=12,
                ),
                Panel(
                    "Duration by pool, p95",
                    "Pools side by side.",
                    "s",
                    ((quantile(0.95, "gen_ai_server_request_duration_seconds", "pool"), "{{pool}}"),),
                    width=12,
                ),
            ),
        ),
    ),
)
