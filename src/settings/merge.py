"""Files → one configuration, with the way back from every value to its file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.problems import Problem, SettingsError, ordered
from . import yamltext
from .problems import field_name, kind, listing, show, suggestion
from .schema import LISTS, MAPPINGS, SECTIONS
from .yamltext import Path, YamlProblem

_DEEP = (
    3  # how far down mapping sections are merged key by key (`facts.headers.task`, `listen.tls.cert_file`)
)


@dataclass
class Merged:
    """The sections of all files together: list sections in the order of the files' names, mapping
    sections key by key. Also the place where problems are collected."""

    files: Mapping[str, str]
    lists: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in LISTS})
    mappings: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in MAPPINGS})
    origins: dict[str, list[tuple[str, int]]] = field(
        default_factory=lambda: {name: [] for name in LISTS}
    )  # list section → (file, index in it) of every element
    homes: dict[Path, str] = field(default_factory=dict)  # path in a mapping section → file
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    _lines: dict[str, dict[Path, int]] = field(default_factory=dict)

    def wrong(self, path: Path, wrong: str, right: str, *, also: Path | None = None) -> None:
        """Note a problem at `path` (in the merged configuration). `also` is a second place that has a
        part in it: "{also}" in `wrong` becomes its file and line."""
        if also is not None:
            file, local = self.locate(also)
            wrong = wrong.replace("{also}", f"{file}:{self._line(file, local)}")
        self.problems.append(self.problem(path, wrong, right))

    def warn(self, path: Path, wrong: str, right: str) -> None:
        """Note what works, but probably not as it was meant."""
        self.warnings.append(self.problem(path, wrong, right))

    def locate(self, path: Path) -> tuple[str, Path]:
        """The file of a path, and the path as it is in that file."""
        if path and path[0] in LISTS and len(path) > 1:
            origins = self.origins[str(path[0])]
            file, index = origins[int(path[1])]
            return file, (path[0], index, *path[2:])
        inner = path
        while inner and inner not in self.homes:
            inner = inner[:-1]
        return self.homes.get(inner, next(iter(self.files), "configuration")), path

    def problem(self, path: Path, wrong: str, right: str) -> Problem:
        """A problem at `path` (in the merged configuration), not noted."""
        file, local = self.locate(path)
        return self.in_file(file, local, wrong, right)

    def in_file(self, file: str, path: Path, wrong: str, right: str) -> Problem:
        """A problem at a path in a file."""
        return Problem(file, self._line(file, path), field_name(path), wrong, right)

    def _line(self, file: str, path: Path) -> int:
        # Lines are looked up only here: most configurations have no problem, and need none.
        if file not in self._lines:
            self._lines[file] = yamltext.read_lines(self.files[file])[0] if file in self.files else {}
        return yamltext.line_of(self._lines[file], path)

    def names(self, section: str) -> dict[str, int]:
        """Name → index of its first entry, of a list section; of entries that are otherwise wrong, too."""
        result: dict[str, int] = {}
        for index, entry in enumerate(self.lists[section]):
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                result.setdefault(entry["name"], index)
        return result

    def stop_if_wrong(self) -> None:
        """Raise SettingsError if there is a problem."""
        if self.problems:
            raise SettingsError(self.problems)

    def all_warnings(self) -> tuple[Problem, ...]:
        return ordered(self.warnings)


def merge(files: Mapping[str, str]) -> Merged:
    """All files (name → text) together. Raises SettingsError if one is not YAML; what else is wrong is
    in `problems`."""
    merged = Merged({name: files[name] for name in sorted(files)})
    documents: dict[str, Any] = {}
    for name, text in merged.files.items():
        try:
            documents[name], twice = yamltext.parse(text)
        except YamlProblem as problem:
            merged.problems.append(Problem(name, problem.line, "", problem.wrong, problem.right))
            continue
        if twice:
            for path, first, line in yamltext.read_lines(text)[1]:
                wrong = f"the key is there already at {name}:{first}"
                merged.problems.append(Problem(name, line, field_name(path), wrong, "keep one of the two"))
    if len(documents) < len(merged.files):
        merged.stop_if_wrong()  # what a broken file holds would be missed everywhere else
    for name, document in documents.items():
        _take(merged, name, document)
    return merged


def place_of(files: Mapping[str, str], section: str, name: str, *path: str | int) -> str:
    """`a.yaml:3: issuers[0].jwks`: where it stands in files that were compiled, for what is found to be wrong
    behind that. They are read once more for it."""
    merged = merge(files)
    return _place(merged, (section, merged.names(section)[name], *path))


def place_at(files: Mapping[str, str], *path: str | int) -> str:
    """The same of a section that is no list: `a.yaml:3: capture.encryption.key`."""
    return _place(merge(files), path)


def _place(merged: Merged, path: Path) -> str:
    found = merged.problem(path, "", "")
    return f"{found.file}:{found.line}: {found.field}"


def _take(merged: Merged, file: str, document: Any) -> None:
    """Add one file's sections."""
    if document is None:
        return
    if not isinstance(document, dict):
        wrong = f"the file holds {kind(document)}, not a mapping"
        merged.problems.append(merged.in_file(file, (), wrong, f"begin with a section: {listing(SECTIONS)}"))
        return
    for key, value in document.items():
        if key not in SECTIONS:
            right = suggestion(key, SECTIONS, f"the sections are {listing(SECTIONS)}")
            merged.problems.append(merged.in_file(file, (key,), f"there is no section {show(key)}", right))
        elif value is None:
            continue  # all of its lines are comments
        elif key in LISTS:
            if not isinstance(value, list):
                wrong = f"is {kind(value)}, not a list"
                right = f"begin each of the {key} with a dash: `- {next(iter(LISTS[key].model_fields))}: …`"
                merged.problems.append(merged.in_file(file, (key,), wrong, right))
                continue
            merged.lists[key] += value
            merged.origins[key] += [(file, index) for index in range(len(value))]
        elif not isinstance(value, dict):
            wrong = f"is {kind(value)}, not a mapping"
            right = f"give {key} as `key: value` lines"
            merged.problems.append(merged.in_file(file, (key,), wrong, right))
        else:
            merged.homes.setdefault((key,), file)
            _join(merged, file, (key,), merged.mappings[key], value)


def _join(merged: Merged, file: str, path: Path, into: dict[str, Any], more: dict[str, Any]) -> None:
    """Add a mapping's keys to those of earlier files."""
    for key, value in more.items():
        here = (*path, key)
        if key not in into:
            into[key] = dict(value) if isinstance(value, dict) else value
            _settle(merged, file, here, value)
        elif isinstance(value, dict) and isinstance(into[key], dict) and len(path) < _DEEP:
            _join(merged, file, here, into[key], value)
        else:
            first, local = merged.locate(here)
            place = merged.in_file(first, local, "", "")
            wrong = f"is set already at {place.file}:{place.line}"
            merged.problems.append(merged.in_file(file, here, wrong, "keep one of the two"))


def _settle(merged: Merged, file: str, path: Path, value: Any) -> None:
    """Remember which file a value of a mapping section comes from."""
    merged.homes[path] = file
    if isinstance(value, dict) and len(path) <= _DEEP:
        for key, inner in value.items():
            _settle(merged, file, (*path, key), inner)
