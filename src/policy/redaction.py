"""Bodies without what is nobody's to keep: JSON, and streams of events, whatever their dialect.

Texts are looked at leaf by leaf, keys too. In a stream those of one place (a block's `delta`, say) are pieces
of one text: they are looked at each by itself *and* one behind the other, so that nothing survives by being
split. What is found is masked by its pattern's name, `[email]`. A body in which nothing is found stays as it
is, byte for byte.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..core.traffic import Sample
from .patterns import DROPPED, FINDERS, Finder, Hit, custom, fields_named, hits, is_secret, joined

# `drop` and `media` in what hit.
MEDIA, KEYS = "media", "keys"
ANY, ANYWHERE = "*", "**"  # steps of a path: any key or item; any number of steps
_DATA_URL = re.compile(
    r"data:([\w.+-]{1,64}/[\w.+-]{1,64})?(?:;[\w.=+-]{1,64}){0,4};base64,([A-Za-z0-9+/=_-]{16,})"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}\Z")
# Where dialects put the bytes of images, documents and audio. What is thought in secret is no such thing.
_MEDIA_KEYS = frozenset(("data", "file_data", "b64_json", "partial_image_b64", "bytes", "result"))
_NO_MEDIA = frozenset(("redacted_thinking", "thinking", "reasoning"))
# What tells the texts of one stream apart: of which block, choice or item they are a part. Ids and types of
# things come with their first piece only.
_PLACES = ("index", "output_index", "content_index", "summary_index", "item_id")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
_AGAIN = 3
_SHORT = 64

Step = str | int


@dataclass(frozen=True, slots=True, eq=False)
class Redaction:
    """`finders`: name → pattern. `drop`: paths of what is left out; what is dropped by its name anywhere is
    found in JSON within texts as well (arguments of tools). `drops_media`: images, documents and audio become
    a note of their kind and size."""

    finders: Mapping[str, Finder]
    drop: tuple[tuple[Step, ...], ...] = ()
    drops_media: bool = True

    def __post_init__(self) -> None:
        names = [path[1] for path in self.drop if path[:1] == (ANYWHERE,) and len(path) == 2]
        fields = tuple([name for name in names if isinstance(name, str) and name not in (ANY, ANYWHERE)])
        if fields:
            object.__setattr__(self, "finders", {**self.finders, DROPPED: fields_named(fields, DROPPED)})


def redaction_by(
    patterns: Iterable[str],
    more: Iterable[tuple[str, str]] = (),
    drop: tuple[tuple[Step, ...], ...] = (),
    drops_media: bool = True,
) -> Redaction:
    """`patterns` are names of built-in ones, `more` (name, regular expression)."""
    finders = {name: FINDERS[name] for name in patterns}
    finders |= {name: custom(expression) for name, expression in more}
    return Redaction(finders, drop, drops_media)


class Redacted(NamedTuple):
    """`names` are those of the patterns that hit, in order."""

    body: bytes
    names: tuple[str, ...]


class _Leaf(NamedTuple):
    """A text in a tree, and how to put another one in its place."""

    text: str
    place: tuple[Any, ...]
    key: str
    put: Callable[[str], None]
    is_media: bool


@dataclass(slots=True)
class _Tree:
    """A JSON value with its texts. `changed`: it is not what its bytes say any more."""

    value: Any
    leaves: list[_Leaf] = field(default_factory=list)
    changed: bool = False
    names: set[str] = field(default_factory=set)


def redacted(body: bytes, redaction: Redaction, *, is_stream: bool) -> Redacted:
    """`is_stream`: server-sent events. What is no text at all becomes a note."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Redacted(json.dumps(f"[no text: {len(body)} bytes]").encode(), (MEDIA,))
    before, names = text, set[str]()
    for _ in range(_AGAIN):  # a mask may bring together what stood apart
        fresh, found = _stream(text, redaction) if is_stream else _whole(text, redaction)
        names |= found
        if fresh == text:
            break
        text = fresh
    return Redacted(body if text == before else _bytes(text), tuple(sorted(names)))


def cleaned(sample: Sample, redaction: Redaction) -> Sample:
    """The sample as it may be written, or told to others."""
    request, names = sample.request, set(sample.redacted)
    if request is not None:
        request, found = redacted(request, redaction, is_stream=False)
        names |= set(found)
    reply = sample.reply
    if reply is not None:
        is_stream = sample.stream and not reply.lstrip().startswith((b"{", b"["))
        reply, found = redacted(reply, redaction, is_stream=is_stream)
        names |= set(found)
    return replace(sample, request=request, reply=reply, redacted=tuple(sorted(names)))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _whole(text: str, redaction: Redaction) -> tuple[str, set[str]]:
    tree = _read(text, redaction)
    if tree is None:
        return _masked(text, redaction)
    groups: dict[tuple[Any, ...], list[_Leaf]] = {}
    for number, leaf in enumerate(tree.leaves):
        groups[(number,)] = [leaf]
    _mask_groups(groups, redaction, tree.names)
    return (_written(tree.value) if tree.names or tree.changed else text), tree.names


def _masked(text: str, redaction: Redaction) -> tuple[str, set[str]]:
    """A text that is no JSON."""
    found = hits(text, redaction.finders)
    if redaction.drops_media:
        found = joined([*found, *_urls(text)])
    return _put(text, found), {hit.name for hit in found}


def _put(text: str, found: Sequence[Hit]) -> str:
    pieces, last = [], 0
    for hit in found:
        note = _note(text[hit.start : hit.end]) if hit.name == MEDIA else f"[{hit.name}]"
        pieces += [text[last : hit.start], note]
        last = hit.end
    return "".join([*pieces, text[last:]])


# -- streams of events


def _stream(text: str, redaction: Redaction) -> tuple[str, set[str]]:
    names: set[str] = set()
    lines = _LINE.findall(text)
    trees: dict[int, _Tree] = {}
    groups: dict[tuple[Any, ...], list[_Leaf]] = {}
    raw: list[_Leaf] = []
    for number, line in enumerate(lines):
        head, _, rest = line.partition(":")
        said = rest.strip()
        if head == "data" and (tree := _read(said, redaction)) is not None:
            trees[number] = tree
            for leaf in tree.leaves:
                groups.setdefault(leaf.place, []).append(leaf)
        elif head == "data":
            raw.append(_Leaf(said, (), "", _line_put(lines, number), is_media=False))
        else:
            lines[number], found = _masked(line, redaction)
            names |= found
    groups[("no JSON",)] = raw
    hit = _mask_groups(groups, redaction, names)
    for number, tree in trees.items():
        names |= tree.names
        if tree.names or tree.changed or any(leaf in hit for leaf in map(id, tree.leaves)):
            lines[number] = f"data: {_written(tree.value)}{_end(lines[number])}"
    return "".join(lines), names


def _end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _line_put(lines: list[str], number: int) -> Callable[[str], None]:
    def put(text: str) -> None:
        lines[number] = f"data: {text}{_end(lines[number])}"

    return put


def _mask_groups(
    groups: Mapping[tuple[Any, ...], Sequence[_Leaf]], redaction: Redaction, names: set[str]
) -> set[int]:
    """The ids of leaves that have another text now."""
    changed: set[int] = set()
    for leaves in groups.values():
        found = _found_in(leaves, redaction)
        if not found:
            continue
        names |= {hit.name for hit in found}
        whole = "".join([leaf.text for leaf in leaves])
        start = 0
        for leaf in leaves:
            end = start + len(leaf.text)
            fresh = _piece(whole, start, end, found)
            if fresh != leaf.text:
                leaf.put(fresh)
                changed.add(id(leaf))
            start = end
    return changed


def _found_in(leaves: Sequence[_Leaf], redaction: Redaction) -> list[Hit]:
    whole = "".join([leaf.text for leaf in leaves])
    if redaction.drops_media and any(leaf.is_media for leaf in leaves) and whole:
        return [Hit(0, len(whole), MEDIA)]
    finders = redaction.finders
    found = list(_of_short(whole, redaction)) if len(whole) <= _SHORT else hits(whole, finders)
    if redaction.drops_media:
        found += _urls(whole)
    start = 0
    for leaf in leaves:
        if len(leaves) > 1:
            alone = _of_short(leaf.text, redaction) if len(leaf.text) <= _SHORT else hits(leaf.text, finders)
            found += [Hit(hit.start + start, hit.end + start, hit.name) for hit in alone]
        if KEYS in redaction.finders and leaf.key and is_secret(leaf.key, leaf.text):
            found.append(Hit(start, start + len(leaf.text), KEYS))
        start += len(leaf.text)
    return [hit for hit in joined(found) if whole[hit.start : hit.end] != f"[{hit.name}]"]


@functools.lru_cache(maxsize=8192)
def _of_short(text: str, redaction: Redaction) -> tuple[Hit, ...]:
    """Ids, models, types and words come again and again."""
    return tuple(hits(text, redaction.finders))


def _piece(whole: str, start: int, end: int, found: Sequence[Hit]) -> str:
    """What is left of `whole[start:end]`: a mask stands where its hit begins."""
    pieces, last = [], start
    for hit in found:
        if hit.end <= start or hit.start >= end:
            continue
        pieces.append(whole[last : max(hit.start, last)])
        if hit.start >= start:
            is_media = hit.name == MEDIA
            pieces.append(_note(whole[hit.start : hit.end]) if is_media else f"[{hit.name}]")
        last = min(hit.end, end)
    return "".join([*pieces, whole[last:end]])


# -- media


def _urls(text: str) -> list[Hit]:
    if "base64," not in text:
        return []
    return [Hit(*found.span(), MEDIA) for found in _DATA_URL.finditer(text)]


def _note(text: str) -> str:
    found = _DATA_URL.match(text)
    kind, data = (found[1] or "", found[2]) if found else ("", text)
    return f"[media{f' {kind}' if kind else ''} {len(data) * 3 // 4} bytes]"


# -- JSON


def _read(text: str, redaction: Redaction) -> _Tree | None:
    """None where it is no JSON that holds anything."""
    twice: list[bool] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) != len(items):  # what is said first is lost, and must not stay in the bytes
            twice.append(True)
        return made

    try:
        value = json.loads(text, object_pairs_hook=pairs)
        if not isinstance(value, (dict, list)):
            return None
        tree = _Tree(value, changed=bool(twice))
        for path in redaction.drop:
            if _drop(value, path):
                tree.names.add(DROPPED)
        kind = value.get("type") if isinstance(value, dict) else None
        _walk(tree, value, (kind,) if isinstance(kind, str) else (), "", redaction)
    except (ValueError, RecursionError):
        return None
    return tree


def _written(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() or _is_unicode(text) else json.dumps(value, separators=(",", ":"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair, which JSON may spell
        return False
    return True


def _drop(value: Any, path: tuple[Step, ...]) -> bool:
    """Was there something to be left out?"""
    if not path:
        return False
    step, rest = path[0], path[1:]
    children = _children(value)
    if step == ANYWHERE:
        found = _drop(value, rest)
        inside = [_drop(child, path) for _, child in children]  # all of them
        return found or True in inside
    chosen = [key for key, _ in children if step in (ANY, key)]
    if rest:
        return True in [_drop(value[key], rest) for key in chosen]
    for key in reversed(chosen):
        del value[key]
    return bool(chosen)


def _children(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _walk(tree: _Tree, value: Any, place: tuple[Any, ...], key: str, redaction: Redaction) -> None:
    if isinstance(value, list):
        for number, item in enumerate(value):
            # Items that say their own number or id are told apart by that: a stream's list has one at a time.
            own = _named(item)
            _visit(tree, value, number, (*place, own or number), key, redaction)
        return
    here = (*place, *_named(value))
    for name in list(value):
        fresh = name
        if found := _of_short(name, redaction):
            tree.names |= {hit.name for hit in found}
            fresh = _free(_put(name, found), value)
            value[fresh] = value.pop(name)
        _visit(tree, value, fresh, (*here, fresh), fresh, redaction)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free


def _named(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, dict):
        return ()
    return tuple((name, value[name]) for name in _PLACES if isinstance(value.get(name), (str, int)))


def _visit(tree: _Tree, owner: Any, at: Any, place: tuple[Any, ...], key: str, redaction: Redaction) -> None:
    child = owner[at]
    if isinstance(child, (dict, list)):
        _walk(tree, child, place, key, redaction)
    elif isinstance(child, str):
        if child:
            media = _is_media(owner, key, child)
            tree.leaves.append(_Leaf(child, place, key, _put_at(owner, at), media))
    elif not isinstance(child, (bool, type(None))) and (found := _of_short(json.dumps(child), redaction)):
        owner[at] = f"[{found[0].name}]"
        tree.names.add(found[0].name)


def _put_at(owner: Any, at: Any) -> Callable[[str], None]:
    def put(text: str) -> None:
        owner[at] = text

    return put


def _is_media(owner: Any, key: str, text: str) -> bool:
    if key not in _MEDIA_KEYS or (isinstance(owner, dict) and owner.get("type") in _NO_MEDIA):
        return False
    return _BASE64.match(text) is not None
