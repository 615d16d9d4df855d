"""Embeddings by the one client dialect that has them, at OpenAI's, Google's and Amazon's models.

The simulators give the same vector for the same text, whatever the dialect: so what the SDK reads can be told
from the text alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import openai
import pytest
from modelbroker.simulator.embeddings import vector
from support.broker import KEY_SHA256, Broker, provider
from support.sdks import openai_sdk
from support.simulators import Simulators

INPUTS = ["Hello ❄", "São Paulo", "三"]
PLACE = "/v1/projects/house/locations/us-east5/publishers/google/models"


@dataclass(frozen=True)
class Embedder:
    """A member. `size` of its vectors; `asked` is where a request says another one; `most` inputs at once."""

    name: str
    dialect: str
    model: str
    path: str
    size: int
    smaller: int
    asked: tuple[str | int, ...]
    most: int = 100
    base: str = ""

    @property
    def variant(self) -> Mapping[str, str]:
        if not self.name.startswith("vertex"):
            return {}
        return {"variant": "vertex", "project": "house", "region": "us-east5", "auth": "bearer"}


_BATCH = ("requests", 0, "outputDimensionality")
EMBEDDERS = [
    Embedder(
        "gemini",
        "gemini",
        "gemini-embedding-001",
        "/v1beta/models/gemini-embedding-001:batchEmbedContents",
        3072,
        768,
        _BATCH,
        base="/v1beta",
    ),
    Embedder(
        "vertex",
        "gemini",
        "text-embedding-005",
        f"{PLACE}/text-embedding-005:predict",
        768,
        256,
        ("parameters", "outputDimensionality"),
        base="/v1",
    ),
    Embedder(
        "titan",
        "bedrock-converse",
        "amazon.titan-embed-text-v2:0",
        "/model/amazon.titan-embed-text-v2:0/invoke",
        1024,
        256,
        ("dimensions",),
        most=1,
    ),
    Embedder(
        "cohere",
        "bedrock-converse",
        "cohere.embed-v4:0",
        "/model/cohere.embed-v4:0/invoke",
        1024,
        256,
        ("output_dimension",),
        most=96,
    ),
]
NAMED = {embedder.name: embedder for embedder in EMBEDDERS}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("openai", *NAMED) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    entries = [
        provider(one.name, sims[one.name].port, one.dialect, one.base) | one.variant for one in EMBEDDERS
    ]
    entries.append(provider("openai", sims["openai"].port, ["openai-chat", "openai-embeddings"], "/v1"))
    members = {one.name: {"provider": one.name, "model": one.model} for one in EMBEDDERS}
    members["openai"] = {"provider": "openai", "model": "text-embedding-3-large"}

    def pool(*names: str) -> dict[str, Any]:
        ranked = [members[name] | {"priority": place} for place, name in enumerate(names)]
        return {"name": ".".join(names), "ejection": "off", "members": ranked}

    config = {
        "providers": entries,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            *(pool(name) for name in NAMED),
            pool("openai", "gemini"),
            pool("gemini", "openai"),
            pool("titan", "cohere"),
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()
    for sim in sims:
        sim.script(strict=True)


def embed(broker: Broker, pool: str, given: Any, **more: Any) -> tuple[Any, Mapping[str, str]]:
    with openai_sdk(broker.url) as sdk:
        raw = sdk.embeddings.with_raw_response.create(model=pool, input=given, **more)
        return raw.parse(), raw.headers


def only_call(sims: Simulators, name: str) -> tuple[dict[str, Any], Any]:
    (call,) = sims[name].settled_calls()
    return call, json.loads(call["body"])


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
@pytest.mark.parametrize("name", NAMED)
def test_any_embedder_serves(broker: Broker, sims: Simulators, name: str, encoding: str | None) -> None:
    """The SDK asks for base64 where it is told nothing, and decodes it; told, it gives what came."""
    one = NAMED[name]
    given = INPUTS[: one.most]
    more = {"encoding_format": encoding} if encoding else {}
    got, headers = embed(broker, name, given, **more)
    assert headers["x-broker-member"] == f"{name}/{one.model}" and got.model == one.model
    assert [item.index for item in got.data] == list(range(len(given)))
    for text, item in zip(given, got.data, strict=True):
        found = item.embedding
        if encoding == "base64":
            assert isinstance(found, str)
            continue
        assert found == pytest.approx(vector(text, one.size), abs=1e-6)
    call, _ = only_call(sims, name)
    assert unquote(call["path"]) == one.path and call["status"] == 200
    assert got.usage.total_tokens == got.usage.prompt_tokens


@pytest.mark.parametrize("name", NAMED)
def test_dimensions(broker: Broker, sims: Simulators, name: str) -> None:
    one = NAMED[name]
    got, _ = embed(broker, name, "Hello", dimensions=one.smaller)
    (item,) = got.data
    assert item.embedding == pytest.approx(vector("Hello", one.smaller), abs=1e-6)
    _, said = only_call(sims, name)
    for step in one.asked:
        said = said[step]
    assert said == one.smaller


@pytest.mark.parametrize("name", ["titan", "cohere"])
def test_tokens_are_counted_where_they_are_told(broker: Broker, sims: Simulators, name: str) -> None:
    """In Titan's body, in a header for Cohere's."""
    sims[name].script(strict=True, replies=[{"tokens": {"input": 77}}])
    got, _ = embed(broker, name, "Hello")
    assert (got.usage.prompt_tokens, got.usage.total_tokens) == (77, 77)


def test_more_inputs_than_a_model_takes_go_to_the_next(broker: Broker, sims: Simulators) -> None:
    got, headers = embed(broker, "titan.cohere", INPUTS)
    assert len(got.data) == 3 and headers["x-broker-member"].startswith("cohere/")
    assert headers["x-broker-attempts"] == "2" and "x-broker-next" not in headers
    assert sims["titan"].settled_calls() == []


@pytest.mark.parametrize(
    ("name", "given", "more", "field"),
    [
        ("titan", INPUTS, {}, "input"),
        ("titan", "Hello", {"dimensions": 300}, "dimensions"),
        ("cohere", ["x"] * 97, {}, "input"),
        ("gemini", ["x"] * 101, {}, "input"),
    ],
)
def test_what_nobody_can_carry_is_refused_by_the_clients_own_field(
    broker: Broker, sims: Simulators, name: str, given: Any, more: Any, field: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        embed(broker, name, given, **more)
    assert (raised.value.code, raised.value.param) == ("content_not_supported", field)
    assert sims[name].settled_calls() == []


def test_one_that_fails_is_left_for_another_dialect(broker: Broker, sims: Simulators) -> None:
    sims["openai"].script(faults=[{"status": 503}])
    got, headers = embed(broker, "openai.gemini", INPUTS)
    assert headers["x-broker-member"] == "gemini/gemini-embedding-001"
    assert got.data[2].embedding == pytest.approx(vector(INPUTS[2], 3072), abs=1e-6)
    (call,) = sims["openai"].settled_calls()
    assert json.loads(call["body"])["model"] == "text-embedding-3-large"


def test_tokens_go_to_those_who_know_the_tokenizer(broker: Broker, sims: Simulators) -> None:
    got, headers = embed(broker, "gemini.openai", [[1, 2, 3], [4]])
    assert len(got.data) == 2 and headers["x-broker-member"] == "openai/text-embedding-3-large"
    assert sims["gemini"].settled_calls() == []
    with pytest.raises(openai.BadRequestError) as raised:
        embed(broker, "cohere", [1, 2, 3])
    assert raised.value.code == "content_not_supported" and "input" in raised.value.message


@pytest.mark.parametrize("name", NAMED)
def test_knobs_without_a_place_are_named(broker: Broker, name: str) -> None:
    _, headers = embed(broker, name, "Hello", user="someone", extra_body={"truncate": "END"})
    assert set(headers["x-broker-dropped"].split(", ")) == {"user", "truncate"}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(
    ("status", "error"),
    [(429, openai.RateLimitError), (400, openai.BadRequestError), (403, openai.InternalServerError)],
)
def test_errors_are_the_clients_own(
    broker: Broker, sims: Simulators, name: str, status: int, error: type[openai.APIStatusError]
) -> None:
    sims[name].script(faults=[{"status": status, "error": {"message": "Not today."}}])
    with pytest.raises(error) as raised:
        embed(broker, name, "Hello")
    assert raised.value.type and ("Not today." in raised.value.message) == (status != 403)
