"""`modelbroker simulate` of rollouts and shadows, from the words to what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from modelbroker.cli.main import main
from modelbroker.exchange.trying import Standing
from support.catalogs import PROVIDERS
from support.worlds import BEGUN_S, Asked, World

from .test_simulate import MEMBERS, SINCE, config, rounded, told

NAME = "large>c/small"
STAGES = [{"shadow": "50%", "budget": "$5/day"}, {"share": "10%"}, {"share": "100%"}]


def tried(**more: Any) -> dict[str, Any]:
    """A candidate for `large`, and a shadow of `small`."""
    made = config()
    made["pools"][1]["rollout"] = {"to": "c/small", "stages": STAGES, **more}
    made["pools"][2]["shadow"] = [{"to": "b/large", "share": "40%", "budget": "$0.05/day"}]
    return made


def asked() -> list[Asked]:
    body = {"messages": [{"role": "user", "content": "word " * 40}], "max_tokens": 1_000}
    return [
        Asked(
            number,
            BEGUN_S + 60 * number,
            ("sales", "search")[number % 2],
            "openai-chat",
            {"model": ("main", "large", "small")[number % 3], **body},
        )
        for number in range(400)
    ]


def written(path: Path, made: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"providers": PROVIDERS, **made}))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traffic without trials, with the candidate's shadow, and with a tenth of it the candidate's."""
    folder = tmp_path_factory.mktemp("trials")
    runs = {"before": (config(), {}), "shadow": (tried(), {NAME: Standing("c/small", 0, True)})}
    runs["arms"] = (tried(), {NAME: Standing("c/small", 1, True)})
    for name, (made, standings) in runs.items():
        records = World(3, MEMBERS).run(made, asked(), luck=1, standings=standings)
        lines = [msgspec.json.encode(record) + b"\n" for record in records]
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines))
    written(folder / "old.yaml", config())
    written(folder / "new.yaml", tried())
    return folder


def simulate(folder: Path, traffic: str, *more: str) -> int:
    words = ["simulate", "--config", str(folder / "new.yaml"), *SINCE]
    return main([*words, "--traffic", str(folder / f"{traffic}.jsonl"), *more])


def rollout_of(tree: dict[str, Any]) -> dict[str, Any]:
    (one,) = tree["rollouts"]
    assert one["rollout"] == NAME
    return dict(one)


def test_where_nothing_is_said_all_of_it_is_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(folder, "before", "--format", "json") == 0
    tree = told(capsys)
    one = rollout_of(tree)
    assert one["old"] is None
    assert one["new"] == {"how": "at", "stages": ["100%"], "calls": 133, "candidate": 133, "to": "c/small"}
    members = {one["member"]: one for one in tree["members"]}
    assert members["b/large"]["new"] + 133 == members["b/large"]["old"]
    (shadow,) = tree["shadows"]
    assert shadow["shadow"] == "small>b/large"
    assert shadow["old"]["sent"] == 0
    new = shadow["new"]
    assert 0 < new["sent"] < 0.55 * 133 and new["over"] > 0
    assert 0 < new["low"] <= new["cost"] <= 50_000_000 and new["unknown"] == 0
    # Copies are in no other figure.
    assert sum(one["new"] for one in tree["members"]) == tree["total"]["calls"] == 400


@pytest.mark.parametrize("stage", ["10%", "2", f"{NAME}=10%"])
def test_at_a_stage(folder: Path, capsys: pytest.CaptureFixture[str], stage: str) -> None:
    assert simulate(folder, "before", "--format", "json", "--rollout-stage", stage) == 0
    tree = told(capsys)
    assert rollout_of(tree)["new"]["candidate"] == pytest.approx(13.3)
    assert any("13 of 133 are expected to be the candidate's" in note for note in tree["notes"])
    members = {one["member"]: one for one in tree["members"]}
    assert members["b/large"]["old"] - members["b/large"]["new"] == pytest.approx(13.3)


def test_at_the_stage_of_a_shadow(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(folder, "before", "--format", "json", "--rollout-stage", "shadow") == 0
    tree = told(capsys)
    assert tree["total"]["moved"]["new"] == 0
    copies = {one["shadow"]: one["new"]["sent"] for one in tree["shadows"]}
    assert 0.3 * 133 < copies[f"{NAME}#shadow"] < 0.7 * 133
    assert simulate(folder, "before", "--format", "json", "--rollout-stage", "off") == 0
    tree = told(capsys)
    assert tree["total"]["moved"]["new"] == 0
    assert [one["shadow"] for one in tree["shadows"]] == ["small>b/large"]


def test_what_was_recorded_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rollout that ran is where it was, whatever else is simulated, unless another stage is said."""
    for more in ([], ["--against", str(folder / "new.yaml")]):
        assert simulate(folder, "arms", "--format", "json", *more) == 0
        tree = told(capsys)
        one = rollout_of(tree)
        assert one["new"]["how"] == "recorded" and one["new"]["stages"] == ["10%"]
        assert 0 < one["new"]["candidate"] == one["old"]["candidate"]
        assert tree["total"]["moved"]["new"] == 0
        assert tree["total"]["cost"]["new"] == tree["total"]["cost"]["old"]
        (shadow,) = tree["shadows"]
        assert shadow["old"]["sent"] == pytest.approx(shadow["new"]["sent"], abs=4)
    assert simulate(folder, "arms", "--format", "json", "--rollout-stage", "100%") == 0
    tree = told(capsys)
    one = rollout_of(tree)
    assert one["new"]["candidate"] == one["new"]["calls"] == one["old"]["calls"]
    assert {one["how"] for one in tree["tokens"]} == {"lots"}
    assert tree["total"]["cost"]["assumed"] == 0


def test_copies_that_were_sent_are_found_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(folder, "shadow", "--format", "json") == 0
    tree = told(capsys)
    assert rollout_of(tree)["new"] == {**rollout_of(tree)["old"], "to": "c/small"}
    assert tree["total"]["moved"]["new"] == 0
    copies = {one["shadow"]: one for one in tree["shadows"]}
    one = copies[f"{NAME}#shadow"]
    assert one["rollout"] == NAME and one["old"]["sent"] == one["new"]["sent"] > 40
    assert one["new"]["low"] < one["old"]["cost"] < one["new"]["high"]
    # What they tell of the candidate: tokens, and how long it takes.
    assert simulate(folder, "shadow", "--format", "json", "--rollout-stage", "100%") == 0
    tree = told(capsys)
    assert {one["how"] for one in tree["tokens"]} == {"pairs"}
    latency = tree["total"]["latency"]
    assert latency["low"] < latency["new"] < latency["high"] < latency["old"]
    assert latency["from_copies"] == pytest.approx(133 / 400, abs=1e-3)
    assert any("reckoned from copies" in note for note in tree["notes"])


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        (
            "20%",
            f"'20%'; give one of them by its name or number ({NAME}: shadow, 10%, 100%)",
        ),
        ("4", "there is no stage '4'"),
        ("other=10%", f"there is no rollout 'other'; there are {NAME}"),
        ("recorded", f"no recorded call is part of the rollout {NAME}; give a stage (shadow, 10%, 100%)"),
    ],
)
def test_stages_that_can_not_be(
    folder: Path, capsys: pytest.CaptureFixture[str], stage: str, why: str
) -> None:
    assert simulate(folder, "before", "--rollout-stage", stage) == 1
    assert why in capsys.readouterr().err


def test_no_rollout_has_no_stage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--config", str(folder / "old.yaml"), *SINCE, "--rollout-stage", "10%"]
    assert main([*words, "--traffic", str(folder / "before.jsonl")]) == 1
    assert "the new configuration has no rollout" in capsys.readouterr().err


def test_some_calls_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(folder, "arms", "--format", "json", "--where", "team=sales") == 0
    tree = told(capsys)
    (shadow,) = tree["shadows"]
    assert shadow["old"] is None and shadow["new"]["sent"] > 0
    assert any("with --where it is not known which recorded copies" in note for note in tree["notes"])


def test_a_pools_calls_are_also_those_of_its_candidate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(folder, "arms", "--format", "json") == 0
    candidates = rollout_of(told(capsys))["old"]["candidate"]
    for name, count in (("large", 133), ("large~c/small", candidates)):
        assert simulate(folder, "arms", "--format", "json", "--where", f"pool={name}") == 0
        assert told(capsys)["calls"] == count > 0
    assert simulate(folder, "arms", "--where", "pool=larg") == 1


def test_forms_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["--rollout-stage", "10%"]
    assert simulate(folder, "before", *said) == 0
    text = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert rows[NAME][1:4] == ["-", "at", "10%"] and rows[NAME][-2:] == ["133", "13"]
    assert "Shadows (in no figure but these)" in text
    assert rows["small>b/large"][1:3] == ["0", "$0"]
    assert f"the rollout {NAME} is taken to be at 10% all the time" in text
    assert simulate(folder, "before", "--format", "markdown", *said) == 0
    text = capsys.readouterr().out
    above, _, below = text.partition("<details>")
    assert "**Rollouts**" in above and "**Shadows" in above and "**Members" in below
    for table in above.split("\n\n"):
        widths = {line.count("|") - line.count("\\|") for line in table.splitlines() if line.startswith("|")}
        assert len(widths) <= 1
    assert simulate(folder, "before", "--format", "html", *said) == 0
    page = capsys.readouterr().out
    assert "<h2>Rollouts</h2>" in page and "small&gt;b/large" in page


def test_two_processes_say_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a budget, callers have nothing to do with one another."""
    monkeypatch.setattr("modelbroker.cli.simulate_source._LARGE_BYTES", 1)
    made = tried(stages=[{"share": "10%"}, {"share": "100%"}])
    del made["pools"][2]["shadow"][0]["budget"]
    path, trees = written(tmp_path / "new.yaml", made), []
    for count in ("1", "2"):
        words = ["simulate", "--config", str(path), *SINCE, "--traffic", str(folder / "arms.jsonl")]
        assert main([*words, "--format", "json", "--processes", count]) == 0
        trees.append(told(capsys))
    assert rounded(trees[0]) == rounded(trees[1])
