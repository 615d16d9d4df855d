"""What README.md says to paste does what it says, against the broker of `./dev run`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.broker import Broker

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
# A quarter of the calls are meant for the member that is struck: none of so many is once in 10 million runs.
CALLS = 60


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = (ROOT / "config" / "modelbroker.yaml").read_text()
    with Broker(tmp_path_factory.mktemp("broker"), config, arguments=("--mock-providers",)) as running:
        yield running


def snippet(word: str) -> str:
    """The one block of code in the README that holds `word`."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", README, re.M | re.S)
    (found,) = (block for block in blocks if word in block)
    return str(found)


def test_the_outage_of_the_tour(broker: Broker) -> None:
    """As printed: the members that it strikes fail, and every call is answered by another one."""
    command = snippet("x-mock-fault")
    assert ADDRESS in command
    failed_over = False
    for _ in range(CALLS):
        done = subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, broker.url)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        head, _, body = done.stdout.partition("\n\n")
        assert head.startswith("HTTP/1.1 200"), done.stdout
        headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
        assert not headers["x-broker-member"].startswith("openai/")
        assert '"content":' in body
        failed_over = headers["x-broker-attempts"] == "2"
        if failed_over:
            break
    assert failed_over
