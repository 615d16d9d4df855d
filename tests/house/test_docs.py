"""What the docs promise is there, and what is there is in the docs."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from modelbroker.cli.main import build_parser
from modelbroker.core.record import Attempt, Record
from modelbroker.dialects import cause_reference, reference
from modelbroker.ledger import reference as ledger_reference

ROOT = Path(__file__).parents[2]
ERROR_CLASSES = {"CallError", "Refused", "BadRequest", "Unavailable", "Misconfigured", "EnvoyError"}
# Never seen by a client: these end a command.
COMMAND_ERRORS = {
    "no_address",
    "no_console",
    "no_console_token",
    "git_credential",
    "git_place",
    "no_git",
    "old_git",
    "no_gpg",
    "no_source",
    "refused",
    "bad_traffic",
    "bad_stage",
    "bad_span",
    "no_traffic",
    "address_in_use",
    "audit_key",
    "bad_invoice",
    "bad_redis_url",
    "bad_script",
    "no_cases",
    "no_credential",
    "no_file",
    "no_run",
    "no_scorer",
    "run_in_use",
    "missing_extra",
    "capture_unset",
    "certificate_unreadable",
    "drill_failed",
    "envoy_refuses",
    "folder_in_use",
    "ledger_away",
    "ledger_driver",
    "ledger_newer",
    "ledger_url",
    "jwks_unreadable",
    "listener_certificate",
    "no_body",
    "no_claims",
    "no_redis",
    "no_such_budget",
    "no_such_rollout",
    "which_rollout",
    "no_redis_password",
    "no_audit",
    "no_callers",
    "no_checkpoint",
    "no_capture",
    "no_cryptography",
    "no_import",
    "traffic_away",
    "traffic_changed",
    "traffic_driver",
    "traffic_key",
    "traffic_url",
    "traffic_version",
    "no_export",
    "no_ledger",
    "no_parquet",
    "no_token",
    "no_such_fault",
    "no_such_member",
    "no_status",
    "no_such_pool",
    "no_such_provider",
    "nothing_to_drill",
    "run_dir",
    "state_dir",
    "telemetry_unset",
    "too_many_classes",
    "unknown_caller",
}


def codes_in_source() -> set[str]:
    """The `code` (second argument) of every error that the source raises or renders."""
    codes = set()
    for path in (ROOT / "src").rglob("*.py"):
        if "simulator" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or len(node.args) < 2:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            code = node.args[1]
            if name in ERROR_CLASSES and isinstance(code, ast.Constant) and isinstance(code.value, str):
                codes.add(code.value)
            if name == "UpstreamFault" and isinstance(code, ast.Constant):
                codes.add(str(code.value))
    return codes


def test_every_error_code_is_documented_and_every_documented_one_exists() -> None:
    documented = set(re.findall(r"^\| \d+ \| `([a-z_]+)`", (ROOT / "docs" / "errors.md").read_text(), re.M))
    source = codes_in_source() - COMMAND_ERRORS
    assert source - documented == set()
    files = [path for kind in ("*.py", "*.lua") for path in (ROOT / "src").rglob(kind)]
    text = "".join(path.read_text() for path in files)
    assert {code for code in documented if f'"{code}"' not in text} == set()


@pytest.mark.parametrize("page", ["fields", "deviations"])
def test_the_pages_of_the_dialects_are_up_to_date(page: str) -> None:
    made = {"fields": reference.fields, "deviations": reference.deviations}[page]()
    assert (ROOT / "docs" / f"{page}.md").read_text() == made, "run: ./dev docs"


def test_the_table_of_causes_is_up_to_date() -> None:
    page = (ROOT / "docs" / "failures.md").read_text()
    assert cause_reference.page_with_causes(page) == page, "run: ./dev docs"
    with pytest.raises(ValueError, match="the page has no"):
        cause_reference.page_with_causes("a page without marks")


def test_the_tables_of_the_ledger_are_up_to_date() -> None:
    page = (ROOT / "docs" / "ledger.md").read_text()
    assert ledger_reference.page(page) == page, "run: ./dev docs"
    with pytest.raises(ValueError, match="has no <!-- tables"):
        ledger_reference.page("a page without marks")


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for action in build_parser()._subparsers._group_actions:  # type: ignore[union-attr]
        for command in action.choices or ():
            assert f"`modelbroker {command}" in readme


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.md")), ids=str)
def test_no_machines_path_in_the_docs(path: Path) -> None:
    if ".venv" not in path.parts:
        assert not re.search(r"/(root|work|home/\w+)/", path.read_text())


def test_every_field_of_a_record_is_documented() -> None:
    text = (ROOT / "docs" / "records.md").read_text()
    fields = [*(f.name for f in dataclasses.fields(Record)), *(f.name for f in dataclasses.fields(Attempt))]
    assert [name for name in fields if f"`{name}`" not in text] == []
