"""Options that several commands have."""

from __future__ import annotations

import argparse

_ADMIN = "http://127.0.0.1:8081"


def admin_url(command: argparse.ArgumentParser) -> None:
    """Where a running broker is asked."""
    command.add_argument("--admin", default=_ADMIN, metavar="URL", help=f"default: {_ADMIN}")
