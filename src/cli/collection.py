"""Python's collector of cycles, kept from the calls."""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Iterator

_LOOKED_THROUGH_AFTER = 50
_reloads = itertools.count(1)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """While a configuration is read, and for all that it leaves: looking through a large one for cycles, of
    which it has none, stops every call for 100 ms. What calls have left is looked through before, or it would
    stay with the configuration; and now and then everything is, for what they leave meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if next(_reloads) % _LOOKED_THROUGH_AFTER == 0:
            gc.unfreeze()
            gc.collect()
        gc.freeze()
        gc.enable()
