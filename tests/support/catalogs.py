"""Small catalogs for the tests of the pure floors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelbroker.core.call import Caller, Facts, Surface
from modelbroker.core.catalog import Catalog
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN, SURFACES
from modelbroker.settings import compile_texts

from .yamls import yaml_of

PROVIDERS = [
    {"name": name, "dialect": dialect, "base_url": f"http://127.0.0.1:{port}", "credential": {"env": "K"}}
    for port, (name, dialect) in enumerate(
        [("a", "anthropic-messages"), ("b", "openai-chat"), ("c", "openai-chat"), ("r", "openai-responses")],
        9001,
    )
]


def catalog(**sections: Any) -> Catalog:
    """Compiled from sections given as Python values; the providers a, b, c and r are there."""
    text = yaml_of({"providers": PROVIDERS, **sections})
    return compile_texts({"test.yaml": text}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog


def surface(name: str) -> Surface:
    return next(surface for surface in SURFACES if surface.name == name)


def facts(
    model: str, dialect: str = "openai-chat", caller: Mapping[str, Any] | None = None, **fields: Any
) -> Facts:
    return Facts(caller=Caller(**(caller or {})), surface=surface(dialect), model=model, **fields)
