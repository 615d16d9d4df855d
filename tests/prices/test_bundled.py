"""Where the bundled prices come from, and what happens where they can't be had."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from modelbroker.core.catalog import Provider
from modelbroker.core.prices import Rates
from modelbroker.prices import bundled as module
from modelbroker.prices.bundled import NoPriceList, PriceList, bundled
from modelbroker.prices.matching import matcher, spellings

FLAT = [{"scale": {"rates": {"input": 1_000}}}]
TABLE = {
    "version": "1.2.3",
    "providers": {
        "openai": {
            "pattern": r"https://api\.openai\.com",
            "fallback": [],
            "models": [
                ["gpt-a", ["equals", "gpt-a"], [{**FLAT[0], "tiers": {"flex": {"rates": {"input": 5}}}}]],
                ["whisper", ["equals", "whisper"], [{"scale": {"rates": {}}}]],
            ],
        },
        "azure": {"pattern": r"https://[^.]*\.openai\.azure\.com", "fallback": ["openai"], "models": []},
        "aws": {
            "pattern": "https://bedrock",
            "fallback": [],
            "models": [["us-claude", ["contains", "us.anthropic.claude"], FLAT]],
        },
        "google": {
            "pattern": r"https://(.*\.)?googleapis\.com",
            "fallback": [],
            "models": [["claude", ["contains", "claude"], FLAT]],
        },
        "huggingface_groq": {"pattern": "x", "fallback": [], "models": [["l", ["equals", "org/l"], FLAT]]},
    },
}
LIST = PriceList(json.dumps(TABLE).encode())


@pytest.mark.parametrize(
    ("provider", "model", "source"),
    [
        (Provider("openai", (), ""), "GPT-A", "openai/gpt-a"),
        (Provider("openai", (), ""), "gpt-b", ""),
        (Provider("azure-openai", (), "https://x"), "gpt-a", "openai/gpt-a"),
        # A deployment says nothing; the name that members use does.
        (Provider("azure-openai", (), "", models={"gpt-a": "my-deployment"}), "gpt-a", "openai/gpt-a"),
        # The provider's own name goes before the one that members use.
        (Provider("openai", (), "", models={"whisper": "gpt-a"}), "whisper", "openai/gpt-a"),
        (Provider("mine", (), "https://api.openai.com/v1"), "gpt-a", "openai/gpt-a"),
        (Provider("mine", (), "https://api.example.com/v1"), "gpt-a", ""),
        (Provider("mine", (), "https://x.googleapis.com"), "claude", ""),
        (Provider("eu", (), "https://x", variant="vertex"), "claude@1", "google/claude"),
        (Provider("eu", (), "https://x", variant="azure"), "gpt-a", "openai/gpt-a"),
        (Provider("bedrock", (), "", models={"c": "us.anthropic.claude-1"}), "c", "aws/us-claude"),
        (
            Provider(
                "bedrock-anthropic", (), "", models={"c": "arn:aws:bedrock:x:1:y/us.anthropic.claude-1"}
            ),
            "c",
            "aws/us-claude",
        ),
        (Provider("openai", (), ""), "models/gpt-a", "openai/gpt-a"),
        (Provider("huggingface", (), ""), "org/l:groq", "huggingface_groq/l"),
        (Provider("huggingface", (), ""), "org/l", ""),
        (Provider("vllm", (), "http://127.0.0.1:8000/v1"), "gpt-a", ""),
    ],
)
def test_whose_price_it_is(provider: Provider, model: str, source: str) -> None:
    found = LIST.find(provider, model)
    assert [price.source for price in found] == ([f"genai-prices 1.2.3 ({source})"] if source else [])


def test_service_tiers_are_the_owners_alone() -> None:
    (own,) = LIST.find(Provider("openai", (), ""), "gpt-a")
    (other,) = LIST.find(Provider("azure-openai", (), ""), "gpt-a")
    assert [name for name, _ in own.tiers] == ["flex"] and other.tiers == ()
    assert own.scale == other.scale and own.scale.rates == Rates(input=1_000)


@pytest.mark.parametrize(
    ("clause", "yes", "no"),
    [
        (["equals", "a"], "a", "ab"),
        (["starts_with", "a"], "ab", "ba"),
        (["ends_with", "a"], "ba", "ab"),
        (["contains", "a"], "bab", "b"),
        (["regex", "^a[0-9]$"], "a1", "a12"),
        (["or", ["equals", "a"], ["equals", "b"]], "b", "c"),
        (["and", ["starts_with", "a"], ["ends_with", "b"]], "axb", "ax"),
    ],
)
def test_clauses(clause: list[Any], yes: str, no: str) -> None:
    assert matcher(clause)(yes) and not matcher(clause)(no)


def test_an_unknown_clause_is_no_match_of_anything() -> None:
    with pytest.raises(ValueError, match="there is no clause near"):
        matcher(["near", "a"])


def test_how_a_model_may_be_spelled() -> None:
    assert spellings("GPT-5.2-20251211") == ("gpt-5.2-20251211", "gpt-5.2-2025-12-11")
    assert spellings("m-20251231:free") == ("m-20251231:free", "m-2025-12-31:free")
    assert spellings("m-20250231") == ("m-20250231",)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module._compiled.cache_clear()
    return tmp_path / "modelbroker"


def test_the_table_is_made_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bundled()
    (kept,) = cache.iterdir()
    assert json.loads(kept.read_bytes())["version"] == made.version
    module._compiled.cache_clear()
    monkeypatch.setattr(module.sys, "executable", "/nonexistent")  # it is not made again
    assert bundled() is not made and bundled().version == made.version


def test_the_package_is_not_imported_here(cache: Path) -> None:
    code = "import sys; from modelbroker.prices.bundled import bundled; bundled()"
    code += "; sys.exit('genai_prices' in sys.modules)"
    for _ in range(2):  # where the table has to be made, and where it is there
        assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    assert list(cache.iterdir())


def test_a_damaged_table_is_made_anew(cache: Path) -> None:
    bundled()
    (kept,) = cache.iterdir()
    for damage in (b"", b"{", b'{"version": 1}'):
        kept.write_bytes(damage)
        module._compiled.cache_clear()
        assert bundled().find(Provider("anthropic", (), ""), "claude-opus-4-7")
        assert len(kept.read_bytes()) > 100_000


def test_a_cache_that_can_not_be_written_does_no_harm(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert bundled().find(Provider("anthropic", (), ""), "claude-opus-4-7")


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no-such-prices")
    with pytest.raises(
        NoPriceList, match=r"the package no-such-prices is not here.*pip install no-such-prices"
    ):
        bundled()


def test_a_package_that_can_not_be_read_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with pytest.raises(NoPriceList, match="genai-prices can't be read"):
        bundled()
    assert not cache.exists()
