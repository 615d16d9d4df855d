"""A suite's text → a frozen `Suite`; all that is wrong at once, with file and line. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.catalog import Catalog
from ..core.traffic import FILTERS
from ..settings.builtin import builtins
from ..settings.explain import read_one
from ..settings.merge import Merged
from ..settings.problems import Problem, SettingsError, field_name, kind, listing, show, suggestion
from ..settings.yamltext import YamlProblem, parse, read_lines
from .jsonschema import mistake_in
from .suite_schema import SLICES, CandidateIn, DataIn, ScorerIn, SuiteIn

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BOUNDS = ("at_most", "at_least")
_CHECKS = ("says", "says_not", *_BOUNDS)


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
    _check_schemas(merged, said)
    for i, name in enumerate(said.slices):
        _check_slice(merged, ("slices", i), name)
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
        _check_slice(merged, ("data", "strata", i), name)
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


def _check_slice(merged: Merged, path: tuple[str | int, ...], name: str) -> None:
    if name not in SLICES:
        merged.wrong(
            path,
            f"nothing can be told apart by {show(name)}",
            suggestion(name, SLICES, f"give {listing(SLICES)}"),
        )


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


def _check_schemas(merged: Merged, said: SuiteIn) -> None:
    for i, one in enumerate(said.scorers):
        if one.schema_ is not None and (wrong := mistake_in(one.schema_)):
            merged.wrong(("scorers", i, "schema"), f"is no JSON schema: {wrong}", "mend it")


def _check_scorers(merged: Merged, said: SuiteIn, catalog: Catalog | None) -> None:
    names: set[str] = set()
    for i, one in enumerate(said.scorers):
        path = ("scorers", i)
        name = one.name or one.kind
        if name in names:
            merged.wrong((*path, "name"), f"a scorer {show(name)} is there already", "give each its own name")
        names.add(name)
        for slice_name in one.match:
            _check_slice(merged, (*path, "match", slice_name), slice_name)
        _check_own(merged, path, one)
        if one.pool and catalog is not None:
            if one.pool not in catalog.pools:
                right = suggestion(one.pool, catalog.pools, f"the pools are {listing(catalog.pools)}")
                merged.wrong((*path, "pool"), f"there is no pool {show(one.pool)}", right)
            elif one.kind == "judge" and not one.allow_candidates:
                _check_judge(merged, path, one.pool, said, catalog)
    if all(one.weight == 0 for one in said.scorers):
        merged.wrong(
            ("scorers",), "all weights are 0: there would be no quality", "give one of them a weight"
        )


_OWN = {
    "exact": {"case"},
    "json": {"schema_", "fields"},
    "tools": {"arguments"},
    "similarity": {"pool"},
    "regex": {"pattern"},
    "rubric": {"rubric"},
    "judge": {"pool", "criteria", "grade", "allow_candidates"},
    "python": {"function"},
}
_NEEDS = {"regex": "pattern", "rubric": "rubric", "judge": "pool", "python": "function"}
_COMMON = {"kind", "name", "weight", "match"}


def _check_own(merged: Merged, path: tuple[str | int, ...], one: ScorerIn) -> None:
    for name in one.model_fields_set - _COMMON - _OWN[one.kind]:
        shown = name.rstrip("_")
        merged.wrong(
            (*path, shown), f"{one.kind} has no {show(shown)}", f"it has {listing(sorted(_OWN[one.kind]))}"
        )
    needed = _NEEDS.get(one.kind)
    if needed and not getattr(one, needed):
        merged.wrong(path, f"{one.kind} needs {needed}", f"add `{needed}`")
    _check_pattern(merged, (*path, "pattern"), one.pattern)
    for i, check in enumerate(one.rubric):
        here = (*path, "rubric", i)
        ways = check.keys() - {"weight"}
        if len(ways) != 1 or not ways <= set(_CHECKS):
            merged.wrong(
                here, "is no check", f"give one of {listing(_CHECKS)}, with a `weight` where you like"
            )
            continue
        way = next(iter(ways))
        value, weight = check[way], check.get("weight", 1)
        if way in _BOUNDS and (not isinstance(value, int) or isinstance(value, bool)):
            merged.wrong((*here, way), f"{show(value)} is no number of characters", "give e.g. 600")
        elif way not in _BOUNDS and not isinstance(value, str):
            merged.wrong((*here, way), f"{show(value)} is not text", "give a regular expression")
        elif way not in _BOUNDS:
            _check_pattern(merged, (*here, way), value)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
            merged.wrong((*here, "weight"), f"{show(weight)} is no weight", "give a number from 0 on")


def _check_pattern(merged: Merged, path: tuple[str | int, ...], pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        merged.wrong(path, f"is no regular expression: {error}", "see Python's `re`")


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
