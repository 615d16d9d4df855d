"""How commands get at the captured traffic of a configuration."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..core.catalog import Catalog, SecretRef
from ..core.errors import Misconfigured
from ..traffic.place import default_url
from ..traffic.sealing import read_key
from ..traffic.store import StoreError, TrafficStore
from ..traffic.stores import open_store
from .secrets import read_secret, secret_place
from .state import state_folder_of


@contextlib.contextmanager
def traffic(config: Path, catalog: Catalog, state_dir: Path | None) -> Iterator[TrafficStore]:
    """The store, which has to be there. Misconfigured where there is none, it can't be reached, or its keys
    are not here."""
    capture = catalog.capture
    url = capture.url or default_url(state_folder_of(state_dir, config))
    if capture.secret is not None:
        url = _read(capture.secret, "capture.store")
    refs = (capture.key, *capture.old_keys) if capture.key is not None else ()
    keys = []
    for ref in refs:
        try:
            keys.append(read_key(_read(ref, "capture.encryption")))
        except ValueError as error:
            message = f"capture.encryption: what {secret_place(ref)} holds {error}"
            raise Misconfigured(500, "no_traffic", message) from None
    try:
        with open_store(url, keys, creates=False) as store:
            yield store
    except StoreError as error:
        raise Misconfigured(500, "no_traffic", f"the store of captured traffic: {error}") from None


def _read(ref: SecretRef, what: str) -> str:
    value, why = read_secret(ref, os.environ)
    if value is None:
        raise Misconfigured(500, "no_traffic", f"{what}: {why}")
    return value
