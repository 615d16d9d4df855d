"""Validation errors told in terms of the file: line, field, what is wrong, what would be right."""

import difflib
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError


def describe(error: ValidationError, text: str, source: str) -> list[str]:
    """One line per problem, `SOURCE:LINE: field: what is wrong`; `text` is the YAML it was found in."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return [_line(problem, root, source) for problem in error.errors(include_url=False)]


def _line(problem: Any, root: yaml.Node | None, source: str) -> str:
    loc = problem["loc"]
    field = _field(loc)
    head = f"{source}:{_locate(root, loc)}: " + (f"{field}: " if field else "")
    if problem["type"] == "extra_forbidden":
        return head + _unknown(loc)
    if problem["type"] == "value_error":
        return head + str(problem["ctx"]["error"])
    said = str(problem["msg"]).removeprefix("Input ")
    value = repr(problem["input"])
    return f"{head}{said[:1].lower()}{said[1:]}, not {value if len(value) <= 60 else value[:57] + '...'}"


def _unknown(loc: tuple[int | str, ...]) -> str:
    known = sorted(_fields_at(loc[:-1]))
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"unknown field; {hint}"


def _fields_at(loc: tuple[int | str, ...]) -> list[str]:
    """The field names the model at `loc` knows."""
    from . import script  # here, for script.py imports this module

    models: dict[str, type[BaseModel]] = {
        "match": script.Match,
        "faults": script.Fault,
        "error": script.ErrorText,
        "replies": script.Reply,
        "tool_calls": script.ToolCall,
        "tokens": script.Tokens,
        "aws": script.Aws,
        "journal": script.JournalLimits,
    }
    names = [part for part in loc if isinstance(part, str)]
    model = models.get(names[-1], script.Script) if names else script.Script
    return list(model.model_fields)


def _field(loc: tuple[int | str, ...]) -> str:
    out = ""
    for part in loc:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def _locate(node: yaml.Node | None, loc: tuple[int | str, ...]) -> int:
    """The line (from 1) of the deepest node on the way to `loc` that the text holds."""
    line = 1
    for part in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        else:
            break
    return line
