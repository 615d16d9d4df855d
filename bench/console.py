"""How long pages of the console take over a month of calls, from the request at the admin port to the whole
page: the first look, and the median of five later ones.

    .venv/bin/python bench/console.py [CALLS]

By default 100,000 calls in the SQLite ledger. What is kept for those who look at the same time is left to
grow old between the looks (twenty times as long as the page took), so each of them is asked for anew.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

from processes import tree
from report import table
from targets import KEY_SHA256, ROOT, Broker, provider

sys.path.insert(0, str(ROOT / "tests"))

from support.ledgers import id_at
from support.much_traffic import filled

LOOKS = 5
_KEPT_TIMES, _KEPT_LEAST_S = 21, 1.0
PAGES = {
    "overview": "",
    "calls, the newest": "/calls",
    "calls of a team, 30 days": "/calls?team=search&span=30d",
    "calls of a member that has none, all that is kept": "/calls?member=none/none&span=all",
    "one call": "/calls/{id}",
    "pools": "/pools",
    "one pool": "/pools/reasoning-tier",
    "spend of 30 days by team": "/spend?span=30d&by=team",
    "spend of 30 days by team and feature": "/spend?span=30d&by=team,feature",
    "spend of 30 days by model": "/spend?span=30d&by=model",
    "spend of today": "/spend?span=today",
    "budgets": "/budgets",
    "revisions": "/revisions",
    "rollouts": "/rollouts",
    "evaluations": "/evaluations",
    "fleet": "/fleet",
}


class Visitor:
    """Who has logged in."""

    def __init__(self, broker: Broker) -> None:
        self._where = urllib.parse.urlsplit(broker.admin_url)
        self._cookie = ""
        token = (broker.folder / "state" / "console-token").read_text(encoding="ascii").strip()
        said = self._ask("POST", "/console/login", urllib.parse.urlencode({"token": token}))
        self._cookie = said.getheader("set-cookie", "").partition(";")[0]

    def look(self, page: str) -> float:
        """So many ms."""
        began_s = time.perf_counter()
        said = self._ask("GET", f"/console{page}")
        if said.status != 200:
            raise SystemExit(f"{page}: {said.status}")
        return (time.perf_counter() - began_s) * 1000

    def _ask(self, method: str, target: str, body: str = "") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._where.hostname or "", self._where.port, timeout=120)
        headers = {"origin": f"http://{self._where.netloc}", "cookie": self._cookie}
        connection.request(method, target, body, headers)
        said = connection.getresponse()
        said.read()
        connection.close()
        return said


def config() -> dict[str, object]:
    members = {
        "reasoning-tier": ("anthropic/claude-opus-4-7", "openai/gpt-5-thinking"),
        "standard-tier": ("anthropic/claude-sonnet-4-6", "openai/gpt-5-mini"),
    }
    return {
        "providers": [provider(name, 9, "openai-chat") for name in ("anthropic", "openai")],
        "callers": [{"name": "bench", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": pool,
                "members": [dict(zip(("provider", "model"), m.split("/"), strict=True)) for m in named],
            }
            for pool, named in members.items()
        ],
        "budgets": [{"name": "of-teams", "by": "team", "amount": "$1000", "per": "month"}],
    }


def memory_mib(broker: Broker) -> int:
    """Of the process that renders."""
    assert broker.process is not None
    for pid in tree(broker.process.pid):
        if "modelbroker.console" in Path(f"/proc/{pid}/cmdline").read_text():
            said = Path(f"/proc/{pid}/status").read_text()
            return int(said.partition("VmRSS:")[2].split()[0]) // 1024
    return 0


def main() -> int:
    count = int([*sys.argv[1:], "100000"][0])
    with tempfile.TemporaryDirectory(prefix="modelbroker-bench-") as name:
        folder = Path(name)
        (folder / "state").mkdir()
        now_s = time.time()
        filled(folder / "state", count, now_s)
        with Broker(folder, config(), with_ledger=True) as broker:
            visitor = Visitor(broker)
            newest = id_at(now_s, count - 1)
            rows = []
            for what, page in PAGES.items():
                first_ms = visitor.look(page.format(id=newest))
                later = []
                took_ms = first_ms
                for _ in range(LOOKS):
                    time.sleep(max(_KEPT_LEAST_S, _KEPT_TIMES * took_ms / 1000))
                    took_ms = visitor.look(page.format(id=newest))
                    later.append(took_ms)
                rows.append((what, f"{first_ms:.0f}", f"{statistics.median(later):.0f}"))
                print(what, file=sys.stderr, flush=True)
            print(table(("page", "first, ms", "then, ms"), rows, markdown=True))
            print(f"{count:,} calls; the process that renders holds {memory_mib(broker)} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
