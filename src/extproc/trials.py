"""Who takes copies of calls for shadows, and knows where rollouts are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from ..core.trials import Shadow
from ..exchange import Moment, OuterCall
from ..exchange.trying import NOWHERE, Copy, Standing

log = logging.getLogger("modelbroker.extproc")


class TrialDesk(Protocol):
    """None of it waits, or raises."""

    @property
    def standings(self) -> Mapping[str, Standing]:
        """Where rollouts are now: a mapping that is not changed any more."""

    def offer(self, copy: Copy) -> None:
        """It may be dropped."""

    def missed(self, shadow: Shadow) -> None:
        """A call that a shadow's target can't take."""


class _NoTrials:
    """Nothing is tried."""

    @property
    def standings(self) -> Mapping[str, Standing]:
        return NOWHERE

    def offer(self, copy: Copy) -> None:
        """Nobody takes it."""

    def missed(self, shadow: Shadow) -> None:
        """Nobody counts it."""


NO_TRIALS: TrialDesk = _NoTrials()


def offer_copies(call: OuterCall, moment: Moment, desk: TrialDesk) -> None:
    """Of a call that is on its way already: whatever happens here, it goes on."""
    try:
        for copy in call.copies(moment, desk.missed):
            desk.offer(copy)
    except Exception:
        log.exception("call %s could not be copied", call.request_id)
