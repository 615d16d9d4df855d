"""YAML text → plain data, with the line of every value where it is asked for.

Built from the parser's events and not with `yaml.load`, for three reasons: it is twice as fast (a
configuration of 1,000 pools is 100,000 events), duplicate keys and bombs are found on the way, and
plain words mean what YAML 1.2 says. So `off` is text, `2023-06-01` is text, `1:30` is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

MAX_TEXT = 16 * 1024 * 1024  # characters of one file
MAX_DEPTH = 32  # levels; ours are 6 deep
MAX_VALUES = 2_000_000  # of one file, every alias counted with all that it repeats

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser is 8 times as fast

Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAGS = {"tag:yaml.org,2002:" + name for name in ("str", "map", "seq", "null", "bool", "int", "float")}


class YamlProblem(Exception):
    """This text can't be read: `line` (from 1), and what is `wrong` and `right`."""

    def __init__(self, line: int, wrong: str, right: str) -> None:
        super().__init__(wrong)
        self.line, self.wrong, self.right = line, wrong, right


def parse(text: str) -> tuple[Any, bool]:
    """The one document in `text` as dict, list, str, int, float, bool and None; None for no document.

    The second answer is whether a mapping has a key twice (the later one won): `read_lines` has where.
    Raises YamlProblem.
    """
    reader = _Reader(text, None)
    return reader.run(), bool(reader.twice)


def read_lines(text: str) -> tuple[dict[Path, int], list[tuple[Path, int, int]]]:
    """Path → line (from 1) of every value in a text that `parse` could read, and (path, first line, line)
    of the keys that stand twice. An alias has only the line where it stands: look up its parent."""
    lines: dict[Path, int] = {}
    reader = _Reader(text, lines)
    reader.run()
    return lines, reader.twice


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of `path`, or of the nearest value around it that has one."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def plain(word: str) -> Any:
    """The value of an unquoted word."""
    if word in _WORDS:
        return _WORDS[word]
    if len(word) <= 32:
        if _INT.fullmatch(word):
            return int(word)
        if _FLOAT.fullmatch(word) and any(c in ".eE" for c in word):
            return float(word)
    return word


class _Reader:
    """One reading of one text."""

    def __init__(self, text: str, lines: dict[Path, int] | None) -> None:
        self.text = text
        self.lines = lines
        self.twice: list[tuple[Path, int, int]] = []
        self.count = 0
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.open_anchors: set[str] = set()
        self.cache: dict[str, Any] = {}
        self.next: Callable[[], Any]

    def run(self) -> Any:
        if len(self.text) > MAX_TEXT:
            raise YamlProblem(1, f"the file is over {MAX_TEXT >> 20} MiB", "split it into several files")
        parser: Any = None
        try:
            parser = _LOADER(self.text)
            self.next = parser.get_event
            return self._document()
        except yaml.YAMLError as error:
            raise self._syntax(error) from None
        except UnicodeError:
            raise YamlProblem(1, "holds characters that are not Unicode text", "save it as UTF-8") from None
        finally:
            if parser is not None and hasattr(parser, "dispose"):
                parser.dispose()

    def _document(self) -> Any:
        self.next()  # stream start
        event: Any = self.next()
        if event.__class__ is yaml.StreamEndEvent:
            return None
        data = self._value(self.next(), (), 0)
        self.next()  # document end
        event = self.next()
        if event.__class__ is not yaml.StreamEndEvent:
            raise self._at(event, "a second document begins here", "keep one document a file: drop the ---")
        return data

    def _value(self, event: Any, path: Path, depth: int) -> Any:
        cls = event.__class__
        if cls is yaml.AliasEvent:
            return self._alias(event)
        self.count += 1
        if self.count > MAX_VALUES:
            raise self._at(event, f"the file holds over {MAX_VALUES:,} values", "use fewer aliases, or files")
        if event.tag is not None and event.tag not in _TAGS:
            raise self._tag(event)
        if cls is yaml.ScalarEvent:
            value = self._scalar(event)
            if event.anchor:
                self.anchors[event.anchor] = (value, 1)
            return value
        if depth >= MAX_DEPTH:
            raise self._at(event, f"is nested more than {MAX_DEPTH} levels deep", "nothing here is so deep")
        if not event.anchor:
            return (self._mapping if cls is yaml.MappingStartEvent else self._list)(path, depth + 1)
        anchor, before = event.anchor, self.count
        self.open_anchors.add(anchor)
        value = (self._mapping if cls is yaml.MappingStartEvent else self._list)(path, depth + 1)
        self.open_anchors.discard(anchor)
        self.anchors[anchor] = (value, self.count - before + 1)
        return value

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[Any] = []
        get, lines, value_of = self.next, self.lines, self._value
        while True:
            event = get()
            if event.__class__ is not yaml.ScalarEvent:
                if event.__class__ is yaml.MappingEndEvent:
                    break
                raise self._at(event, "a key has to be plain text", "write `key: value`")
            key = event.value
            here: Path = path
            if lines is not None:
                here = (*path, key)
                mark: Any = event.start_mark
                if key in result:
                    self.twice.append((here, lines[here], mark.line + 1))
                lines[here] = mark.line + 1
            elif key in result:
                self.twice.append((here, 0, 0))
            value = value_of(get(), here, depth)
            if key == "<<" and event.implicit[0]:
                merged.append((event, value))
            else:
                result[key] = value
        for event, value in merged:
            self._merge(event, result, value)
        return result

    def _merge(self, event: Any, result: dict[str, Any], value: Any) -> None:
        """`<<: *base`: what stands in the mapping itself wins."""
        for base in value if isinstance(value, list) else [value]:
            if not isinstance(base, dict):
                raise self._at(event, "`<<` takes in mappings only", "write `<<: *anchor-of-a-mapping`")
            for key, inner in base.items():
                result.setdefault(key, inner)

    def _list(self, path: Path, depth: int) -> list[Any]:
        result: list[Any] = []
        get, lines = self.next, self.lines
        while True:
            event = get()
            if event.__class__ is yaml.SequenceEndEvent:
                return result
            here: Path = path
            if lines is not None:
                here = (*path, len(result))
                lines[here] = event.start_mark.line + 1
            result.append(self._value(event, here, depth))

    def _scalar(self, event: Any) -> Any:
        word: str = event.value
        if event.tag is None:
            if not event.implicit[0]:
                return word
            try:
                return self.cache[word]
            except KeyError:
                value = self.cache[word] = plain(word)
                return value
        return word if event.tag.endswith(":str") else plain(word)

    def _alias(self, event: Any) -> Any:
        if event.anchor in self.open_anchors:
            raise self._at(event, "an alias here holds itself", "write the value out")
        if event.anchor not in self.anchors:
            raise self._at(event, "the * begins an alias, and its & does not stand before", _QUOTE_STAR)
        value, size = self.anchors[event.anchor]
        self.count += size
        if self.count > MAX_VALUES:
            raise self._at(event, f"aliases make this over {MAX_VALUES:,} values", "use fewer of them")
        return value

    def _tag(self, event: Any) -> YamlProblem:
        if event.tag.startswith("!") and getattr(event, "value", None) == "":
            # The tag itself is not repeated: it may be somebody's key.
            right = 'put a value that begins with "!" in quotes: "!claude-*"'
            return self._at(event, "an unquoted `!` begins a YAML tag", right)
        return self._at(event, "YAML tags have no meaning here", "write the value without its tag")

    def _at(self, event: Any, wrong: str, right: str) -> YamlProblem:
        return YamlProblem(event.start_mark.line + 1, wrong, right)

    def _syntax(self, error: yaml.YAMLError) -> YamlProblem:
        """The parser's own complaint, with the cause that is likely in our kind of text."""
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        told = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be read"
        rows = self.text.splitlines()
        near = rows[line - 1] if 0 < line <= len(rows) else ""
        if re.match(r"[ \t]*\t", near) or r"'\t'" in told or "tab character" in told:
            right = "indent with spaces: YAML takes no tabs"
        elif re.search(r"[:\[,]\s*[<>]=?\s*[0-9]", near):
            right = 'put a comparison in quotes: ">100k"'
        elif "alias" in str(told):
            right = _QUOTE_STAR
        else:
            right = "look for a missing colon, quote or bracket here or on the line before"
        return YamlProblem(line, f"not YAML: {told}", right)


_QUOTE_STAR = 'put a pattern that begins with "*" in quotes: "*-mini"'
