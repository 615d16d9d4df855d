"""One tree of errors: each has a status, a stable code, and says how to fix it.

Only a client's dialect renders them (`dialects`).
"""

from __future__ import annotations


class CallError(Exception):
    """A call that ends here. `status` is HTTP's, `code` is stable across versions, `message` tells a person
    what is wrong and what would be right. `param` is the request's field by the client's own name; where only
    the name in the canonical conversation is known, that is `knob`. `retry_after_s` is set where waiting
    helps; `is_final`: asking again soon does not, whatever the status says. `rule`, `pool` and `budget` are
    for the record, where the decision got so far."""

    source = "broker"

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str = "",
        knob: str = "",
        retry_after_s: int | None = None,
        rule: str = "",
        pool: str = "",
        budget: str = "",
        is_final: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.knob = knob
        self.retry_after_s = retry_after_s
        self.rule = rule
        self.pool = pool
        self.budget = budget
        self.is_final = is_final


class Refused(CallError):
    """By policy: who calls, what for, or how much."""

    source = "policy"


class BadRequest(CallError):
    """By the client's own request."""

    source = "client"


class Unavailable(CallError):
    """Upstream: nobody who could serve the call is there."""

    source = "provider"


class Misconfigured(CallError):
    """By the broker's own configuration or a defect of ours."""
