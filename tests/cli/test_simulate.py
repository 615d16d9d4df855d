"""`modelbroker simulate`, from the words to what is printed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from modelbroker.cli.main import main
from modelbroker.cli.simulate_report import amount
from modelbroker.cli.simulate_source import Spool, in_order
from modelbroker.core.record import Record
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.follow import Follower
from modelbroker.ledger.place import default_url
from modelbroker.ledger.recorded import recorded
from modelbroker.ledger.reports import Settings
from modelbroker.simulation.recorded import Recorded, decode
from support.catalogs import PROVIDERS
from support.worlds import BEGUN_S, Asked, Member, World, key_of

MEMBERS = {"b/large": Member(1.0, 1.0, 300, 5), "c/small": Member(1.1, 0.9, 100, 2)}
SINCE = ["--since", "2026-01-01", "--until", "2027-01-01"]


def config(*, to: str = "large", **more: Any) -> dict[str, Any]:
    def pool(name: str, *ids: str) -> dict[str, Any]:
        listed = [dict(zip(("provider", "model"), one.split("/"), strict=True)) for one in ids]
        return {"name": name, "ejection": "off", "members": listed}

    return {
        "callers": [
            {"name": name, "key": {"sha256": key_of(name)}, "team": name} for name in ("sales", "search")
        ],
        "pools": [pool("main", *MEMBERS), pool("large", "b/large"), pool("small", "c/small")],
        "rules": [{"name": "sales", "match": {"team": "sales", "model": "large"}, "pool": to}],
        "prices": [
            {"provider": "b", "model": "large", "input": 3, "output": 15},
            {"provider": "c", "model": "small", "input": 1, "output": 4},
        ],
        **more,
    }


@pytest.fixture(scope="module")
def records() -> list[Record]:
    body = {"messages": [{"role": "user", "content": "word " * 40}]}
    calls = [
        Asked(
            number,
            BEGUN_S + 60 * number,
            ("sales", "search")[number % 2],
            "openai-chat",
            {"model": "main" if number % 3 else "large", "stream": number % 5 == 0, **body},
        )
        for number in range(400)
    ]
    return World(3, MEMBERS).run(config(), calls, luck=1)


@pytest.fixture
def folder(tmp_path: Path, records: list[Record]) -> Path:
    lines = [msgspec.json.encode(record) + b"\n" for record in records]
    (tmp_path / "calls.jsonl").write_bytes(b"".join(lines))
    for name, made in (("old", config()), ("new", config(to="small"))):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"providers": PROVIDERS, **made}))
    return tmp_path


def simulate(folder: Path, *more: str) -> int:
    words = ["simulate", "--config", str(folder / "new.yaml"), *SINCE]
    return main([*words, "--traffic", str(folder / "calls.jsonl"), *more])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(capsys.readouterr().out)
    return tree


def test_what_moves_and_what_it_costs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(folder, "--format", "json") == 0
    tree = told(capsys)
    (move,) = tree["moves"]
    assert move["old"] == {"rule": "sales", "pool": "large"}
    assert move["new"] == {"rule": "sales", "pool": "small"}
    assert move["calls"] == tree["total"]["moved"]["new"] == 67
    cost = tree["total"]["cost"]
    assert cost["low"] < cost["new"] < cost["high"] < cost["old"]
    assert cost["unknown"] == cost["assumed"] == cost["by_mean"] == 0
    (tokens,) = tree["tokens"]
    assert (tokens["from"], tokens["to"], tokens["how"]) == ("b/large", "c/small", "lots")
    assert "not enough overlap" in tree["total"]["latency"]["why"]
    assert tree["by"]["team"]["search"]["moved"]["new"] == 0
    assert tree["by"]["team"]["search"]["latency"]["new"] == tree["by"]["team"]["search"]["latency"]["old"]


def test_only_some(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(folder, "--format", "json", "--where", "team=sales", "--where", "asked=large") == 0
    total = told(capsys)["total"]
    assert total["calls"] == total["moved"]["new"] == 67
    assert simulate(folder, "--where", "team=nobody") == 1
    assert "none of the recorded calls has team=nobody" in capsys.readouterr().err


def test_against_the_old_one_says_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees = []
    for more in ([], ["--against", str(folder / "old.yaml")]):
        assert simulate(folder, "--format", "json", *more) == 0
        trees.append(told(capsys))
    assert trees[0]["moves"] == trees[1]["moves"]
    assert trees[0]["total"] == trees[1]["total"]


def test_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(folder, "--fail-if", "cost > +5%") == 0
    assert "holds: cost > +5%" in capsys.readouterr().out
    assert simulate(folder, "--fail-if", "cost > +5%", "--fail-if", "latency > +10%") == 1
    assert "FAILS: latency > +10% (found not known: not enough overlap" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        simulate(folder, "--fail-if", "cost > 5%")
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        simulate(folder, "--where", "sales")
    assert ended.value.code == 2
    assert main(["simulate", "--config", str(folder / "none.yaml"), *SINCE]) == 1
    (folder / "calls.jsonl").write_text("{}\n")
    assert simulate(folder) == 1
    assert "calls.jsonl:1: is no record of a call" in capsys.readouterr().err


def test_where_there_is_no_call(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong is said: the file, or the time."""
    traffic = folder / "calls.jsonl"
    assert simulate(folder, "--since", "2026-12-01") == 1
    told = capsys.readouterr().err
    assert f"{traffic} has no call in 2026-12-01T00:00:00Z to 2027-01-0" in told
    assert "but from 2026-" in told and "give another --since" in told
    assert simulate(folder, "--since", "2026-12-01", "--until", "2026-11-01") == 1
    told = capsys.readouterr().err
    assert "--since (2026-12-01T00:00:00Z) is not before --until (2026-11-02T00:00:00Z)" in told
    for text in ("", "\n"):
        traffic.write_text(text)
        assert simulate(folder) == 1
        assert f"{traffic} has no records" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("attempts[0].usage.output", lambda row: row["attempts"][0]["usage"].update(output=-1)),
        ("attempts[0].usage.cache_read", lambda row: row["attempts"][0]["usage"].update(cache_read=-1)),
        ("attempts[0].cost.total", lambda row: row["attempts"][0]["cost"].update(total=-1)),
        ("attempts[0].duration_ms", lambda row: row["attempts"][0].update(duration_ms=-0.5)),
        ("cost.total", lambda row: row["cost"].update(total=-1)),
        ("first_byte_ms", lambda row: row.update(first_byte_ms=-1)),
        ("context_tokens", lambda row: row.update(context_tokens=-1)),
        ("saved.usage.input", lambda row: row.update(saved={"usage": {"input": -1}})),
        (
            "attempts[0].usage.beside[0].usage.input",
            lambda row: row["attempts"][0]["usage"].update(
                beside=[{"model": "m", "usage": {"input": -1, "output": 1}}]
            ),
        ),
    ],
)
def test_nothing_is_less_than_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], field: str, change: Callable[[Any], object]
) -> None:
    traffic = folder / "calls.jsonl"
    lines = traffic.read_bytes().splitlines()
    row = json.loads(lines[1])
    change(row)
    traffic.write_bytes(b"\n".join([lines[0], json.dumps(row).encode(), *lines[2:]]))
    assert simulate(folder) == 1
    told = capsys.readouterr().err
    assert f"{traffic}:2: is no record of a call (less than nothing - at `$.{field}`)" in told


def test_where_no_call_is_a_stream(
    folder: Path, records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [msgspec.json.encode(one) + b"\n" for one in records if not one.stream]
    (folder / "calls.jsonl").write_bytes(b"".join(lines))
    title, why = "time to the first event", "no streams here"
    for form, row in (
        ("table", rf"{title} +- +- +{why}\s"),
        ("markdown", rf"\| {title} \| - \| - \| {why} \|"),
        ("html", rf">{title}</td><td>-</td><td>-</td><td>{why}</td>"),
    ):
        assert simulate(folder, "--format", form) == 0
        text = capsys.readouterr().out
        assert re.search(row, text) and text.count(title) == 1
        # How long replies take is not known here, and what that mark means is said.
        assert re.search(r"time of the whole reply.*\?", text) and "?: not known" in text
    assert simulate(folder, "--format", "json", "--fail-if", "first_event > +5%") == 1
    tree = told(capsys)
    assert tree["total"]["first_event"]["why"] == tree["by"]["team"]["sales"]["first_event"]["why"] == why
    assert tree["gates"][0]["found"] == f"not known: {why}"


def test_where_nothing_moves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--against", str(folder / "old.yaml")]):
        words = ["simulate", "--config", str(folder / "old.yaml"), *SINCE]
        assert main([*words, "--traffic", str(folder / "calls.jsonl"), *more]) == 0
        text = capsys.readouterr().out
        assert "Tokens of calls that move" not in text and "?" not in text
    # The old one moves calls and the new one moves them as well: against each other nothing does.
    against = ["--against", str(folder / "new.yaml")]
    assert simulate(folder, *against, "--format", "json") == 0
    tree = told(capsys)
    assert tree["tokens"] and not tree["total"]["moved"]["new"]
    assert simulate(folder, *against) == 0
    assert "Tokens of calls that move" not in capsys.readouterr().out
    assert simulate(folder) == 0
    assert "Tokens of calls that move" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("nano", "told"),
    [
        *((0, "$0"), (1, "$0.000000001"), (12_345, "$0.000012"), (40_000, "$0.000040")),
        *((999_999, "$0.00100"), (8_000_000, "$0.0080"), (-1_234_000_000, "$-1.2340")),
        *((99_999_999_999, "$100.0000"), (123_456_789_000_000, "$123,456.79")),
    ],
)
def test_small_costs_are_not_nothing(nano: int, told: str) -> None:
    assert amount("cost", nano) == told


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.rows += tag == "tr"


def test_forms_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(folder, "--format", "markdown", "--fail-if", "cost > +5%") == 0
    text = capsys.readouterr().out
    assert text.startswith("### Simulated routing change ✅")
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") - line.count("\\|") for line in tables} <= {3, 4, 6, 10}
    assert "| 67 | large by sales | small by sales |" in text
    assert simulate(folder, "--format", "html") == 0
    page = capsys.readouterr().out
    tags = _Tags()
    tags.feed(page)
    assert tags.rows == len([line for line in tables if "--" not in line])
    assert "name=viewport" in page and "prefers-color-scheme:dark" in page
    assert "<script" not in page and "http" not in page.replace("https://", "")


def in_ledger(folder: Path, records: list[Record], url: str) -> list[Recorded]:
    state = folder / "state"
    state.mkdir()
    (state / "calls.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in records))
    follower = Follower(Settings(str(state), url, 0))
    while follower.step():
        pass
    follower.close()
    with Ledger(url, creates=False) as ledger:
        return list(recorded(ledger, 0, 1 << 62))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_ledger_tells_what_the_journal_tells(
    folder: Path,
    records: list[Record],
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    url = default_url(folder / "state")
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").new_schema()
        monkeypatch.setenv("LEDGER_URL", url)
        made = config(to="small", ledger={"url": {"env": "LEDGER_URL"}})
        (folder / "new.yaml").write_text(yaml.safe_dump({"providers": PROVIDERS, **made}))
    record = records[0]
    record.headers, record.owners, record.conversation = {"task": "x"}, ("a", "b"), "0" * 16
    record.same_dialect, record.cost_estimate = "store", 7
    expected = sorted((decode(msgspec.json.encode(one)) for one in records), key=lambda one: one.at_ms)
    assert sorted(in_ledger(folder, records, url), key=lambda one: one.at_ms) == expected
    words = ["simulate", "--config", str(folder / "new.yaml"), *SINCE, "--state-dir", str(folder / "state")]
    kept = folder / "kept.jsonl"
    assert main([*words, "--format", "json", "--write-traffic", str(kept)]) == 0
    tree = told(capsys)
    assert kept.stat().st_mode & 0o77 == 0
    assert main([*words, "--format", "json", "--traffic", str(kept)]) == 0
    assert told(capsys) == tree
    monkeypatch.setattr("modelbroker.cli.simulate_source._LARGE_CALLS", 1)
    assert main([*words, "--format", "json", "--processes", "2"]) == 0
    assert rounded(told(capsys)) == rounded(tree)


def test_two_processes_say_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelbroker.cli.simulate_source._LARGE_BYTES", 1)
    trees = []
    for count in ("1", "2"):
        assert simulate(folder, "--format", "json", "--processes", count) == 0
        trees.append(told(capsys))
    assert rounded(trees[0]) == rounded(trees[1])


def rounded(tree: Any) -> Any:
    """Sums of floats in another order differ in their last digits."""
    if isinstance(tree, dict):
        return {name: rounded(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [rounded(value) for value in tree]
    return float(f"{tree:.5g}") if isinstance(tree, float | int) and not isinstance(tree, bool) else tree


def test_calls_wait_in_the_order_of_time(tmp_path: Path, records: list[Record]) -> None:
    calls = [decode(msgspec.json.encode(record)) for record in records]
    spool = Spool(tmp_path / "calls", run=64, frame=10)
    for call in reversed(calls):
        spool.add(call)
    spool.close()
    expected = sorted(calls, key=lambda call: (call.at_ms, call.request_id))
    assert list(in_order(spool.runs)) == expected
