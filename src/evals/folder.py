"""A run on the disk: every reply and every score is there before the next call is made.

`run.json` says what it is, `suite.yaml` is the suite as it was, `cases.jsonl` what was drawn,
`replies.jsonl`, `scores.jsonl` and `records.jsonl` grow by a line each. A line that an end cut off is left
out, and asked for again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ..core.errors import Misconfigured
from .answers import answer_from
from .cases import Case
from .figures import Run
from .outcomes import Billed, Outcome, Scored, outcome_from, scored_from
from .redacting import Redact, redact_with, redacted_outcome, redacted_score
from .suite import Suite, read_suite

_META, _SUITE, _CASES = "run.json", "suite.yaml", "cases.jsonl"
_REPLIES, _SCORES, _RECORDS = "replies.jsonl", "scores.jsonl", "records.jsonl"


@dataclass(slots=True)
class Meta:
    """`suite_file` is where the suite was read; `ended` as in `figures.Run`. `configs`: path → revision of
    the configuration, "" the user's own. `left_out`: why cases are not asked → how many."""

    suite: str
    suite_file: str
    digest: str
    started_s: float
    ended: str = ""
    ended_s: float = 0.0
    config: str = ""
    configs: dict[str, str] | None = None
    price_revision: str = ""
    left_out: dict[str, int] | None = None
    version: str = ""
    patterns: list[str] = field(default_factory=list)
    custom: list[list[str]] = field(default_factory=list)


class RunFolder:
    """`with RunFolder.opened(path) as folder`: locked, so that no two go on with the same run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.redact: Redact = lambda text: text
        self._files: dict[str, IO[str]] = {}

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator[RunFolder]:
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            wrong = f"{path.parent} can't hold runs: {error.strerror}: give another folder with --runs"
            raise Misconfigured(500, "no_run", wrong) from None
        with (path / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Misconfigured(500, "run_in_use", f"the run in {path} is under way already") from None
            folder = cls(path)
            try:
                yield folder
            finally:
                folder.close()

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def begin(self, meta: Meta, suite_text: str, cases: Iterable[Case]) -> None:
        """A new run. The cases last: with them it is one that can be gone on with."""
        (self.path / _SUITE).write_text(suite_text, encoding="utf-8")
        self.say(meta)
        fresh = self.path / (_CASES + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            for case in cases:
                file.write(json.dumps(_case_tree(case), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path / _CASES)

    def say(self, meta: Meta) -> None:
        fresh = self.path / (_META + ".new")
        fresh.write_text(json.dumps(asdict(meta), indent=2), encoding="utf-8")
        fresh.replace(self.path / _META)

    def keep_reply(self, outcome: Outcome) -> None:
        self._append(_REPLIES, redacted_outcome(outcome, self.redact).as_json())

    def keep_score(self, scored: Scored) -> None:
        self._append(_SCORES, redacted_score(scored, self.redact).as_json())

    def keep_record(self, billed: Billed) -> None:
        self._append(_RECORDS, billed.as_json())

    def _append(self, name: str, tree: Mapping[str, Any]) -> None:
        file = self._files.get(name)
        if file is None:
            path = self.path / name
            _mend(path)
            file = self._files[name] = path.open("a", encoding="utf-8")
        file.write(json.dumps(tree, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def is_run(path: Path) -> bool:
    return (path / _META).exists() and (path / _CASES).exists()


def meta_of(path: Path) -> Meta:
    """Misconfigured where the folder holds no run."""
    try:
        return Meta(**json.loads((path / _META).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise Misconfigured(500, "no_run", f"there is no run in {path}") from None


def redact_of(meta: Meta) -> Redact:
    """By `patterns` and `custom` of the configuration, as it was."""
    return redact_with(meta.patterns, [(name, expression) for name, expression in meta.custom])


def suite_of(path: Path) -> Suite:
    return read_suite(str(path / _SUITE), (path / _SUITE).read_text(encoding="utf-8"))


def read_run(path: Path) -> Run:
    """All that is on the disk. Misconfigured where the folder holds no run."""
    if not is_run(path):
        raise Misconfigured(500, "no_run", f"there is no run in {path}")
    cases = [_case_of(tree) for tree in _lines(path / _CASES)]
    outcomes = [outcome_from(tree) for tree in _lines(path / _REPLIES)]
    scores: dict[tuple[str, str], dict[str, Scored]] = {}
    for tree in _lines(path / _SCORES):
        one = scored_from(tree)
        scores.setdefault((one.case, one.candidate), {})[one.scorer] = one
    billed = [Billed(**tree) for tree in _lines(path / _RECORDS)]
    return Run(
        suite_of(path),
        {case.id: case for case in cases},
        {(one.case, one.candidate): one for one in outcomes},
        {key: tuple(found.values()) for key, found in scores.items()},
        {one.request_id: one for one in billed},
        meta_of(path).ended,
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _mend(path: Path) -> None:
    """Takes off a last line that was cut."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)


def _case_tree(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "dialect": case.dialect,
        "request": case.request,
        "stream": case.stream,
        "expected": case.expected,
        "captured": case.captured.as_json() if case.captured is not None else None,
        "people": dict(case.people),
        "slices": dict(case.slices),
    }


def _case_of(tree: Mapping[str, Any]) -> Case:
    captured = tree["captured"]
    return Case(**{**tree, "captured": answer_from(captured) if captured is not None else None})


class Journals:
    """What brokers of a run wrote of its calls (calls.jsonl of their state folders), read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[int, int] = {}  # inode → bytes

    def news(self) -> Iterator[dict[str, Any]]:
        """Records that came since."""
        for path in sorted(self._path.glob("brokers/*/state/calls.jsonl*")):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                file.seek(self._read.get(inode, 0))
                data = file.read()
                end = data.rfind(b"\n") + 1
                self._read[inode] = self._read.get(inode, 0) + end
                for line in data[:end].splitlines():
                    with contextlib.suppress(ValueError):
                        tree = json.loads(line)
                        if isinstance(tree, dict) and tree.get("request_id") and "status" in tree:
                            yield tree
