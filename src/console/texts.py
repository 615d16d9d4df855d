"""The YAML of two revisions, line by line, without what nobody should read there.

A configuration refers to secrets, it does not hold them; but a header's value, a URL or a comment may hold
what was never meant to be shown. Such values are hidden behind a mark that differs where they do.
"""

from __future__ import annotations

import difflib
import hmac
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

MOST_LINES = 1_500  # of a diff
_MOST_BETWEEN = 6_000  # lines of one file that are compared line by line
_AROUND = 3
_SECRETS = r"(?:authorization|cookie|passwo?r?d|secret|token|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key)"
_SECRET_KEY = re.compile(rf"(?i)(?:.*[-_])?{_SECRETS}|sha256")
_COMMENT = re.compile(r"(?m)(^|\s)#.*$")
_IN_COMMENT = re.compile(rf"(?i)({_SECRETS}['\"]?\s*[:=]\s*|(?:bearer|basic)\s+)(\S.*)")
_USER_INFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)([^\s/'\"]+)@")
_KEY = os.urandom(32)  # of this process: from a mark nobody learns what it stands for

Hide = Callable[[str], str]


class Line(NamedTuple):
    """`kind`: plus, minus, at or "" (both have it)."""

    kind: str
    text: str


def hidden(value: str) -> str:
    """The same for the same value, while this process runs."""
    return f"(hidden: {hmac.new(_KEY, value.encode(errors='replace'), 'sha256').hexdigest()[:6]})"


def shown(text: str, hide: Hide = hidden) -> str:
    """A file's text without values of headers, of keys that name a secret, and users in URLs."""
    try:
        spans = list(_secret_spans(text))
    except yaml.YAMLError:
        return f"# it is no YAML, and not shown {hide(text)}"
    parts, at = [], 0
    for start, end in spans:
        value = text[start:end]
        whole = value.rstrip()
        if at <= start and whole:
            parts += [text[at:start], hide(whole)]
            at = start + len(whole)
    parts.append(text[at:])
    said = without_users("".join(parts), hide)
    return _COMMENT.sub(lambda one: _IN_COMMENT.sub(lambda it: it[1] + hide(it[2]), one[0]), said)


def without_users(text: str, hide: Hide = hidden) -> str:
    """Without who logs in at a URL, and by which password."""
    return _USER_INFO.sub(lambda one: f"{one[1]}{hide(one[2])}@", text)


def _secret_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where values stand that are not shown: (start, end) in characters. YAMLError."""
    # Of each collection that is open: is it a mapping, is all in it hidden, and the key that a value has.
    stack: list[list[Any]] = []
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            stack.append([is_mapping, _is_hidden(stack, is_mapping), None])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
            _valued(stack)
        elif isinstance(event, yaml.ScalarEvent):
            if stack and stack[-1][0] and stack[-1][2] is None:
                stack[-1][2] = event.value
                continue
            key = str(stack[-1][2] or "") if stack else ""
            is_named = stack and (stack[-1][1] or _SECRET_KEY.fullmatch(key) or _is_of_headers(stack))
            if is_named or _USER_INFO.search(event.value):  # as it is meant, however it is written
                yield _at(event.start_mark), _at(event.end_mark)
            _valued(stack)
        elif isinstance(event, yaml.AliasEvent):
            if stack and stack[-1][0] and stack[-1][2] is None:
                stack[-1][2] = ""
            else:
                _valued(stack)


def _at(mark: Any) -> int:
    return int(mark.index)


def _valued(stack: list[list[Any]]) -> None:
    if stack:
        stack[-1][2] = None


def _is_hidden(stack: list[list[Any]], is_mapping: bool) -> bool:
    """Is all in the collection that begins here hidden? A mapping in the place of a secret refers to it, and
    says where it is."""
    if not stack:
        return False
    if is_mapping:
        return _is_of_headers(stack)
    return stack[-1][1] or _is_of_headers(stack) or _SECRET_KEY.fullmatch(str(stack[-1][2] or "")) is not None


def _is_of_headers(stack: list[list[Any]]) -> bool:
    if not (stack[-1][0] and stack[-1][2] == "headers"):
        return False
    return not any(one[2] == "facts" for one in stack)  # there they are names


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
