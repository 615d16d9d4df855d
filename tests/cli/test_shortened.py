"""Reports that are no longer than a comment may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.cli.main import main
from modelbroker.cli.shortened import LEAST_BYTES, MOST_BYTES, shortened
from support.catalogs import PROVIDERS

HOW = "Ask again."
LINES = st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=80), max_size=60)


def size(text: str) -> int:
    return len(text.encode())


def fenced(lines: list[str]) -> str:
    return "\n".join(["````text", *(line.replace("````", "") for line in lines), "````"])


def folded(lines: list[str]) -> str:
    text = "\n".join(line.replace("`", "").replace("<", "") for line in lines)
    return f"before\n\n<details><summary>more</summary>\n\n{text}\n\n</details>"


@given(LINES, LINES, LINES, st.integers(LEAST_BYTES, 4_000))
def test_no_longer_than_it_may_be_and_whole_as_markdown(
    one: list[str], two: list[str], three: list[str], most: int
) -> None:
    parts = ["## The verdict", fenced(one), folded(two), "\n".join(f"- {line}" for line in three)]
    text = shortened(parts, most, HOW)
    whole = "\n\n".join(parts)
    assert size(text) < most and text.startswith("## The verdict\n\n")
    assert (text == whole) == (size(whole) < most) and shortened(parts, 0, HOW) == whole
    lines = text.split("\n")
    for opens, closes in (("````text", "````"), ("<details><summary>more</summary>", "</details>")):
        assert lines.count(opens) == lines.count(closes)
    if text != whole:
        assert " left out**, for this is to be " in text and text.endswith(HOW)


def test_what_is_short_stays_whole_and_numbers_are_right() -> None:
    long = "\n".join(["| a |", "|---|", *(f"| {number} |" for number in range(10_000))])
    text = shortened(["# Good", long, "- a note"], 4_096, HOW)
    kept = [line for line in text.split("\n") if line.startswith("| ")]
    count = 10_001 - len(kept)
    assert kept[:3] == ["| a |", "| 0 |", "| 1 |"] and size(text) > 3_900
    assert f"\n\n… {count:,} lines are left out here\n\n- a note\n\n" in text
    assert text.endswith(f"**{count:,} lines are left out**, for this is to be 4,096 bytes at most. {HOW}")


def test_a_line_that_is_too_long_is_passed_over() -> None:
    text = shortened(["one\n" + "x" * 9_000 + "\ntwo"], 4_096, HOW)
    assert text.startswith("one\ntwo\n\n… 1 line is left out here\n\n**1 line is left out**")


def gate(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["gate", *words, "--no-envoy", "--format", "markdown"]) == 0
    return capsys.readouterr().out


def test_the_gate_of_a_large_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write(name: str, model: str) -> str:
        members = [{"provider": "b", "model": model}]
        config: dict[str, Any] = {
            "providers": PROVIDERS,
            "callers": [{"name": "bot", "key": {"env": "K"}}],
            "pools": [{"name": f"pool-of-the-team-{n}", "members": members} for n in range(900)],
        }
        (tmp_path / name).write_text(yaml.safe_dump(config))
        return str(tmp_path / name)

    both = write("old.yaml", "old"), write("new.yaml", "new")
    out = gate(capsys, *both)
    assert MOST_BYTES - 500 < size(out) <= MOST_BYTES
    assert out.startswith("## ✅ This change may go live") and "- nothing is simulated" in out
    assert "for this is to be 65,536 bytes at most. The same command with `--format text` says all." in out
    whole = gate(capsys, *both, "--longest", "0")
    assert size(whole) > MOST_BYTES and "left out" not in whole
    assert size(gate(capsys, *both, "--longest", "3000")) <= 3_000
    with pytest.raises(SystemExit):
        main(["gate", *both, "--longest", "12"])
    assert "'12' is no length: give 2048 or more, or 0 for any" in capsys.readouterr().err
