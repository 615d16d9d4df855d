"""A suite's text → a frozen `Suite`; all that is wrong at once, with file and line. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.catalog import Catalog
from ..core.problems import Problem, SettingsError
from ..core.traffic import FILTERS
from ..settings.builtin import builtins
from ..settings.explain import read_one
from ..settings.merge import Merged
from ..settings.problems import field_name, kind, listing, show, suggestion
from ..settings.scorer_schema import ScorerIn
from ..settings.scorers import check_scorers, check_slice
from ..settings.yamltext import YamlProblem, parse, read_lines
from .suite_schema import CandidateIn, DataIn, SuiteIn

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """`pool`: that one; `provider` and `model`: a member alone; `config`: another configuration's path."""

    name: str
    pool: str = ""
    provider: str = ""
    model: str = ""
    config: str = ""

    @property
    def what(self) -> str:
        """For people."""
        return f"configuration {self.config}" if self.config else self.pool or f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Suite:
    """`said` are the sections as the schema has them. `digest` names all that answers hang on: a run goes on
    only with the same."""

    name: str
    data: DataIn
    candidates: tuple[Candidate, ...]
    baseline: str
    reference: str
    scorers: tuple[ScorerIn, ...]
    slices: tuple[str, ...]
    said: SuiteIn
    digest: str
    warnings: tuple[Problem, ...] = field(default=())

    @property
    def margin(self) -> float:
        """How much worse is still as good: 0 to 1."""
        return self.said.stop.margin / 100.0

    @property
    def alpha(self) -> float:
        return 1.0 - self.said.stop.confidence / 100.0

    @property
    def rivals(self) -> tuple[Candidate, ...]:
        """All but the baseline."""
        return tuple(one for one in self.candidates if one.name != self.baseline)


def read_suite(file: str, text: str, catalog: Catalog | None = None) -> Suite:
    """`catalog`: of the configuration that it is run with; None: pools and members are not looked up.
    Raises SettingsError."""
    merged = Merged({file: text})
    tree = _tree(merged, file, text)
    said = _sections(merged, file, tree)
    merged.stop_if_wrong()
    _check_data(merged, said)
    _check_candidates(merged, said, catalog)
    _check_scorers(merged, said, catalog)
    for i, name in enumerate(said.slices):
        check_slice(merged, ("slices", i), name)
    merged.stop_if_wrong()
    candidates = tuple(
        Candidate(c.name, c.pool or "", c.provider or "", c.model or "", c.config or "")
        for c in said.candidates
    )
    reference = said.reference or ("captured" if said.data.traffic else "expected")
    answers = {name: tree.get(name) for name in ("data", "candidates")}
    return Suite(
        name=said.name,
        data=said.data,
        candidates=candidates,
        baseline=said.baseline or candidates[0].name,
        reference=reference,
        scorers=tuple(said.scorers),
        slices=tuple(said.slices),
        said=said,
        digest=hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()[:12],
        warnings=merged.all_warnings(),
    )


def _tree(merged: Merged, file: str, text: str) -> dict[str, Any]:
    try:
        tree, twice = parse(text)
    except YamlProblem as problem:
        raise SettingsError([Problem(file, problem.line, "", problem.wrong, problem.right)]) from None
    if not isinstance(tree, dict):
        raise SettingsError(
            [Problem(file, 1, "", f"the file holds {kind(tree)}, not a mapping", "begin with `name: …`")]
        )
    if twice:
        for path, first, line in read_lines(text)[1]:
            wrong = f"the key is there already at {file}:{first}"
            merged.problems.append(Problem(file, line, field_name(path), wrong, "keep one of the two"))
    return tree


def _sections(merged: Merged, file: str, tree: dict[str, Any]) -> SuiteIn:
    """Each section by itself, so that every problem is told by the line of its own key."""
    known = SuiteIn.model_fields
    for key in tree.keys() - known.keys():
        right = suggestion(key, known, f"the keys are {listing(known)}")
        merged.wrong((key,), f"there is no {show(key)} here", right)
    for key in ("name", "data", "candidates", "scorers"):
        if key not in tree:
            merged.wrong((), f"{key} is missing", _extra(key))
    # One that is wrong as a whole would hide the others: so each is read with good ones beside it.
    good: dict[str, Any] = {
        "name": "x",
        "data": {"file": "x"},
        "candidates": [{"name": "a", "pool": "a"}, {"name": "b", "pool": "b"}],
        "scorers": [{"kind": "exact"}],
    }
    for key, value in tree.items():
        if key in known:
            _read_section(merged, key, value, good)
    merged.stop_if_wrong()
    return SuiteIn.model_validate(tree)


def _read_section(merged: Merged, key: str, value: Any, good: dict[str, Any]) -> None:
    class At(Merged):
        """Problems of the whole are told at the section's own path."""

    probe = At(merged.files)
    read_one(probe, ("",), SuiteIn, {**good, key: value})
    for problem in probe.problems:
        path = problem.field.removeprefix(".")
        parts = _path_of(path)
        found = merged.problem(parts, problem.wrong, problem.right)
        merged.problems.append(Problem(found.file, found.line, path, problem.wrong, problem.right))


def _path_of(text: str) -> tuple[str | int, ...]:
    """`a[0].b` → `("a", 0, "b")`."""
    return tuple(int(n) if n else w for w, n in re.findall(r"([^.\[\]]+)|\[([0-9]+)\]", text))


def _extra(key: str) -> str:
    more = SuiteIn.model_fields[key].json_schema_extra
    return str(more["right"]) if isinstance(more, Mapping) else "see docs/evals.md"


def _check_data(merged: Merged, said: SuiteIn) -> None:
    data = said.data
    if bool(data.file) == bool(data.traffic):
        wrong = "has both file and traffic" if data.file else "has neither file nor traffic"
        merged.wrong(("data",), wrong, "give {file: PATH} or {traffic: {since: 7d}}")
    for i, name in enumerate(data.strata):
        check_slice(merged, ("data", "strata", i), name)
    for name in data.traffic.where if data.traffic else ():
        if name not in FILTERS:
            right = suggestion(name, FILTERS, f"give some of {listing(FILTERS)}")
            merged.wrong(
                ("data", "traffic", "where", name), f"captured calls have no field {show(name)}", right
            )
    if said.reference == "captured" and data.file and not data.traffic:
        merged.warn(
            ("reference",), "a file's cases have a captured reply only where they say one", "give expected"
        )
    if said.baseline is not None and said.baseline not in [one.name for one in said.candidates]:
        right = suggestion(said.baseline, [one.name for one in said.candidates], "give a candidate's name")
        merged.wrong(("baseline",), f"there is no candidate {show(said.baseline)}", right)


def _check_candidates(merged: Merged, said: SuiteIn, catalog: Catalog | None) -> None:
    seen: dict[str, int] = {}
    for i, one in enumerate(said.candidates):
        path = ("candidates", i)
        if not _NAME.fullmatch(one.name):
            merged.wrong(
                (*path, "name"), f"{show(one.name)} is no good name", "use letters, digits, . _ and -"
            )
        if one.name in seen:
            merged.wrong((*path, "name"), f"the name {show(one.name)} stands twice", "give each its own")
        seen.setdefault(one.name, i)
        _check_kind(merged, path, one)
        if catalog is not None and not one.config:
            _look_up(merged, path, one, catalog)


def _check_kind(merged: Merged, path: tuple[str | int, ...], one: CandidateIn) -> None:
    ways = [bool(one.pool), bool(one.provider or one.model), bool(one.config)]
    if sum(ways) != 1:
        wrong = "is nothing that can be called" if not any(ways) else "is more than one thing"
        merged.wrong(path, wrong, "give one of `pool`, `provider` with `model`, `config`")
    elif ways[1] and not (one.provider and one.model):
        missing = "model" if one.provider else "provider"
        merged.wrong((*path, missing), "is missing", "a member is a provider with a model")


def _look_up(merged: Merged, path: tuple[str | int, ...], one: CandidateIn, catalog: Catalog) -> None:
    if one.pool and one.pool not in catalog.pools:
        right = suggestion(one.pool, catalog.pools, f"the pools are {listing(catalog.pools)}")
        merged.wrong((*path, "pool"), f"there is no pool {show(one.pool)}", right)
    known = {**dict.fromkeys(catalog.providers), **dict.fromkeys(builtins())}
    if one.provider and one.provider not in known:
        right = suggestion(one.provider, known, f"the configuration's are {listing(catalog.providers)}")
        merged.wrong((*path, "provider"), f"there is no provider {show(one.provider)}", right)


def _check_scorers(merged: Merged, said: SuiteIn, catalog: Catalog | None) -> None:
    check_scorers(merged, ("scorers",), said.scorers, catalog.pools if catalog is not None else None)
    for i, one in enumerate(said.scorers):
        if one.kind != "judge" or one.allow_candidates or catalog is None:
            continue
        if one.pool and one.pool in catalog.pools:
            _check_judge(merged, ("scorers", i), one.pool, said, catalog)


def _check_judge(
    merged: Merged, path: tuple[str | int, ...], pool: str, said: SuiteIn, catalog: Catalog
) -> None:
    judges = {(member.provider, member.model) for member in catalog.pools[pool].members}
    for one in said.candidates:
        members = {(one.provider, one.model)}
        if one.pool and one.pool in catalog.pools:
            members = {(member.provider, member.model) for member in catalog.pools[one.pool].members}
        if both := judges & members:
            provider, model = sorted(both, key=str)[0]
            wrong = f"{provider}/{model} would judge itself: it is in the candidate {one.name}"
            merged.wrong((*path, "pool"), wrong, "give another pool, or say `allow_candidates: true`")
            return
