"""The commands that ask the ledger, in this process and without a broker: `spend`, `reconcile`, `reprice`,
`export`; and what `check` says of it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from modelbroker.cli import ledger_parser
from modelbroker.cli.main import main
from modelbroker.core.prices import Cost
from modelbroker.core.usage import Usage
from modelbroker.journal.writing import CALLS
from modelbroker.ledger import questions
from support.ledgers import DAY_S, NOW_S, attempt, lines, lost, record
from support.servers import Postgres

CONFIG = """\
pools:
  - name: p
    members:
      - {provider: vllm, model: big}
      - {provider: vllm, model: small}
providers:
  - {name: vllm, base_url: "http://127.0.0.1:1/v1", models: {big: llama-4-big}}
prices:
  - {provider: vllm, model: big, input: 2, output: 2}
  - {provider: vllm, model: small, input: 1, output: 1}
callers:
  - {name: tester, key: {env: TESTERS_KEY}}
"""
SPAN = ("--since", "2026-11-01", "--until", "2026-11-30")
Told = tuple[int, str, str]
Tell = Callable[..., Told]


def used(member: str, tokens: int, nano: int | None, at_s: float = NOW_S) -> object:
    cost = Cost(nano, {"input": nano}) if nano is not None else Cost(None, {}, ("usage",))
    return attempt(member, at_s, usage=Usage(tokens), cost=cost)


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Exit code, stdout and stderr of a command on a state folder with a journal and nothing else; HERE
    stands for the folder."""
    (tmp_path / "broker.yaml").write_text(CONFIG)
    state = tmp_path / "state"
    state.mkdir()
    written = [
        record(1, attempts=[used("vllm/big", 1000, 3_000_000)], team="search", customer="a", model="smart"),
        record(2, attempts=[used("vllm/big", 2000, 6_000_000)], team="search", customer="b"),
        record(3, NOW_S - DAY_S, [used("vllm/small", 10, 10_000, NOW_S - DAY_S)], team="ads"),
        record(4, attempts=[used("vllm/big", 0, None)], team="ads"),
        lost(record(5)),
    ]
    (state / CALLS).write_bytes(lines(written))

    def run(name: str, *arguments: str) -> Told:
        where = ["--config", str(tmp_path / "broker.yaml"), "--state-dir", str(state)]
        try:
            code = main([name, *where, *(word.replace("HERE", str(tmp_path)) for word in arguments)])
        except SystemExit as end:
            code = int(str(end.code))
        out, err = capsys.readouterr()
        return code, out, err.replace(str(tmp_path), "HERE")

    return run


def test_the_words_are_the_ledgers() -> None:
    assert ledger_parser.OF_TIME == questions.OF_TIME
    assert set(ledger_parser.FILTERS) == set(questions.FILTERS)


def test_spend_as_a_table(told: Tell) -> None:
    code, out, err = told("spend", "--by", "team,model", *SPAN)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[1] == ["search", "big", "2", "3000", "0", "0", "0", "0.009"]
    assert rows[2] == ["ads", "small", "1", "10", "0", "0", "0", "0.00001"]
    assert sorted(rows[3:5]) == [
        ["-", "-", "1", "0", "0", "0", "0", "?", "1"],
        ["ads", "big", "1", "0", "0", "0", "0", "?", "1"],
    ]
    assert rows[5] == ["ALL", "5", "3010", "0", "0", "0", "0.00901", "+", "?", "2"]
    assert "?: more, which is not known" in out


def test_spend_for_programs(told: Tell) -> None:
    _, out, _ = told("spend", "--by", "day", *SPAN, "--team", "ads", "--team", "search", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["day"], row["calls"], row["cost_usd"], row["unknown"]) for row in rows] == [
        ("2026-11-28", "1", "0.00001", "0"),
        ("2026-11-29", "3", "", "1"),
    ]
    assert rows[1]["cost_known_usd"] == "0.009"
    _, out, _ = told(
        "spend", *SPAN, "--customer", "a", "--format", "json", "--as", "vllm/small", "--failovers"
    )
    tree = json.loads(out)
    total = tree["total"]
    assert (tree["since"], tree["until"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert (total["calls"], total["cost_nano"], total["as_cost_nano"], total["vain"]) == (
        1,
        3_000_000,
        1_000_000,
        0,
    )


NOVEMBER = "2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z"


def test_what_nobody_knows_is_never_zero_for_programs(told: Tell) -> None:
    """By hand: three calls of 3, 6 and 0.01 millions of nano-dollars; of two nobody knows."""
    _, out, _ = told("spend", "--by", "outcome", *SPAN, "--format", "csv", "--as", "vllm/small")
    lost_ones, good = sorted(csv.DictReader(io.StringIO(out)), key=lambda row: row["outcome"])
    assert (good["cost_nano"], good["cost_usd"], good["unknown"]) == ("", "", "1")
    assert (good["cost_known_nano"], good["cost_known_usd"]) == ("9010000", "0.00901")
    assert (lost_ones["cost_nano"], lost_ones["cost_known_nano"], lost_ones["unknown"]) == ("", "0", "1")
    assert (lost_ones["as_cost_nano"], lost_ones["as_cost_known_nano"], lost_ones["as_unknown"]) == (
        "",
        "0",
        "1",
    )
    assert (lost_ones["as_both"], lost_ones["as_here_usd"], lost_ones["as_there_nano"]) == ("0", "", "")
    # $1 a million for 3,010 tokens.
    assert (good["as_cost_usd"], good["as_both"], good["as_there_usd"]) == ("0.00301", "3", "0.00301")
    total = json.loads(told("spend", *SPAN, "--format", "json", "--failovers")[1])["total"]
    assert (total["cost_nano"], total["cost_usd"], total["cost_known_usd"]) == (None, None, "0.00901")
    assert (total["saved_nano"], total["vain_cost_usd"], total["hedge_cost_known_nano"]) == (0, "0", 0)
    assert not {name for name in total if "at_least" in name}


def test_each_column_for_programs_is_in_the_docs(told: Tell, tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_text("Day,What,In,USD\n2026-11-28,small,10,1\n")
    page = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
    columns = ("--columns", "day=Day,model=What,input=In,cost=USD", "HERE/bill.csv")
    for command in (
        ("spend", *SPAN, "--failovers", "--as", "vllm/small"),
        ("reconcile", "--provider", "vllm", *columns),
    ):
        head = told(*command, "--format", "csv")[1].splitlines()[0].split(",")
        names = {re.sub("_(nano|usd)$", "_…", name) for name in head}
        assert "unknown" in names and not {name for name in names if f"`{name}`" not in page}


def test_what_it_would_have_cost_is_a_part_where_not_all_is_known(told: Tell) -> None:
    rows = told("spend", "--by", "outcome", *SPAN, "--as", "vllm/small")[1].splitlines()
    assert rows[1].endswith("0.00301  -0.006 + ?") and rows[2].split()[-2:] == ["?", "?"]


def test_nothing_was_spent(told: Tell) -> None:
    code, out, err = told("spend", "--since", "2026-01-01", "--until", "2026-01-31")
    assert (code, err) == (0, "") and out == "no call in 2026-01-01T00:00:00Z to 2026-02-01T00:00:00Z\n"


def test_a_filter_that_matches_nothing_says_where_its_word_is_found(told: Tell, tmp_path: Path) -> None:
    code, out, err = told("spend", *SPAN, "--model", "smart", "--team", "search")
    hint = "; 'smart' is what clients asked for: --asked smart"
    said = f"no call in {NOVEMBER} matches --team search --model smart"
    assert (code, out, err) == (0, f"{said}{hint}\n", "")
    code, out, err = told("spend", *SPAN, "--by", "day", "--pool", "nobodys", "--format", "csv")
    assert (code, err) == (0, f"no call in {NOVEMBER} matches --pool nobodys\n") and out.startswith(
        "day,calls"
    )
    assert (
        told("reprice", *SPAN, "--model", "smart")[1]
        == f"no call in {NOVEMBER} matches --model smart{hint}\n"
    )
    code, _, err = told("export", *SPAN, "--asked", "big", "--out", "HERE/none.csv")
    assert code == 0 and err.splitlines() == [
        f"0 rows of calls are in HERE/none.csv: {NOVEMBER}",
        f"no call in {NOVEMBER} matches --asked big; 'big' is a member's model: --model big",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("spend", "--by", "teem"), 2, "there is no 'teem' to group by; there are team, customer"),
        (("spend", "--since", "soon"), 2, "'soon' is no time: give e.g. 7d, 2026-06-01"),
        (
            ("spend", "--as", "nobody/x"),
            1,
            "there is no member 'nobody/x': give PROVIDER/MODEL; providers are vllm",
        ),
        (
            ("reconcile", "--provider", "nobody", "HERE/bill.csv"),
            1,
            "there is no provider 'nobody'; there are vllm",
        ),
        (("reconcile", "--provider", "vllm", "HERE/none.csv"), 1, "none.csv can't be read: No such file"),
        (("reconcile", "--provider", "vllm", "HERE/odd.csv"), 1, "HERE/odd.csv is not UTF-8 text"),
        (
            ("reconcile", "--provider", "vllm", "--columns", "day=A", "x.csv"),
            2,
            "day, model and at least one",
        ),
        (("reconcile", "--provider", "vllm", "--model", "a", "x.csv"), 2, "give THEIRS=OURS"),
        (
            ("reconcile", "--provider", "vllm", "--time-zone", "Moon", "x.csv"),
            2,
            "there is no time zone 'Moon'",
        ),
        (
            ("spend", "--as", "vllm/bigg"),
            1,
            "vllm/bigg has no price: is the model's name right? If so, add its price to `prices`",
        ),
        (("export", "--out", "HERE/a.xls"), 1, "a.xls' does not say what it is to be: give --format, or a"),
        (("export", "--out", "HERE/a"), 1, "give --format, or a name that ends in .csv, .jsonl or .parquet"),
        (("export", "--out", "HERE/no/where.csv"), 1, "where.csv can't be written: No such file"),
    ],
)
def test_bad_use_is_said_clearly(
    told: Tell, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "bill.csv").write_text("start_time,amount_value,line_item\n")
    (tmp_path / "odd.csv").write_bytes(b"\xff\xfe")
    found, _, err = told(*arguments)
    assert found == code and says in err and "Traceback" not in err


def test_there_is_no_ledger(told: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = told("spend", "--state-dir", "HERE/elsewhere")
    assert code == 1 and "there is no state folder HERE/elsewhere: say --state-dir" in err
    (tmp_path / "broker.yaml").write_text(CONFIG + "ledger: {url: none}\n")
    code, _, err = told("spend")
    assert code == 1 and "`ledger: {url: none}`" in err
    (tmp_path / "broker.yaml").write_text(CONFIG + "ledger: {url: {env: LEDGER_URL}}\n")
    monkeypatch.delenv("LEDGER_URL", raising=False)
    code, _, err = told("spend")
    assert code == 1 and "the environment variable LEDGER_URL is not set" in err
    monkeypatch.setenv("LEDGER_URL", "postgresql://u:hidden@127.0.0.1:1/none")
    code, _, err = told("spend")
    assert code == 1 and "the ledger can't be asked: PostgreSQL 127.0.0.1:1/none: " in err
    assert "hidden" not in err
    (tmp_path / "broker.yaml").write_text(CONFIG)
    (tmp_path / "odd" / "ledger.db").mkdir(parents=True)
    code, _, err = told("spend", "--state-dir", "HERE/odd")
    assert code == 1 and "the ledger can't be asked: SQLite HERE/odd/ledger.db: " in err


def test_reconcile(told: Tell, tmp_path: Path) -> None:
    bill = "Day,What,In,USD\n2026-11-28,small,10,0.00001\n2026-11-29,Llama 4 Big,3000,0.0081\n"
    (tmp_path / "bill.csv").write_text(bill)
    columns = ("--columns", "day=Day,model=What,input=In,cost=USD")
    code, out, _ = told("reconcile", "--provider", "vllm", *columns, "HERE/bill.csv")
    rows = out.splitlines()
    assert code == 0
    assert rows[1].split() == ["2026-11-28", "small", "10", "10", "0.00001", "0.00001", "0"]
    assert rows[2].split()[:9] == [
        "2026-11-29",
        "big",
        "3000",
        "3000",
        "0.009",
        "+",
        "?",
        "0.0081",
        "-0.0009",
    ]
    assert "1 attempts of unknown cost (1 of exact usage)" in rows[2]
    assert "2026-11-29: 1 calls of unknown end, whatever their model." in rows
    code, out, _ = told("reconcile", "--provider", "vllm", *columns, "HERE/bill.csv", "--format", "json")
    assert [entry["difference_nano"] for entry in json.loads(out)["entries"]] == [0, -900_000]
    code, out, _ = told("reconcile", "--provider", "vllm", *columns, "HERE/bill.csv", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["theirs_usd"] for row in rows] == ["0.00001", "0.0081"]
    assert [(row["ours_usd"], row["ours_known_usd"], row["unknown"]) for row in rows] == [
        ("0.00001", "0.00001", "0"),
        ("", "0.009", "1"),
    ]
    assert [(row["by_price_usd"], row["explained"]) for row in rows] == [("", "yes"), ("-0.0009", "yes")]


def test_reconcile_does_not_pass_what_nothing_explains(told: Tell, tmp_path: Path) -> None:
    """10 tokens for $0.00001 here; a million times that there, and at 3.6 times the price."""
    (tmp_path / "bill.csv").write_text("Day,What,In,USD\n2026-11-28,small,10000000,36\n")
    columns = ("--columns", "day=Day,model=What,input=In,cost=USD", "HERE/bill.csv")
    code, out, _ = told("reconcile", "--provider", "vllm", *columns)
    assert code == 1
    assert out.splitlines()[1].partition("NOT EXPLAINED; ")[2] == (
        "tokens there: +9999990 input; calls that are not in the ledger; these tokens cost +9.99999 at our "
        "price; the price differs: the same tokens cost +260.0% there (+26); no discount or tier is so far "
        "from our price"
    )
    (entry,) = json.loads(told("reconcile", "--provider", "vllm", *columns, "--format", "json")[1])["entries"]
    parts = [entry[f"by_{name}_nano"] for name in ("tokens", "unpriced", "price")]
    assert parts == [9_999_990_000, 0, 26_000_000_000] and sum(parts) == entry["difference_nano"]
    assert entry["explained"] is False


def test_reprice(told: Tell) -> None:
    code, out, _ = told("reprice", *SPAN, "--dry-run")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    # $2 a million now: 2,000,000 and 4,000,000 in place of 3 and 6; the one without tokens is known to be 0.
    changes = ["3", "3", "0.009", "+", "?", "0.006", "-0.003", "+", "?", "1", "0", "0"]
    assert rows[1] == ["vllm/big", *changes]
    assert rows[2] == ["vllm/small", "1", "0", "0.00001", "0.00001", "0", "0", "0", "0"]
    changes = ["4", "3", "0.00901", "+", "?", "0.00601", "-0.003", "+", "?", "1", "0", "0"]
    assert rows[3] == ["ALL", *changes]
    assert "Of their 4 attempts 3 cost otherwise" in out
    assert "4 calls would be reckoned again" in out
    assert "0.009" in told("spend", *SPAN)[1]
    told("reprice", *SPAN)
    total = json.loads(told("spend", *SPAN, "--format", "json")[1])["total"]
    assert (total["cost_nano"], total["cost_known_nano"], total["unknown"]) == (None, 6_010_000, 1)
    assert "0 calls are reckoned again" in told("reprice", *SPAN)[1]


def test_reprice_of_what_stays_unknown(told: Tell, tmp_path: Path) -> None:
    path = tmp_path / "broker.yaml"
    path.write_text(CONFIG.replace("  - {provider: vllm, model: big, input: 2, output: 2}\n", ""))
    rows = [line.split() for line in told("reprice", *SPAN, "--team", "ads", "--dry-run")[1].splitlines()]
    assert rows[1] == ["vllm/big", "1", "0", "?", "?", "?", "0", "0", "0"]


def test_export(told: Tell, tmp_path: Path) -> None:
    code, _, err = told("export", *SPAN, "--out", "HERE/calls.jsonl")
    assert code == 0 and "5 rows of calls are in HERE/calls.jsonl" in err
    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == 5
    code, out, err = told("export", *SPAN, "--table", "attempts", "--member", "vllm/small", "--out", "-")
    assert code == 0 and [row["member"] for row in csv.DictReader(io.StringIO(out))] == ["vllm/small"]
    assert err == f"1 rows of attempts are written to standard output: {NOVEMBER}\n"
    told("export", *SPAN, "--out", "HERE/calls.parquet")
    assert (tmp_path / "calls.parquet").read_bytes()[:4] == b"PAR1"


def test_check_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broker.yaml"

    def checked(ledger: str) -> Told:
        path.write_text(CONFIG + ledger)
        code = main(["check", "--no-envoy", str(path)])
        return code, *capsys.readouterr()

    monkeypatch.delenv("LEDGER_URL", raising=False)
    code, _, err = checked("ledger: {url: {env: LEDGER_URL}}\n")
    assert (
        code == 0 and "warning: ledger: the environment variable LEDGER_URL is not set; records wait" in err
    )
    assert checked("ledger: {url: 'postgresql://h/d', retention: forever}\n")[0] == 0
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = checked("ledger: {url: 'postgresql://h/d'}\n")
    assert code == 1 and "pip install 'modelbroker[postgres]'" in err


def test_progress_is_for_terminals(told: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelbroker.cli.ledger_access import Progress

    monkeypatch.setattr(Progress, "_LONG_S", -1.0)
    assert told("spend", *SPAN)[2] == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert "100 %" in told("spend", *SPAN)[2]


def test_many_ask_one_in_postgres(told: Tell, tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.new_database()
    (tmp_path / "broker.yaml").write_text(CONFIG + f"ledger: {{url: '{url}'}}\n")
    first = told("spend", "--by", "team,model", *SPAN)
    assert first[0] == 0 and told("spend", "--by", "team,model", *SPAN) == first
    assert told("export", *SPAN, "--out", "HERE/calls.csv")[0] == 0
    assert told("reprice", *SPAN)[0] == 0
