"""The writer of captured calls is kept alive and fed, and what does not fit is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from modelbroker.cli import capture
from modelbroker.cli.capture import CaptureKeeper, settings_of
from modelbroker.cli.main import main
from modelbroker.core.capture import Capture, CaptureRule
from modelbroker.core.catalog import SecretRef
from modelbroker.core.traffic import Sample
from modelbroker.traffic.stores import open_store
from support.catalogs import catalog

KEY = "6b" * 32
CAPTURE = Capture((CaptureRule("all", ()),), key=SecretRef("env", "KEY"), queue_bytes=1 << 20, is_set=True)
PATIENCE_S = 60


def sample(number: int, size: int = 100) -> Sample:
    return Sample(f"call-{number}", 2e9 + number, request=b'{"a":"alice@example.com %s"}' % (b"x" * size))


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.01)


def keep(
    folder: Path, said: Capture, work: Callable[[CaptureKeeper], Awaitable[None]], *, closes: bool = True
) -> None:
    async def run() -> None:
        keeper = CaptureKeeper(folder)
        settings, why = settings_of(said, {"KEY": KEY})
        keeper.configured(replace(catalog(pools=[POOL]), capture=said), settings, why)
        running = asyncio.create_task(keeper.run())
        try:
            await work(keeper)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await keeper.close()

    asyncio.run(run())


POOL = {"name": "p", "members": [{"provider": "a", "model": "m"}]}


def stored(folder: Path) -> list[Sample]:
    with open_store(f"sqlite:///{folder}/traffic.db", [bytes.fromhex(KEY)]) as store:
        return list(store.read())


def test_samples_get_into_the_store_also_those_of_before_there_was_a_writer(tmp_path: Path) -> None:
    async def work(keeper: CaptureKeeper) -> None:
        assert all(keeper.offer(sample(number)) for number in range(50))
        await until(lambda: keeper.status()["state"] == "writing")
        assert keeper.offer(sample(50))  # and those that are with it when it is ended

    keep(tmp_path, CAPTURE, work)
    found = stored(tmp_path)
    assert len(found) == 51 and all(b"[email]" in (one.request or b"") for one in found)


def test_what_does_not_fit_is_dropped_and_the_store_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "later").write_text("no folder yet")
    said = replace(CAPTURE, url=f"sqlite:///{tmp_path}/later/traffic.db")

    async def work(keeper: CaptureKeeper) -> None:
        await until(lambda: keeper.status()["state"] == "waiting" and keeper.status()["error"])
        taken = [keeper.offer(sample(number, 10_000)) for number in range(500)]
        assert not all(taken) and keeper.status()["dropped"] == taken.count(False)
        assert keeper.status()["queued_bytes"] <= said.queue_bytes
        (tmp_path / "later").unlink()
        await until(lambda: keeper.status()["written"] == taken.count(True))
        assert keeper.status()["state"] == "writing" and not keeper.status()["error"]
        assert keeper.offer(sample(1_000))

    keep(tmp_path, said, work)
    assert stored(tmp_path / "later")[-1].request_id == "call-1000"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_writer_that_is_gone_or_stuck_gets_a_successor(
    tmp_path: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how is signal.SIGSTOP:  # it has to be longer than a start takes on a busy machine
        monkeypatch.setattr(capture, "_SILENT_S", 15.0)

    async def work(keeper: CaptureKeeper) -> None:
        await until(lambda: keeper.status()["state"] == "writing")
        keeper.offer(sample(1))
        await until(lambda: keeper.status()["written"] == 1)
        child = keeper._child
        assert child is not None
        os.kill(child.pid, how)
        for number in range(2, 30):
            assert keeper.offer(sample(number))
        await until(lambda: keeper._child not in (None, child))
        # What is on its way to a writer that ends is lost: so this one comes until it is there.
        for _ in range(PATIENCE_S):
            keeper.offer(sample(100))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    while not any(one.request_id == "call-100" for one in stored(tmp_path)):  # noqa: ASYNC110 - another process is waited for
                        await asyncio.sleep(0.05)
                return
        raise AssertionError(keeper.status())

    keep(tmp_path, CAPTURE, work)
    assert {"call-1", "call-100"} <= {one.request_id for one in stored(tmp_path)}


def test_another_configuration_is_another_writer(tmp_path: Path) -> None:
    async def work(keeper: CaptureKeeper) -> None:
        keeper.offer(sample(1))
        await until(lambda: keeper.status()["written"] == 1)
        said = replace(CAPTURE, patterns=())
        settings, why = settings_of(said, {"KEY": KEY})
        keeper.configured(replace(catalog(pools=[POOL]), capture=said), settings, why)
        old = keeper._child
        await until(lambda: keeper._child not in (None, old) and keeper.status()["state"] == "writing")
        keeper.offer(sample(2))
        await until(lambda: len(stored(tmp_path)) == 2)
        keeper.configured(catalog(pools=[POOL]), None, "")
        assert not keeper.offer(sample(3)) and keeper.status()["state"] == "off"

    keep(tmp_path, CAPTURE, work)
    assert [b"alice" in (one.request or b"") for one in stored(tmp_path)] == [False, True]


def test_why_nothing_is_captured() -> None:
    assert settings_of(CAPTURE, {})[1] == "capture.encryption.key: the environment variable KEY is not set"
    old = replace(CAPTURE, old_keys=(CAPTURE.key, SecretRef("env", "OLD")))  # type: ignore[arg-type]
    assert settings_of(old, {"KEY": KEY})[1].startswith("capture.encryption.old_keys[1]: the environment")
    assert "holds is no key of 32 bytes" in settings_of(CAPTURE, {"KEY": "short"})[1]
    away = replace(CAPTURE, secret=SecretRef("env", "URL"))
    assert settings_of(away, {"KEY": KEY, "URL": "mysql://x"})[1].startswith("capture.store: the environment")
    good, why = settings_of(
        replace(away, old_keys=(SecretRef("env", "OLD"),)),
        {"KEY": KEY, "URL": "s3://bucket/c", "OLD": "00" * 32},
    )
    assert good is not None and not why and good.keys == (KEY, "00" * 32)


@pytest.mark.parametrize(
    ("environ", "field", "told"),
    [
        ({"KEY": "short"}, "key", "what the environment variable KEY holds is no key of 32 bytes"),
        ({}, "key", "the environment variable KEY is not set"),
        ({"KEY": KEY}, "old_keys[0]", "the environment variable OLD is not set"),
    ],
)
def test_check_says_it_once_and_where(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    field: str,
    told: str,
) -> None:
    for name in ("KEY", "OLD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    lines = ["pools:", "  - {name: p, members: [{provider: openai, model: gpt-5-mini}]}", "capture:"]
    lines += ["  rules: [{match: {}}]", "  encryption:", "    key: {env: KEY}", "    old_keys: [{env: OLD}]"]
    path = tmp_path / "broker.yaml"
    path.write_text("\n".join(lines))
    assert main(["check", str(path)]) == 1
    said = [one for one in capsys.readouterr().err.splitlines() if "OPENAI_API_KEY" not in one]
    line = len(lines) - (field == "key")
    assert said == [one for one in said if f"{path}:{line}: capture.encryption.{field}: {told}" in one]
    assert len(said) == 1
