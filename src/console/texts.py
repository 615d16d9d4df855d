"""The YAML of two revisions, line by line, without what nobody should read there.

A configuration refers to secrets, it does not hold them; but a header's value, a URL or a comment may hold
what was never meant to be shown. Such values are hidden behind a mark that differs where they do.
"""

from __future__ import annotations

import difflib
import hmac
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from ..changes.hiding import Hide, are_secrets, is_secret, without_secrets

MOST_LINES = 1_500  # of a diff
_MOST_BETWEEN = 6_000  # lines of one file that are compared line by line
_AROUND = 3
_COMMENT = re.compile(r"(?m)(^|\s)#.*$")
_IN_COMMENT = re.compile(r"(\s*#[\s#]*)((?:- )*)(?:(['\"]?)([\w.-]+)\3\s*:(?:\s+|$))?(.*)")
_LITERAL = re.compile("value|plain|text|literal|inline|default|content|data|raw|string", re.IGNORECASE)
_NUMBER = re.compile(r"[\d._]*\s*(?:#.*)?")
_LEAST_SEEN = 12  # characters of a secret that is looked for wherever else it stands
_KEY = os.urandom(32)  # of this process: from a mark nobody learns what it stands for


class Line(NamedTuple):
    """`kind`: plus, minus, at or "" (both have it)."""

    kind: str
    text: str


def hidden(value: str) -> str:
    """The same for the same value, while this process runs."""
    return f"(hidden: {hmac.new(_KEY, value.encode(errors='replace'), 'sha256').hexdigest()[:6]})"


def shown(text: str, hide: Hide = hidden) -> str:
    """A file's text without values of headers, of names that promise a secret, and other secrets."""
    text = text.removeprefix("\ufeff")  # which libyaml does not count
    try:
        found = sorted(_masks(text, hide))
    except (yaml.YAMLError, RecursionError):
        return f"# it is no YAML, and not shown {hide(text)}"
    parts, at = [], 0
    for start, end, instead, _ in found:
        if at <= start:
            parts += [text[at:start], instead]
            at = end
    parts.append(text[at:])
    said = _without_in_comments("".join(parts), hide)
    return _without_values(said, {value for *_, value in found if _is_rare(value)}, hide)


def _is_rare(value: str) -> bool:
    """Would nobody write it, but for this one?"""
    return len(value) >= _LEAST_SEEN and value.isprintable() and re.search(r"\d", value) is not None


def _without_values(text: str, values: set[str], hide: Hide) -> str:
    """What is hidden at one place is hidden wherever it stands. One look, however many there are."""
    by_begin: dict[str, list[str]] = {}
    for value in sorted(values, key=len, reverse=True):
        by_begin.setdefault(value[:_LEAST_SEEN], []).append(value)
    parts, at = [], 0
    for place in range(len(text) if by_begin else 0):
        if place >= at and (known := by_begin.get(text[place : place + _LEAST_SEEN])) is not None:
            for value in known:
                if text.startswith(value, place):
                    parts += [text[at:place], hide(value)]
                    at = place + len(value)
                    break
    return "".join([*parts, text[at:]])


def _masks(text: str, hide: Hide) -> Iterator[tuple[int, int, str, str]]:
    """What is not shown: (start, end, what stands there instead, what it means). YAMLError."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    seen: dict[int, Any] = {}  # nodes, by whom they are: an alias is the node that it stands for
    secret: set[int] = set()
    for document in yaml.compose_all(text, loader):
        _look(document, seen, secret)
    for node in seen.values():
        if not isinstance(node, yaml.ScalarNode):
            continue
        start, end = node.start_mark.index, node.end_mark.index
        written = text[start:end].rstrip()
        end = start + len(written)
        if id(node) in secret:
            if written:
                yield start, end, hide(written), node.value
        elif (masked := without_secrets(node.value, hide)) != node.value:
            quote = written[:1] if node.style in ("'", '"') else ""
            is_plain = written == f"{quote}{node.value}{quote}"
            yield start, end, f"{quote}{masked}{quote}" if is_plain else hide(written), ""


def _look(root: Any, seen: dict[int, Any], secret: set[int]) -> None:
    """All nodes below `root`: an anchor's node is a secret if any of its aliases is."""
    waiting = [(root, _Place())]
    looked: set[tuple[int, _Place]] = set()
    while waiting:
        node, place = waiting.pop()
        if node is None or (id(node), place) in looked:
            continue
        looked.add((id(node), place))
        seen[id(node)] = node
        if isinstance(node, yaml.ScalarNode):
            if place.hides or (node.tag.startswith("!") and is_secret(node.tag)):
                secret.add(id(node))
        elif isinstance(node, yaml.SequenceNode):
            for one in node.value:
                hides = place.hides or (isinstance(one, yaml.ScalarNode) and are_secrets(place.name))
                waiting.append((one, place._replace(hides=hides)))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else ""
                waiting += ((key, _Place()), (value, _inner(place, name, value)))


class _Place(NamedTuple):
    """Where a node stands: the name that it has in its mapping, is all in it hidden, is it of the facts."""

    name: str = ""
    hides: bool = False
    is_of_facts: bool = False


def _inner(place: _Place, name: str, value: Any) -> _Place:
    is_of_facts = place.is_of_facts or (name == "facts" and not place.name)
    if name == "<<":  # as if it stood here
        return place
    if isinstance(value, yaml.MappingNode):
        # One in the place of a secret refers to it, and says where it is.
        hides = name == "headers" and not is_of_facts  # of facts they are names
        return _Place("secret" if place.hides else name, hides, is_of_facts)
    is_literal = is_secret(place.name) and _LITERAL.fullmatch(name) is not None
    is_one = isinstance(value, yaml.ScalarNode) and _is_one(name, value.value)
    hides = place.hides or is_literal or is_secret(name) or is_one or (name == "headers" and not is_of_facts)
    return _Place(name, hides, is_of_facts)


def _is_one(name: str, value: str) -> bool:
    """Is this value a secret, by its name? A number of tokens is none."""
    return is_secret(name) or (are_secrets(name) and not _NUMBER.fullmatch(value))


class _Below(NamedTuple):
    """Lines of a comment are below this one: one that names secrets. `has_names`: of those of headers alone
    the values are hidden; `may_come`: its value may be on the next line; `is_list`: its items are, alone."""

    indent: int
    has_names: bool
    may_come: bool
    is_list: bool

    def hides(self, indent: int, name: str, is_item: bool) -> bool:
        if self.is_list:
            return not name and (is_item or indent > self.indent)
        return indent > self.indent or (self.may_come and not name)


def _without_in_comments(text: str, hide: Hide) -> str:
    """Lines that were commented out are as those that were not: below `headers`, and below a name that
    promises a secret, too."""
    lines: list[str] = []
    below: _Below | None = None
    for line in text.split("\n"):
        found = _IN_COMMENT.match(line)
        if found is None:
            below = None
            lines.append(_COMMENT.sub(lambda one: _of_comment(one[0], hide), line))
            continue
        indent, name = found.end(2), found[4] or ""
        if below is not None and below.hides(indent, name, bool(found[2])):
            start = found.start(5) if below.has_names and name else found.end(2)
            lines.append(line[:start] + (hide(line[start:]) if line[start:] else ""))
            continue
        may_come = found[5][:1] in ("", "|", ">", "&", "!")
        is_list = not is_secret(name) and name != "headers"
        below = _Below(indent, name == "headers", may_come, is_list) if _names_secrets(name) else None
        lines.append(_of_comment(line, hide))
    return "\n".join(lines)


def _names_secrets(name: str) -> bool:
    return name == "headers" or are_secrets(name)


def _of_comment(line: str, hide: Hide) -> str:
    found = _IN_COMMENT.match(line)
    if found is not None and found[5]:
        name = found[4] or ""
        if name == "headers" or _is_one(name, found[5]):
            return line[: found.start(5)] + hide(found[5])
    return without_secrets(line, hide)


def lines_between(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Line]:
    """Of files with the same names, and of those that came or went; nothing where all is equal."""
    before, now = _named(old), _named(new)
    for name in sorted({*before, *now}):
        was, text = before.get(name, ""), now.get(name, "")
        if was != text:
            kind = "" if name in before and name in now else " (new)" if name in now else " (gone)"
            yield Line("at", f"{name}{kind}")
            yield from _between(was.splitlines(), text.splitlines())


def _named(texts: Mapping[str, str]) -> dict[str, str]:
    """By what is left of their paths without the folder that all are in: a source may have moved."""
    if len(texts) == 1:
        (text,) = texts.values()
        return {next(iter(texts)).rpartition("/")[2]: text}
    folder = os.path.commonpath(list(texts)) if texts else ""
    return {os.path.relpath(name, folder) if folder else name: text for name, text in texts.items()}


def _between(old: Sequence[str], new: Sequence[str]) -> Iterator[Line]:
    """What both begin and end with is left out first: most edits of a long file are short."""
    begin = 0
    while begin < min(len(old), len(new)) and old[begin] == new[begin]:
        begin += 1
    end = 0
    while end < min(len(old), len(new)) - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    start, behind = max(begin - _AROUND, 0), max(end - _AROUND, 0)
    a, b = old[start : len(old) - behind], new[start : len(new) - behind]
    if max(len(a), len(b)) > _MOST_BETWEEN:
        yield Line("", f"{len(a):,} lines became {len(b):,}: more than can be compared here")
        return
    for group in difflib.SequenceMatcher(None, a, b).get_grouped_opcodes(_AROUND):
        yield Line("at", f"@@ line {group[0][3] + start + 1}")
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                yield from (Line("", f"  {text}") for text in a[a1:a2])
                continue
            yield from (Line("minus", f"- {text}") for text in a[a1:a2])
            yield from (Line("plus", f"+ {text}") for text in b[b1:b2])
