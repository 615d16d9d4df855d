"""What the control plane makes of the section `telemetry`: settings for the exporter, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli import telemetry
from modelbroker.cli.main import main
from modelbroker.cli.runtime import Overrides, Ready, prepare
from modelbroker.cli.secrets import files_of
from modelbroker.core.errors import Misconfigured

POOL = "pools: [{name: p, members: [{provider: openai, model: m}]}]\n"
OTLP = "telemetry: {otlp: {endpoint: https://c:4317, headers: {api-key: {env: COLLECTOR_KEY}}%s}}\n"
ENVIRON = {"OPENAI_API_KEY": "k", "COLLECTOR_KEY": "sk-collector"}


def ready(text: str, **environ: str) -> Ready:
    return prepare({"a.yaml": POOL + text}, Overrides(), {**ENVIRON, **environ})


def test_all_that_the_exporter_has_to_know(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("one")
    text = OTLP % f", ca_file: {ca_file}"
    made = ready(text)
    settings = made.telemetry
    assert settings is not None and made.telemetry_why == ""
    assert (settings.endpoint, settings.headers) == ("https://c:4317", {"api-key": "sk-collector"})
    assert (settings.spans, settings.logs, settings.timeout_s) == (True, False, 10.0)
    assert settings.places["openai"] == ("openai", "api.openai.com", 443)
    assert ca_file in files_of(made.catalog)
    ca_file.write_text("another")  # other authorities are another collector
    assert ready(text).telemetry != settings
    assert ready(text, COLLECTOR_KEY="sk-next").telemetry != ready(text).telemetry


@pytest.mark.parametrize(
    "text", ["", "telemetry: {traces: on}", OTLP.replace("}}\n", "}, traces: off}\n") % ""]
)
def test_nothing_to_export(text: str) -> None:
    made = ready(text)
    assert (made.telemetry, made.telemetry_why) == (None, "")


def test_a_key_that_is_missing_holds_up_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ready(OTLP % "", COLLECTOR_KEY="")
    why = "telemetry.otlp.headers.api-key: the environment variable COLLECTOR_KEY is not set"
    assert (made.telemetry, made.telemetry_why) == (None, why)
    assert f"{why}; nothing is exported" in made.warnings
    path = tmp_path / "a.yaml"
    path.write_text(POOL + OTLP % "")
    monkeypatch.delenv("COLLECTOR_KEY", raising=False)
    assert main(["check", str(path), "--no-envoy"]) == 1
    place = f"{path}:2: telemetry.otlp.headers.api-key: the environment variable COLLECTOR_KEY is not set"
    assert place in capsys.readouterr().err


def without(*names: str) -> Callable[[str], Any]:
    return lambda name: None if name in names else object()


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.proto"])
def test_check_says_what_is_to_be_installed(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry.importlib.util, "find_spec", without(missing))
    with pytest.raises(Misconfigured, match=r"pip install 'modelbroker\[otlp\]'"):
        ready(OTLP % "")
    assert ready("telemetry: {traces: on}").telemetry is None  # which needs nothing
