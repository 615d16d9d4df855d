"""Bodies of captured calls in the stores of a fleet: PostgreSQL, and what speaks S3. They get there, come out
by `traffic export`, and no call notices while the store is away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from modelbroker.cli.main import main
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.servers import S3, Postgres
from support.simulators import Simulators
from support.waiting import wait_until

SECRET = "canary.bird@secret-mine.example"
ENVIRON = {"TRAFFIC_KEY": "6b" * 32, **S3.keys}


class Store(NamedTuple):
    url: str
    go: Callable[[], None]
    come_back: Callable[[], None]
    content: Callable[[], bytes]  # all that lies there, as somebody sees it who has no key


@pytest.fixture(params=["postgres", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        return in_postgres(postgres, postgres.new_database())
    s3: S3 = request.getfixturevalue("s3")
    return in_s3(s3, s3.new_bucket())


def in_postgres(server: Postgres, url: str) -> Store:
    def content() -> bytes:
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT * FROM samples").fetchall()
        return repr(
            [[bytes(one) if isinstance(one, memoryview) else one for one in row] for row in rows]
        ).encode()

    return Store(url, server.kill, server.start, content)


def in_s3(server: S3, url: str) -> Store:
    def content() -> bytes:
        client, bucket = server.client(), urlsplit(url).netloc
        listed = client.list_objects_v2(Bucket=bucket).get("Contents", ())
        return b"".join(client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in listed)

    return Store(url, server.stop, server.start, content)


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("own") as simulators:
        yield simulators


def config(sims: Simulators) -> dict[str, Any]:
    return {
        "providers": [provider("own", sims["own"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "red"}],
        "pools": [{"name": "chat", "members": [{"provider": "own", "model": "m"}]}],
        "capture": {
            "rules": [{"match": {}}],
            "store": {"env": "TRAFFIC_URL"},
            "encryption": {"key": {"env": "TRAFFIC_KEY"}},
        },
    }


def asks() -> list[Ask]:
    return [Ask("chat", stream=stream, question=f"who is {SECRET}?") for stream in (False, True)]


def exported(broker: Broker, out: Path) -> dict[str, dict[str, Any]]:
    words = [
        "traffic",
        "export",
        "--config",
        str(broker.config_dir),
        "--state-dir",
        str(broker.folder / "state"),
    ]
    assert main([*words, "--where", "team=red", "--out", str(out)]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    found = {line["request_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def test_samples_get_there_and_the_store_may_be_away(
    sims: Simulators, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {**ENVIRON, "TRAFFIC_URL": store.url}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with Broker(tmp_path, config(sims), environ=environ) as broker:
        got = make(broker.url, asks())
        broker.wait_for(lambda s: s["capture"]["written"] == len(got))
        check(got, exported(broker, tmp_path / "first.jsonl"))

        store.go()
        try:
            away = make(broker.url, [one for _ in range(10) for one in asks()])
            assert all(one.is_whole for one in away)
            status = broker.wait_for(lambda s: s["capture"]["state"] == "waiting")["capture"]
            assert status["error"] and status["error"] in broker.log()
            assert ENVIRON["TRAFFIC_KEY"] not in broker.log()
        finally:
            store.come_back()
        status = broker.wait_for(lambda s: s["capture"]["written"] == len(got) + len(away))["capture"]
        assert (status["lost"], status["dropped"], status["failed"]) == (0, 0, 0)
        wait_until(lambda: broker.status()["capture"]["state"] == "writing")
        check([*got, *away], exported(broker, tmp_path / "second.jsonl"))
    assert not (tmp_path / "state" / "traffic.db").exists()
    content = store.content()
    assert b"red" in content  # who called is there to be asked for; what was said is not to be read
    for text in (SECRET, "who is", "canary", "[email]"):
        assert text.encode() not in content


def check(got: list[Got], found: dict[str, dict[str, Any]]) -> None:
    assert set(found) == {one.headers["x-broker-request-id"] for one in got}
    for one in got:
        line = found[one.headers["x-broker-request-id"]]
        assert one.is_whole and (line["status"], line["member"], line["cut"]) == (200, "own/m", "")
        assert line["request"]["messages"] == [{"role": "user", "content": "who is [email]?"}]
        assert line["redacted"] == ["email"]
        assert ("data: [DONE]" in line["reply"]) if one.ask.stream else line["reply"]["choices"]
