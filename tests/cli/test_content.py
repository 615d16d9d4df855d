"""What the control plane makes of `telemetry.otlp.content`: settings for the exporter of texts, what is
wrong, and since when each pool is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli import content
from modelbroker.cli.content import SINCE_NAME, ContentKeeper
from modelbroker.cli.main import main
from modelbroker.cli.runtime import Overrides, Ready, prepare
from modelbroker.cli.secrets import files_of
from modelbroker.core.errors import Misconfigured
from modelbroker.telemetry.content import STILL

POOLS = "pools: [{name: p, members: [&m {provider: openai, model: m}]}, {name: q, members: [*m]}]\n"
CAPTURE = (
    "capture: {encryption: {key: {env: TRAFFIC_KEY}, old_keys: [{env: OLD_KEY}]}, rules: [{match: {}}]}\n"
)
OTLP = """\
telemetry:
  traces: off
  otlp: {endpoint: "https://c:4317", headers: {api-key: {env: COLLECTOR_KEY}}, content: {pools: %s}}
"""
ENVIRON = {"OPENAI_API_KEY": "k", "COLLECTOR_KEY": "sk-c", "TRAFFIC_KEY": "6b" * 32, "OLD_KEY": "5a" * 32}


def ready(text: str = POOLS + CAPTURE + OTLP % "[p]", **environ: str) -> Ready:
    return prepare({"a.yaml": text}, Overrides(), {**ENVIRON, **environ})


def test_all_that_the_exporter_has_to_know() -> None:
    settings = ready().content
    assert settings is not None and ready().content_why == ""
    assert (settings.endpoint, settings.headers) == ("https://c:4317", {"api-key": "sk-c"})
    assert (list(settings.pools), settings.most_chars) == (["p"], 10_000)
    assert (settings.url, settings.keys) == ("", (ENVIRON["TRAFFIC_KEY"], ENVIRON["OLD_KEY"]))
    assert settings.places["openai"] == ("openai", "api.openai.com", 443)
    assert ready().telemetry is None  # spans and log records are off
    assert ready(TRAFFIC_KEY="7c" * 32).content != settings


@pytest.mark.parametrize(
    "text",
    [
        POOLS + CAPTURE,
        POOLS + CAPTURE + "telemetry: {otlp: {endpoint: 'https://c:4317'}}",
        POOLS + OTLP % "[p]",  # nothing is captured, which is warned of
        POOLS + "capture: {encryption: none, exempt: [x]}\n" + OTLP % "[p]",
    ],
)
def test_nothing_to_send(text: str) -> None:
    made = ready(text)
    assert (made.content, made.content_why) == (None, "")


@pytest.mark.parametrize(
    ("name", "field", "line"),
    [("TRAFFIC_KEY", "capture.encryption.key", 2), ("COLLECTOR_KEY", "telemetry.otlp.headers.api-key", 5)],
)
def test_a_key_that_is_missing_is_told_with_its_place(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    field: str,
    line: int,
) -> None:
    made = ready(**{name: ""})
    why = f"{field}: the environment variable {name} is not set"
    assert (made.content, made.content_why) == (None, why)
    assert f"{why}; no texts are sent" in made.warnings
    path = tmp_path / "a.yaml"
    path.write_text(POOLS + CAPTURE + OTLP % "[p]")
    for each, value in ENVIRON.items():
        monkeypatch.setenv(each, value)
    monkeypatch.delenv(name)
    assert main(["check", str(path), "--no-envoy"]) == 1
    assert f"{path}:{line}: {why}" in capsys.readouterr().err


def test_what_is_to_be_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelbroker.cli import telemetry

    monkeypatch.setattr(telemetry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Misconfigured, match=r"pip install 'modelbroker\[otlp\]'"):
        ready()


def test_files_of_its_keys_are_watched(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(ENVIRON["TRAFFIC_KEY"])
    made = ready(POOLS + CAPTURE.replace("{env: TRAFFIC_KEY}", f"{{file: {key_file}}}") + OTLP % "[p]")
    assert made.content is not None and key_file in files_of(made.catalog)


# -- since when


class Clock:
    now = 100.0

    def time(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(content, "time", made)
    return made


def named(keeper: ContentKeeper, pools: str) -> dict[str, float]:
    made = ready(POOLS + CAPTURE + (OTLP % pools if pools else ""))
    keeper.configured(made.catalog, made.content, made.content_why)
    settings: Any = keeper._wanted()
    return dict(settings.pools) if settings is not None else {}


def test_each_pool_is_named_from_when_it_was_first(tmp_path: Path, clock: Clock) -> None:
    keeper = ContentKeeper(tmp_path)
    assert named(keeper, "[p]") == {"p": 101.0}
    assert named(keeper, "[q, p]") == {"p": 101.0, "q": 102.0}
    assert named(ContentKeeper(tmp_path), "[p, q]") == {"p": 101.0, "q": 102.0}  # after a restart
    settings: Any = keeper._wanted()
    assert (settings.folder, settings.url) == (str(tmp_path), f"sqlite:///{tmp_path}/traffic.db")


def test_one_that_was_left_out_for_a_while_begins_anew(tmp_path: Path, clock: Clock) -> None:
    keeper = ContentKeeper(tmp_path)
    named(keeper, "[p, q]")
    assert named(keeper, "[q]") == {"q": 101.0}
    assert named(keeper, "[p, q]") == {"p": 103.0, "q": 101.0}
    assert named(keeper, "") == {} and keeper.status()["state"] == "off"
    assert json.loads((tmp_path / SINCE_NAME).read_text()) == {}
    assert named(ContentKeeper(tmp_path), "[p]") == {"p": 105.0}


def test_while_a_key_is_missing_it_is_named_all_the_same(tmp_path: Path, clock: Clock) -> None:
    keeper = ContentKeeper(tmp_path)
    without = ready(TRAFFIC_KEY="")
    keeper.configured(without.catalog, without.content, without.content_why)
    status = keeper.status()
    assert (status["state"], status["error"]) == ("waiting", without.content_why)
    assert named(keeper, "[p]") == {"p": 101.0}


def test_where_that_can_not_be_read_it_begins_now(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / SINCE_NAME).write_text('{"p": "yesterday"}')
    assert named(ContentKeeper(tmp_path), "[p]") == {"p": 101.0}


def test_where_that_can_not_be_written_the_edit_is_in_effect(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SINCE_NAME).mkdir()
    keeper = ContentKeeper(tmp_path)
    assert named(keeper, "[p]") == {"p": 101.0} == named(keeper, "[p]")
    assert "can't be written (Is a directory)" in caplog.text


def test_what_was_named_is_not_believed_where_it_could_not_be_taken_back(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was said while it was left out is told to nobody, over restarts."""
    keeper = ContentKeeper(tmp_path)
    assert named(keeper, "[p]") == {"p": 101.0}
    (tmp_path / "content.new").mkdir()
    assert named(keeper, "") == {}
    assert "can't be written" in caplog.text
    assert named(ContentKeeper(tmp_path), "[p]") == {"p": 103.0}


SENDS_ON = POOLS.replace("{name: q,", "{name: q, on: {overloaded: p},").replace(
    "members: [*m]", "members: [{provider: openai, model: n}]"
)


def strangers(keeper: ContentKeeper, pools: str, *, named: str = "[p]") -> dict[str, dict[str, float]]:
    made = ready(pools + CAPTURE + OTLP % named)
    keeper.configured(made.catalog, made.content, made.content_why)
    settings: Any = keeper._wanted()
    return dict(settings.strangers)


def test_who_sent_calls_on_is_known_after_an_edit_too(tmp_path: Path, clock: Clock) -> None:
    """Calls of before are read later, where the collector is away."""
    keeper = ContentKeeper(tmp_path)
    assert strangers(keeper, POOLS) == {}
    assert strangers(keeper, SENDS_ON) == {"p": {"openai/n": STILL}}
    assert strangers(keeper, POOLS) == {"p": {"openai/n": 163.0}}  # a minute after it
    assert strangers(keeper, POOLS) == {"p": {"openai/n": 163.0}}
    assert strangers(keeper, SENDS_ON) == {"p": {"openai/n": STILL}}
    # Neither a restart, nor that its pool is named now, makes calls of before those of a named one.
    assert strangers(ContentKeeper(tmp_path), SENDS_ON, named="[p, q]") == {"p": {"openai/n": 166.0}}
