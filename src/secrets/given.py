"""A secret that a command is given: where it is to be found, and what is there now."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..core.catalog import SecretRef

KINDS = ("env", "file")
# Neither a header nor a line of a protocol holds them.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Unusable(Exception):
    """A secret that can't be had, or is none. The text has no secret in it."""


def reference_of(text: str) -> SecretRef:
    """`env:NAME` or `file:PATH`. ValueError where it is neither."""
    kind, colon, name = text.partition(":")
    if not colon or kind not in KINDS or not name or (kind == "env" and not name.isidentifier()):
        # It is not repeated: it may be the secret itself.
        raise ValueError("give env:NAME or file:PATH, where it is to be found")
    return SecretRef(kind, name)


def given(option: str, ref: SecretRef, environ: Mapping[str, str] = os.environ) -> str:
    """What is there now, without the spaces around it. `option`: by what it was given. Unusable."""
    said = environ.get(ref.name, "").strip() if ref.kind == "env" else _of_file(option, ref)
    if not said:
        empty = (
            "the environment has no such variable, or an empty one" if ref.kind == "env" else "it is empty"
        )
        raise Unusable(f"{option} {ref}: {empty}")
    if _CONTROL.search(said):
        raise Unusable(f"{option} {ref} holds more than a line, or control characters")
    return said


def _of_file(option: str, ref: SecretRef) -> str:
    try:
        return Path(ref.name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Unusable(f"{option} {ref} can't be read: {why}") from None
