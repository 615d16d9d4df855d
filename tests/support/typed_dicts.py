"""JSON against the TypedDicts of an official SDK: unknown fields, missing ones, values of other types.

pydantic takes no offence at unknown keys of a TypedDict and does not look into an Iterable; this does.
"""

from __future__ import annotations

import collections.abc
import functools
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, Union

import typing_extensions

_LISTS = (list, collections.abc.Iterable, collections.abc.Sequence, collections.abc.Collection)
_QUALIFIERS = (Required, NotRequired, Annotated)


@functools.cache
def fields_of(typed_dict: Any) -> Mapping[str, tuple[Any, bool]]:
    """Name → (type, is it required). The class's own sets are wrong where annotations are texts."""
    hints = typing_extensions.get_type_hints(typed_dict, include_extras=True)
    fields = {}
    for name, hint in hints.items():
        required = typing_extensions.get_origin(hint) is Required
        while typing_extensions.get_origin(hint) in _QUALIFIERS:
            hint = typing_extensions.get_args(hint)[0]
        fields[name] = (hint, required)
    return fields


def alternatives(hint: Any) -> list[Any]:
    """The members of a union, however deep; a type alone is one."""
    while typing_extensions.get_origin(hint) in _QUALIFIERS:
        hint = typing_extensions.get_args(hint)[0]
    if typing.get_origin(hint) in (Union, types.UnionType):
        return [inner for each in typing.get_args(hint) for inner in alternatives(each)]
    return [hint]


def violations(value: Any, hint: Any, path: str = "$") -> list[str]:
    """What of `value` is not as `hint` says; of a union, by the alternative that fits best."""
    found = [_against(value, each, path) for each in alternatives(hint)]
    return min(found, key=lambda wrong: (len(wrong), -max((len(one) for one in wrong), default=0)))


def _against(value: Any, hint: Any, path: str) -> list[str]:
    if hint in (object, Any):
        return []
    if hint is None or hint is type(None):
        return [] if value is None else [f"{path}: is not null"]
    if typing_extensions.is_typeddict(hint):
        return _typed_dict(value, hint, path)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return [] if value in args else [f"{path}: {value!r} is none of {args}"]
    if origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            return [f"{path}: is no list"]
        return [one for n, inner in enumerate(value) for one in violations(inner, args[0], f"{path}[{n}]")]
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, dict):
            return [f"{path}: is no object"]
        return [one for key, inner in value.items() for one in violations(inner, args[1], f"{path}.{key}")]
    if origin is not None:  # a file or the like, which JSON has not
        hint = origin
    if hint is float:
        hint = (int, float)
    fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    return [] if fits else [f"{path}: {value!r} is no {hint}"]


def _typed_dict(value: Any, hint: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: is no {hint.__name__}"]
    fields = fields_of(hint)
    wrong = [f"{path}.{name}: {hint.__name__} has no such field" for name in value.keys() - fields.keys()]
    for name, (inner, required) in fields.items():
        if name in value:
            wrong += violations(value[name], inner, f"{path}.{name}")
        elif required:
            wrong.append(f"{path}.{name}: is missing")
    return wrong
