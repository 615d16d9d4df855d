"""The control plane's side of a first start: what `up` has to know of the configuration."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.catalog import Auth
from ..core.errors import Misconfigured
from ..settings import SettingsError
from .following import Following
from .runtime import ANY_PROVIDER, Overrides, Ready, prepare
from .secrets import new_box
from .sources import source_of
from .sourcing import Sourcing
from .start import Chosen, Start, Wanted, encoded, received


def chosen(descriptor: int, config: Path | str, state_dir: Path, following: Following) -> Chosen:
    """Tells the start to `up`, at the other end of the socket, and waits for what it has chosen.
    SettingsError or Misconfigured where there is nothing to be started with; SystemExit where `up` has
    ended."""
    with socket.socket(fileno=descriptor) as connection:
        if (wanted := received(connection, Wanted)) is not None:
            ready = _at_start(config, state_dir, following, wanted)
            connection.sendall(encoded(_start_of(ready, wanted)))
            if (answer := received(connection, Chosen)) is not None:
                return answer
    sys.exit(1)


def _at_start(config: Path | str, state_dir: Path, following: Following, wanted: Wanted) -> Ready:
    """What will be served first: the source's word, or, where a commit is broken, what was live. Where it is
    a file, whoever starts this has just written it, and has to see that."""
    source = source_of(config, state_dir, following)
    sourcing = Sourcing(source, state_dir)

    # In a rehearsal no store or cloud is asked for what providers want. Simulators have no ports yet.
    mocks = {ANY_PROVIDER: "127.0.0.1:1"} if wanted.mock_providers else None
    overrides = Overrides(port=wanted.port, mocks=mocks)

    # Stores and clouds are asked later, and that is told: one that hangs is waited for there, and once.
    def ready_of(texts: Mapping[str, str]) -> Ready:
        return prepare(texts, overrides, os.environ, box=new_box(tells=False, asks=False))

    sourcing.first_look()
    try:
        return ready_of(sourcing.read())
    except (SettingsError, Misconfigured):
        known = sourcing.newest_of(ready_of) if source.every_s is not None else None
        if known is not None:
            return known
        raise


def _start_of(ready: Ready, wanted: Wanted) -> Start:
    listen = ready.catalog.listen
    return Start(
        address=listen.address,
        port=listen.port,
        tls_files=tuple(filter(None, (listen.tls_cert_file, listen.tls_key_file))),
        greets=wanted.greet_sha256 in ready.view.callers,
        a_pool=max(ready.catalog.pools.values(), key=lambda pool: len(pool.members)).name,
        mocks=_mock_scripts(ready) if wanted.mock_providers else {},
    )


def _mock_scripts(ready: Ready) -> dict[str, dict[str, Any]]:
    """Name → script of a simulator a provider, and of one for those that an edit may add. Who is called
    without a key in earnest is in a rehearsal too."""
    providers = ready.catalog.providers
    built = {name: provider.auth is not Auth.NONE for name, provider in providers.items() if provider.built}
    return {name: {} if has_key else {"require_key": False} for name, has_key in built.items()} | {
        ANY_PROVIDER: {"require_key": False}
    }
