"""Traces and logs, as they are written."""

from __future__ import annotations

import pytest
from modelbroker.core.catalog import Catalog, SecretRef, StoredSecret
from modelbroker.core.telemetry import NO_TELEMETRY, Content, Otlp, Telemetry, Traces
from modelbroker.settings import Problem, compile_texts

POOL = "pools: [{name: p, members: [{provider: openai, model: m}]}]\n"
CAPTURED = "capture: {encryption: none, rules: [{match: {}, pools: p*, share: 1%}]}\n"
CONTENT = "telemetry: {otlp: {endpoint: https://c, content: {pools: p}}, traces: off}"
STORE = 'secrets: {stores: [{name: vault, vault: {address: "https://v", auth: {token: {env: T}}}}]}\n'


def compiled(text: str) -> tuple[Catalog, tuple[Problem, ...]]:
    loaded = compile_texts({"a": POOL + STORE + text}, dialects=("openai-chat",), built=("openai-chat",))
    return loaded.catalog, loaded.warnings


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", NO_TELEMETRY),
        ("telemetry: {}", NO_TELEMETRY),
        ("telemetry: {traces: on}", Telemetry(traces=Traces())),
        ("telemetry: {traces: off}", NO_TELEMETRY),
        ("telemetry: {traces: {share: 0.5%}}", Telemetry(traces=Traces(5_000))),
        (
            "telemetry: {traces: {share: 0%, from_agents: no, to_providers: off}}",
            Telemetry(traces=Traces(0, from_agents=False, to_providers=False)),
        ),
        ("telemetry: {otlp: {endpoint: http://c:4317/}}", Telemetry(Otlp("http://c:4317"), Traces())),
        ("telemetry: {resource: {a.b: c}}", Telemetry(traces=Traces(), resource={"a.b": "c"})),
        (
            """
telemetry:
  otlp:
    endpoint: https://C.internal/otlp
    protocol: http
    headers: {DD-API-KEY: {env: K}, b: {vault: otlp, field: key}}
    ca_file: /ca.pem
    compression: none
    timeout: 3s
  traces: off
  logs: on""",
            Telemetry(
                Otlp(
                    "https://c.internal/otlp",
                    "http",
                    {"b": StoredSecret("store", "otlp", "vault", "key"), "dd-api-key": SecretRef("env", "K")},
                    "/ca.pem",
                    "none",
                    3_000,
                ),
                None,
                True,
            ),
        ),
    ],
)
def test_what_is_meant(text: str, meant: Telemetry) -> None:
    catalog, warnings = compiled(text)
    assert catalog.telemetry == meant
    assert (catalog.revision == compiled("")[0].revision) == (meant == NO_TELEMETRY)
    assert warnings == ()


def test_texts_of_pools_that_are_captured() -> None:
    text = "telemetry: {otlp: {endpoint: https://c, content: {pools: [p, p], most_chars: 500}}}\n"
    catalog, warnings = compiled(text + CAPTURED)
    assert catalog.telemetry.otlp == Otlp("https://c", content=Content(("p",), 500))
    assert warnings == ()
    with_default = compiled(CONTENT + "\n" + CAPTURED)
    assert with_default[0].telemetry.otlp == Otlp("https://c", content=Content(("p",), 10_000))
    assert with_default[1] == () and with_default[0].revision != catalog.revision


@pytest.mark.parametrize(
    "more",
    [
        "",
        CAPTURED.replace("p*", "q").replace("[{", "[{match: {}, pools: q}, {"),
        "capture: {encryption: none}",
    ],
)
def test_a_pool_of_which_nothing_is_captured_is_warned_of(more: str) -> None:
    other = "pools: [{name: q, members: [{provider: openai, model: m}]}]\n"
    files = {"a": POOL + CONTENT, "b": other + more}
    warnings = compile_texts(files, dialects=("openai-chat",), built=("openai-chat",)).warnings
    assert [str(one) for one in warnings if "telemetry" in str(one)] == [
        'a:2: telemetry.otlp.content.pools[0]: nothing of the pool "p" is captured, and no text of it is '
        "sent; add a rule to `capture`, or leave the pool out"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "telemetry: {otlp: {endpoint: https://c}, traces: off}",
            "telemetry.otlp: traces and logs are off, and nothing is sent; say logs: on",
        ),
        (
            "telemetry: {otlp: {endpoint: http://c, headers: {k: {env: K}}}}",
            "telemetry.otlp.endpoint: headers go over the network as they are; give https://…",
        ),
        ("telemetry: {otlp: {endpoint: http://127.0.0.1:4317, headers: {k: {env: K}}}}", ""),
    ],
)
def test_what_is_warned_of(text: str, said: str) -> None:
    assert [str(warning).removeprefix("a:3: ") for warning in compiled(text)[1]] == ([said] if said else [])
