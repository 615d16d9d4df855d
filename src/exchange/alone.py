"""A call that only one account can serve: where that one fails, its client is told why nobody stood in."""

from __future__ import annotations

import msgspec

from ..dialects import ClientDialect, Context, ProviderDialect
from .translated import Answer, Head, rendered


class Alone:
    """Takes the place of the failure replies of `account`, which speaks the client's dialect. What it answers
    about the request itself (400, 404 …) passes as it is."""

    def __init__(
        self, client: ClientDialect, provider: ProviderDialect, account: str, context: Context
    ) -> None:
        self._client = client
        self._provider = provider
        self._account = account
        self._context = context

    def takes(self, head: Head) -> bool:
        """Is it the account that failed? What Envoy says of it names the account already."""
        return (head.status == 429 or head.status >= 500) and not head.is_local()

    def instead(self, head: Head, body: bytes) -> Answer | None:
        return self.answer(head, body) if self.takes(head) else None

    def answer(self, head: Head, body: bytes) -> Answer:
        fault = self._provider.decode_fault(head.status, head.values, body)
        fault = msgspec.structs.replace(fault, message=self.told(fault.message))
        # The status is the provider's own: retries and what clients do about it depend on it.
        return msgspec.structs.replace(rendered(self._client, fault, self._context, head), status=head.status)

    def told(self, message: str) -> str:
        return (
            f"an id in the call lives at {self._account} and nowhere else, and that account failed: {message}"
        )
