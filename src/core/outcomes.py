"""What a call came to, and whose doing it was: by its code (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .record import CANCELLED, CLIENT_GONE

OK = "ok"
REFUSED = "refused"  # nobody was asked
LOST = "lost"  # nobody told its end
ERROR = "error"  # also behind a good status, in the middle of a reply

_CODES = {
    "client": (
        "ambiguous_account content_not_supported http_version_not_supported invalid_http invalid_json "
        "invalid_path invalid_request method_not_allowed request_headers_too_large request_timeout "
        "request_too_large response_not_kept several_accounts unknown_account unknown_path "
        "unsupported_encoding upgrade_not_supported upstream_refused"
    ),
    "policy": (
        "budget_cost_unknown budget_exceeded denied_by_rule identity_not_allowed invalid_api_key "
        "missing_api_key model_not_found no_eligible_member pool_not_allowed rate_limited token_audience "
        "token_expired token_invalid token_issuer"
    ),
    "broker": (
        "broker_defect broker_error broker_overloaded broker_reloading broker_unavailable "
        "token_keys_unavailable"
    ),
    "provider": (
        "no_healthy_member no_member_left no_member_ready pool_rate_limited upstream_at_capacity "
        "upstream_billing upstream_connect_failed upstream_credential_refused upstream_cut upstream_error "
        "upstream_garbage upstream_model_not_found upstream_overloaded upstream_rate_limited upstream_reset "
        "upstream_stalled upstream_timeout upstream_truncated upstream_unavailable"
    ),
}
SOURCES: Mapping[str, str] = MappingProxyType(
    {code: source for source, codes in _CODES.items() for code in codes.split()}
    | {CLIENT_GONE: "client", CANCELLED: "client"}
)


def outcome_of(status: int, code: str, attempts_made: int) -> tuple[str, str]:
    """(outcome, error source) of a call that is over. The source is one of client, policy, broker and
    provider, "" where all went well. An error without a code of ours is not known to be anybody else's."""
    if not code:
        return (OK, "") if status < 400 else (ERROR, "broker")
    source = SOURCES.get(code, "broker")
    if code == CLIENT_GONE:
        return CLIENT_GONE, source
    return REFUSED if not attempts_made and source in ("client", "policy") else ERROR, source
