"""The list prices of genai-prices, as core's Prices of the models that a configuration uses."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ..core.catalog import Provider
from ..core.prices import Price, Rates, Scale
from .matching import Matches, matcher, spellings

PACKAGE = "genai-prices"
_EXTRACT_TIMEOUT_S = 60

# Our providers → theirs, where the name is another one. Others are found by name, variant or base URL.
_IDS = {
    "azure-openai": "azure",
    "bedrock": "aws",
    "bedrock-anthropic": "aws",
    "bedrock-mantle": "aws",
    "bedrock-openai": "aws",
    "gemini": "google",
    "vertex": "google",
    "vertex-anthropic": "google",
    "xai": "x-ai",
    "moonshot": "moonshotai",
}
_OF_VARIANT = {"azure": "azure", "bedrock": "aws", "vertex": "google"}
# Who serves a model at Hugging Face stands behind its name: `meta-llama/Llama-3.3-70B-Instruct:groq`.
_ROUTER = "huggingface"
# Google's name for everything is in the URLs of much that has other prices, or none.
_NOT_BY_URL = frozenset(("google",))


class NoPriceList(Exception):
    """There are no bundled prices: why, and what would help."""


class _Models:
    """What one provider of the list serves."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.fallback: tuple[str, ...] = tuple(tree["fallback"])
        self._models: list[tuple[str, Matches, Any]] = [
            (name, matcher(clause), prices) for name, clause, prices in tree["models"]
        ]

    def match(self, name: str) -> tuple[str, Any] | None:
        """The first model that goes by this name: what the list calls it, and its prices."""
        return next(((model, prices) for model, matches, prices in self._models if matches(name)), None)


class PriceList:
    """The table that `extract` made. What is decoded of it is what is asked for."""

    def __init__(self, table: bytes) -> None:
        document = msgspec.json.decode(table, type=_Document)
        self.version = document.version
        self._raw = document.providers
        self._models: dict[str, _Models] = {}
        self._patterns = {
            name: re.compile(msgspec.json.decode(raw, type=_Pattern).pattern)
            for name, raw in self._raw.items()
        }
        self._found: dict[tuple[str, str], tuple[Price, ...]] = {}

    def find(self, provider: Provider, model: str) -> tuple[Price, ...]:
        """The prices of a model (by the name that members use), in rising order of precedence; () where the
        list has none. The provider's own name of it is looked up first."""
        ident = self.ident(provider)
        own = provider.own_model(model)
        is_path = own.startswith("arn:") or "models/" in own
        for name in dict.fromkeys((own, own.rpartition("/")[2] if is_path else own, model)):
            router, _, served_by = name.rpartition(":")
            if ident == _ROUTER:
                found = self._prices(f"{_ROUTER}_{served_by}", router) if router else ()
            else:
                found = self._prices(ident, name)
            if found:
                return found
        return ()

    def ident(self, provider: Provider) -> str:
        """Its id in the list, or one that is not there."""
        name = _IDS.get(provider.name, provider.name)
        if name in self._raw or name == _ROUTER:
            return name
        if provider.variant:
            return _OF_VARIANT[provider.variant]
        by_url = (
            ident
            for ident, pattern in self._patterns.items()
            if ident not in _NOT_BY_URL and pattern.match(provider.base_url)
        )
        return next(by_url, "")

    def _prices(self, ident: str, model: str) -> tuple[Price, ...]:
        key = (ident, model)
        if key not in self._found:
            self._found[key] = self._look_up(ident, model)
        return self._found[key]

    def _look_up(self, ident: str, model: str) -> tuple[Price, ...]:
        models = self._of(ident)
        for name in spellings(model) if models else ():
            if hit := models.match(name) if models else None:
                return tuple(self._read(ident, *hit))
            # Whose models it serves, too. Their service tiers are not its own.
            for other in models.fallback if models else ():
                others = self._of(other)
                if hit := others.match(name) if others else None:
                    return tuple(self._read(other, hit[0], [{**p, "tiers": {}} for p in hit[1]]))
        return ()

    def _of(self, ident: str) -> _Models | None:
        if ident not in self._raw:
            return None
        if ident not in self._models:
            self._models[ident] = _Models(msgspec.json.decode(self._raw[ident]))
        return self._models[ident]

    def _read(self, ident: str, model: str, prices: Any) -> Iterator[Price]:
        source = f"{PACKAGE} {self.version} ({ident}/{model})"
        before: Price | None = None
        for each in prices:
            daily = each.get("daily")
            price = Price(
                _scale(each["scale"]),
                tuple((name, _scale(scale)) for name, scale in each.get("tiers", {}).items()),
                each.get("from_s", 0),
                daily=(daily[0], daily[1]) if daily else None,
                source=source,
            )
            if before is None or replace(price, from_s=before.from_s) != before:
                yield price
                before = price


class _Document(msgspec.Struct):
    version: str
    providers: dict[str, msgspec.Raw]


class _Pattern(msgspec.Struct):
    pattern: str


def _scale(tree: Mapping[str, Any]) -> Scale:
    above = tuple((tokens, Rates(**rates)) for tokens, rates in tree.get("above", ()))
    return Scale(Rates(**tree["rates"]), above)


def bundled() -> PriceList:
    """The list of the installed package, compiled where that was not done before. Raises NoPriceList."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))  # does not import it
    if spec is None or spec.origin is None:
        why = f"the package {PACKAGE} is not here, so only models in `prices` have a price"
        raise NoPriceList(f"{why}; pip install {PACKAGE}")
    try:
        version = importlib.metadata.version(PACKAGE)
        stat = Path(spec.origin).with_name("data.py").stat()
        ours = (
            Path(__file__).with_name("extract.py").read_bytes()
        )  # which makes another table of the same data
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise NoPriceList(f"the package {PACKAGE} is damaged ({error}); install it anew") from None
    theirs = f"{version}:{stat.st_size}:{stat.st_mtime_ns}:"
    key = hashlib.sha256(theirs.encode() + ours).hexdigest()[:16]
    return _compiled(f"prices-{key}.json")


@functools.lru_cache(maxsize=1)
def _compiled(name: str) -> PriceList:
    cached = _cache_folder() / name
    try:
        return PriceList(cached.read_bytes())
    except (OSError, ValueError):
        pass  # not there yet, or damaged
    table = _extracted()
    _write_atomically(cached, table)
    return PriceList(table)


def _extracted() -> bytes:
    """Our table, made in a process of its own: the package is large, and is not needed again."""
    command = [sys.executable, "-m", f"{__package__}.extract"]
    try:
        done = subprocess.run(  # noqa: S603 - this very program
            command, capture_output=True, timeout=_EXTRACT_TIMEOUT_S, check=True
        )
        msgspec.json.decode(done.stdout, type=_Document)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
        why = f"{PACKAGE} can't be read: {said[-1] if said else error}"
        raise NoPriceList(
            f"{why}; this version of the broker wants the one that pyproject.toml names"
        ) from None
    return done.stdout


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "modelbroker"


def _write_atomically(path: Path, data: bytes) -> None:
    """Kept for the next start; a folder that can't be written costs 0.6 s a start, no more."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)
    except OSError:
        return
